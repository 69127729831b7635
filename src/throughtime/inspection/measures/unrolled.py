"""Runs a model step by step, with every state as a node of the graph of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from throughtime.inspection.recording import Name
from throughtime.kernels import Call, reference
from throughtime.layers.evaluation import with_gradients
from throughtime.layers.recurrent import Recurrent

__all__ = ["States", "unrolled"]


@dataclass
class States:
    """The states that the calls of recurrent layers add, in reading order.

    Args:
        by_layer: for each layer and direction the states after each step: (B, n) each, which are
            the values that later steps and the output are computed from. The key is the name of the
            layer's states, with an empty ``value``.
        outputs: for the path of each module with recurrent layers the output after each step of
            its last layer, (B, D*H) each.
        calls: for each layer and direction the calls of the kernels, with the weights that the step
            reads and the input of this layer.
        widths: for each layer and direction the number of units of each state.
    """

    by_layer: dict[Name, list[tuple[Tensor, ...]]] = field(default_factory=dict)
    outputs: dict[str, list[Tensor]] = field(default_factory=dict)
    calls: dict[Name, list[Call]] = field(default_factory=dict)
    widths: dict[Name, tuple[int, ...]] = field(default_factory=dict)

    def keep(self, is_kept: Callable[[str], bool]) -> None:
        """Removes all modules for whose path ``is_kept`` is false."""
        self.outputs = {path: o for path, o in self.outputs.items() if is_kept(path)}
        self.by_layer = {n: v for n, v in self.by_layer.items() if is_kept(n.module)}
        self.calls = {n: v for n, v in self.calls.items() if is_kept(n.module)}
        self.widths = {n: v for n, v in self.widths.items() if is_kept(n.module)}


@contextmanager
def unrolled(model: nn.Module) -> Iterator[States]:
    """Makes all recurrent layers of a model run step by step and with gradients.

    It works with any cell: the reference computes the steps. Whatever the model computes inside the
    context can be differentiated with respect to the states, also what a task evaluates.

    >>> import torch
    >>> from throughtime import LSTM
    >>> layer = LSTM(2, 3)
    >>> with unrolled(layer) as states:
    ...     output, _ = layer(torch.ones(5, 1, 2))
    >>> h, c = states.by_layer[Name("", "", 0)][1]
    >>> torch.autograd.grad(output[4].sum(), c)[0].shape
    torch.Size([1, 3])
    """
    states = States()
    layers = [(path, m) for path, m in model.named_modules() if isinstance(m, Recurrent)]
    hooks, before = [], [vars(module).get("_run_call") for _, module in layers]
    for path, module in layers:
        # Of this object only: its class keeps its method.
        vars(module)["_run_call"] = _stepwise(path, module, states)
        hooks.append(module.register_forward_hook(_outputs_of(path, module, states)))
    try:
        with with_gradients():
            yield states
    finally:
        for hook in hooks:
            hook.remove()
        for (_, module), run in zip(layers, before, strict=True):
            # Inside another context of the same model there was one already.
            if run is None:
                del vars(module)["_run_call"]
            else:
                vars(module)["_run_call"] = run


def _stepwise(path: str, module: Recurrent, states: States):
    def run(
        call: Call, suffix: str, recording: dict[str, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        assert recording is None, "unrolled and return_trace exclude each other"
        output, last, steps = reference.unrolled(call)
        name = Name.of(suffix)._replace(module=path)
        of_layer = states.by_layer.setdefault(name, [])
        of_layer += [tuple(step.values()) for step in steps]
        states.calls.setdefault(name, []).append(call)
        states.widths[name] = tuple(module.state_sizes.values())
        return output, last

    return run


def _outputs_of(path: str, module: Recurrent, states: States):
    def after(_: nn.Module, args: object, results: tuple[Tensor, object]) -> None:
        output = results[0]
        if not isinstance(output, Tensor):
            # A packed sequence; its data are the steps of one sequence, in order.
            output = output.data.unsqueeze(1)
        elif output.dim() == 2:
            output = output.unsqueeze(1)
        elif module.batch_first:
            output = output.transpose(0, 1)
        states.outputs.setdefault(path, []).extend(output.unbind(0))

    return after

"""Any cell through time: layers, directions, ragged rows, resets, state in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from throughtime.cells.cell import Cell
from throughtime.kernels import Call, Explanation, dispatch
from throughtime.kernels.graph.random import new_seed
from throughtime.layers.incoming import prepared
from throughtime.layers.spec import OPTIONS, LayerSpec, default_of
from throughtime.layers.stack import Incoming, Stack
from throughtime.layers.stream import Stream

__all__ = ["Recurrent", "RecurrentState"]

RecurrentState = Tensor | tuple[Tensor, ...]
"""One state: a tensor. Several: a tuple. Each of shape (L*D, B, H)."""


class Recurrent(Stack):
    r"""A cell applied through time, with everything that ``torch.nn.LSTM`` has.

    Layer l reads the output of layer l - 1. With ``bidirectional`` a second set of weights reads
    the sequence from its end, and each layer gives out both directions, merged.

    Args:
        cell: the equations, or their name (``throughtime.cells.names()``).
        input_size: I, the features of one step.
        hidden_size: H, the units of one layer in one direction.
        num_layers: L, how many layers are stacked.
        bias: whether the blocks have biases.
        batch_first: whether sequences come and go as (B, T, …) rather than (T, B, …).
            The states are (L*D, B, H) either way.
        dropout: the probability to drop an output of a layer before the next layer reads it.
        bidirectional: whether there is a reverse direction (D is then 2).
        merge: how two directions become one output: ``concat``, ``sum``, ``mean``, ``product``.
        backend: ``auto``, or the one backend that must run it (``cpp``, ``torch``, ``reference``).
        save: what is kept for the backward pass: ``gates``, all that it needs; or ``states``, a
            few states only, from which the gates are computed again: less memory, more time.
        locked_dropout: whether ``dropout`` drops the same features at all steps of a sequence (Gal
            and Ghahramani, arXiv 1512.05287).
        recurrent_dropout: the probability to drop a unit of what the recurrent matrices are
            applied to, the same units at all steps of a sequence (arXiv 1512.05287, with one mask
            for all gates).
        zoneout: the probability that a unit keeps its value of the step before: for all states,
            or by name, ``{"h": 0.05, "c": 0.5}`` (Krueger et al., arXiv 1606.01305).
        weight_drop: the probability to drop a weight of the recurrent matrices, drawn anew for each
            call (DropConnect; Merity et al., arXiv 1708.02182).
        learned_state: whether the initial states, where none are given, are parameters
            (``initial_h_l{k}``), which start from the cell's own.
        residual: whether each layer but the first adds its input to its output.
        independent: whether the two directions run through all layers apart, and are merged at the
            end only.
        proj_size: P; more than 0 projects the output, and what is fed back, to P units
            (``weight_hr_l{k}`` (P, H), as in ``torch.nn.LSTM``), for cells in which h enters the
            equations through products alone.
        activations: other activation functions, ``{"tanh": "relu", "sigmoid": "hardsigmoid"}``;
            see :data:`throughtime.cells.wrapped.ACTIVATIONS`.
        clip: a limit to what activation functions are given, from -clip to clip.
        strict: whether ``backend="auto"`` refuses what no kernel can run, rather than taking the
            slow reference.
        forget_bias: the bias from which the forget gate (block f) starts; 1 makes a long memory
            the beginning rather than the end of learning. ``chrono`` draws the biases of all gates
            that decide how long a state is kept (arXiv 1804.11188); it needs ``chrono_steps``.
        chrono_steps: T_max of ``forget_bias="chrono"``, the longest dependency that is expected, in
            steps.
        recurrent_init: how each block of the recurrent matrix starts: ``uniform`` as torch.nn draws
            it, ``orthogonal``, or ``identity``; None is as the cell declares it, which is
            ``uniform`` for most.
        device, dtype: of the parameters.

    Shapes:
        input: (T, B, I); (B, T, I) where ``batch_first``; (T, I) for one sequence alone; or a
            ``PackedSequence``.
        output: as the input, with D*H features (H for the merges that are not ``concat``); zero
            past a row's end. With ``proj_size`` P stands for H, as in the states that are h.
        states: (L*D, B, H), or (L*D, H) for one sequence alone, layer by layer, in each the
            forward direction first: of each row's last valid step. The reverse direction starts
            at a row's own last step and ends at its first.

    Parameters are named, ordered and drawn as those of ``torch.nn``: ``weight_ih_l{k}`` (G*H, I),
    ``weight_hh_l{k}`` (G*H, H), ``bias_ih_l{k}``, ``bias_hh_l{k}`` (G*H), then the cell's own
    (``p_i_l{k}``), all with ``_reverse`` for the other direction.

    Raises:
        ShapeError: for an input, a state or lengths of the wrong shape.
        ValueError: for an unknown name, or an option that the cell has no use for.

    >>> layer = Recurrent("lstm-peephole", 3, 5, bidirectional=True, merge="sum")
    >>> output, (h, c) = layer(torch.zeros(7, 2, 3), lengths=[7, 4])
    >>> output.shape, h.shape
    (torch.Size([7, 2, 5]), torch.Size([2, 2, 5]))
    """

    MERGES: ClassVar[dict[str, Callable[[list[Tensor]], Tensor]]] = {
        "concat": lambda outputs: torch.cat(outputs, -1),
        "sum": lambda outputs: outputs[0] + outputs[1],
        "mean": lambda outputs: (outputs[0] + outputs[1]) / 2,
        "product": lambda outputs: outputs[0] * outputs[1],
    }

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        merge: str = "concat",
        backend: str = "auto",
        save: str = "gates",
        strict: bool = False,
        locked_dropout: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        weight_drop: float = 0.0,
        learned_state: bool = False,
        residual: bool = False,
        independent: bool = False,
        proj_size: int = 0,
        activations: Mapping[str, str | Callable[[Tensor], Tensor]] | None = None,
        clip: float | None = None,
        forget_bias: float | str | None = None,
        chrono_steps: float | None = None,
        recurrent_init: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        arguments: dict[str, Any] = locals() | {"activations": activations or {}}
        # Every option of LayerSpec is an argument of the same name.
        spec = LayerSpec(**{name: arguments[name] for name in OPTIONS})
        super().__init__(cell, spec, device, dtype)

    @property
    def who(self) -> str:
        """What error messages call it."""
        name = type(self).__name__
        cell = f'"{self.cell.name}"' if self.cell.name else f"{type(self.cell).__name__}()"
        return f"{name}({cell})" if type(self) is Recurrent else name

    # What it does.

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: RecurrentState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
        return_trace: bool = False,
    ) -> Any:
        """Runs the sequence.

        Args:
            input: see the class.
            hx: the initial states; None is the cell's own (zero, for most).
            lengths: (B,) whole numbers in any order, how many steps of each row are valid.
            resets: (T, B), or (B, T) where ``batch_first``: True where a row is set back to its
                initial state before step t.
            inputs: what enters each step besides x, of cells that declare ``inputs``: by name,
                each as x but with H features, or one, or none at all where one is meant.
            return_trace: whether to give out all gates and states of all steps as well.

        Returns:
            The output, and the last states. With ``return_trace`` a third: by name
            (``f_l0``, ``c_l0_reverse``) what the step returned at each step, (T, B, H) or as the
            input has them; zero past a row's end, and without a gradient.
        """
        incoming = prepared(self, input, hx, lengths, resets, inputs)
        recording: dict[str, Tensor] | None = {} if return_trace else None
        output, last = self._through_layers(incoming, recording)
        layout = incoming.layout
        state = tuple(layout.without_batch(s, 1) for s in last)
        results = (layout.restored(output), state[0] if len(state) == 1 else state)
        if recording is None:
            return results
        return *results, {name: layout.restored(v) for name, v in recording.items()}

    def _through_layers(
        self, incoming: Incoming, recording: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The output of the last layer, and the last states of all layers.

        If ``recording`` is not None, the values of all steps are added to it by name.
        """
        spec = self.spec
        last: list[tuple[Tensor, ...]] = []
        # What each direction reads: the same, unless they run apart.
        inputs = [incoming.x] * spec.num_directions
        for layer in range(spec.num_layers):
            if layer > 0:
                inputs = self._dropped(inputs)
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                seed = new_seed(incoming.x.device) if self.equations.drawn_inputs else None
                call = self._call(incoming, inputs[direction], layer, direction, seed)
                output, states = dispatch.run(call, spec.backend, spec.strict)
                if recording is not None:
                    recording |= self._recorded(call, suffix)
                if spec.proj_size:
                    output = output[..., : spec.proj_size]
                    sizes = self.state_sizes.values()
                    states = tuple(s[:, :n] for s, n in zip(states, sizes, strict=True))
                outputs.append(output)
                last.append(states)
            is_apart = spec.independent and layer + 1 < spec.num_layers
            merged = self.MERGES[spec.merge]
            if spec.bidirectional and not spec.independent:
                outputs = [merged(outputs)]
            if spec.residual and layer > 0:
                outputs = [y + x for x, y in zip(inputs, outputs, strict=False)]
            if spec.independent and not is_apart:
                outputs = [merged(outputs)]
            inputs = outputs if is_apart else outputs * spec.num_directions
        x = inputs[0]
        if x.requires_grad:
            # The caller may write into the results; what the backward pass keeps stays as it is.
            x = x.clone()
        return x, [torch.stack(rows) for rows in zip(*last, strict=True)]

    def _recorded(self, call: Call, suffix: str) -> dict[str, Tensor]:
        """All values that the step returns, at all steps, by name and the suffix of the layer."""
        values = dispatch.record(call, self.backend)
        narrow = self.state_sizes if self.proj_size else {}
        return {f"{k}{suffix}": v[..., : narrow.get(k, v.shape[-1])] for k, v in values.items()}

    def _dropped(self, inputs: list[Tensor]) -> list[Tensor]:
        """What the next layer reads, less what dropout takes; the directions read the same."""
        if not self.training or not self._drops_outputs:
            return inputs
        apart = inputs if self.independent else inputs[:1]
        if self.locked_dropout:
            # One draw for all steps.
            kept = [F.dropout(x.new_ones(1, *x.shape[1:]), self.dropout) for x in apart]
            dropped = [x * mask for x, mask in zip(apart, kept, strict=True)]
        else:
            # The numbers of torch.nn, under the same seed.
            dropped = [F.dropout(x, self.dropout) for x in apart]
        return dropped if self.independent else dropped * self.num_directions

    def stream(self) -> Stream:
        """A running sequence, which is given its steps as they come.

        Raises:
            ValueError: with two directions, of which one begins at the end.
        """
        if self.bidirectional:
            raise ValueError(
                f"{self.who}: bidirectional=True reads a sequence from its end too, which a "
                f"stream does not know. Use one direction."
            )
        return Stream(self, self.batch_first)

    def explain(
        self,
        input: Tensor | PackedSequence,
        hx: RecurrentState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
        inputs: Mapping[str, Tensor] | None = None,
    ) -> Explanation:
        """Which backend would run this input, and why the faster ones would not."""
        incoming = prepared(self, input, hx, lengths, resets, inputs)
        # The weights that weight_drop takes away are drawn; the next call draws the same anew.
        with torch.random.fork_rng([incoming.x.device] if incoming.x.is_cuda else []):
            call = self._call(incoming, incoming.x, 0, 0)
        return dispatch.explain(call, self.backend, self.strict)

    def extra_repr(self) -> str:
        parts = [repr(self.cell), str(self.input_size), str(self.hidden_size)]
        for name, option in OPTIONS.items():
            is_told = name in ("input_size", "hidden_size")
            if not is_told and getattr(self.spec, name) != default_of(option):
                parts.append(f"{name}={getattr(self.spec, name)!r}")
        return ", ".join(parts)

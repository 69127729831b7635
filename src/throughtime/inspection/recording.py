"""Records what a network computes: every gate, state and attention weight at every step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from throughtime.layers.attention import Attention
from throughtime.layers.recurrent import Recurrent
from throughtime.models import TreeEncoder
from throughtime.reading import Entries, json_value, typed
from throughtime.tasks.run import written_whole
from throughtime.tasks.uses import Inspectable

__all__ = ["Name", "Recording", "part_of", "record", "recorded"]

_VERSION = "1"


class Name(NamedTuple):
    """The name of a recorded value, such as ``encoder.recurrent.c_l1_reverse``.

    Args:
        module: the path of the recurrent layers in the model; empty if the model is the layer.
        value: the name that the cell's step gives the value (``c``), or ``weights`` of attention.
        layer: the number of the recurrent layer, from 0; None for attention.
        is_reverse: whether it is of the reverse direction.
    """

    module: str
    value: str
    layer: int | None = None
    is_reverse: bool = False

    def __str__(self) -> str:
        layer = "" if self.layer is None else f"_l{self.layer}"
        suffix = f"{layer}{'_reverse' if self.is_reverse else ''}"
        return f"{self.module}.{self.value}{suffix}".removeprefix(".")

    @classmethod
    def of(cls, text: str) -> Name:
        """The name that ``str`` wrote."""
        module, _, rest = text.rpartition(".")
        value, mark, layer = rest.removesuffix("_reverse").rpartition("_l")
        if not (mark and layer.isdecimal()):
            return cls(module, rest)
        return cls(module, value, int(layer), rest.endswith("_reverse"))


@dataclass(frozen=True)
class Recording:
    """The values of a model at every step of one sequence.

    Args:
        values: by name (see :class:`Name`), (T, width), T the steps of that part of the model.
        states: the names in ``values`` that are states; the others are gates, other values of the
            step, and attention weights (T, S).
        steps, outputs, features, feature_names: see
            :class:`~throughtime.tasks.uses.Observation`.
        probabilities: (T, K), the probability of each output after each of the last T steps of the
            last part; None if the model has none.
    """

    values: Mapping[str, Tensor]
    states: frozenset[str]
    steps: Mapping[str, Sequence[str]]
    outputs: Sequence[str] = ()
    probabilities: Tensor | None = None
    features: Tensor | None = None
    feature_names: Sequence[str] = ()

    def part(self, name: str) -> str:
        """The part of the model, a key of ``steps``, to which a value belongs."""
        part = part_of(self.steps, name)
        assert part is not None
        return part

    def tokens(self, name: str) -> Sequence[str]:
        """The text of each step of a value."""
        return self.steps[self.part(name)]

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file.

        Its tensors have the names of :attr:`values`; ``probabilities`` and ``features`` are
        added where there are any. Its metadata are JSON texts: ``states`` (names), ``steps`` (for
        each part of the model the text of its steps), ``outputs``, ``feature_names``; and
        ``version``.
        """
        tensors = {name: value.contiguous() for name, value in self.values.items()}
        more = {"probabilities": self.probabilities, "features": self.features}
        tensors |= {name: value.contiguous() for name, value in more.items() if value is not None}
        texts = {
            "version": _VERSION,
            "states": json.dumps(sorted(self.states)),
            "steps": json.dumps({part: list(tokens) for part, tokens in self.steps.items()}),
            "outputs": json.dumps(list(self.outputs)),
            "feature_names": json.dumps(list(self.feature_names)),
        }
        written_whole(Path(path), lambda whole: save_file(tensors, whole, texts))

    @classmethod
    def load(cls, path: str | Path) -> Recording:
        """Reads the file that :meth:`save` wrote.

        Raises:
            ValueError: if the file is damaged, or is no recording.
            OSError: if it cannot be read.
        """
        try:
            with safe_open(str(path), "pt") as file:
                texts: dict[str, str] = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"{path}: expected a recording, got a damaged file: {error}") from None
        if texts.get("version") != _VERSION:
            raise ValueError(
                f"{path}: expected a recording of version {_VERSION}, got a file of "
                f"{'version ' + texts['version'] if 'version' in texts else 'another kind'}."
            )
        kinds = {"states": list[str], "outputs": list[str], "feature_names": list[str]}
        whole = Entries({**kinds, "steps": Entries(others=list[str])}, others=Any)
        meta = {n: json_value(str(path), t) if n != "version" else t for n, t in texts.items()}
        meta = typed(str(path), meta, whole)
        probabilities, features = tensors.pop("probabilities", None), tensors.pop("features", None)
        return cls(
            tensors,
            frozenset(meta["states"]),
            {part: tuple(tokens) for part, tokens in meta["steps"].items()},
            tuple(meta["outputs"]),
            probabilities,
            features,
            tuple(meta["feature_names"]),
        )


@dataclass
class _Values:
    """The pieces that the calls of the layers add, in their order."""

    pieces: dict[str, list[Tensor]] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)

    def add(self, name: Name, value: Tensor, is_state: bool = False) -> None:
        self.pieces.setdefault(str(name), []).append(value.detach())
        if is_state:
            self.states.add(str(name))


@contextmanager
def recorded(model: nn.Module) -> Iterator[_Values]:
    """Adds the values of all recurrent layers and of attention, while the model runs inside.

    The model computes the same outputs as outside. The pieces of a name are (B, T, width), one for
    each call of its layer; a decoder that writes step by step calls its layer once a step.
    """
    values = _Values()
    hooks = []
    for path, module in model.named_modules():
        if isinstance(module, Recurrent):
            hooks += _hooks_of_layers(path, module, values)
        elif isinstance(module, TreeEncoder):
            hooks.append(module.register_forward_hook(_tree_hook(path, values)))
        elif isinstance(module, Attention):
            hooks.append(module.register_forward_hook(_attention_hook(path, values)))
    try:
        yield values
    finally:
        for hook in hooks:
            hook.remove()


def _hooks_of_layers(path: str, module: Recurrent, values: _Values) -> list[Any]:
    # A caller who asks for the trace too receives it.
    are_asked: list[bool] = []

    def before(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        are_asked.append(bool(kwargs.get("return_trace")))
        return args, {**kwargs, "return_trace": True}

    def after(_: nn.Module, args: Any, kwargs: Any, results: Any) -> Any:
        *rest, trace = results
        for text, value in trace.items():
            name = Name.of(text)._replace(module=path)
            values.add(name, _in_rows(module, value), name.value in module.cell.state_specs)
        return results if are_asked.pop() else tuple(rest)

    return [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, with_kwargs=True),
    ]


def _tree_hook(path: str, values: _Values) -> Any:
    def after(_: nn.Module, args: Any, results: tuple[Tensor, Any]) -> None:
        # The steps are the nodes in prefix order.
        values.add(Name.of("h_l0")._replace(module=path), results[0], is_state=True)

    return after


def _in_rows(module: Recurrent, value: Tensor | PackedSequence) -> Tensor:
    """The values of a call as (B, T, width)."""
    if isinstance(value, PackedSequence):
        return pad_packed_sequence(value, batch_first=True)[0]
    if value.dim() == 2:
        return value.unsqueeze(0)
    return value if module.batch_first else value.transpose(0, 1)


def _attention_hook(path: str, values: _Values) -> Any:
    def after(_: nn.Module, args: Any, results: tuple[Tensor, Tensor]) -> None:
        values.add(Name(path, "weights"), results[1])

    return after


def record(task: Inspectable, model: nn.Module, input: Any) -> Recording:
    """Records a model while it reads one sequence.

    Args:
        task: the task of the model.
        model: the model, whose recurrent layers may have any cell.
        input: a text, or one of ``task.held_out``.

    Raises:
        ValueError: if the model cannot read the input.
    """
    observation = task.observe(model, input)
    with recorded(model) as values:
        probabilities = observation.run()
    o, joined = observation, {}
    for name, pieces in values.pieces.items():
        if part_of(o.steps, name) is not None:
            joined[name] = torch.cat(pieces, 1)[0]
    states = frozenset(values.states & joined.keys())
    return Recording(joined, states, o.steps, o.outputs, probabilities, o.features, o.feature_names)


def part_of(parts: Iterable[str], name: str) -> str | None:
    """The part of the model to which a value belongs; None if it belongs to none."""
    parts = [part for part in parts if not part or f"{name}.".startswith(f"{part}.")]
    return max(parts, key=len, default=None)

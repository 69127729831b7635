"""The contenders: our layer, and the peers that it is measured beside, with the same weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from throughtime.cells.cell import Cell, State, get
from throughtime.layers import Recurrent
from throughtime.measuring.settings import Setup, Size

__all__ = ["Contender", "Loop", "contenders", "torch_layer"]


@dataclass
class Contender:
    """A layer, how it is called, and the weights that it must have, named as ours."""

    cell: Cell
    layer: nn.Module
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    lengths: Tensor | None = None
    packs: bool = False

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The outputs for x (T, B, I), padded where there are lengths.

        What the cell reads besides x is 1 throughout.
        """
        sizes = {k: spec.size for k, spec in self.cell.given_inputs.items()}
        more: dict[str, Any] = {}
        if sizes:
            H = cast(Any, self.layer).hidden_size
            ones = x.new_ones(1).expand(*x.shape[:2], H)
            more["inputs"] = {k: ones[..., :size] for k, size in sizes.items()}
        if lengths is None:
            return self.layer(x, **more)[0]
        if self.packs:
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            return pad_packed_sequence(self.layer(packed)[0], total_length=x.shape[0])[0]
        return self.layer(x, lengths=lengths, **more)[0]

    def call(self, mode: str, x: Tensor, seed: Tensor) -> Callable[[], object]:
        """One call, as it is timed: forward, and in training the gradients of x and all weights."""
        if mode == "inference":

            def infer() -> object:
                with torch.no_grad():
                    return self.forward(x, self.lengths)

            return infer
        leaves = [x, *self.layer.parameters()]
        return lambda: torch.autograd.grad(self.forward(x, self.lengths), leaves, seed)


class Loop(nn.Module):
    """The cell as users write it: a step in Python, and in it a product for each block."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.cell, self.hidden_size = layer.cell, layer.hidden_size
        for name, value in layer.named_parameters():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))

    def forward(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Any]:
        def blocks(names: Sequence[str], biased: Sequence[str], kind: str) -> SimpleNamespace:
            if not names:
                return SimpleNamespace()
            weights = getattr(self, f"weight_{kind}_l0").chunk(len(names))
            biases = {}
            if biased:
                rows = getattr(self, f"bias_{kind}_l0").chunk(len(biased))
                biases = dict(zip(biased, rows, strict=True))

            def product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
                return lambda value: F.linear(value, weight, bias)

            named = dict(zip(names, weights, strict=True))
            if kind == "hh":
                named = dict(self.cell.transform(named))
            return SimpleNamespace(**{n: product(w, biases.get(n)) for n, w in named.items()})

        cell, B = self.cell, x.shape[1]
        W = blocks(cell.gates, cell.gates, "ih")
        R = blocks(cell.recurrent_block_names, cell.recurrent_bias_names, "hh")
        p = SimpleNamespace(**{name: getattr(self, f"{name}_l0") for name in cell.parameter_specs})

        def initial(spec: State) -> Tensor:
            return x.new_full((B, spec.size or self.hidden_size), spec.initial)

        state, outputs = {k: initial(spec) for k, spec in cell.state_specs.items()}, []
        for t, x_t in enumerate(x):
            u = [SimpleNamespace(**{k: v[t] for k, v in inputs.items()})] if inputs else []
            made = cell.step(x_t, W, R, SimpleNamespace(**state), p, *u)
            state = {name: made[name] for name in state}
            outputs.append(made[cell.output_name])
        return torch.stack(outputs), state


# torchrecurrent's layer of the same equations: its name, the order of its blocks and peepholes.
_THEIRS = {
    "lstm-peephole": ("PeepholeLSTM", ("i", "f", "z", "o"), ("p_i", "p_f", "p_o")),
    "lstm-1997": ("OriginalLSTM", ("i", "g", "o"), ()),
}


def _torchrecurrent(ours: Recurrent) -> nn.Module | None:
    if ours.cell.name not in _THEIRS:
        return None
    # Not by an import statement, which a type checker would look for where it is not installed.
    torchrecurrent = importlib.import_module("torchrecurrent")

    kind, order, own = _THEIRS[ours.cell.name]
    theirs = getattr(torchrecurrent, kind)(
        ours.input_size, ours.hidden_size, dtype=ours.weight_ih_l0.dtype
    )
    weights = {}
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        blocks = getattr(ours, f"{name}_l0").chunk(len(order))
        named = dict(zip(ours.cell.gates, blocks, strict=True))
        weights[f"cells.0.{name}"] = torch.cat([named[gate] for gate in order])
    if own:
        weights["cells.0.weight_ph"] = torch.cat([getattr(ours, f"{p}_l0") for p in own])
    theirs.load_state_dict(weights)
    return theirs


def torch_layer(
    cell: Cell, input_size: int, hidden: int, dtype: torch.dtype, bidirectional: bool
) -> nn.Module | None:
    """The layer of ``torch.nn`` with the equations of the cell, or None."""
    kind, _, nonlinearity = (cell.torch_equivalent or "").partition("_")
    if not kind:
        return None
    more = {"nonlinearity": nonlinearity.lower()} if nonlinearity else {}
    layer = getattr(nn, kind)
    return layer(input_size, hidden, bidirectional=bidirectional, dtype=dtype, **more)


def contenders(
    cell: Cell, size: Size, setup: Setup, lengths: Tensor | None
) -> tuple[dict[str, Contender], list[str]]:
    """Ours and the peers, all with the same weights, and the peers that have no such cell."""
    I, H, two = setup.input_size or size.hidden, size.hidden, setup.ragged

    def layer(cell: Cell, backend: str) -> Recurrent:
        options: dict[str, Any] = dict(bidirectional=two, backend=backend, dtype=setup.dtype)
        return Recurrent(cell, I, H, save=setup.save, **options)

    ours = layer(cell, setup.backend)
    weights = ours.state_dict()
    found, absent = {"ours": Contender(cell, ours, weights, lengths)}, []
    for peer in setup.peers:
        if peer == "torch":
            made = torch_layer(cell, I, H, setup.dtype, two)
        elif peer == "torchrecurrent":
            made = _torchrecurrent(ours)
        elif peer == "loop":
            made = Loop(ours)
        else:
            made = layer(cell, "reference" if peer == "reference" else setup.backend)
        if made is None:
            absent.append(peer)
            continue
        if peer != "torchrecurrent":
            made.load_state_dict(weights)
        uses = None if peer == "padded" else lengths
        found[peer] = Contender(cell, made, weights, uses, packs=peer == "torch")
    if setup.per_flop:
        lstm = layer(get("lstm"), setup.backend)
        found["our lstm"] = Contender(lstm.cell, lstm, lstm.state_dict(), lengths)
    return found, absent

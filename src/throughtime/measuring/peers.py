"""The contenders of a measurement: our layer and its peers, with equal weights."""

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
from throughtime.measuring.settings import PACKAGES, Setup, Size

__all__ = ["Contender", "Loop", "contenders", "torch_layer"]


@dataclass
class Contender:
    """A layer with the arguments of its calls.

    Args:
        cell: the equations that it must compute.
        layer: the layer.
        weights: its weights, with the names of our parameters.
        lengths: the lengths of the rows; None if all are full.
        packs: whether it takes a ``PackedSequence`` instead of lengths.
    """

    cell: Cell
    layer: nn.Module
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    lengths: Tensor | None = None
    packs: bool = False

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The outputs for x (T, B, I), padded if there are lengths.

        All further inputs of the cell are 1.
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
        """The function that is timed: forward, in training also the gradients of x and weights."""
        if mode == "inference":

            def infer() -> object:
                with torch.no_grad():
                    return self.forward(x, self.lengths)

            return infer
        leaves = [x, *self.layer.parameters()]
        return lambda: torch.autograd.grad(self.forward(x, self.lengths), leaves, seed)


class Loop(nn.Module):
    """The cell as a user would write it: a Python loop over steps with a product for each block."""

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
            values = cell.step(x_t, W, R, SimpleNamespace(**state), p, *u)
            state = {name: values[name] for name in state}
            outputs.append(values[cell.output_name])
        return torch.stack(outputs), state


# For each cell the layer of torchrecurrent with equal equations: its class, and the orders of its
# blocks and of its peepholes.
_THEIRS = {
    "lstm-peephole": ("PeepholeLSTM", ("i", "f", "z", "o"), ("p_i", "p_f", "p_o")),
    "lstm-1997": ("OriginalLSTM", ("i", "g", "o"), ()),
}


def _torchrecurrent(ours: Recurrent) -> nn.Module | None:
    """The layer of torchrecurrent with our weights; None if it does not have the cell."""
    if ours.cell.name not in _THEIRS:
        return None
    # Not an import statement, because type checkers report one if the package is not installed.
    torchrecurrent = importlib.import_module("torchrecurrent")

    kind, order, peepholes = _THEIRS[ours.cell.name]
    theirs = getattr(torchrecurrent, kind)(
        ours.input_size, ours.hidden_size, dtype=ours.weight_ih_l0.dtype
    )
    weights = {}
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        blocks = getattr(ours, f"{name}_l0").chunk(len(order))
        named = dict(zip(ours.cell.gates, blocks, strict=True))
        weights[f"cells.0.{name}"] = torch.cat([named[gate] for gate in order])
    if peepholes:
        weights["cells.0.weight_ph"] = torch.cat([getattr(ours, f"{p}_l0") for p in peepholes])
    theirs.load_state_dict(weights)
    return theirs


_MODES = {"cfc": "default", "cfc-no-gate": "no_gate", "cfc-pure": "pure"}
_HEADS = {"g": "ff1", "n": "ff2", "a": "time_a", "b": "time_b", "f": "ff1"}
"""The names of our heads in ncps."""


class _Ungapped(nn.Module):
    """A layer of ncps that is called like ours, with further inputs that are all 1: its default."""

    def __init__(self, layer: nn.Module, hidden_size: int) -> None:
        super().__init__()
        self.layer, self.hidden_size = layer, hidden_size

    def forward(self, x: Tensor, inputs: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Any]:
        return self.layer(x)


def _ncps(ours: Recurrent) -> nn.Module | None:
    """The layer of ncps with our weights; None if it does not have the cell."""
    if ours.cell.name not in _MODES:
        return None
    cell, H, theirs = ours.cell, ours.hidden_size, importlib.import_module("ncps.torch")
    backbone: int = cell.constants["backbone"]
    layer = theirs.CfC(
        ours.input_size,
        H,
        mode=_MODES[cell.name],
        backbone_units=H,
        backbone_layers=backbone,
        batch_first=False,
    )
    own: dict[str, Tensor] = dict(ours.state_dict())
    weight_ih, weight_hh = own["weight_ih_l0"].split(H), own["weight_hh_l0"].split(H)
    bias = (own["bias_ih_l0"] + own["bias_hh_l0"]).split(H)
    weights: dict[str, Tensor] = {}
    for number, block in enumerate(cell.recurrent_block_names):
        is_backbone = number < backbone
        name = f"backbone.{2 * number}" if is_backbone else _HEADS[block]
        weight = weight_hh[number]
        if block in cell.gates:
            weight = torch.cat([weight_ih[number], weight], 1)
        weights[f"{name}.weight"] = weight
        weights[f"{name}.bias"] = bias[number] if block in cell.gates else own[f"b_{block}_l0"]
    if cell.name == "cfc-pure":
        weights |= {name: own[f"{name}_l0"].unsqueeze(0) for name in ("A", "w_tau")}
    layer.rnn_cell.load_state_dict(weights)
    return _Ungapped(layer.to(own["weight_ih_l0"].dtype), H)


# For each package the function that builds its layer.
_OF_PACKAGES = {"torchrecurrent": _torchrecurrent, "ncps": _ncps}


def torch_layer(
    cell: Cell, input_size: int, hidden: int, dtype: torch.dtype, bidirectional: bool
) -> nn.Module | None:
    """The layer of ``torch.nn`` with the equations of the cell; None if there is none."""
    kind, _, nonlinearity = (cell.torch_equivalent or "").partition("_")
    if not kind:
        return None
    more = {"nonlinearity": nonlinearity.lower()} if nonlinearity else {}
    layer = getattr(nn, kind)
    return layer(input_size, hidden, bidirectional=bidirectional, dtype=dtype, **more)


def contenders(
    cell: Cell, size: Size, setup: Setup, lengths: Tensor | None
) -> tuple[dict[str, Contender], list[str]]:
    """Builds our layer and the peers with equal weights.

    Returns:
        The contenders by name, and the names of the peers that do not have the cell.
    """
    I, H, two = setup.input_size or size.hidden, size.hidden, setup.ragged

    def layer(cell: Cell, backend: str) -> Recurrent:
        options: dict[str, Any] = dict(bidirectional=two, backend=backend, dtype=setup.dtype)
        return Recurrent(cell, I, H, save=setup.save, **options)

    ours = layer(cell, setup.backend)
    weights = ours.state_dict()
    layers, absent = {"ours": Contender(cell, ours, weights, lengths)}, []
    for peer in setup.peers:
        if peer == "torch":
            theirs = torch_layer(cell, I, H, setup.dtype, two)
        elif peer in PACKAGES:
            theirs = _OF_PACKAGES[peer](ours)
        elif peer == "loop":
            theirs = Loop(ours)
        else:
            theirs = layer(cell, "reference" if peer == "reference" else setup.backend)
        if theirs is None:
            absent.append(peer)
            continue
        if peer not in PACKAGES:
            theirs.load_state_dict(weights)
        peer_lengths = None if peer == "padded" else lengths
        layers[peer] = Contender(cell, theirs, weights, peer_lengths, packs=peer == "torch")
    if setup.per_flop:
        lstm = layer(get("lstm"), setup.backend)
        layers["our lstm"] = Contender(lstm.cell, lstm, lstm.state_dict(), lengths)
    return layers, absent

"""Which cells are exactly one of ONNX's three recurrent nodes, and how their weights lie there.

A gate that a cell lacks because it is always open becomes a gate with no weights and the bias 40,
for sigmoid(40) is 1 in float32 and in float64; an activation that it lacks becomes Affine with
alpha 1 and beta 0. A gate that writes where the node's keeps, or the reverse, gets the opposite
weights, for sigmoid(-a) is 1 - sigmoid(a). A product that it lacks becomes one with zeros.

A cell for which most of R would be zeros (IndRNN, minGRU, the light recurrent unit) is not here: as
a Scan it multiplies nothing by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell, get, is_registered
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.kernels.graph.trace import cell_key
from throughtime.layers import Recurrent

__all__ = ["NATIVE", "Native", "native", "write"]

_OPEN = 40.0
_IDENTITY = "Affine"


@dataclass(frozen=True)
class Native:
    """How a cell is written as a node.

    Args:
        op: ``RNN``, ``GRU`` or ``LSTM``.
        blocks: our gate for each block of the node, in the node's order: None where the cell has
            none because the gate is always open, or is made of another; with ``-`` before its
            name where the node wants the opposite weights.
        open: which of the node's blocks are always open.
        peepholes: our parameter for each block of the node's P, None where it is zero; empty
            where the node gets no P.
        activations: those of the node, where they are not its defaults.
        attributes: the other attributes.
        biases: our parameter where it is the bias of a gate.
    """

    op: str
    blocks: tuple[str | None, ...]
    open: tuple[int, ...] = ()
    peepholes: tuple[str | None, ...] = ()
    activations: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    biases: Mapping[str, str] = field(default_factory=dict)

    @property
    def alphas(self) -> list[float]:
        """The alphas of one direction: one for each activation that takes one."""
        return [1.0 for name in self.activations if name == _IDENTITY]


# The blocks of an LSTM node are i, o, f, c; those of its P are i, o, f. Those of a GRU node are
# z, which keeps the state, r and h.
_PEEPHOLES = ("p_i", "p_o", "p_f")
_COUPLED = {"input_forget": 1}
_AFTER, _BEFORE = {"linear_before_reset": 1}, {"linear_before_reset": 0}
_LINEAR = ("Sigmoid", _IDENTITY)

NATIVE: dict[str, Native] = {
    "lstm": Native("LSTM", ("i", "o", "f", "g")),
    "lstm-np": Native("LSTM", ("i", "o", "f", "z")),
    "lstm-peephole": Native("LSTM", ("i", "o", "f", "z"), peepholes=_PEEPHOLES),
    "lstm-nig": Native("LSTM", (None, "o", "f", "z"), (0,), (None, "p_o", "p_f")),
    "lstm-nfg": Native("LSTM", ("i", "o", None, "z"), (2,), ("p_i", "p_o", None)),
    "lstm-nog": Native("LSTM", ("i", None, "f", "z"), (1,), ("p_i", None, "p_f")),
    "lstm-niaf": Native("LSTM", ("i", "o", "f", "z"), (), _PEEPHOLES, (*_LINEAR, "Tanh")),
    "lstm-noaf": Native(
        "LSTM", ("i", "o", "f", "z"), (), _PEEPHOLES, ("Sigmoid", "Tanh", _IDENTITY)
    ),
    "lstm-cifg": Native(
        "LSTM", ("i", "o", None, "z"), (), ("p_i", "p_o", None), attributes=_COUPLED
    ),
    "lstm-coupled": Native("LSTM", ("i", "o", None, "g"), attributes=_COUPLED),
    "lstm-1997": Native("LSTM", ("i", "o", None, "g"), (2,)),
    "ran": Native("LSTM", ("i", None, "f", "g"), (1,), activations=(*_LINEAR, "Tanh")),
    "gru": Native("GRU", ("z", "r", "n"), attributes=_AFTER),
    "gru-reset-before": Native("GRU", ("z", "r", "n"), attributes=_BEFORE),
    "mgu": Native("GRU", ("-f", "f", "n"), attributes=_BEFORE),
    "mgu-1": Native("GRU", ("-f", "f", "n"), attributes=_BEFORE, biases={"f": "b_f"}),
    "mgu-2": Native("GRU", ("-f", "f", "n"), attributes=_BEFORE),
    "mut-2": Native("GRU", ("-z", "r", "n"), attributes=_BEFORE),
    "ugrnn": Native("GRU", ("g", None, "c"), (1,), attributes=_AFTER),
    "li-gru": Native("GRU", ("z", None, "n"), (1,), (), ("Sigmoid", "Relu"), _AFTER),
    "rnn-tanh": Native("RNN", ("h",)),
    "rnn-relu": Native("RNN", ("h",), activations=("Relu",)),
    "rnn-sigmoid": Native("RNN", ("h",), activations=("Sigmoid",)),
    "rnn-linear": Native("RNN", ("h",), activations=(_IDENTITY,)),
}
"""The cells by name."""


def native(cell: Cell) -> Native | None:
    """How the cell is written as a node; None where ONNX has no node for it."""
    # An entry speaks of the cell as its name gives it, not of one with other constants.
    is_known = (
        is_registered(cell) and cell.name in NATIVE and cell_key(cell) == cell_key(get(cell.name))
    )
    return NATIVE[cell.name] if is_known else None


def write(
    graph: GraphWriter,
    layer: Recurrent,
    suffixes: list[str],
    x: str,
    lengths: str,
    states: list[str],
) -> tuple[list[str], list[str]]:
    """Writes one layer as a node.

    Args:
        graph: where to.
        layer: whose cell and weights.
        suffixes: of its weights, for each direction that the node has.
        x: the name of its input (T, B, I).
        lengths: that of the lengths, or nothing.
        states: those of the initial states, each (D, B, H).

    Returns:
        The names of the output of each direction (T, B, H), and of the last states (D, B, H).
    """
    shape, D = native(layer.equations), len(suffixes)
    assert shape is not None
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size, **shape.attributes}
    if suffixes[-1].endswith("_reverse"):
        attributes["direction"] = "bidirectional" if D == 2 else "reverse"
    if shape.activations:
        attributes["activations"] = list(shape.activations) * D
    if shape.alphas:
        attributes["activation_alpha"] = shape.alphas * D
        attributes["activation_beta"] = [0.0] * len(shape.alphas) * D
    end = suffixes[0]
    each = [_tensors(shape, layer, suffix) for suffix in suffixes]
    stored = {k: graph.weight(k + end, torch.stack([one[k] for one in each])) for k in each[0]}
    given = [x, stored["W"], stored["R"], stored.get("B", ""), lengths, *states]
    given += [stored["P"]] if "P" in stored else []
    ends = [f"{name}_end{end}" for name in layer.cell.state_specs]
    steps, *last = graph.nodes_of(shape.op, given, [f"steps{end}", *ends], **attributes)
    # (T, D, B, H)
    apart = [steps] if D == 1 else [graph.slice(steps, d, d + 1, 1, f"{steps}_{d}") for d in (0, 1)]
    one = graph.integers(1)
    return [graph.node("Squeeze", [part, one], f"{part}_alone") for part in apart], last


def _tensors(shape: Native, layer: Recurrent, suffix: str) -> dict[str, Tensor]:
    """The weights of one direction: W (G*H, I), R (G*H, H), and where there are any B (2*G*H) and
    P (3*H)."""
    cell, H = layer.cell, layer.hidden_size

    def learned(name: str) -> Tensor:
        return getattr(layer, name + suffix).detach()

    def split(name: str, of: tuple[str, ...]) -> dict[str, Tensor]:
        is_there = hasattr(layer, name + suffix)
        return dict(zip(of, learned(name).split(H), strict=True)) if is_there else {}

    def joined(parts: dict[str, Tensor], zero: Tensor) -> Tensor:
        found = []
        for gate in shape.blocks:
            is_opposite = gate is not None and gate.startswith("-")
            part = parts.get((gate or "").removeprefix("-"), zero)
            found.append(-part if is_opposite else part)
        return torch.cat(found)

    W, R = split("weight_ih", cell.gates), split("weight_hh", cell.recurrent_block_names)
    zero = torch.zeros_like(next(iter(W.values())))
    none = zero.new_zeros(H)
    made = {"W": joined(W, zero), "R": joined(R, zero.new_zeros(H, H))}
    if layer.bias or shape.open or shape.biases:
        own = {gate: learned(name) for gate, name in shape.biases.items()}
        of_input = joined(split("bias_ih", cell.gates) | own, none)
        for i in shape.open:
            of_input[i * H : (i + 1) * H] = _OPEN
        of_state = joined(split("bias_hh", cell.recurrent_bias_names), none)
        made["B"] = torch.cat([of_input, of_state])
    if shape.peepholes:
        made["P"] = torch.cat([none if n is None else learned(n) for n in shape.peepholes])
    return made

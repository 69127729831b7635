"""The cells that equal one of ONNX's recurrent nodes RNN, GRU and LSTM, and their weights there.

The nodes have fixed equations, to which a simpler cell is adapted as follows. A gate that the cell
does not have (it is always open) gets zero weights and the bias 40, because sigmoid(40) is 1 in
float32 and in float64. A missing activation becomes Affine with alpha 1 and beta 0. If the cell's
gate writes where the node's keeps, or the reverse, its weights are negated, because
sigmoid(-a) = 1 - sigmoid(a). A missing matrix product gets a matrix of zeros.

A cell for which most of R would be zeros (IndRNN, minGRU, the light recurrent unit) is not listed
here: a Scan node computes it without these products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell, get, is_registered
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.kernels.graph.cell_keys import cell_key
from throughtime.layers import Recurrent

__all__ = ["NATIVE", "Native", "native", "write"]

_OPEN = 40.0
_IDENTITY = "Affine"


@dataclass(frozen=True)
class Native:
    """The correspondence between a cell and a native node.

    Args:
        op: ``RNN``, ``GRU`` or ``LSTM``.
        blocks: the cell's gate for each block of the node, in the node's order. None if the cell
            has no such gate, because it is always open or computed from another one; a ``-``
            before the name negates the weights.
        open: the indices of the node's blocks that are always open.
        peepholes: the cell's parameter for each block of the node's P, None for zeros; empty if
            the node gets no P.
        activations: the activations of the node; empty for its defaults.
        attributes: the other attributes of the node.
        biases: the cell's per-unit parameters that are biases, by the name of the gate.
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
        """The values of activation_alpha for one direction; only Affine takes one here."""
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
"""The cells with a native node, by name."""


def native(cell: Cell) -> Native | None:
    """The cell's entry in :data:`NATIVE`; None if ONNX has no node for the cell."""
    # An entry describes the registered cell with its default constants only.
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
    """Writes one layer as a native node.

    Args:
        graph: the graph to write into.
        layer: the layer, which provides cell and weights.
        suffixes: the suffixes of the weights of each direction that the node has.
        x: the name of the input (T, B, I).
        lengths: the name of the lengths; empty if there are none.
        states: the names of the initial states, each (D, B, H).

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
    weights = [_tensors(shape, layer, suffix) for suffix in suffixes]
    stored = {k: graph.weight(k + end, torch.stack([w[k] for w in weights])) for k in weights[0]}
    inputs = [x, stored["W"], stored["R"], stored.get("B", ""), lengths, *states]
    inputs += [stored["P"]] if "P" in stored else []
    ends = [f"{name}_end{end}" for name in layer.cell.state_specs]
    steps, *last = graph.nodes_of(shape.op, inputs, [f"steps{end}", *ends], **attributes)
    # (T, D, B, H)
    outputs = [steps]
    if D == 2:
        outputs = [graph.slice(steps, d, d + 1, 1, f"{steps}_{d}") for d in (0, 1)]
    axis = graph.integers(1)
    return [graph.node("Squeeze", [output, axis], f"{output}_alone") for output in outputs], last


def _tensors(shape: Native, layer: Recurrent, suffix: str) -> dict[str, Tensor]:
    """The weights of one direction in the node's layout.

    Returns:
        W (G*H, I), R (G*H, H), and if the node gets them B (2*G*H) and P (3*H), by name.
    """
    cell, H = layer.cell, layer.hidden_size

    def learned(name: str) -> Tensor:
        return getattr(layer, name + suffix).detach()

    def split(name: str, of: tuple[str, ...]) -> dict[str, Tensor]:
        exists = hasattr(layer, name + suffix)
        return dict(zip(of, learned(name).split(H), strict=True)) if exists else {}

    def joined(parts: dict[str, Tensor], zero: Tensor) -> Tensor:
        blocks = []
        for gate in shape.blocks:
            is_negated = gate is not None and gate.startswith("-")
            part = parts.get((gate or "").removeprefix("-"), zero)
            blocks.append(-part if is_negated else part)
        return torch.cat(blocks)

    W, R = split("weight_ih", cell.gates), split("weight_hh", cell.recurrent_block_names)
    zero = torch.zeros_like(next(iter(W.values())))
    none = zero.new_zeros(H)
    tensors = {"W": joined(W, zero), "R": joined(R, zero.new_zeros(H, H))}
    if layer.bias or shape.open or shape.biases:
        parameters = {gate: learned(name) for gate, name in shape.biases.items()}
        input_bias = joined(split("bias_ih", cell.gates) | parameters, none)
        for i in shape.open:
            input_bias[i * H : (i + 1) * H] = _OPEN
        recurrent_bias = joined(split("bias_hh", cell.recurrent_bias_names), none)
        tensors["B"] = torch.cat([input_bias, recurrent_bias])
    if shape.peepholes:
        tensors["P"] = torch.cat([none if n is None else learned(n) for n in shape.peepholes])
    return tensors

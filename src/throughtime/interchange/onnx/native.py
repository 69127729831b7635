"""Which cells are exactly one of ONNX's three recurrent nodes, and how their weights lie there.

A gate that a cell lacks because it is always open becomes a gate with no weights and the bias 40,
for sigmoid(40) is 1 in float32 and in float64; an activation that it lacks becomes Affine with
alpha 1 and beta 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import is_registered
from throughtime.layers import Recurrent

__all__ = ["NATIVE", "Native", "Tensors", "native", "tensors"]

_OPEN = 40.0
_IDENTITY = "Affine"


@dataclass(frozen=True)
class Native:
    """How a cell is written as a node.

    Args:
        op: ``RNN``, ``GRU`` or ``LSTM``.
        blocks: our gate for each block of the node, in the node's order: None where the cell has
            none because the gate is always open, or is made of another.
        open: which of the node's blocks are always open.
        peepholes: our parameter for each block of the node's P, None where it is zero; empty
            where the node gets no P.
        activations: those of the node, where they are not its defaults.
        attributes: the other attributes.
    """

    op: str
    blocks: tuple[str | None, ...]
    open: tuple[int, ...] = ()
    peepholes: tuple[str | None, ...] = ()
    activations: tuple[str, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def alphas(self) -> list[float]:
        """The alphas of one direction: one for each activation that takes one."""
        return [1.0 for name in self.activations if name == _IDENTITY]


# The blocks of an LSTM node are i, o, f, c; those of its P are i, o, f.
_PEEPHOLES = ("p_i", "p_o", "p_f")
_COUPLED = {"input_forget": 1}

NATIVE: dict[str, Native] = {
    "lstm": Native("LSTM", ("i", "o", "f", "g")),
    "lstm-np": Native("LSTM", ("i", "o", "f", "z")),
    "lstm-peephole": Native("LSTM", ("i", "o", "f", "z"), peepholes=_PEEPHOLES),
    "lstm-nig": Native("LSTM", (None, "o", "f", "z"), (0,), (None, "p_o", "p_f")),
    "lstm-nfg": Native("LSTM", ("i", "o", None, "z"), (2,), ("p_i", "p_o", None)),
    "lstm-nog": Native("LSTM", ("i", None, "f", "z"), (1,), ("p_i", None, "p_f")),
    "lstm-niaf": Native(
        "LSTM",
        ("i", "o", "f", "z"),
        peepholes=_PEEPHOLES,
        activations=("Sigmoid", _IDENTITY, "Tanh"),
    ),
    "lstm-noaf": Native(
        "LSTM",
        ("i", "o", "f", "z"),
        peepholes=_PEEPHOLES,
        activations=("Sigmoid", "Tanh", _IDENTITY),
    ),
    "lstm-cifg": Native(
        "LSTM", ("i", "o", None, "z"), peepholes=("p_i", "p_o", None), attributes=_COUPLED
    ),
    "lstm-coupled": Native("LSTM", ("i", "o", None, "g"), attributes=_COUPLED),
    "lstm-1997": Native("LSTM", ("i", "o", None, "g"), (2,)),
    "gru": Native("GRU", ("z", "r", "n"), attributes={"linear_before_reset": 1}),
    "gru-reset-before": Native("GRU", ("z", "r", "n"), attributes={"linear_before_reset": 0}),
    "rnn-tanh": Native("RNN", ("h",)),
    "rnn-relu": Native("RNN", ("h",), activations=("Relu",)),
    "rnn-sigmoid": Native("RNN", ("h",), activations=("Sigmoid",)),
    "rnn-linear": Native("RNN", ("h",), activations=(_IDENTITY,)),
}
"""The cells by name."""


def native(layer: Recurrent) -> Native:
    """How the layer's cell is written as a node.

    Raises:
        ValueError: where ONNX has no node for it.
    """
    cell = layer.cell
    if not is_registered(cell) or cell.name not in NATIVE:
        raise ValueError(
            f"save_onnx: ONNX has no node for the cell {cell.name or type(cell).__name__}; it has "
            f"one for {', '.join(NATIVE)}. Other cells cannot be exported yet."
        )
    return NATIVE[cell.name]


@dataclass(frozen=True)
class Tensors:
    """The weights of one node: W (D, G*H, I), R (D, G*H, H), B (D, 2*G*H), P (D, 3*H)."""

    W: Tensor
    R: Tensor
    B: Tensor | None
    P: Tensor | None


def tensors(layer: Recurrent, index: int) -> Tensors:
    """The weights of layer ``index`` as its node wants them."""
    shape, H = native(layer), layer.hidden_size
    suffixes = [f"_l{index}", f"_l{index}_reverse"][: layer.num_directions]

    def block(name: str, suffix: str, gate: str | None) -> Tensor:
        whole: Tensor = getattr(layer, f"{name}{suffix}").detach()
        if gate is None:
            return torch.zeros_like(whole[:H])
        return whole.split(H)[layer.cell.gates.index(gate)]

    def matrix(name: str) -> Tensor:
        return torch.stack([torch.cat([block(name, s, g) for g in shape.blocks]) for s in suffixes])

    def bias(suffix: str) -> Tensor:
        width = len(shape.blocks) * H
        both = layer.weight_ih_l0.new_zeros(2 * width)  # type: ignore[operator]
        if layer.bias:
            for offset, name in ((0, "bias_ih"), (width, "bias_hh")):
                both[offset : offset + width] = torch.cat(
                    [block(name, suffix, g) for g in shape.blocks]
                )
        for i in shape.open:
            both[i * H : (i + 1) * H] = _OPEN
        return both

    def peephole(suffix: str) -> Tensor:
        zero = layer.weight_ih_l0.new_zeros(H)  # type: ignore[operator]
        return torch.cat(
            [
                zero if name is None else getattr(layer, f"{name}{suffix}").detach()
                for name in shape.peepholes
            ]
        )

    return Tensors(
        W=matrix("weight_ih"),
        R=matrix("weight_hh"),
        B=torch.stack([bias(s) for s in suffixes]) if layer.bias or shape.open else None,
        P=torch.stack([peephole(s) for s in suffixes]) if shape.peepholes else None,
    )

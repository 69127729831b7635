"""The arguments of the operators, checked before a kernel reads them by their addresses.

A layer has checked its weights before, and names them in its messages. These checks are for a call
of an operator without a layer, and for a tensor that was replaced between the forward pass and the
backward pass. They compare properties of the tensors and read no element.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from throughtime.cells.cell import Cell
from throughtime.checks import ShapeError, device_is
from throughtime.kernels.call import Call

__all__ = ["Argument", "check", "of_call"]

Argument = tuple[str, Any, tuple[int, ...], torch.dtype]
"""Its name, its value, and the shape and the type that a kernel will read."""


def check(call: Call, arguments: Iterable[Argument]) -> None:
    """Raises for the first argument that is not as expected, or not on the device of x.

    Args:
        call: to which they belong.
        arguments: those to check; one whose value is None is passed over.

    Raises:
        ShapeError: for another shape.
        ValueError: for another device or type.
    """
    device = call.x.device
    for name, value, shape, dtype in arguments:
        if value is None or (
            value.shape == shape and value.dtype is dtype and value.device == device
        ):
            continue
        device_is(_who(call), name, value, call.x, or_cpu=value is call.lengths)
        if value.shape != shape:
            got = tuple(value.shape)
            raise ShapeError(f"{_who(call)}: expected {name} of shape {shape}, got {got}.")
        if value.dtype is not dtype:
            raise ValueError(f"{_who(call)}: expected {name} of {dtype}, got {value.dtype}.")


def of_call(call: Call, types: Iterable[torch.dtype]) -> list[Argument]:
    """All tensors of a call but x, for :func:`check`.

    Args:
        types: those that x may have.

    Raises:
        ShapeError: where x has not three dimensions.
        ValueError: where x has another type, or tensors are missing or too many.
    """
    w, dtype, form = call.weights, call.x.dtype, _form(call.cell)
    if call.x.dim() != 3:
        raise ShapeError(f"{_who(call)}: expected x of shape (T, B, I), got {tuple(call.x.shape)}.")
    if dtype not in types:
        names = ", ".join(map(str, types))
        raise ValueError(f"{_who(call)}: expected x of one of the types {names}, got {dtype}.")
    for what, has_it in (
        ("a weight_hh where the cell has blocks", (w.weight_hh is None) is (form.blocks == 0)),
        ("a bias_ih beside bias_hh", w.bias_hh is None or w.bias_ih is not None),
        ("one tensor for each state", len(call.state) == len(form.states)),
        ("one tensor for each input", len(call.inputs) == len(form.inputs)),
        ("a seed, as the cell draws numbers", call.seed is not None or not form.draws),
    ):
        if not has_it:
            raise ValueError(f"{_who(call)}: expected {what}.")
    (T, B, I), rows = call.x.shape, w.weight_ih.shape[:1]
    H = rows[0] // form.gates if rows else 0
    found: list[Argument] = [
        ("weight_ih", w.weight_ih, (form.gates * H, I), dtype),
        ("weight_hh", w.weight_hh, (form.blocks * H, H), dtype),
        ("bias_ih", w.bias_ih, (form.gates * H,), dtype),
        ("bias_hh", w.bias_hh, (form.biased * H,), dtype),
    ]
    found += [(name, p, (H,), dtype) for name, p in w.parameters.items()]
    found += [(n, s, (B, H), dtype) for n, s in zip(form.states, call.state, strict=True)]
    found += [(n, v, (T, B, H), dtype) for n, v in zip(form.inputs, call.inputs, strict=True)]
    found += [
        ("lengths", call.lengths, (B,), torch.int64),
        ("resets", call.resets, (T, B), torch.bool),
        ("seed", call.seed, (), torch.int64),
    ]
    return found


class _Form(NamedTuple):
    """What a cell declares: how many blocks there are, and the names of its states and inputs."""

    gates: int
    blocks: int
    biased: int
    states: tuple[str, ...]
    inputs: tuple[str, ...]
    draws: bool


@lru_cache(maxsize=256)
def _form(cell: Cell) -> _Form:
    return _Form(
        len(cell.gates),
        len(cell.recurrent_block_names),
        len(cell.recurrent_bias_names),
        tuple(f"the state {name}" for name in cell.state_specs),
        tuple(f"the input {name}" for name in cell.given_inputs),
        bool(cell.drawn_inputs),
    )


def _who(call: Call) -> str:
    """The first word of a message."""
    return f"throughtime.recurrence of {call.cell.title}"

"""The arguments of the operators, checked before a kernel reads them by their addresses.

A layer checks its weights itself, and names them in its messages. The checks here are for a call of
an operator without a layer, and for a tensor that was replaced between the forward pass and the
backward pass. They compare shapes, dtypes and devices, and read no element.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from throughtime.cells.cell import Cell
from throughtime.checks import ShapeError, device_is
from throughtime.kernels.call import Call

__all__ = ["Argument", "check", "check_form", "names_of_tensors", "of_call"]

Argument = tuple[str, Any, tuple[int, ...], torch.dtype]
"""The name of an argument, its value, and the shape and the dtype that a kernel expects."""


def check(call: Call, arguments: Iterable[Argument]) -> None:
    """Raises if an argument has another shape or dtype than expected, or is not on x's device.

    Args:
        call: the call that the arguments belong to.
        arguments: the arguments to check; one whose value is None is skipped.

    Raises:
        ShapeError: if a shape is wrong.
        ValueError: if a device or a dtype is wrong.
    """
    device = call.x.device
    for name, value, shape, dtype in arguments:
        if value is None or (
            value.shape == shape and value.dtype is dtype and value.device == device
        ):
            continue
        device_is(_who(call.cell), name, value, call.x, or_cpu=value is call.lengths)
        check_form(call.cell, (name, value, shape, dtype))


def check_form(cell: Cell, argument: Argument) -> None:
    """Raises if an argument has another shape or dtype than expected; see :func:`check`."""
    name, value, shape, dtype = argument
    if value.shape != shape:
        got = tuple(value.shape)
        raise ShapeError(f"{_who(cell)}: expected {name} of shape {shape}, got {got}.")
    if value.dtype is not dtype:
        raise ValueError(f"{_who(cell)}: expected {name} of {dtype}, got {value.dtype}.")


def names_of_tensors(cell: Cell) -> list[str]:
    """How error messages name the tensors of a call, in the order of ``Call.tensors``."""
    form = _form(cell)
    matrices = ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [*matrices, *cell.parameter_specs, *form.states, *form.inputs]


def of_call(call: Call, types: Iterable[torch.dtype]) -> list[Argument]:
    """All tensors of a call except x, for :func:`check`.

    Args:
        call: the call.
        types: the dtypes that x may have.

    Raises:
        ShapeError: if x does not have three dimensions.
        ValueError: if x has another dtype, or the call has too few or too many tensors.
    """
    w, dtype, form = call.weights, call.x.dtype, _form(call.cell)
    _check_x_and_counts(call, types, form)
    (T, B, I), rows = call.x.shape, w.weight_ih.shape[:1]
    H = rows[0] // form.gates if rows else 0
    arguments: list[Argument] = [
        ("weight_ih", w.weight_ih, (form.gates * H, I), dtype),
        ("weight_hh", w.weight_hh, (form.blocks * H, H), dtype),
        ("bias_ih", w.bias_ih, (form.gates * H,), dtype),
        ("bias_hh", w.bias_hh, (form.biased * H,), dtype),
    ]
    arguments += [(name, p, (H,), dtype) for name, p in w.parameters.items()]
    arguments += [(n, s, (B, H), dtype) for n, s in zip(form.states, call.state, strict=True)]
    arguments += [(n, v, (T, B, H), dtype) for n, v in zip(form.inputs, call.inputs, strict=True)]
    arguments += [
        ("lengths", call.lengths, (B,), torch.int64),
        ("resets", call.resets, (T, B), torch.bool),
        ("seed", call.seed, (), torch.int64),
    ]
    return arguments


class _Form(NamedTuple):
    """The number of a cell's blocks of W, of R and of biases; its states and inputs."""

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


def _check_x_and_counts(call: Call, types: Iterable[torch.dtype], form: _Form) -> None:
    """Raises if x or the number of tensors does not fit the cell; see :func:`of_call`."""
    w, dtype = call.weights, call.x.dtype
    if call.x.dim() != 3:
        raise ShapeError(
            f"{_who(call.cell)}: expected x of shape (T, B, I), got {tuple(call.x.shape)}."
        )
    if dtype not in types:
        names = ", ".join(map(str, types))
        raise ValueError(f"{_who(call.cell)}: expected x of one of the types {names}, got {dtype}.")
    for requirement, is_met in (
        ("a weight_hh where the cell has blocks", (w.weight_hh is None) is (form.blocks == 0)),
        ("a bias_ih beside bias_hh", w.bias_hh is None or w.bias_ih is not None),
        ("one tensor for each state", len(call.state) == len(form.states)),
        ("one tensor for each input", len(call.inputs) == len(form.inputs)),
        ("a seed, as the cell draws numbers", call.seed is not None or not form.draws),
    ):
        if not is_met:
            raise ValueError(f"{_who(call.cell)}: expected {requirement}.")


def _who(cell: Cell) -> str:
    """How error messages name the call."""
    return f"throughtime.recurrence of {cell.title}"

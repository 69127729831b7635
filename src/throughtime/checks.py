"""Argument checks; their error messages state where, expected, got, and what to do."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

__all__ = [
    "ShapeError",
    "bounds",
    "device_is",
    "integer_lengths",
    "nearest",
    "shape_is",
    "unknown",
    "whole_number",
]


# An error lists all known names up to this number, and otherwise only so many that are alike.
_MOST_LISTED, _NUM_ALIKE = 10, 5


class ShapeError(ValueError):
    """A tensor does not have the expected shape."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint ``; did you mean "lstm"?`` for a misspelt name; empty if no known name is similar.

    >>> nearest("lstn", ["gru", "lstm"])
    '; did you mean "lstm"?'
    """
    names = _alike(name, known, 1, cutoff=0.6)
    return f'; did you mean "{names[0]}"?' if names else ""


def _alike(name: object, known: Iterable[str], most: int, cutoff: float) -> list[str]:
    """The known names that are most like a name, the most alike first; case does not count."""
    names = {k.lower(): k for k in known}
    alike = difflib.get_close_matches(str(name).lower(), list(names), n=most, cutoff=cutoff)
    return [names[lower] for lower in alike]


def unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not among the known ones, with the most similar known name.

    All known names are listed if they are at most ten, else the five that are most alike.

    >>> print(unknown("cell", "lstn", ["gru", "lstm"]))
    unknown cell "lstn"; did you mean "lstm"? Known: gru, lstm.
    """
    known = list(known)
    hint = nearest(str(name), known) or "."
    listed = f"Known: {', '.join(known)}."
    if len(known) > _MOST_LISTED:
        alike = _alike(name, known, _NUM_ALIKE, cutoff=0.0)
        listed = f"The nearest of {len(known)}: {', '.join(alike)}."
    return ValueError(f'unknown {what} "{name}"{hint} {listed}')


def shape_is(
    where: str,
    name: str,
    value: Tensor,
    expected: Sequence[Any],
    why: str | Callable[[], str] = "",
) -> None:
    """Raises a ShapeError unless ``value`` has the shape ``expected``.

    Args:
        where: the name of the layer or function, with which the message begins.
        name: the name of the argument.
        value: the tensor.
        expected: a number for each size, or a letter (``"T"``) for a size that may be any.
        why: the reason for the shape, appended after "because"; or a function that returns it. A
            reason with a size that varies between calls must be a function, because torch.compile
            specialises on sizes that it formats into a string, and recompiles for other sizes.
    """
    shape = tuple(value.shape)
    fits = len(shape) == len(expected) and all(
        isinstance(e, str) or e == got for e, got in zip(expected, shape, strict=True)
    )
    if not fits:
        letters = ", ".join(str(e) for e in expected)
        reason = why() if callable(why) else why
        because = f" because {reason}" if reason else ""
        raise ShapeError(f"{where}: expected {name} of shape ({letters}){because}, got {shape}.")


def whole_number(where: str, name: str, value: Any, least: int = 1) -> int:
    """Converts a size of any integer type, such as NumPy's or a tensor of one element, to int.

    Args:
        where: the name of the layer or function, with which the message begins.
        name: the name of the argument.
        value: the argument.
        least: the smallest allowed number.

    Raises:
        TypeError: if the value is not a whole number; a bool is not one.
        ValueError: if the number is below ``least``.

    >>> whole_number("LSTM", "num_layers", torch.tensor(2))
    2
    """
    is_bool = isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == torch.bool)
    try:
        number = None if is_bool else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{where}: expected {name} as a whole number, got {value!r}.")
    if number < least:
        raise ValueError(f"{where}: expected {name} of at least {least}, got {number}.")
    return number


def device_is(where: str, name: str, value: Tensor, x: Tensor, or_cpu: bool = False) -> None:
    """Raises a ValueError unless ``value`` is on the device of x.

    Args:
        where: the name of the layer or function, with which the message begins.
        name: the name of the argument.
        value: the tensor to check.
        x: the input.
        or_cpu: whether the CPU is allowed as well, as for the lengths of packed sequences.
    """
    if value.device != x.device and not (or_cpu and value.device.type == "cpu"):
        has_meta = "meta" in (value.device.type, x.device.type)
        raise ValueError(
            f"{where}: x and {name} are not at the same device: x is on {x.device}, {name} on "
            f"{value.device}. "
            + ("A tensor on meta has no numbers; load it." if has_meta else "Move one of them.")
        )


def integer_lengths(where: str, lengths: Any, batch: int, steps: int) -> Tensor:
    """Converts the lengths of the rows to a tensor (B,) of int64, and checks that they are 0 to T.

    Args:
        where: the name of the layer or function, with which error messages begin.
        lengths: a tensor or a list.
        batch: B.
        steps: T.
    """
    # Without a dtype an empty list would become a tensor of float32.
    is_empty = isinstance(lengths, (list, tuple)) and not lengths
    values = torch.as_tensor(lengths, dtype=torch.int64 if is_empty else None)
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{where}: expected whole numbers in lengths, got {values.dtype}.")
    shape_is(where, "lengths", values, (batch,), lambda: f"x has {batch} rows")
    values = values.to(torch.int64)
    low, high = bounds(values) or (0, steps)
    if low < 0 or high > steps:
        raise ValueError(
            f"{where}: expected lengths from 0 to {steps}, the number of steps of x, "
            f"got {low} to {high}."
        )
    return values


def bounds(values: Tensor) -> tuple[int, int] | None:
    """The smallest and largest of whole numbers; under ``torch.vmap`` those of all samples.

    None if the tensor is empty, or its values are unknown, as under torch.compile and on the device
    meta. Then the values cannot be checked.
    """
    if torch.compiler.is_compiling() or values.is_meta:
        return None
    while is_functorch_wrapped_tensor(values):
        values = get_unwrapped(values)
    return (int(values.min()), int(values.max())) if values.numel() else None

"""Argument checks, and the messages that they give: where, expected, got, what to do."""

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
    """A tensor does not have the shape that the call asks for."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint ``; did you mean "lstm"?`` for a misspelt name, or nothing where none is near.

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
    """The error for a name that is not among the known ones, with the nearest of them.

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
    """Raises a ShapeError unless ``value`` has the shape, in which a string stands for any size.

    Args:
        where: who asks, the first word of the message.
        name: what the value is called there.
        expected: numbers, or letters (``"T"``) where any size will do.
        why: the reason, appended after "because"; or a function that gives it. A reason that names
            a size of a call is a function: torch.compile fixes a size that a text contains, and
            compiles again for every other.
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
    """A size as a Python int, whatever integer type it comes in: NumPy's, a tensor of one element.

    Args:
        where: who asks, the first word of the message.
        name: what the value is called there.
        least: the smallest that is allowed.

    Raises:
        TypeError: for anything that is no whole number; a bool is none.
        ValueError: for a number below ``least``.

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
        where: who asks, the first word of the message.
        name: what the value is called there.
        or_cpu: whether the CPU will do whatever x is on, as for the lengths of packed sequences.
    """
    if value.device != x.device and not (or_cpu and value.device.type == "cpu"):
        has_meta = "meta" in (value.device.type, x.device.type)
        raise ValueError(
            f"{where}: x and {name} are not at the same device: x is on {x.device}, {name} on "
            f"{value.device}. "
            + ("A tensor on meta has no numbers; load it." if has_meta else "Move one of them.")
        )


def integer_lengths(where: str, lengths: Any, batch: int, steps: int) -> Tensor:
    """The lengths of the rows as a tensor (B,) of int64, each checked to lie in 0..T."""
    # An empty list would be a tensor of float32.
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
    """The least and the greatest of whole numbers, under ``torch.vmap`` those of all samples.

    None where there are no numbers, or none that are known: torch.compile and tensors on meta know
    shapes only, so that there the caller answers for the values.
    """
    if torch.compiler.is_compiling() or values.is_meta:
        return None
    while is_functorch_wrapped_tensor(values):
        values = get_unwrapped(values)
    return (int(values.min()), int(values.max())) if values.numel() else None

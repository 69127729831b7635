"""Checks of the value of a single option of a layer, independent of the other options."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from throughtime.cells.wrapped import ACTIVATIONS
from throughtime.checks import unknown, whole_number
from throughtime.kernels import dispatch

__all__ = [
    "LARGEST",
    "Check",
    "a_backend",
    "a_forget_bias",
    "a_number",
    "a_number_of_steps",
    "a_rate",
    "a_size",
    "a_switch",
    "functions",
    "or_none",
    "rate_or_rates",
]

Check = Callable[[str, str, Any], None]
"""``check(where, name, value)`` raises a TypeError or ValueError if the value is invalid.

``where`` is the name of the layer and ``name`` that of the option; the message holds both.
"""

MOST_STEPS = 10**9
"""The largest number of steps that a unit can be set to remember."""

LARGEST = 65_504
"""The largest number of half precision."""


def a_size(least: int, most: int = 2**31 - 1) -> Check:
    """A check for a whole number from ``least`` to ``most``."""

    def check(where: str, name: str, value: Any) -> None:
        whole_number(where, name, value, least)
        if value > most:
            raise ValueError(f"{where}: expected {name} of at most {most:,}, got {value}.")

    return check


def a_number(words: str, fits: Callable[[Any], bool], most: int | None = None) -> Check:
    """A check of a number; ``most`` is the largest size that it may have."""

    def check(where: str, name: str, value: Any) -> None:
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not (is_number and fits(value)):
            raise ValueError(f"{where}: expected {name} as {words}, got {value!r}.")
        if most is not None and abs(float(value)) > most:
            raise ValueError(f"{where}: expected {name} of at most {most:,}, got {value!r}.")

    return check


a_rate = a_number("a probability from 0 to below 1", lambda value: 0 <= value < 1)


def rate_or_rates(where: str, name: str, value: Any) -> None:
    """Checks one probability, or a dict of probabilities by the name of the state."""
    if not isinstance(value, Mapping):
        return a_rate(where, name, value)
    for state, rate in value.items():
        a_rate(where, f"{name} of {state}", rate)


def or_none(check: Check) -> Check:
    """The check with None as a further valid value."""
    return lambda where, name, value: None if value is None else check(where, name, value)


def a_forget_bias(where: str, name: str, value: Any) -> None:
    """Checks a finite number or the word ``chrono``."""
    if isinstance(value, str):
        if value != "chrono":
            raise unknown(name, value, ("chrono",))
    else:
        # A sigmoid of it is 1 in every type.
        a_number('a number or "chrono"', math.isfinite, most=1000)(where, name, value)


def a_number_of_steps(where: str, name: str, value: Any) -> None:
    """Checks a finite number above 2, which chrono initialisation needs (log(T_max - 1) > 0)."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_number and 2 < float(value) < math.inf):
        raise ValueError(
            f'{where}: forget_bias="chrono" needs {name}, the longest dependency that is '
            f"expected, as a number of steps above 2; got {value!r}."
        )
    if float(value) > MOST_STEPS:
        raise ValueError(f"{where}: expected {name} of at most {MOST_STEPS:,}, got {value!r}.")


def a_backend(where: str, name: str, value: Any) -> None:
    """Checks the name of a backend, or ``auto``."""
    dispatch.check(value)


def functions(where: str, name: str, value: Any) -> None:
    """Checks a dict from names of activation functions to names or callables."""
    if not isinstance(value, Mapping):
        raise ValueError(
            f'{where}: expected {name} as a dict such as {{"tanh": "relu"}}, got {value!r}.'
        )
    for function, other in value.items():
        for one in (function, other):
            if isinstance(one, str) and one not in ACTIVATIONS:
                raise unknown("activation function", one, ACTIVATIONS)
            # The key must be a name; the replacement may also be a callable.
            if not isinstance(one, str) and (one is function or not callable(one)):
                raise ValueError(f"{where}: expected {name} as names of functions, got {one!r}.")


def a_switch(where: str, name: str, value: Any) -> None:
    """Checks a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{where}: expected {name} as True or False, got {value!r}.")

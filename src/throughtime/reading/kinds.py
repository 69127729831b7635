"""The kinds of values: types, limits, and the entries of objects."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Union

from throughtime.reading.errors import ReadError, entry, shown

__all__ = ["Each", "Entries", "Maybe", "Number", "Whole", "kinds_of", "typed"]

MOST_WHOLE = 2**53
"""The largest whole number; a float cannot represent all larger ones."""


@dataclass(frozen=True)
class Whole:
    """A whole number from ``least`` to ``most``."""

    least: int = -MOST_WHOLE
    most: int = MOST_WHOLE

    def __str__(self) -> str:
        return f"a whole number{_range(self.least, self.most)}"


@dataclass(frozen=True)
class Number:
    """A number from ``least`` to ``most``; if not ``is_finite``, any number, infinity or NaN."""

    least: float = -math.inf
    most: float = math.inf
    is_finite: bool = True

    def __str__(self) -> str:
        return f"a number{_range(self.least, self.most)}"


@dataclass(frozen=True)
class Each:
    """A list whose values have one kind."""

    kind: Any

    def __str__(self) -> str:
        return "a list"


@dataclass(frozen=True)
class Maybe:
    """A value of a kind, or null."""

    kind: Any


@dataclass(frozen=True)
class Entries:
    """An object with named entries.

    Args:
        required: the kinds of the entries that the object must have, by name.
        optional: the kinds of entries that it may have, by name.
        others: the kind of all other entries; None allows no others.
    """

    required: Mapping[str, Any] = field(default_factory=dict)
    optional: Mapping[str, Any] = field(default_factory=dict)
    others: Any = None

    def __str__(self) -> str:
        return "an object"


def typed(where: str, value: Any, kind: Any) -> Any:
    """Checks the kind of a value and returns it, with whole numbers as floats where floats belong.

    Args:
        where: the file and the entry in it, for the message.
        value: the value.
        kind: a type as annotations write it (``int``, ``float | None``, ``list[str]``,
            ``dict[str, int]``, ``Literal["a", "b"]``, ``Any``); one of the classes above; or a
            function that takes the value and raises a ValueError.

    Raises:
        ReadError: if the value is of another kind.

    >>> typed("config.json", {"size": 3}, Entries({"size": Whole(1, 9)}))
    {'size': 3}
    >>> typed("f", {"size": "3"}, Entries({"size": Whole(1, 9)}))
    Traceback (most recent call last):
    throughtime.reading.errors.ReadError: f: size: expected a whole number from 1 to 9, got '3'.
    """
    if kind is Any or kind is object:
        return value
    if isinstance(kind, Entries):
        return _entries(where, value, kind)
    if isinstance(kind, Maybe):
        return None if value is None else typed(where, value, kind.kind)
    if isinstance(kind, Each):
        return typed(where, value, list[kind.kind])
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(where, value, kind)
    if origin in (list, tuple, Sequence) and isinstance(value, list):
        return [typed(entry(where, i), part, parts[0]) for i, part in enumerate(value)]
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {name: typed(entry(where, name), part, parts[1]) for name, part in value.items()}
    if origin is None and callable(kind) and not isinstance(kind, type):
        try:
            return kind(value)
        except ValueError as error:
            raise ReadError(where, str(error)) from error
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float or isinstance(kind, Number):
        limits = kind if isinstance(kind, Number) else Number()
        is_number = isinstance(value, float) or (is_whole and abs(value) <= MOST_WHOLE)
        is_right = is_number and limits.least <= value <= limits.most
        if not limits.is_finite and is_number:
            return float(value)
        if is_right and math.isfinite(value):
            return float(value)
    elif kind is int or isinstance(kind, Whole):
        limits = kind if isinstance(kind, Whole) else Whole()
        if is_whole and limits.least <= value <= limits.most:
            return value
    elif origin is Literal:
        # True is equal to 1.
        if any(value == part and type(value) is type(part) for part in parts):
            return value
    elif kind in (None, type(None)):
        if value is None:
            return value
    elif kind in (bool, str, list, dict) and isinstance(value, kind):
        return value
    words = f"{_words(kind)}{' of at most 15 digits' if kind is int and is_whole else ''}"
    raise ReadError(where, f"expected {words}, got {shown(value)}{_hint(value, kind)}")


def kinds_of(function: Any) -> dict[str, Any]:
    """The kinds of the arguments of a function or class, by name, from its annotations.

    An argument without an annotation is of the type of its default.
    """
    return dict(_kinds_of(function))


@lru_cache
def _kinds_of(function: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(function):
        hints = typing.get_type_hints(function)
        options = dataclasses.fields(function)
        return {option.name: hints[option.name] for option in options if option.init}
    code = function.__init__ if isinstance(function, type) else function
    hints = typing.get_type_hints(code)
    arguments = list(inspect.signature(function).parameters.values())
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        argument.name: hints.get(argument.name, _type_of(argument.default))
        for argument in arguments
        if argument.kind in named
    }


def _type_of(default: Any) -> Any:
    return Any if default in (None, inspect.Parameter.empty) else type(default)


def _entries(where: str, value: Any, kind: Entries) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ReadError(where, f"expected an object, got {shown(value)}.")
    missing = [name for name in kind.required if name not in value]
    if missing:
        raise ReadError(where, f"expected the entry {shown(missing[0])}, got none.")
    kinds = {**kind.required, **kind.optional}
    for name in value:
        if name not in kinds and kind.others is None:
            raise ReadError(where, f"expected no entry {shown(name)}{_nearest(name, kinds)}")
    return {
        name: typed(entry(where, name), part, kinds.get(name, kind.others))
        for name, part in value.items()
    }


def _one_of(where: str, value: Any, kind: Any) -> Any:
    errors = []
    for part in typing.get_args(kind):
        try:
            return typed(where, value, part)
        except ReadError as error:
            errors.append(error)
    # An error about an entry of the value says more than one about the value.
    inner = [error for error in errors if error.where != where]
    if inner:
        raise inner[0]
    raise ReadError(where, f"expected {_words(kind)}, got {shown(value)}{_hint(value, kind)}")


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    None: "null",
    type(None): "null",
}


def _words(kind: Any) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        # Types that a file cannot hold, such as functions, are left out.
        return " or ".join(_words(part) for part in parts if _is_plain(part))
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}"
    if origin in (list, tuple, Sequence):
        return "a list"
    if origin in (dict, Mapping):
        return "an object"
    return _WORDS[kind] if kind in _WORDS else str(kind)


def _is_plain(kind: Any) -> bool:
    is_class = isinstance(kind, type) and kind not in _WORDS
    return not is_class and typing.get_origin(kind) is not Callable


def _range(least: float, most: float) -> str:
    is_low, is_high = abs(least) < MOST_WHOLE, abs(most) < MOST_WHOLE
    if is_low and is_high:
        return f" from {least:,} to {most:,}"
    return f" of at least {least:,}" if is_low else f" of at most {most:,}" if is_high else ""


def _hint(value: Any, kind: Any) -> str:
    names = [part for part in typing.get_args(kind) if isinstance(part, str)]
    return _nearest(value, names) if isinstance(value, str) else "."


def _nearest(name: str, known: Iterable[str]) -> str:
    # Cut off, because the time of the comparison grows with the product of the lengths.
    close = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else "."

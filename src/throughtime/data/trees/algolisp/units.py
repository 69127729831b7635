"""The functions of AlgoLisp: their types, their values, and what they cost.

Names and meaning follow the public description of the language (Polosukhin and Skidanov, arXiv
1802.04335, and its interpreter). Differs: a negative index of a string is an error; Booleans are no
numbers; there are no dictionaries.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from throughtime.data.trees.algolisp.types import BOOL, INT, STRING, Type, array, func

__all__ = ["CONSTANTS", "LAMBDAS", "UNITS", "Fault", "Unit", "kind_of", "size_of"]

LARGEST = 1 << 4096
"""Whole numbers are smaller than this, because each operation may double their length."""

_DEEPEST = 100
_MOST_ITEMS = 1_000_000
_KINDS = {
    bool: "a Boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "an array",
    type: "a type",
}


class Fault(Exception):
    """An operation has no value for these arguments; the message says why."""


@dataclass(frozen=True)
class Unit:
    """A function of the language.

    Args:
        name: its symbol.
        types: the types of the arguments and, last, of the result; a letter is any type.
        compute: the function; None if it calls other functions, which the machine does.
        cost: the number of items that a call reads and writes, if it may be more than one.
    """

    name: str
    types: tuple[Type, ...]
    compute: Callable[..., Any] | None = None
    cost: Callable[..., int] | None = None

    @property
    def arity(self) -> int:
        """The number of arguments."""
        return len(self.types) - 1


def kind_of(value: Any) -> str:
    """What a value is, for messages."""
    return _KINDS.get(type(value), "a function")


def size_of(value: Any) -> int:
    """The number of items and characters in a value.

    Raises:
        Fault: if it has more than a million, or arrays nested more than 100 deep. A small array can
            hold another one several times, so that comparing two would take for ever.
    """
    if isinstance(value, str):
        return 1 + len(value)
    if not isinstance(value, list):
        return 1
    size, level, depth = 1, [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise Fault(f"expected arrays nested at most {_DEEPEST} deep, got more")
        below = []
        for items in level:
            size += len(items)
            for item in items:
                if item.__class__ is list:
                    below.append(item)
                elif item.__class__ is str:
                    size += len(item)
            if size + len(below) > _MOST_ITEMS:
                raise Fault(f"expected at most {_MOST_ITEMS:,} items in all, got more")
        level = below
    return size


_NUMBER, _WHOLE, _TEXT, _LIST, _BOOLEAN = (int, float), (int,), (str,), (list,), (bool,)


def _expect(value: Any, kinds: tuple[type, ...]) -> Any:
    if value.__class__ not in kinds:
        if kinds == _WHOLE and value.__class__ is float:
            raise Fault("expected a whole number, got another one")
        raise Fault(f"expected {_KINDS[kinds[0]]}, got {kind_of(value)}")
    return value


def _numeric(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operation on two numbers that checks them, and the length of a whole result."""

    def checked(x: Any, y: Any) -> Any:
        if x.__class__ is not int or y.__class__ is not int:
            _expect(x, _NUMBER)
            _expect(y, _NUMBER)
        value = operation(x, y)
        if value.__class__ is int and not -LARGEST < value < LARGEST:
            raise Fault("expected a whole number of at most 4,096 bits, got a longer one")
        return value

    return checked


def _quotient(x: Any, y: Any) -> Any:
    return x // y if x.__class__ is int else x / y


def _power(x: Any, y: Any) -> Any:
    if x.__class__ is int and y.__class__ is int and y > 0 and x.bit_length() * y > 8192:
        if x not in (-1, 0, 1):
            raise Fault("expected a whole number of at most 4,096 bits, got a longer one")
        return x ** (2 - y % 2)
    value = x**y
    if value.__class__ is complex:
        raise Fault("expected a root of a number of at least 0, got one of a negative number")
    return value


def _floor(x: Any) -> int:
    return int(_expect(x, _NUMBER))


def _logical(is_or: bool) -> Callable[[Any, Any], bool]:
    def checked(x: Any, y: Any) -> bool:
        _expect(x, _BOOLEAN)
        _expect(y, _BOOLEAN)
        return x or y if is_or else x and y

    return checked


def _compared(operation: Callable[[Any, Any], bool], is_order: bool) -> Callable[[Any, Any], bool]:
    def checked(x: Any, y: Any) -> bool:
        if x.__class__ is int and y.__class__ is int:
            return operation(x, y)
        one, other = kind_of(x), kind_of(y)
        if one != other or one == "a function" or (is_order and one in ("a Boolean", "a type")):
            raise Fault(f"expected two values that can be compared, got {one} and {other}")
        return operation(x, y)

    return checked


def _item(items: list[Any], index: Any) -> Any:
    _expect(items, _LIST)
    if not 0 <= _expect(index, _WHOLE) < len(items):
        raise Fault(f"expected an index from 0 to {len(items) - 1}, got {index}")
    return items[index]


def _character(index: Any, text: str) -> str:
    _expect(text, _TEXT)
    if not 0 <= _floor(index) < len(text):
        raise Fault(f"expected an index from 0 to {len(text) - 1}, got {index}")
    return text[int(index)]


def _head(items: list[Any]) -> Any:
    if not _expect(items, _LIST):
        raise Fault("expected an array with items, got an empty one")
    return items[0]


def _slice(items: list[Any], low: Any, high: Any) -> list[Any]:
    return _expect(items, _LIST)[max(0, _expect(low, _WHOLE)) : _expect(high, _WHOLE)]


def _sorted(items: list[Any]) -> list[Any]:
    kinds = {kind_of(item) for item in _expect(items, _LIST)}
    if len(kinds) > 1 or kinds - {"a number", "text", "an array"}:
        raise Fault(f"expected items that can be sorted, got {' and '.join(sorted(kinds))}")
    return sorted(items)


def _digits(x: Any) -> list[int]:
    return [int(digit) for digit in str(abs(_expect(x, _WHOLE)))]


def _is_prime(x: Any) -> bool:
    if _expect(x, _NUMBER) <= 1:
        return False
    return all(x % divisor for divisor in range(2, int(math.sqrt(x)) + 1))


def _is_sorted(items: list[Any]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(items))


def _split(text: str, separator: str) -> list[str]:
    if not _expect(separator, _TEXT):
        raise Fault("expected a separator of at least one character, got none")
    return [part for part in _expect(text, _TEXT).split(separator) if part]


def _smaller(x: Any, y: Any) -> Any:
    return x if x <= y else y


def _larger(x: Any, y: Any) -> Any:
    return y if x <= y else x


def _texts(operation: Callable[[str, str], str]) -> Callable[[Any, Any], str]:
    def checked(x: Any, y: Any) -> str:
        return operation(_expect(x, _TEXT), _expect(y, _TEXT))

    return checked


def _sizes(*values: Any) -> int:
    """The cost of operations that read whole values."""
    return sum(map(size_of, values))


def _length(items: Any, *_: Any) -> int:
    return 1 + len(items) if items.__class__ in (list, str) else 1


_product = _numeric(lambda x, y: x * y)
_TWO_NUMBERS = (INT, INT, INT)
_COMPARISON = ("a", "a", BOOL)

_ALL = (
    Unit("+", _TWO_NUMBERS, _numeric(lambda x, y: x + y)),
    Unit("-", _TWO_NUMBERS, _numeric(lambda x, y: x - y)),
    Unit("*", _TWO_NUMBERS, _product),
    Unit("/", _TWO_NUMBERS, _numeric(_quotient)),
    Unit("%", _TWO_NUMBERS, _numeric(lambda x, y: x % y)),
    Unit("pow", _TWO_NUMBERS, _numeric(_power)),
    Unit("min", _TWO_NUMBERS, _numeric(_smaller)),
    Unit("max", _TWO_NUMBERS, _numeric(_larger)),
    Unit("square", (INT, INT), lambda x: _product(x, x)),
    Unit("abs", (INT, INT), lambda x: x if _expect(x, _NUMBER) > 0 else 0 - x),
    Unit("sqrt", (INT, INT), lambda x: math.sqrt(_expect(x, _NUMBER))),
    Unit("floor", (INT, INT), _floor),
    Unit("is_prime", (INT, BOOL), _is_prime, lambda x: math.isqrt(max(0, _floor(x))) + 1),
    Unit("digits", (INT, array(INT)), _digits, lambda x: _expect(x, _WHOLE).bit_length() + 1),
    Unit("!", (BOOL, BOOL), lambda x: not _expect(x, _BOOLEAN)),
    Unit("||", (BOOL, BOOL, BOOL), _logical(True)),
    Unit("&&", (BOOL, BOOL, BOOL), _logical(False)),
    Unit("<", _COMPARISON, _compared(lambda x, y: x < y, True), _sizes),
    Unit(">", _COMPARISON, _compared(lambda x, y: x > y, True), _sizes),
    Unit("<=", _COMPARISON, _compared(lambda x, y: x <= y, True), _sizes),
    Unit(">=", _COMPARISON, _compared(lambda x, y: x >= y, True), _sizes),
    Unit("==", _COMPARISON, _compared(lambda x, y: x == y, False), _sizes),
    Unit("!=", _COMPARISON, _compared(lambda x, y: x != y, False), _sizes),
    Unit("if", (BOOL, "a", "a", "a")),
    Unit("reduce", (array("a"), "b", func("b", "a", "b"), "b")),
    Unit("map", (array("a"), func("a", "b"), array("b"))),
    Unit("filter", (array("a"), func("a", BOOL), array("a"))),
    Unit("invoke1", (func("a", "b"), "a", "b")),
    Unit("combine", (func("b", "c"), func("a", "b"), func("a", "c"))),
    Unit("partial0", ("a", "b", "c")),
    Unit("partial1", ("a", "b", "c")),
    Unit("partial2", ("a", "b", "c")),
    Unit("lambda1", ("a", func("b", "a"))),
    Unit("lambda2", ("a", func("b", "c", "a"))),
    Unit(
        *(
            "range",
            (INT, INT, array(INT)),
            lambda low, high: list(range(_floor(low), _floor(high))),
        ),
        lambda low, high: max(0, _floor(high) - _floor(low)) + 1,
    ),
    Unit("array-new", (("type", "a"), array("a")), lambda kind: []),
    Unit("len", (array("a"), INT), lambda items: len(_expect(items, _LIST))),
    Unit("head", (array("a"), "a"), _head),
    Unit("tail", (array("a"), array("a")), lambda items: _expect(items, _LIST)[1:], _length),
    Unit("deref", (array("a"), INT, "a"), _item),
    Unit("int-deref", (array(INT), INT, INT), _item),
    Unit("slice", (array("a"), INT, INT, array("a")), _slice, _length),
    Unit(
        "append",
        (array("a"), "a", array("a")),
        lambda items, x: [*_expect(items, _LIST), x],
        _length,
    ),
    Unit("sort", (array("a"), array("a")), _sorted, _sizes),
    Unit("reverse", (array("a"), array("a")), lambda items: _expect(items, _LIST)[::-1], _length),
    Unit("contains", (array("a"), "a", BOOL), lambda items, x: x in _expect(items, _LIST), _sizes),
    Unit("is_sorted", (array(INT), BOOL), lambda items: _is_sorted(_expect(items, _LIST)), _sizes),
    Unit("strlen", (STRING, INT), lambda text: len(_expect(text, _TEXT))),
    Unit("str_index", (INT, STRING, STRING), _character),
    Unit("str_concat", (STRING, STRING, STRING), _texts(lambda x, y: x + y), _sizes),
    Unit("str_split", (STRING, STRING, array(STRING)), _split, _length),
    Unit("str_min", (STRING, STRING, STRING), _texts(_smaller), _sizes),
    Unit("str_max", (STRING, STRING, STRING), _texts(_larger), _sizes),
)

UNITS: dict[str, Unit] = {unit.name: unit for unit in _ALL}
"""The functions of the language, by symbol."""

LAMBDAS = {"lambda1": 1, "lambda2": 2}
"""The numbers of arguments of the functions that a program can define."""

CONSTANTS: dict[str, tuple[Any, Type]] = {
    "true": (True, BOOL),
    "false": (False, BOOL),
    "inf": (math.inf, INT),
    "int": (int, ("type", INT)),
    "string": (str, ("type", STRING)),
    "bool": (bool, ("type", BOOL)),
}
"""The values and types of the constants that have a name. Numbers and quoted texts are others."""

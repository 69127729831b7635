"""What a value must be, and what is said where it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from throughtime.reading import Each, Entries, Maybe, Number, ReadError, Whole, kinds_of, typed


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, int),
        (-(2**53), int),
        (2.5, float),
        (True, bool),
        (None, int | None),
        ("b", Literal["a", "b"]),
        ([1, 2], list[int]),
        (["x"], Sequence[str]),
        ({"h": 0.5}, float | Mapping[str, float]),
        ({"a": [None, {}]}, dict[str, Any]),
        (float("inf"), Number(is_finite=False)),
        ([1, None], Each(Maybe(Whole(1, 1)))),
        ({"a": 1, "c": "x"}, Entries({"a": int}, {"b": str}, others=str)),
    ],
)
def test_a_value_of_its_kind_stays_as_it_is(value, kind):
    assert typed("f", value, kind) == value


def test_a_whole_number_becomes_a_float_where_one_is_expected():
    value = typed("f", {"a": 1, "b": [2]}, Entries({"a": float | None, "b": list[float]}))
    assert value == {"a": 1.0, "b": [2.0]}
    assert isinstance(value["a"], float)
    assert isinstance(value["b"][0], float)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, int, "f: x: expected a whole number, got True"),
        (1.0, int, "expected a whole number, got 1.0"),
        (2**70, int, "expected a whole number of at most 15 digits, got 1180591620717411303424"),
        (9, Whole(1, 8), "expected a whole number from 1 to 8, got 9"),
        (0, Whole(1), "expected a whole number of at least 1, got 0"),
        (2**70, float, "expected a number, got"),
        (float("nan"), float, "expected a number, got nan"),
        ("1", float, "expected a number, got '1'"),
        (None, str, "expected a text, got None"),
        (1, bool, "expected true or false, got 1"),
        (1, Literal[True], "expected one of True, got 1"),
        ("bothh", Literal["both", "one"], "got 'bothh'; did you mean \"both\"?"),
        ([1, "x"], list[int], r"f: x\[1\]: expected a whole number, got 'x'"),
        ({"h": "x"}, float | Mapping[str, float], "f: x.h: expected a number, got 'x'"),
        ("x", float | Mapping[str, float], "expected a number or an object, got 'x'"),
        ([], Entries(), "expected an object, got"),
        ({}, Entries({"a": int}), "f: x: expected the entry 'a', got none"),
        ({"sise": 1}, Entries({}, {"size": int}), "no entry 'sise'; did you mean \"size\"?"),
        ("x" * 1000, int, "got 'xxxxx.*….*xxx'"),
        (list(range(10)), int, "got a list of 10 entries"),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_place(value, kind, message):
    with pytest.raises(ReadError, match=message):
        typed("f", {"x": value}, Entries({"x": kind}))


def test_the_words_of_a_function_are_given_with_the_place():
    def even(value):
        if value % 2:
            raise ValueError(f"expected an even number, got {value}.")
        return value

    assert typed("f", [2, 4], Each(even)) == [2, 4]
    with pytest.raises(ReadError, match=r"f\[1\]: expected an even number, got 3"):
        typed("f", [2, 3], Each(even))


def test_the_kinds_of_a_class_are_those_of_its_arguments():
    @dataclass
    class Settings:
        size: int
        name: "str | None" = None

    class Cell:
        def __init__(self, delay: int = 3, keep=0.5):
            pass

    assert kinds_of(Settings) == {"size": int, "name": str | None}
    assert kinds_of(Cell) == {"delay": int, "keep": float}

"""Parameters of a test of which a part runs by default."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_of(number: int, values: Iterable[Any], start: int = 0) -> list[Any]:
    """The values as parameters; all but every ``number``-th one are slow.

    Args:
        number: how many values there are for each one that runs by default.
        values: the values, or parameters with marks of their own.
        start: the index of the first one that runs by default.
    """
    return [
        value if place % number == start else _slow(value) for place, value in enumerate(values)
    ]


def _slow(value: Any) -> Any:
    if not hasattr(value, "marks"):
        return pytest.param(value, marks=pytest.mark.slow)
    return pytest.param(*value.values, marks=[*value.marks, pytest.mark.slow], id=value.id)

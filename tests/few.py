"""Parameters of a test of which a part runs by default."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_of(number: int, names: Iterable[str], start: int = 0) -> list[Any]:
    """The names as parameters; all but every ``number``-th one are slow.

    Args:
        number: how many names there are for each one that runs by default.
        names: the names.
        start: the index of the first one that runs by default.
    """
    return [
        name if place % number == start else pytest.param(name, marks=pytest.mark.slow)
        for place, name in enumerate(names)
    ]

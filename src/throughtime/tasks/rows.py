"""What a model reads of the examples of a split."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

__all__ = ["Rows"]


class Rows(NamedTuple):
    """What the model reads of examples.

    Args:
        lengths: the number of steps of each example.
        row: a function of the number of an epoch and the index of an example that returns what is
            read of it in that epoch, (T) token ids or (T, I) features.
    """

    lengths: list[int]
    row: Callable[[int, int], Tensor]

"""A part of memory that is cut into aligned parts: first counted, then allocated and cut."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from throughtime.kernels.cpp.scratch import zeros_on_large_pages

__all__ = ["Count", "Region"]


class Region:
    """One part of memory that is cut into aligned parts, in the order in which they are taken.

    Args:
        size: the number of bytes; zeros.
    """

    def __init__(self, size: int) -> None:
        self.memory = zeros_on_large_pages(size)
        self.taken = 0

    def take(self, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
        """The next part."""
        begin, size = self.taken, _bytes(shape, dtype)
        self.taken += -(-size // 64) * 64
        return self.memory[begin : begin + size].view(dtype).view(shape)


class Count:
    """Stands for a :class:`Region` to count the bytes that will be taken."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self, shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> Tensor:
        """An empty tensor in place of the next part."""
        self.taken += -(-_bytes(shape, dtype) // 64) * 64
        return torch.empty(0, dtype=dtype)


def _bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return math.prod(shape) * dtype.itemsize

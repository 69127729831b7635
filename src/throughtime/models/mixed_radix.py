"""Several integers as one, in a number system with a base for each digit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.checks import whole_number

__all__ = ["MixedRadix"]


class MixedRadix:
    r"""Encodes k integers as one symbol, and back:

        symbol = sum_v x_v prod_{u>v} n_u,   0 <= x_v < n_v

    Each symbol from 0 to n_1 … n_k - 1 stands for one tuple, and symbols are ordered as tuples are:
    by the first integer, then by the second, and so on.

    Args:
        sizes: n_1 … n_k, the number of values of each integer.

    Attributes:
        num_symbols: the product of the sizes.

    Shapes:
        steps: (…, k) int64. symbols: (…) int64.

    >>> radix = MixedRadix([3, 10, 2])
    >>> radix.encode(torch.tensor([[0, 0, 1], [1, 0, 0], [2, 9, 1]]))
    tensor([ 1, 20, 59])
    >>> radix.decode(torch.tensor([20]))
    tensor([[1, 0, 0]])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        sizes = [whole_number("MixedRadix", "sizes", size) for size in sizes]
        self.num_symbols = math.prod(sizes)
        if not sizes or self.num_symbols > 2**62:
            raise ValueError(
                "MixedRadix: expected sizes whose product is at most 2^62, and at least one, got "
                f"{sizes}."
            )
        self.sizes = torch.tensor(sizes)
        # The last integer changes fastest.
        self.weights = torch.tensor([math.prod(sizes[v + 1 :]) for v in range(len(sizes))])

    def encode(self, steps: Tensor) -> Tensor:
        """The symbol of each tuple."""
        return (steps * self.weights.to(steps.device)).sum(-1)

    def decode(self, symbols: Tensor) -> Tensor:
        """The tuple of each symbol."""
        weights, sizes = self.weights.to(symbols.device), self.sizes.to(symbols.device)
        return symbols[..., None] // weights % sizes

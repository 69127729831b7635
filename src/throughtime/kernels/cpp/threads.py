"""How the rows and units of a batch are shared out among threads."""

from __future__ import annotations

import os
from functools import cache, lru_cache

__all__ = ["split"]


@cache
def _second_cache() -> int:
    """The bytes of the second-level cache, which each core has for itself."""
    try:
        return max(os.sysconf("SC_LEVEL2_CACHE_SIZE"), 1 << 18)
    except (ValueError, OSError, AttributeError):
        return 1 << 20


@lru_cache(1024)
def split(
    B: int,
    W: int,
    widths: tuple[int, ...],
    products: tuple[int, ...],
    size: int,
    lanes: int,
    n: int,
) -> tuple[int, int]:
    """The number of groups of threads, and the number of members of each group.

    Rows are split over the groups, and the units of these rows over the members of a group. With
    more members each thread reads fewer weights, which then stay in its own cache; but members
    wait for each other at a barrier in each step. The split with the least estimated cost is
    taken. The unit of cost is the multiplication of one vector.

    Args:
        B, W: rows of the batch, and units with padding.
        widths: how many sums a tile of each stage holds for one vector of units.
        products: how many products of blocks each stage takes.
        size: the bytes of one weight.
        lanes: how many numbers a vector has.
        n: how many threads there are at most.
    """
    best, least = (1, 1), float("inf")
    for members in range(1, n + 1):
        groups = min(n // members, max(B, 1))
        cost = 0.0
        for width, count in zip(widths, products, strict=True):
            # As frame.py lays out the tiles of a stage.
            vectors = {0: 4, 1: 4, 2: 2}.get(width, 1)
            tiles = -(-W // (lanes * vectors))
            mine = -(-tiles // members)
            rows = -(-B // groups)
            bytes_read = mine * vectors * lanes * W * count * size
            # Beyond the cache a vector of weights takes as long as several multiplications.
            a_vector = 1.0 if bytes_read < 0.8 * _second_cache() else 2.5
            # A block of rows reads the weights once. Its size is bound by the registers.
            most = max(24 // max(width * vectors, 1), 1)
            blocks = -(-rows // most)
            loads = blocks * mine * W * vectors * count * a_vector
            flops = rows * mine * W * vectors * count
            # Loads and multiplications overlap, though not fully; the pointwise equations are
            # taken as 60 multiplications for each vector.
            cost += max(loads, flops) + 0.2 * loads + rows * mine * vectors * 60
            # The barrier.
            cost += 1500.0 if members > 1 else 0.0
        if cost < least:
            best, least = (groups, members), cost
    return best

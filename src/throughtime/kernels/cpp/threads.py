"""Divides the rows and units of a batch among threads."""

from __future__ import annotations

import os
from functools import cache, lru_cache

__all__ = ["split"]


@cache
def _second_cache() -> int:
    """The bytes of the second-level cache, of which each core has its own."""
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
    wait for each other at a barrier in each stage. The split with the lowest estimated cost is
    chosen.

    Args:
        B, W: the rows of the batch, and the units with padding.
        widths: for each stage, the number of sums that a tile accumulates for one vector of units.
        products: for each stage, the number of products with blocks of R.
        size: the bytes of one weight.
        lanes: the number of elements of a vector.
        n: the maximum number of threads.
    """
    best, lowest = (1, 1), float("inf")
    for members in range(1, n + 1):
        groups = min(n // members, max(B, 1))
        rows = -(-B // groups)
        cost = 0.0
        for width, count in zip(widths, products, strict=True):
            vectors = vectors_of_tile(width)
            all_tiles = -(-W // (lanes * vectors))
            tiles = -(-all_tiles // members)
            cost += _cost_of_stage(rows, tiles, vectors, width, count, W, lanes * size)
            cost += _COST_OF_BARRIER if members > 1 else 0.0
        if cost < lowest:
            best, lowest = (groups, members), cost
    return best


def vectors_of_tile(width: int) -> int:
    """The number of vectors of units in a tile.

    Args:
        width: the number of sums that the tile accumulates for each of these vectors. With more
            sums the tile has fewer vectors, so that the sums of several rows fit in the registers.
    """
    return {0: 4, 1: 4, 2: 2}.get(width, 1)


# In the unit of cost, the multiplication of one vector.
_COST_OF_BARRIER = 1500.0
_COST_OF_EQUATIONS = 60


def _cost_of_stage(
    rows: int, tiles: int, vectors: int, width: int, products: int, W: int, bytes_of_vector: int
) -> float:
    """The estimated time that one thread needs for a stage of one step.

    Args:
        rows: the rows of its group.
        tiles: the tiles of units that it computes.
        vectors: the vectors of units in a tile.
        width: the sums that a tile accumulates for one vector.
        products: the products with blocks of R.
        W: the units with padding.
        bytes_of_vector: the bytes of one vector of weights.
    """
    bytes_read = tiles * vectors * bytes_of_vector * W * products
    # Outside the cache a load of a vector of weights takes as long as several multiplications.
    cost_of_load = 1.0 if bytes_read < 0.8 * _second_cache() else 2.5
    # Each block of rows reads all weights once. The registers limit the size of a block.
    rows_of_block = max(24 // max(width * vectors, 1), 1)
    blocks = -(-rows // rows_of_block)
    loads = blocks * tiles * W * vectors * products * cost_of_load
    multiplications = rows * tiles * W * vectors * products
    # Loads and multiplications overlap, though not fully.
    equations = rows * tiles * vectors * _COST_OF_EQUATIONS
    return max(loads, multiplications) + 0.2 * loads + equations

"""Lookup tables with which compiled kernels apply the maps of graph/maps.py for a certain H.

Most maps sum few source units per target unit. Their table is sparse: column ``j`` lists the
indices of the source units of target unit ``j``, padded with -1. A cumulative sum reads half of all
units on average. Its table is dense: the matrix of coefficients, one line for each source unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from throughtime.kernels.graph.maps import Cumsum, Map, Size

__all__ = ["is_dense", "sizes", "table"]


def is_dense(rule: Map) -> bool:
    """Whether the table of a map is a matrix of coefficients and not a list of indices."""
    return isinstance(rule, Cumsum)


def sizes(expressions: Sequence[Size], H: int, dtype: torch.dtype) -> Tensor:
    """Evaluates the sizes that a kernel reads at run time, because they depend on H.

    Args:
        expressions: the sizes. One with ``op="terms"`` has a map as its argument, and stands for
            the number of lines in the map's sparse table.
        H: the number of units.
        dtype: the dtype of the result.
    """
    numbers = [_terms(s.args[0], H) if s.op == "terms" else s.at(H) for s in expressions]
    return torch.tensor(numbers, dtype=dtype)


def _terms(rule: Map, H: int) -> int:
    """The largest number of source units that the map sums for one target unit."""
    written, _ = rule.pairs(H)
    return int(torch.bincount(written).max()) if len(written) else 0


@lru_cache(maxsize=256)
def table(rule: Map, H: int, width: int, dtype: torch.dtype) -> Tensor:
    """The table of a map.

    Args:
        rule: the map.
        H: the number of units.
        width: the width to which the kernel pads its rows.
        dtype: the dtype of the coefficients of a dense table.

    Returns:
        Dense: the coefficients, (H, width). Sparse: line ``k`` has for each target unit the index
        of its source unit number ``k``, or -1 if it has fewer, (terms, width) of int32.
    """
    written, read = rule.pairs(H)
    if is_dense(rule):
        coefficients = torch.zeros(max(H, 1), width, dtype=dtype)
        coefficients[read, written] = 1.0
        return coefficients
    # Sorted by target unit, the pairs of one target unit are adjacent. The rank of a pair among
    # them is its position minus the position of the first one, and is the line of the table.
    order = written.argsort(stable=True)
    written, read = written[order], read[order]
    rank = torch.arange(len(written)) - torch.searchsorted(written, written)
    indices = torch.full((max(_terms(rule, H), 1), width), -1, dtype=torch.int32)
    indices[rank, written] = read.to(torch.int32)
    return indices

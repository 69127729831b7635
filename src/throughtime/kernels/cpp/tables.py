"""The tables by which compiled kernels run the maps of graph/maps.py, for a number H of units.

Most maps read few units for each that they make: their table has the numbers of these units, -1
where there are fewer. A running sum reads half of all units: its table is a matrix of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from throughtime.kernels.graph.maps import Cumsum, Map, Size

__all__ = ["is_dense", "sizes", "table"]


def is_dense(rule: Map) -> bool:
    """Whether the table of a map is a matrix."""
    return isinstance(rule, Cumsum)


def sizes(wanted: Sequence[Size], H: int, dtype: torch.dtype) -> Tensor:
    """The numbers that a kernel reads; ``terms`` is how many units a map sums up at most."""
    numbers = [_terms(s.args[0], H) if s.op == "terms" else s.at(H) for s in wanted]
    return torch.tensor(numbers, dtype=dtype)


def _terms(rule: Map, H: int) -> int:
    made, _ = rule.pairs(H)
    return int(torch.bincount(made).max()) if len(made) else 0


@lru_cache(maxsize=256)
def table(rule: Map, H: int, width: int, dtype: torch.dtype) -> Tensor:
    """The table of a map: a line of ``width`` units for each unit that is read, or each summand.

    Args:
        width: to which the rows of the kernel are padded.
        dtype: of the weights of a matrix.
    """
    made, read = rule.pairs(H)
    if is_dense(rule):
        weights = torch.zeros(max(H, 1), width, dtype=dtype)
        weights[read, made] = 1.0
        return weights
    # The summands of a unit are numbered from 0 on.
    order = made.argsort(stable=True)
    made, read = made[order], read[order]
    first = torch.searchsorted(made, made)
    units = torch.full((max(_terms(rule, H), 1), width), -1, dtype=torch.int32)
    units[torch.arange(len(made)) - first, made] = read.to(torch.int32)
    return units

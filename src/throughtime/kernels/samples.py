"""Batching rules of the operators for ``torch.vmap``: all samples in one call, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_rows", "one_by_one"]


def as_rows(value: Tensor, dim: int | None, samples: int, rows: int) -> Tensor:
    """Joins the samples of a vmapped value along its dimension of rows.

    Args:
        value: the batched value.
        dim: the dimension of its samples; None if all samples share the value.
        samples: how many samples there are.
        rows: the dimension of the rows in the value of one sample.
    """
    if dim is None:
        value = value.unsqueeze(0).expand(samples, *value.shape)
        dim = 0
    value = value.movedim(dim, 0)
    at = rows % (value.dim() - 1)
    return value.movedim(0, at).flatten(at, at + 1).contiguous()


def one_by_one(
    apply: Callable[..., Any],
    samples: int,
    dims: Sequence[int | None],
    values: Sequence[Any],
) -> tuple[Any, Any]:
    """Calls ``apply`` once for each sample.

    Args:
        apply: takes the values of one sample.
        samples: how many samples there are.
        dims: for each value the dimension of its samples; None if all samples share it.
        values: the batched values.

    Returns:
        The stacked results, and the dimension of the samples in each, as vmap expects both.
    """
    results = []
    for i in range(samples):
        pairs = zip(values, dims, strict=True)
        results.append(apply(*(v if d is None else v.select(d, i) for v, d in pairs)))
    columns = list(zip(*results, strict=True))
    stacked = tuple(None if c[0] is None else torch.stack(c) for c in columns)
    return stacked, tuple(None if s is None else 0 for s in stacked)

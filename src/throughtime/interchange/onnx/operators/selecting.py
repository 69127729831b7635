"""Operators that select elements by indices, or write elements at indices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from throughtime.interchange.onnx.operators.table import integers, operator

__all__: list[str] = []


def _from_front(indices: Tensor, size: int) -> Tensor:
    """Converts negative indices, which count from the end, to indices from the front."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def _sliced(
    x: Tensor, starts: list[int], ends: list[int], axes: list[int] | None, steps: list[int] | None
) -> Tensor:
    """Slices along each axis; an argument of None has the default of ONNX."""
    along = list(range(len(starts))) if axes is None else axes
    strides = [1] * len(starts) if steps is None else steps
    for start, end, axis, stride in zip(starts, ends, along, strides, strict=True):
        # ONNX has Python's rules for slices; PyTorch supports no negative stride. An end before
        # the front, which ONNX writes as the smallest integer, is Python's None.
        size = x.shape[axis]
        stop = None if stride < 0 and end < -size else end
        places = range(size)[start:stop:stride]
        if stride > 0:
            at = [slice(None)] * x.dim()
            at[axis] = slice(places.start, places.stop, stride)
            x = x[tuple(at)]
        else:
            x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=x.device))
    return x


@operator("Slice")
def _slice_by_attributes(
    x: Tensor, *, starts: list[int], ends: list[int], axes: list[int] | None = None
) -> Tensor:
    return _sliced(x, starts, ends, axes, None)


@operator("Slice", since=10)
def _slice(
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    return _sliced(
        x,
        integers(starts),
        integers(ends),
        None if axes is None else integers(axes),
        None if steps is None else integers(steps),
    )


@operator("Gather")
def _gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis %= x.dim()
    flat = _from_front(indices.reshape(-1), x.shape[axis])
    rows = x.index_select(axis, flat)
    return rows.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("GatherElements")
def _gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    return x.gather(axis, _from_front(indices, x.shape[axis]))


@operator("GatherND")
def _gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    depth, leading = indices.shape[-1], x.shape[:batch_dims]
    N = math.prod(leading)
    rows = x.reshape(N, *x.shape[batch_dims:])
    places = indices.to(torch.int64).reshape(N, -1, depth)  # (N, M, depth)
    row = torch.arange(N, device=x.device).unsqueeze(1).expand(places.shape[:2])
    values = rows[(row, *places.unbind(-1))]  # (N, M, …)
    return values.reshape(*indices.shape[:-1], *x.shape[batch_dims + depth :])


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@operator("ScatterElements")
@operator("Scatter")
def _scatter_elements(
    x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    places = _from_front(indices, x.shape[axis])
    if reduction == "none":
        return x.scatter(axis, places, updates)
    return x.scatter_reduce(axis, places, updates, _REDUCTIONS[reduction])


@operator("ScatterND")
def _scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    depth = indices.shape[-1]
    sizes = x.shape[:depth]
    # The index of each element in the first axes, flattened to one axis.
    place = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    for i, size in enumerate(sizes):
        place = place * size + _from_front(indices[..., i], size)
    rows = x.reshape(math.prod(sizes), -1)
    new = updates.reshape(place.numel(), -1)
    where = place.reshape(-1, 1).expand_as(new)
    if reduction == "none":
        return rows.scatter(0, where, new).reshape(x.shape)
    return rows.scatter_reduce(0, where, new, _REDUCTIONS[reduction]).reshape(x.shape)


@operator("ReverseSequence")
def _reverse_sequence(
    x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0
) -> Tensor:
    rows = x.movedim((time_axis, batch_axis), (0, 1))  # (T, B, …)
    T, B = rows.shape[:2]
    step = torch.arange(T, device=x.device).unsqueeze(1)
    ends = lengths.to(torch.int64)
    place = torch.where(step < ends, ends - 1 - step, step)  # (T, B)
    turned = rows[place, torch.arange(B, device=x.device)]
    return turned.movedim((0, 1), (time_axis, batch_axis))


@operator("OneHot")
def _one_hot(indices: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    off, on = values
    size = int(depth)
    places = _from_front(indices, size).unsqueeze(axis)
    shape = [1] * places.dim()
    shape[axis] = size
    every = torch.arange(size, device=indices.device).reshape(shape)
    return torch.where(places == every, on, off)


@operator("NonZero")
def _non_zero(x: Tensor) -> Tensor:
    return x.nonzero().T


def _largest(x: Tensor, k: int, axis: int, largest: int) -> tuple[Tensor, ...]:
    # A stable sort: of equal numbers the first must come first, which torch.topk does not promise.
    values, places = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    return values.narrow(axis, 0, k), places.narrow(axis, 0, k)


@operator("TopK")
def _top_k_by_attribute(x: Tensor, *, k: int, axis: int = -1) -> tuple[Tensor, ...]:
    return _largest(x, k, axis, 1)


@operator("TopK", since=10)
def _top_k(
    x: Tensor, k: Tensor, *, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Tensor, ...]:
    # With ``sorted=0`` any order is allowed, so also the sorted one.
    return _largest(x, integers(k)[0], axis, largest)

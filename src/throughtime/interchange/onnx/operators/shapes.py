"""Operators that read or change the shape of a tensor, or repeat, join and split tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.interchange.onnx.operators.table import axes_of, integers, operator

__all__: list[str] = []


@operator("Shape")
def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64, device=x.device)


@operator("Size")
def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


@operator("Transpose")
def _transpose(x: Tensor, *, perm: list[int] | None = None) -> Tensor:
    return x.permute(perm if perm is not None else list(reversed(range(x.dim()))))


@operator("Squeeze")
def _squeeze(
    x: Tensor, axes_input: Tensor | None = None, *, axes: list[int] | None = None
) -> Tensor:
    along = axes_of(axes_input, axes, x.dim())
    if along is None:
        return x.squeeze()
    wide = [axis for axis in along if x.shape[axis] != 1]
    if wide:
        raise ValueError(f"expected axis {wide[0]} of size 1, got the shape {tuple(x.shape)}.")
    return x.squeeze(tuple(along))


@operator("Unsqueeze")
def _unsqueeze(
    x: Tensor, axes_input: Tensor | None = None, *, axes: list[int] | None = None
) -> Tensor:
    count = len(axes or []) if axes_input is None else axes_input.numel()
    for axis in sorted(axes_of(axes_input, axes, x.dim() + count) or []):
        x = x.unsqueeze(axis)
    return x


@operator("Reshape")
def _reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = integers(shape)
    if not allowzero:
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


@operator("Flatten")
def _flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis if axis >= 0 else axis + x.dim()
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Expand")
def _expand(x: Tensor, shape: Tensor) -> Tensor:
    # Broadcast both shapes: a size of 1 in ``shape`` keeps the size of x.
    return x.expand(torch.broadcast_shapes(x.shape, integers(shape)))


@operator("Tile")
def _tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(integers(repeats))


@operator("ConstantOfShape")
def _constant_of_shape(shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    one = torch.zeros(1) if value is None else value
    return one.to(shape.device).expand(integers(shape))


@operator("Range")
def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, last, step = start.item(), limit.item(), delta.item()
    return torch.arange(first, last, step, dtype=start.dtype, device=start.device)


@operator("Concat")
def _concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


def _split_at(
    x: Tensor, axis: int, sizes: list[int] | None, num_outputs: int
) -> tuple[Tensor, ...]:
    if sizes is None:
        # If the size is not divisible, the last part is smaller.
        each = -(-x.shape[axis] // num_outputs)
        sizes = [each] * (num_outputs - 1) + [x.shape[axis] - each * (num_outputs - 1)]
    return x.split(sizes, axis)


@operator("Split")
def _split_by_attribute(
    x: Tensor, *, axis: int = 0, split: list[int] | None = None, num_outputs: int
) -> tuple[Tensor, ...]:
    return _split_at(x, axis, split, num_outputs)


@operator("Split", since=13)
def _split(
    x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int
) -> tuple[Tensor, ...]:
    return _split_at(x, axis, None if sizes is None else integers(sizes), num_outputs)


def _padded(x: Tensor, pads: list[int], value: float, axes: list[int], mode: str) -> Tensor:
    if mode == "constant":
        around = [0] * 2 * x.dim()
        for i, axis in enumerate(axes):
            # F.pad lists the pads from the last axis to the first.
            at = 2 * (x.dim() - 1 - axis)
            around[at], around[at + 1] = pads[i], pads[i + len(axes)]
        return F.pad(x, around, value=value)
    if mode not in ("reflect", "edge", "wrap"):
        raise ValueError(f"expected mode as constant, reflect, edge or wrap, got {mode!r}.")
    for i, axis in enumerate(axes):
        around = (pads[i], pads[i + len(axes)])
        if min(around) < 0:
            raise ValueError(f"expected pads of at least 0 with mode={mode!r}, got {min(around)}.")
        index = np.pad(np.arange(x.shape[axis]), around, mode=mode)
        x = x.index_select(axis, torch.from_numpy(index).to(x.device))
    return x


@operator("Pad")
def _pad_by_attributes(
    x: Tensor, *, pads: list[int], value: float = 0.0, mode: str = "constant"
) -> Tensor:
    return _padded(x, pads, value, list(range(x.dim())), mode)


@operator("Pad", since=11)
def _pad(
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    along = axes_of(axes, None, x.dim())
    number = 0 if value is None else value.item()
    every = list(range(x.dim()))
    return _padded(x, integers(pads), number, every if along is None else along, mode)


@operator("Trilu")
def _trilu(x: Tensor, k: Tensor | None = None, *, upper: int = 1) -> Tensor:
    diagonal = 0 if k is None else int(k)
    return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)

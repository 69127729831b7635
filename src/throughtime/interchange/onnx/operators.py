"""The ONNX operators around the recurrent nodes, in PyTorch.

Each takes its inputs, None where one is left out, and its attributes, and gives one output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["ATTRIBUTES", "OPERATORS"]


def _numbers(value: Tensor) -> list[int]:
    return [int(v) for v in value.reshape(-1).tolist()]


def _axes(axes: Tensor | None, attribute: Any, rank: int) -> list[int] | None:
    """From the second input, or in old files the attribute; counted from the front."""
    found = attribute if axes is None else _numbers(axes)
    return None if found is None else [a % rank for a in found]


def _transpose(x: Tensor, *, perm: list[int] | None = None) -> Tensor:
    return x.permute(perm if perm is not None else list(reversed(range(x.dim()))))


def _concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


def _squeeze(x: Tensor, given: Tensor | None = None, *, axes: Any = None) -> Tensor:
    found = _axes(given, axes, x.dim())
    if found is None:
        return x.squeeze()
    wide = [a for a in found if x.shape[a] != 1]
    if wide:
        raise ValueError(f"expected axis {wide[0]} of size 1, got the shape {tuple(x.shape)}.")
    return x.squeeze(tuple(found))


def _unsqueeze(x: Tensor, given: Tensor | None = None, *, axes: Any = None) -> Tensor:
    count = len(axes) if given is None else given.numel()
    for axis in sorted(_axes(given, axes, x.dim() + count) or []):
        x = x.unsqueeze(axis)
    return x


def _reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = _numbers(shape)
    if not allowzero:
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def _gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


def _slice(
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = _numbers(starts), _numbers(ends)
    along = list(range(len(first))) if axes is None else _numbers(axes)
    strides = [1] * len(first) if steps is None else _numbers(steps)
    for start, end, axis, stride in zip(first, last, along, strides, strict=True):
        # Python's own rules for a slice are ONNX's; PyTorch's know no stride below 1. An end
        # beyond the front, which ONNX writes as the least number, is Python's None.
        size = x.shape[axis]
        stop = None if stride < 0 and end < -size else end
        steps_of = range(size)[start:stop:stride]
        x = x.index_select(axis, torch.tensor(list(steps_of), dtype=torch.int64, device=x.device))
    return x


def _gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    axis %= x.dim()
    size = x.shape[axis]
    flat = indices.reshape(-1).to(torch.int64)
    found = x.index_select(axis, torch.where(flat < 0, flat + size, flat))
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(tuple(x.shape)[start:end], dtype=torch.int64, device=x.device)


def _constant_of_shape(shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    one = torch.zeros(1) if value is None else value
    return one.to(shape.device).expand(_numbers(shape))


def _identity(x: Tensor) -> Tensor:
    return x


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Transpose": _transpose,
    "Concat": _concat,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Add": lambda a, b: a + b,
    "Mul": lambda a, b: a * b,
    "MatMul": lambda a, b: a @ b,
    "Gemm": _gemm,
    "Slice": _slice,
    "Identity": _identity,
    "Gather": _gather,
    "Greater": torch.gt,
    "Shape": _shape,
    "ConstantOfShape": _constant_of_shape,
    "Where": torch.where,
}

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "Transpose": ("perm",),
    "Concat": ("axis",),
    "Gather": ("axis",),
    "Squeeze": ("axes",),
    "Unsqueeze": ("axes",),
    "Reshape": ("allowzero",),
    "Shape": ("start", "end"),
    "ConstantOfShape": ("value",),
    "Gemm": ("alpha", "beta", "transA", "transB"),
}
"""The attributes that each knows; the others know none."""

"""Operators that reduce or normalise along axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from throughtime.interchange.onnx.operators.table import Function, axes_of, operator

__all__ = ["layer_norm"]


def _product(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True, dtype=x.dtype)
    return x


def _sum(x: Tensor, axes: list[int]) -> Tensor:
    # The dtype is set because PyTorch would widen integers to int64.
    return x.sum(axes, keepdim=True, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int]) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=True)
    return x.double().mean(axes, keepdim=True).to(x.dtype)


_REDUCTIONS: dict[str, Callable[[Tensor, list[int]], Tensor]] = {
    "ReduceL1": lambda x, axes: _sum(x.abs(), axes),
    "ReduceL2": lambda x, axes: _sum(x * x, axes).sqrt().to(x.dtype),
    "ReduceLogSum": lambda x, axes: _sum(x, axes).log().to(x.dtype),
    "ReduceLogSumExp": lambda x, axes: torch.logsumexp(x, axes, keepdim=True),
    "ReduceMax": lambda x, axes: x.amax(axes, keepdim=True),
    "ReduceMean": _mean,
    "ReduceMin": lambda x, axes: x.amin(axes, keepdim=True),
    "ReduceProd": _product,
    "ReduceSum": _sum,
    "ReduceSumSquare": lambda x, axes: _sum(x * x, axes),
}


def _reducing(function: Callable[[Tensor, list[int]], Tensor]) -> Function:
    """An operator of the family Reduce* from a function of a tensor and axes."""

    def run(
        x: Tensor,
        axes_input: Tensor | None = None,
        *,
        axes: list[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        along = axes_of(axes_input, axes, x.dim())
        if not along and noop_with_empty_axes:
            return x
        along = along or list(range(x.dim()))
        result = function(x, along) if x.dim() else function(x.reshape(1), [0])
        if keepdims and x.dim():
            return result
        return result.reshape([s for axis, s in enumerate(x.shape) if axis not in along])

    return run


for _name, _reduction in _REDUCTIONS.items():
    operator(_name)(_reducing(_reduction))


def _place_of(x: Tensor, largest: bool, axis: int, keepdims: int, last: int) -> Tensor:
    """The index of the largest or smallest number; of equal ones the first, or the last."""
    turned = x.flip(axis) if last else x
    place = (torch.argmax if largest else torch.argmin)(turned, axis, keepdim=bool(keepdims))
    return x.shape[axis] - 1 - place if last else place


@operator("ArgMax")
def _arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    return _place_of(x, True, axis, keepdims, select_last_index)


@operator("ArgMin")
def _arg_min(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    return _place_of(x, False, axis, keepdims, select_last_index)


@operator("CumSum")
def _cumulative_sum(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    along = int(axis)
    turned = x.flip(along) if reverse else x
    total = turned.cumsum(along, dtype=x.dtype)
    total = total - turned if exclusive else total
    return total.flip(along) if reverse else total


def _over_the_rest(function: Callable[[Tensor, int], Tensor]) -> Function:
    """The form before version 13, which flattens all axes from ``axis`` on to one."""

    def run(x: Tensor, *, axis: int = 1) -> Tensor:
        return function(x.flatten(axis), -1).reshape(x.shape)

    return run


def _over_one(function: Callable[[Tensor, int], Tensor]) -> Function:
    """The form since version 13, along a single axis."""

    def run(x: Tensor, *, axis: int = -1) -> Tensor:
        return function(x, axis)

    return run


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1.0)


for _name, _function in (
    ("Softmax", torch.softmax),
    ("LogSoftmax", torch.log_softmax),
    ("Hardmax", _hardmax),
):
    operator(_name)(_over_the_rest(_function))
    operator(_name, since=13)(_over_one(_function))


def _wide(x: Tensor) -> Tensor:
    """Converts to at least float32, in which the statistics of half precision are computed."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float
) -> tuple[Tensor, ...]:
    """Normalises x over all axes from ``axis`` on.

    Returns:
        The normalised and scaled x, the mean, and 1 / sqrt(variance + epsilon).
    """
    axes = list(range(axis % x.dim(), x.dim()))
    wide = _wide(x)
    mean = wide.mean(axes, keepdim=True)
    inverse = torch.rsqrt((wide - mean).square().mean(axes, keepdim=True) + epsilon)
    y = ((wide - mean) * inverse).to(x.dtype) * scale
    return (y if bias is None else y + bias), mean, inverse


@operator("LayerNormalization")
def _layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, ...]:
    if stash_type != 1:
        raise ValueError(f"expected stash_type as 1, which is float32, got {stash_type}.")
    return layer_norm(x, scale, bias, axis, epsilon)


@operator("RMSNormalization")
@operator("SimplifiedLayerNormalization")
def _root_mean_square_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Tensor, ...]:
    if stash_type != 1:
        raise ValueError(f"expected stash_type as 1, which is float32, got {stash_type}.")
    axes = list(range(axis % x.dim(), x.dim()))
    wide = _wide(x)
    inverse = torch.rsqrt(wide.square().mean(axes, keepdim=True) + epsilon)
    return (wide * inverse).to(x.dtype) * scale, inverse


@operator("BatchNormalization")
def _batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Tensor:
    # ``momentum`` has an effect in training only.
    if training_mode:
        raise ValueError("training_mode is on. Export the model in evaluation mode.")
    # Not F.batch_norm, which has no gradient with respect to the mean and the variance.
    factor = scale * torch.rsqrt(variance + epsilon)
    over = [-1, *[1] * (x.dim() - 2)]
    return x * factor.reshape(over) + (bias - mean * factor).reshape(over)

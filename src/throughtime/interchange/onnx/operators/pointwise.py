"""Elementwise operators and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.interchange.onnx.operators.table import Function, operator

__all__ = ["gemm"]


def _softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def _divided(a: Tensor, b: Tensor) -> Tensor:
    # Integer division rounds towards 0.
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _power(a: Tensor, b: Tensor) -> Tensor:
    return torch.pow(a, b).to(a.dtype)


_OF_ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": F.softplus,
    "Softsign": _softsign,
    "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}
_OF_TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": _divided,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "MatMul": torch.matmul,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Pow": _power,
    "PRelu": lambda x, slope: torch.where(x < 0, slope * x, x),
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
_OF_MANY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
}


def _with_one(function: Callable[[Tensor], Tensor]) -> Function:
    def run(x: Tensor) -> Tensor:
        return function(x)

    return run


def _with_two(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def run(a: Tensor, b: Tensor) -> Tensor:
        return function(a, b)

    return run


def _with_many(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def run(first: Tensor, *others: Tensor) -> Tensor:
        return reduce(function, others, first)

    return run


for _name, _one in _OF_ONE.items():
    operator(_name)(_with_one(_one))
for _name, _two in _OF_TWO.items():
    operator(_name)(_with_two(_two))
for _name, _two in _OF_MANY.items():
    operator(_name)(_with_many(_two))


@operator("Mean")
def _mean(first: Tensor, *others: Tensor) -> Tensor:
    return reduce(torch.add, others, first) / (1 + len(others))


@operator("Mod")
def _mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    # The result has the sign of a with fmod, else the sign of b.
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


@operator("Cast")
def _cast(x: Tensor, *, to: Tensor, saturate: int = 1) -> Tensor:
    # ``to`` is an empty tensor with the target dtype, which changes when the module is converted to
    # another dtype. ``saturate`` has an effect on 8-bit floats only, which cannot be loaded.
    return x.to(to.dtype)


@operator("CastLike")
def _cast_like(x: Tensor, like: Tensor, *, saturate: int = 1) -> Tensor:
    return x.to(like.dtype)


@operator("Where")
def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


@operator("Clip")
def _clip_by_attributes(x: Tensor, *, min: float = -math.inf, max: float = math.inf) -> Tensor:
    return x.clamp(min, max)


@operator("Clip", since=11)
def _clip(x: Tensor, least: Tensor | None = None, most: Tensor | None = None) -> Tensor:
    # If least exceeds most, all elements become most, in ONNX as in PyTorch.
    return x if least is None and most is None else torch.clamp(x, least, most)


@operator("Dropout")
def _dropout_before_12(x: Tensor, *, ratio: float = 0.5) -> tuple[Tensor, ...]:
    return x, torch.ones_like(x, dtype=torch.bool)


@operator("Dropout", since=12)
def _dropout(
    x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None, *, seed: int = 0
) -> tuple[Tensor, ...]:
    if training is not None and bool(training):
        raise ValueError("training_mode is on. Export the model in evaluation mode.")
    return x, torch.ones_like(x, dtype=torch.bool)


@operator("Elu")
def _elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


@operator("Celu")
def _celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.celu(x, alpha)


@operator("Selu")
def _selu(
    x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Tensor:
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


@operator("LeakyRelu")
def _leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


@operator("ThresholdedRelu")
def _thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return torch.where(x > alpha, x, 0.0)


@operator("HardSigmoid")
def _hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


@operator("Gelu", since=20)
def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return F.gelu(x, approximate=approximate)


@operator("Gemm")
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha * a b + beta * c, with a transposed if transA is set, and b if transB is set."""
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


@operator("Einsum")
def _einsum(*operands: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *operands)

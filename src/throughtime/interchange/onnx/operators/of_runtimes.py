"""Operators that ONNX Runtime adds to ONNX, and writes when it saves an optimised model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.interchange.onnx.operators.pointwise import gemm
from throughtime.interchange.onnx.operators.reductions import layer_norm
from throughtime.interchange.onnx.operators.table import operator, operator_of

__all__ = ["MICROSOFT"]

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


@operator("Gelu", domain=MICROSOFT)
def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x)


@operator("BiasGelu", domain=MICROSOFT)
def _bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(x + bias)


@operator("FastGelu", domain=MICROSOFT)
def _fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@operator("QuickGelu", domain=MICROSOFT)
def _quick_gelu(x: Tensor, *, alpha: float = 1.702) -> Tensor:
    return x * torch.sigmoid(alpha * x)


@operator("FusedMatMul", domain=MICROSOFT)
def _fused_mat_mul(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    left, right = _transposed(a, transA, transBatchA), _transposed(b, transB, transBatchB)
    return alpha * (left @ right)


def _transposed(x: Tensor, trans: int, trans_batch: int) -> Tensor:
    """Moves the batch axes of a factor to the front, then transposes its matrices."""
    # With trans_batch, the first axis is the rows of the matrices, and the batch axes follow it.
    x = x.movedim(0, -2) if trans_batch else x
    return x.transpose(-1, -2) if trans and x.dim() > 1 else x


@operator("FusedGemm", domain=MICROSOFT)
def _fused_gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str,
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    product = gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    numbers = dict(alpha=activation_alpha, beta=activation_beta, gamma=activation_gamma)
    attributes = {name: value for name, value in numbers.items() if value is not None}
    function = operator_of("", activation, 13)
    if function is None:
        raise ValueError(f"unknown activation {activation!r}.")
    function.check("FusedGemm", 1, attributes)
    result = function.function(product, **attributes)
    assert isinstance(result, Tensor)
    return result


@operator("SkipLayerNormalization", domain=MICROSOFT)
def _skip_layer_normalization(
    x: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
) -> tuple[Tensor, ...]:
    total = x + skip if bias is None else x + skip + bias
    return (*layer_norm(total, gamma, beta, -1, epsilon), total)

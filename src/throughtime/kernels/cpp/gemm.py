"""The matrix product C = A B of gemm.hpp, compiled on first use for each pair of element types.

All large products of the kernels are computed here, on every processor. PyTorch's own product of
bfloat16 is not used even if it is faster: it rounds each result to bfloat16 before the bias, or the
previous value of ``out``, is added.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

import torch
from torch import Tensor

from throughtime.kernels.cpp import processor
from throughtime.kernels.cpp.build import load

__all__ = ["function", "has_amx", "matmul", "num_threads", "source"]

_NAMES = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bfloat16"}
_SUMS = {torch.float32: torch.float32, torch.float64: torch.float64, torch.bfloat16: torch.float32}

_is_forked = False
_functions: dict[tuple[torch.dtype, torch.dtype], Callable[..., int]] = {}


def _after_fork() -> None:
    # fork copies only the calling thread. OpenMP in the child would wait for threads that exist
    # only in the parent, and hang.
    global _is_forked
    _is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def num_threads() -> int:
    """The number of threads that a kernel may use: torch's number, but 1 in a forked child."""
    return 1 if _is_forked else torch.get_num_threads()


def source(operands: torch.dtype, out: torch.dtype) -> str:
    """The C++ of the product of these element types, for :func:`build.load`."""
    s, o = _NAMES[operands], _NAMES[out]
    return f"""#include "gemm.hpp"
using namespace throughtime;
extern "C" __attribute__((visibility("default"))) int matmul(
    int64_t m, int64_t n, int64_t k, const {s}* a, int64_t a_row, int64_t a_col,
    const {s}* b, int64_t b_row, int64_t b_col, {o}* c, int64_t c_row,
    const void* bias, int bias_is_sum, int accumulate, int threads) {{
    return gemm::product<{s}, {o}>(m, n, k, {{a, a_row, a_col}}, {{b, b_row, b_col}}, c, c_row,
                                   bias, bias_is_sum, accumulate, threads);
}}
"""


def function(operands: torch.dtype, out: torch.dtype) -> Callable[..., int]:
    """The compiled product for these element types."""
    cached = _functions.get((operands, out))
    if cached is not None:
        return cached
    compiled = load(source(operands, out)).matmul
    size, pointer, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
    compiled.argtypes = [
        *(size, size, size, pointer, size, size, pointer, size, size, pointer, size),
        *(pointer, number, number, number),
    ]
    compiled.restype = number
    _functions[operands, out] = compiled
    return compiled


def has_amx() -> bool:
    """Whether the processor has AMX, which PyTorch uses for bfloat16 and these kernels do not."""
    return processor.limit() is None and torch.cpu._is_amx_tile_supported()


def matmul(
    a: Tensor,
    b: Tensor,
    out: Tensor,
    *,
    bias: Tensor | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Tensor:
    """Computes ``out = a b``, plus the bias in every row, plus ``out`` itself if ``accumulate``.

    Products of bfloat16 are summed in float32. The result does not depend on the number of threads.

    Args:
        a, b: two matrices of one dtype, float32, float64 or bfloat16, with any strides.
        out: the result, of the same dtype, or float32 for bfloat16; its rows must be contiguous.
            It must not share memory with the others.
        bias: a vector of the dtype of ``a``, or of the dtype of the sums.
        accumulate: whether the product is added to the previous value of ``out``.
        threads: the maximum number of threads; :func:`num_threads` if None. A forked child always
            uses one.

    Shapes: a (M, K), b (K, N), out (M, N), bias (N).

    Raises:
        MemoryError: if the copies of ``a`` and ``b`` cannot be allocated.
    """
    (m, k), (k_of_b, n), dtype = a.shape, b.shape, a.dtype
    (a_row, a_col), (b_row, b_col), (c_row, c_col) = a.stride(), b.stride(), out.stride()
    assert k == k_of_b, (a.shape, b.shape)
    assert out.shape == (m, n), (out.shape, m, n)
    assert b.dtype is dtype, (dtype, b.dtype)
    assert c_col == 1 or n <= 1, out.stride()
    assert a.device.type == b.device.type == out.device.type == "cpu"
    failed = function(dtype, out.dtype)(
        *(m, n, k, a.data_ptr(), a_row, a_col, b.data_ptr(), b_row, b_col, out.data_ptr(), c_row),
        *(*_bias_arguments(bias, n, dtype), accumulate),
        num_threads() if threads is None or _is_forked else threads,
    )
    if failed:
        raise MemoryError(f"matmul: no memory to copy operands of ({m}, {k}) and ({k}, {n}).")
    return out


def _bias_arguments(bias: Tensor | None, n: int, dtype: torch.dtype) -> tuple[int | None, bool]:
    """The address of a bias, and whether it has the dtype of the sums."""
    if bias is None:
        return None, False
    assert bias.shape == (n,), (bias.shape, n)
    assert bias.is_contiguous(), bias.stride()
    assert bias.dtype is dtype or bias.dtype is _SUMS[dtype], bias.dtype
    return bias.data_ptr(), bias.dtype is _SUMS[dtype]

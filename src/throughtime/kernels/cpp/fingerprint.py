"""A number that changes when the bytes of tensors change, whoever writes them.

PyTorch counts the changes of a tensor in its version, but not a write into ``.data`` or through an
array of numpy that shares its memory, a step of a fused optimizer, or a write by another process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

from torch import Tensor

from throughtime.kernels.cpp.build import load

__all__ = ["Fingerprint", "source"]


class Fingerprint:
    """Remembers the bytes of tensors by one number.

    Args:
        tensors: on the CPU, with strides. They must stay where they are in memory.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        parts = [(tensor.data_ptr(), _span(tensor)) for tensor in tensors]
        self._count = len(parts)
        self._parts = (_Bytes * self._count)(*parts)
        self._function = _function()
        self._number = self._function(self._parts, self._count)

    def is_equal(self) -> bool:
        """Whether the tensors have the bytes that they had at first."""
        return self._function(self._parts, self._count) == self._number


class _Bytes(ctypes.Structure):
    """The fields of ``Bytes`` of fingerprint.hpp."""

    _fields_ = (("from", ctypes.c_void_p), ("size", ctypes.c_int64))


def _span(tensor: Tensor) -> int:
    """The bytes from the first to the last element; those between rows are read as well."""
    if tensor.numel() == 0:
        return 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return (1 + sum((size - 1) * stride for size, stride in steps)) * tensor.element_size()


@cache
def _function() -> ctypes._NamedFuncPointer:
    function = load(source()).fingerprint_of
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_int64], ctypes.c_uint64
    return function


def source() -> str:
    """The C++ of the function that Python calls."""
    return """// fingerprint
#include "fingerprint.hpp"
extern "C" __attribute__((visibility("default"))) uint64_t fingerprint_of(
    const throughtime::Bytes* parts, int64_t count) {
    return throughtime::fingerprint(parts, count);
}
"""

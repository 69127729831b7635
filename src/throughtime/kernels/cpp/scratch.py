"""Allocates memory for the arrays of a call: fresh memory, and scratch memory that is reused."""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch
from torch import Tensor

__all__ = ["LARGE", "Scratch", "empty", "lasting", "scratch", "zeros_on_large_pages"]

# Larger scratch memory is freed after the call; else it would stay allocated as long as the thread.
_LARGEST_KEPT = 32 << 20


def empty(shape: tuple[int, ...], dtype: torch.dtype, zero: bool = False) -> Tensor:
    """A new tensor, filled with zeros if ``zero``, else uninitialized."""
    if zero:
        return torch.zeros(shape, dtype=dtype)
    return on_large_pages(torch.empty(shape, dtype=dtype))


@contextmanager
def lasting() -> Iterator[None]:
    """Inside, tensors are made for later calls, whatever modes are set now.

    They are on the CPU, although another default device may be set. They are no inference tensors,
    which could not be written after the caller has left the inference mode.
    """
    with torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
        yield


class Scratch(threading.local):
    """Reusable scratch memory; never return a view of it.

    Each Python thread has its own. Allocating fresh memory, and writing to it for the first time,
    often takes longer than the computation that uses it.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Uninitialized memory; the next ``take`` with the same name in this thread reuses it."""
        size = math.prod(shape) * dtype.itemsize
        if size > _LARGEST_KEPT:
            return empty(shape, dtype)
        memory = self._by_name.get(name)
        if memory is None or memory.numel() < size:
            memory = self._by_name[name] = empty((size,), torch.uint8)
        return memory[:size].view(dtype).view(shape)


scratch = Scratch()

_MADV_HUGEPAGE = 14
LARGE = 1 << 22
"""The bytes from which on memory is on large pages."""


@cache
def _madvise() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise


_LARGE_PAGE = 1 << 21


def zeros_on_large_pages(size: int) -> Tensor:
    """Zeros of uint8, for memory that is read again and again for a long time.

    From 2 MiB on it is memory of its own, aligned so that the system can back all of it by large
    pages. The allocator would often return a part that has small pages already.
    """
    if size < _LARGE_PAGE or sys.platform == "win32":
        return torch.zeros(size, dtype=torch.uint8)
    memory = mmap.mmap(-1, size + _LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Not every kernel knows it; the pages then stay small.
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    begin = -whole.data_ptr() % _LARGE_PAGE
    return whole[begin : begin + size]


def on_large_pages(fresh: Tensor) -> Tensor:
    """Asks the system to back the tensor's memory by large pages; returns the tensor.

    The first write to each page is slow: with small pages these writes take as long as several
    matrix products.
    """
    size = fresh.nbytes
    if size >= LARGE and (advise := _madvise()) is not None:
        begin = -(-fresh.data_ptr() // 4096) * 4096
        # The result is not checked: the pages stay small if the system refuses.
        advise(begin, (fresh.data_ptr() + size - begin) // 4096 * 4096, _MADV_HUGEPAGE)
    return fresh

"""The functions of one compiled direction of a cell."""

from __future__ import annotations

import ctypes

from throughtime.kernels.cpp.build import load
from throughtime.kernels.cpp.context import Context, check_layout
from throughtime.kernels.cpp.emit import Source

__all__ = ["Library"]


class Library:
    """One direction of a cell, compiled and loaded.

    Args:
        source: the generated C++.
        is_backward: which direction it is.
    """

    def __init__(self, source: Source, is_backward: bool) -> None:
        library = load(source.text)
        # Before the first call: with other places of the fields it would write anywhere.
        check_layout(library)
        self.is_backward = is_backward
        self.source = source
        self.run, self.pack = library.run_steps, library.pack_weights
        self.packed_size, self.partials_size = library.packed_size, library.partials_size
        context, pointer = ctypes.POINTER(Context), ctypes.c_void_p
        self.run.argtypes, self.run.restype = [context], None
        self.pack.argtypes, self.pack.restype = [context, pointer, pointer], None
        for size in (self.packed_size, self.partials_size):
            size.argtypes, size.restype = [context], ctypes.c_int64

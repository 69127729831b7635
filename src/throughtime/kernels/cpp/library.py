"""The compiled code of one direction of a cell, with its functions."""

from __future__ import annotations

import ctypes

from throughtime.kernels.cpp.build import load
from throughtime.kernels.cpp.context import Context, check_layout
from throughtime.kernels.cpp.emit import Source

__all__ = ["Library"]


class Library:
    """The compiled code of one direction of a cell.

    Args:
        source: the generated C++; it is compiled unless the cache holds the library.
        is_backward: whether it is the backward direction.

    Attributes:
        run: runs steps of a chunk; takes a pointer to a :class:`Context`.
        pack: copies the blocks of R to the order in which ``run`` reads them.
        packed_size, partials_size: the bytes of these copies, and of the partial reductions.
    """

    def __init__(self, source: Source, is_backward: bool) -> None:
        library = load(source.text)
        # Before the first call: a kernel that finds the fields elsewhere would write to arbitrary
        # addresses.
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

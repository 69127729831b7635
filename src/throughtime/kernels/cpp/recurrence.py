"""One cell on the CPU: both compiled directions, built together and only when they are needed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp import gemm
from throughtime.kernels.cpp.backward import Backward
from throughtime.kernels.cpp.build import CompileError, prebuild
from throughtime.kernels.cpp.forward import STORAGE, Forward, KeptArrays
from throughtime.kernels.cpp.weight_gradients import Gradients
from throughtime.kernels.graph.program import Program

__all__ = ["STORAGE", "KeptArrays", "Kernel", "kernel"]


class Kernel:
    """A cell compiled for one storage type.

    Args:
        program: what a step computes.
        storage: ``float``, ``double`` or ``bfloat16``.

    Attributes:
        used: when :func:`kernel` last returned it; a larger number is later.
    """

    def __init__(self, program: Program, storage: str) -> None:
        self.program, self.storage, self.used = program, storage, next(_clock)
        self._forward = Forward(program, storage)
        self._backward = Backward(self._forward)
        self.dtype, self.compute = self._forward.dtype, self._forward.compute
        self._built: set[bool] = set()
        self._refused: CompileError | None = None

    def build(self, trains: bool) -> None:
        """Compiles and loads what is not compiled yet, all sources at the same time.

        Args:
            trains: whether a backward call will follow.

        Raises:
            CompileError: if there is no compiler, or it refuses a source.
        """
        if self._refused is not None:
            raise self._refused
        if trains not in self._built:
            texts = [self._forward.source.text]
            texts += [self._backward.source.text] if trains else []
            results = {self.compute, self.dtype} if trains else {self.compute}
            texts += [gemm.source(self.dtype, result) for result in results]
            try:
                # First all compilers at once; then each library is only loaded.
                prebuild([(text, ()) for text in texts])
                _ = self._forward.library, trains and self._backward.library
                for result in results:
                    gemm.function(self.dtype, result)
            except CompileError as error:
                # A source that the compiler refused once would be refused each time.
                self._refused = error
                raise
            # With the backward direction the forward one was built too.
            self._built.update({trains, False})

    def kept_arrays(
        self, T: int, B: int, H: int, save: str, is_ragged: bool
    ) -> list[tuple[str, tuple[int, ...]]]:
        """See :meth:`Forward.kept_arrays`."""
        return self._forward.kept_arrays(T, B, H, save, is_ragged)

    def type_of(self, name: str) -> torch.dtype:
        """See :meth:`Forward.type_of`."""
        return self._forward.type_of(name)

    def forward(
        self, call: Call, save: str | None
    ) -> tuple[Tensor, list[Tensor], KeptArrays | None]:
        """Compiles what is needed, and runs all steps; see :meth:`Forward.run`."""
        # Both directions at once where a backward call follows: the user waits only once. A
        # program that records values has no backward direction.
        self.build(save is not None and not self.program.others)
        return self._forward.run(call, save)

    def trace(self, call: Call) -> dict[str, Tensor]:
        """Runs all steps, and returns all values of each; see :meth:`Forward.values`."""
        _, _, kept = self.forward(call, "gates")
        assert kept is not None
        return self._forward.values(call, kept)

    def backward(
        self,
        call: Call,
        kept: KeptArrays,
        d_output: Tensor | None,
        d_last: Sequence[Tensor | None],
        of_input: bool = True,
    ) -> Gradients:
        """The gradients of all arguments of a forward call; see :meth:`Backward.run`."""
        self.build(True)
        return self._backward.run(call, kept, d_output, d_last, of_input)


MOST_KERNELS = 256
"""How many kernels are kept in memory. One takes about 0.1 MiB."""

_kernels: dict[tuple[int, str], Kernel] = {}
_clock = itertools.count()


def kernel(program: Program, dtype: torch.dtype) -> Kernel:
    """The kernel of a program for one dtype.

    The last :data:`MOST_KERNELS` kernels are kept. One that is dropped while it runs, or while an
    operator refers to it, lives on until then.
    """
    key = (id(program), STORAGE[dtype])
    known = _kernels.get(key)
    if known is None:
        while len(_kernels) >= MOST_KERNELS:
            # A list, and no error if the key is gone: another thread may do the same meanwhile.
            oldest, _ = min(list(_kernels.items()), key=lambda item: item[1].used)
            _kernels.pop(oldest, None)
        known = _kernels.setdefault(key, Kernel(program, STORAGE[dtype]))
    known.used = next(_clock)
    return known

"""The kernel of a cell: both compiled directions, which are compiled together on first use."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from throughtime.kernels.call import Call
from throughtime.kernels.cpp import gemm, training_code
from throughtime.kernels.cpp.backward import Backward
from throughtime.kernels.cpp.build import CompileError, prebuild
from throughtime.kernels.cpp.forward import STORAGE, Forward, KeptArrays
from throughtime.kernels.cpp.training import TrainingPlan
from throughtime.kernels.cpp.weight_gradients import Gradients
from throughtime.kernels.graph.program import Program

__all__ = ["STORAGE", "KeptArrays", "Kernel", "kernel"]


class Kernel:
    """Both compiled directions of a cell for one storage type.

    Args:
        program: the computation of a step.
        storage: the type of stored values: ``float``, ``double`` or ``bfloat16``.

    Attributes:
        forward_code, backward_code: the two directions.
        last_use: increases each time :func:`kernel` returns a kernel; the time of the last one.
    """

    def __init__(self, program: Program, storage: str) -> None:
        self.program, self.storage, self.last_use = program, storage, next(_clock)
        self.forward_code = Forward(program, storage)
        self.backward_code = Backward(self.forward_code)
        self.dtype, self.compute = self.forward_code.dtype, self.forward_code.compute
        self._with_weights: dict[str, Forward] = {}
        # A plan is kept by the layers, and the backward passes to come, that use it.
        self._plans: WeakValueDictionary[tuple[int, int, bool], TrainingPlan]
        self._plans = WeakValueDictionary()
        self._built: set[bool] = set()
        self._refused: CompileError | None = None

    def build(self, trains: bool) -> None:
        """Compiles and loads the libraries of the kernel, all at the same time, once.

        Args:
            trains: whether a backward call will follow, which needs further libraries.

        Raises:
            CompileError: if there is no compiler, or it refuses a source.
        """
        if self._refused is not None:
            raise self._refused
        if trains not in self._built:
            texts = [self.forward_code.source.text]
            texts += [self.backward_code.source.text] if trains else []
            results = {self.compute, self.dtype} if trains else {self.compute}
            texts += [gemm.source(self.dtype, result) for result in results]
            if trains and self.has_plans:
                texts.append(training_code.source(self.storage))
            try:
                # prebuild runs all compilers at the same time; after it each library is only
                # loaded. One after the other, a user would wait for the sum of their times.
                prebuild([(text, ()) for text in texts])
                _ = self.forward_code.library, trains and self.backward_code.library
                for result in results:
                    gemm.function(self.dtype, result)
            except CompileError as error:
                # The compiler would refuse the source again, and take its time for it.
                self._refused = error
                raise
            # The libraries of a call without a backward call are among those of one with it.
            self._built.update({trains, False})

    @property
    def has_plans(self) -> bool:
        """Whether training steps can be run by a :meth:`plan`."""
        has_further_inputs = bool(self.program.cell.given_inputs)
        return self.dtype is self.compute and not (self.program.others or has_further_inputs)

    def plan(self, features: int, units: int, reverse: bool) -> TrainingPlan:
        """The plan of training steps of a layer with these sizes."""
        key = (features, units, reverse)
        plan = self._plans.get(key)
        if plan is None:
            self.build(True)
            plan = TrainingPlan(self.forward_code, self.backward_code, *key)
            self._plans[key] = plan
        return plan

    def with_weights(self, weights: str | None) -> Forward:
        """The forward direction with packed weights of another type; see :func:`emit`."""
        if weights is None:
            return self.forward_code
        if weights not in self._with_weights:
            self._with_weights[weights] = Forward(self.program, self.storage, weights)
        return self._with_weights[weights]

    def kept_arrays(
        self, T: int, B: int, H: int, save: str, is_ragged: bool
    ) -> list[tuple[str, tuple[int, ...]]]:
        """See :meth:`Forward.kept_arrays`."""
        return self.forward_code.kept_arrays(T, B, H, save, is_ragged)

    def type_of(self, name: str) -> torch.dtype:
        """See :meth:`Forward.type_of`."""
        return self.forward_code.type_of(name)

    def forward(
        self, call: Call, save: str | None
    ) -> tuple[Tensor, list[Tensor], KeptArrays | None]:
        """Compiles the libraries if needed, and runs all steps; see :meth:`Forward.run`."""
        # If a backward call follows, its libraries are compiled now, at the same time: the user
        # waits only once. A program that records values has no backward direction.
        self.build(save is not None and not self.program.others)
        return self.forward_code.run(call, save)

    def record(self, call: Call) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        """Runs all steps; also returns all values of each step, see :meth:`Forward.values`."""
        output, last, kept = self.forward(call, "gates")
        assert kept is not None
        values = self.forward_code.values(call, kept)
        # A copy, because the caller may change the output, and a value may share its memory.
        return output.clone(), tuple(last), values

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
        return self.backward_code.run(call, kept, d_output, d_last, of_input)


MOST_KERNELS = 256
"""The number of kernels that a process keeps in memory. One takes about 0.1 MiB."""

_kernels: dict[tuple[int, str], Kernel] = {}
_clock = itertools.count()


def kernel(program: Program, dtype: torch.dtype) -> Kernel:
    """The kernel of a program for one dtype.

    The :data:`MOST_KERNELS` kernels that were used last are kept. A kernel that is removed while
    it runs, or while an operator refers to it, stays usable until then.
    """
    # By identity, which costs no comparison of programs. The kernel keeps its program alive, so
    # that the id of a key always belongs to this program.
    key = (id(program), STORAGE[dtype])
    cached = _kernels.get(key)
    if cached is None:
        while len(_kernels) >= MOST_KERNELS:
            # Another thread may change the dict meanwhile: hence a copy of its items, and no
            # error if the key is gone.
            oldest, _ = min(list(_kernels.items()), key=lambda item: item[1].last_use)
            _kernels.pop(oldest, None)
        cached = _kernels.setdefault(key, Kernel(program, STORAGE[dtype]))
    cached.last_use = next(_clock)
    return cached

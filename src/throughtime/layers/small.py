"""Runs small calls of a layer without gradients by a compiled plan, which the layer keeps.

In a small call most of the time is spent outside the kernel: on packing weights, allocating memory
and choosing a backend. A layer that is called again keeps a plan with its packed weights instead,
and checks in each call whether that still holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from throughtime.kernels.cpp.backend import FEW_STEPS
from throughtime.kernels.cpp.plan_memory import Memory
from throughtime.kernels.graph.random import new_seed
from throughtime.layers.planning import Network, Planned, fits, is_plain, planned
from throughtime.layers.stack import Stack

__all__ = ["Small"]

_MOST_ROWS = 16
_MOST_BYTES = 1 << 21
"""The largest packed weights that a layer keeps besides its own."""
_MOST_PRODUCTS = 1 << 25
"""The most multiplications of a call; in a larger one the time outside the kernel is no share."""


class Small:
    """The plan that a layer keeps for its small calls; a copy of the layer makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: Planned | None = None
        self._memory: Memory | None = None
        # The weights of the last call that went another way, how often they have been the same
        # since, and how often they must be before a plan is made.
        self._weights: list[tuple[int, int]] = []
        self._waited, self._waits = 0, 1

    def __deepcopy__(self, memo: Any) -> Small:
        return Small()

    def __reduce__(self) -> Any:
        return Small, ()

    def run(
        self, layer: Stack, describe: Callable[[], Network], x: Any, hx: Any
    ) -> tuple[Tensor, list[Tensor]] | None:
        """The output of a call, and the last states, each (L, B, size).

        Args:
            layer: the layer that is called.
            describe: returns its parts.
            x: its input, in its layout.
            hx: the initial states as the caller passed them, or None.

        Returns:
            None if the call is not small, is the first one with these weights, or must go another
            way.
        """
        if type(x) is not Tensor or x.dim() != 3 or torch.is_grad_enabled() or not is_plain(x):
            return None
        # Another thread may be running this layer.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._run(layer, describe, x, hx)
        finally:
            self._lock.release()

    def _run(
        self, layer: Stack, describe: Callable[[], Network], x: Tensor, hx: Any
    ) -> tuple[Tensor, list[Tensor]] | None:
        known = self._planned
        # A shallow copy of a layer shares this object, but not the options.
        if known is None or known.network.recurrent is not layer or not known.is_current():
            known = self._plan_of(layer, describe, x)
            if known is None:
                return None
        plan, time = known.plan, 1 if known.batch_first else 0
        steps, rows = x.shape[time], x.shape[1 - time]
        if (
            plan is None
            or x.dtype is not known.dtype
            or x.shape[-1] != known.input_size
            or known.has_inputs
            or (layer.training and not known.runs_in_training)
            or not 0 < rows <= _MOST_ROWS
            or steps <= FEW_STEPS
            or plan.size > _MOST_BYTES
            or steps * rows * plan.size > _MOST_PRODUCTS * plan.dtype.itemsize
            or (hx is not None and not fits(hx, layer, rows))
            or not plan.suits_one_thread(rows)
        ):
            return None
        if not known.has_equal_bytes():
            # Something writes the weights without PyTorch's knowledge, and may do so again.
            self._planned, self._waits, self._waited = None, 2 * self._waits, 0
            return None
        memory = self._memory
        if memory is None or memory.rows != rows:
            memory = Memory(plan, rows, list(layer.state_sizes.values()))
            memory.states = known.network.initial(rows)
            memory.note_states()
            self._memory = memory
        if hx is None:
            memory.restore_states()
        else:
            memory.states = (hx,) if isinstance(hx, Tensor) else hx
        if x.is_neg() or not x.is_contiguous():
            x = x.resolve_neg().contiguous()
        first, second, _ = x.shape
        y = known.like.new_empty(first, second, plan.output_size)
        if plan.draws:
            memory.set_seeds([int(new_seed(x.device)) for _ in plan.layers])
        memory.piece(x, y, time)
        return y, memory.states

    def _plan_of(self, layer: Stack, describe: Callable[[], Network], x: Tensor) -> Planned | None:
        """A new plan; None if the weights may change before it is used, or are too large for one.

        Packing weights takes longer than a call. If they change with each call, as in a search by
        evolution, no plan is made.
        """
        self._planned = self._memory = None
        rows = x.shape[0 if layer.batch_first else 1]
        parameters = list(layer.parameters())
        if rows > _MOST_ROWS or sum(p.nbytes for p in parameters) > _MOST_BYTES:
            return None
        weights = [(id(p), p._version) for p in parameters if not p.is_inference()]
        self._waited = self._waited + 1 if weights == self._weights else 0
        self._weights = weights
        if self._waited >= self._waits:
            self._planned = planned(layer, describe)
        return self._planned

"""Runs the steps of a stream by a compiled plan, wherever a plan can run them.

A plan copies the weights and reads its input by its address, past PyTorch's dispatcher. So before
each call :class:`Live` checks that nothing has changed since the weights were copied, and that
nothing listens to the dispatcher. A call that a plan cannot run is left to the module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from throughtime.kernels.cpp.plan_memory import Memory
from throughtime.kernels.graph.random import new_seed
from throughtime.kernels.transforms import is_direct, is_intercepted
from throughtime.layers.evaluation import records_gradients
from throughtime.layers.incoming import prepared
from throughtime.layers.planning import Network, Planned, fits, planned

__all__ = ["MOST_ROWS", "Live"]

MOST_ROWS = 16
"""The largest batch that a plan runs. It uses one thread; more rows are done sooner by several."""

_MOST_STEPS = 64
"""The longest piece of a sequence that a plan runs. It reads W once for each step; a longer piece
is done sooner by one large product of all its steps with W."""


class Live:
    """The plan of a stream, and the states of its rows while the plan runs them.

    Args:
        module: the module of the stream.
        describe: returns the parts of the module.
        weights: the type of the plan's weights; None is that of the module. The module has no
            weights of another type, so the plan then runs calls of any size.

    Attributes:
        has_states: whether the states are here, and not with the stream.
        is_single: whether these states are those of one sequence without a batch, each (L, size).
    """

    def __init__(
        self, module: nn.Module, describe: Callable[[], Network], weights: str | None = None
    ) -> None:
        self._module, self._describe, self._weights = module, describe, weights
        self._planned: Planned | None = None
        self._memory: Memory | None = None
        self.has_states = self.is_single = False

    def fork(self) -> Live:
        """A second, independent plan that continues from the same states."""
        other = Live(self._module, self._describe, self._weights)
        other._planned, other.has_states = self._planned, self.has_states
        other.is_single = self.is_single
        if self.has_states and self._memory is not None:
            other._memory = self._memory.fork()
        return other

    # The states.

    def take_states(self) -> tuple[Tensor, ...]:
        """The states, each (L, B, size) or (L, size), which then are the stream's."""
        assert self._memory is not None
        self.has_states = False
        states = self._memory.states
        return tuple(s.squeeze(1) for s in states) if self.is_single else tuple(states)

    def copied_states(self) -> tuple[Tensor, ...]:
        """Copies of the states, which stay here; see :meth:`take_states`."""
        states = self.take_states()
        self.has_states = True
        return states

    def replace_states(self, state: Any) -> bool:
        """Goes on from another state of as many rows; returns whether it has such states.

        Unlike at the beginning of a sequence, the bytes of the weights are not compared.
        """
        known, memory = self._planned, self._memory
        if not self.has_states or self.is_single or known is None or memory is None:
            return False
        # A plan copies the state: the module runs a call whose gradients are recorded.
        if records_gradients() or memory.plan is not known.plan:
            return False
        if not fits(state, known.network.recurrent, memory.rows):
            return False
        states = (state,) if isinstance(state, Tensor) else state
        if states[0].dtype is not memory.plan.dtype:
            return False
        memory.states = states
        return True

    def reset_rows(self, rows: Tensor) -> None:
        """Sets rows back to their initial state; see :meth:`with_rows_reset`."""
        assert self._memory is not None
        states = self.with_rows_reset(tuple(self._memory.states), rows)
        self._memory.states = states

    def with_rows_reset(self, state: Any, rows: Tensor) -> Any:
        """A state of the module with some rows set back to their initial state.

        Args:
            state: the state, a tensor (L, B, size) or a tuple of them.
            rows: (B) bool, True where a row is set back.
        """
        states = (state,) if isinstance(state, Tensor) else tuple(state)
        B = states[0].shape[1] if states[0].dim() == 3 else 1
        if not isinstance(rows, Tensor) or rows.dtype != torch.bool or tuple(rows.shape) != (B,):
            got = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else repr(rows)
            raise ValueError(
                f"Stream.reset: expected rows as a mask of torch.bool with the shape ({B},), "
                f"because the state has {B} row(s), got {got}."
            )
        with torch.no_grad():
            initial = self._describe().initial(B)
            mask = rows.to(states[0].device).view(1, B, 1)
            new = tuple(
                torch.where(mask, first.view(s.shape[0], B, -1), s.view(s.shape[0], B, -1)).view(
                    s.shape
                )
                for first, s in zip(initial, states, strict=True)
            )
        return new[0] if isinstance(state, Tensor) else new

    # Running.

    def run(self, x: Any, inputs: Any, state: Any, is_step: bool) -> Tensor | None:
        """The output of a call of :meth:`Stream.step` or :meth:`Stream.read`.

        Args:
            x, inputs: the arguments of the call.
            state: the state of the stream, None before the first step; it is not read if the
                states are here.
            is_step: whether x is one step, without the dimension of time.

        Returns:
            The output; None if the plan cannot run the call, see :meth:`refusal`.
        """
        if self.refusal(x, inputs, state, is_step):
            return None
        known = self._planned
        assert known is not None
        assert known.plan is not None
        if _is_single(known, x, is_step):
            return self._run_single(known, x, inputs, state, is_step)
        self.is_single = False
        time = 1 if known.batch_first else 0
        memory = self._memory
        if not self.has_states or memory is None or memory.plan is not known.plan:
            memory = self._memory_of(known, x.shape[0 if is_step else 1 - time], state)
        return self._run_rows(known, memory, x, inputs, None if is_step else time)

    def _run_single(
        self, known: Planned, x: Tensor, inputs: Any, state: Any, is_step: bool
    ) -> Tensor | None:
        """Runs one sequence without a batch as the only row; see :meth:`run`."""
        memory = self._memory
        if not self.has_states or memory is None or memory.plan is not known.plan:
            if state is not None:
                states = (state,) if isinstance(state, Tensor) else state
                state = tuple(s.unsqueeze(1) for s in states)
            memory = self._memory_of(known, 1, state)
        self.is_single = True
        rows = 0 if is_step or known.batch_first else 1
        if inputs is not None:
            inputs = {
                name: value.unsqueeze(rows) if isinstance(value, Tensor) else value
                for name, value in inputs.items()
            }
        time = None if is_step else 1 - rows
        y = self._run_rows(known, memory, x.unsqueeze(rows), inputs, time)
        return None if y is None else y.squeeze(rows)

    def _run_rows(
        self, known: Planned, memory: Memory, x: Tensor, inputs: Any, time: int | None
    ) -> Tensor | None:
        """Runs a call of some rows.

        Args:
            memory: their memory.
            x, inputs: see :meth:`run`.
            time: the dimension of time; None if x is one step.
        """
        assert known.plan is not None
        if not x.is_contiguous() or x.is_neg():
            x = x.detach().resolve_neg().contiguous()
        if known.plan.draws:
            memory.set_seeds([int(new_seed(x.device)) for _ in known.plan.layers])
        leading = x.shape if known.is_token else x.shape[:-1]
        y = known.like.new_empty((*leading, known.plan.output_size))
        if inputs is not None:
            self._run_with_inputs(memory, x, y, inputs, time)
        elif not (memory.step(x, y) if time is None else memory.piece(x, y, time)):
            # A token has no embedding; the module raises the error.
            return None
        self.has_states = True
        return y

    def _run_with_inputs(
        self, memory: Memory, x: Tensor, y: Tensor, inputs: Any, time: int | None
    ) -> None:
        """Runs a call with further inputs, which are checked as in a call of the layer.

        Args:
            memory: the memory of the rows.
            x, y: the input and the output.
            inputs: the further inputs by name.
            time: the dimension of time; None if x is one step.
        """
        assert self._planned is not None
        layer = self._planned.network.recurrent
        if time is None:
            time = 1 if layer.batch_first else 0
            x, y = x.unsqueeze(time), y.unsqueeze(time)
            inputs = {
                k: v.unsqueeze(time) if isinstance(v, Tensor) else v for k, v in inputs.items()
            }
        further = prepared(layer, x, None, inputs=inputs).inputs
        for t in range(x.shape[time]):
            memory.set_inputs([value[t] for value in further])
            memory.piece(x.narrow(time, t, 1), y.narrow(time, t, 1), time)

    def _memory_of(self, known: Planned, rows: int, state: Any) -> Memory:
        """The memory for the first call, or for the first one after the weights have changed."""
        memory, plan = self._memory, known.plan
        assert plan is not None
        states: Sequence[Tensor]
        if self.has_states and memory is not None:
            states = memory.states
        elif state is None:
            states = known.network.initial(rows)
        else:
            states = (state,) if isinstance(state, Tensor) else state
        if memory is None or memory.plan is not plan or memory.rows != rows:
            memory = Memory(plan, rows, list(known.network.recurrent.state_sizes.values()))
        memory.states = states
        self._memory = memory
        return memory

    def refusal(self, x: Any, inputs: Any, state: Any, is_step: bool) -> str:
        """Why the plan cannot run a call; empty if it can. See :meth:`run` for the arguments."""
        # Every step asks this, and a step takes a few microseconds: hence the plain tests.
        if type(x) is not Tensor and not (isinstance(x, Tensor) and is_direct((x,))):
            return f"x is a {type(x).__name__}"
        if not x.is_cpu:
            return f"x is on {x.device.type} (needs cpu)"
        if is_intercepted():
            return "a compiler, a transform or a dispatch mode must see each operation"
        if torch._C._is_any_autocast_enabled():
            return "autocast is on"
        if records_gradients():
            return "gradients are recorded"
        if forward_ad._current_level >= 0:
            return "forward-mode differentiation is on"
        known = self._planned
        if known is None or not (
            # The bytes of the weights are compared where a sequence begins: to read all of them
            # takes as long as a step.
            known.is_current() and (self.has_states or known.has_equal_bytes())
        ):
            known = self._planned = planned(self._module, self._describe, self._weights)
        if known.plan is None:
            return "; ".join(known.why)
        if known.has_hooks():
            return "a hook is registered on the module or on a part of it"
        return self._refusal_of_shape(known, x, inputs, state, is_step)

    def _refusal_of_shape(
        self, known: Planned, x: Tensor, inputs: Any, state: Any, is_step: bool
    ) -> str:
        if x.dtype is not known.dtype:
            return f"x is of {x.dtype} (needs {known.dtype})"
        if x.layout is not torch.strided:
            return f"x has the layout {x.layout}"
        shape, is_token = x.shape, known.is_token
        is_single = _is_single(known, x, is_step)
        if len(shape) != 3 - is_token - is_step - is_single or not (
            is_token or shape[-1] == known.input_size
        ):
            return f"x has the shape {tuple(shape)}"
        rows, steps = (1, 1) if is_single else (shape[0], 1 if is_step else shape[1])
        if is_single and not is_step:
            steps = shape[0]
        elif not (is_step or known.batch_first):
            rows, steps = steps, rows
        is_small = rows <= MOST_ROWS and steps <= _MOST_STEPS
        if rows == 0 or steps == 0 or not (is_small or self._weights is not None):
            return (
                f"x has {rows} rows and {steps} steps (a plan runs 1 to {MOST_ROWS} rows, and 1 "
                f"to {_MOST_STEPS} steps in one call)"
            )
        if (inputs is not None) != known.has_inputs:
            return "the further inputs are not those of the cell"
        if self.has_states and self._memory is not None:
            if self._memory.rows != rows or self.is_single != is_single:
                return f"the state has {'no' if self.is_single else self._memory.rows} rows"
            # The states were those of another plan; the module may have other layers now.
            if self._memory.plan is known.plan:
                return ""
            state, is_single = self._memory.states, False
        layer = known.network.recurrent
        if state is None or fits(state, layer, None if is_single else rows):
            return ""
        return "the state does not fit"


def _is_single(known: Planned, x: Tensor, is_step: bool) -> bool:
    """Whether x is one sequence of features, or a step of one, without a batch."""
    return not known.is_token and x.dim() == 2 - is_step

"""Runs small calls of a layer by plans of training steps, which the layer keeps.

In a small call most of the time is spent outside the kernel: on checks, on choosing a backend, and
on preparing the kernels' arguments. A layer keeps what these have led to, and only checks in each
call whether it still holds. The weights are read in each call. A call without gradients that
``small.py`` does not run, because its weights are new or large, is run here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor

from throughtime.kernels import BACKENDS, Call, dispatch
from throughtime.kernels.cpp.autograd import Form, apply_plan
from throughtime.kernels.cpp.backend import FEW_STEPS
from throughtime.kernels.cpp.identity import identity, kernel_of
from throughtime.kernels.cpp.training import TrainingPlan
from throughtime.kernels.graph.cell_keys import cell_key
from throughtime.kernels.graph.folded import fold, folds_of
from throughtime.kernels.graph.random import new_seed
from throughtime.kernels.transforms import have_memory, is_direct
from throughtime.layers.evaluation import evaluating
from throughtime.layers.incoming import initial
from throughtime.layers.planning import Network, fits, is_plain
from throughtime.layers.sequence import Layout
from throughtime.layers.stack import Incoming, Stack

__all__ = ["SmallTraining"]

Rows = Sequence[Tensor]
"""A state of all layers and directions, one tensor (B, size) for each."""

RunLayer = Callable[[Tensor, int, int], tuple[Tensor, tuple[Tensor, ...]]]
"""Runs layer and direction on x; returns the output (T, B, H) and the states (1, B, H)."""


class SmallTraining:
    """The plans that a layer keeps for its training; a copy of the layer makes its own."""

    def __init__(self) -> None:
        self._bound: _Bound | None = None

    def __deepcopy__(self, memo: Any) -> SmallTraining:
        return SmallTraining()

    def __reduce__(self) -> Any:
        return SmallTraining, ()

    def run(
        self,
        layer: Stack,
        describe: Callable[[], Network],
        through: Callable[[Tensor, RunLayer], tuple[Tensor, list[tuple[Tensor, ...]]]],
        x: Any,
        hx: Any,
    ) -> tuple[Tensor, list[Tensor]] | None:
        """The output of a call in the layout of x, and the last states, each (L*D, B, size).

        Args:
            layer: the layer that is called.
            describe: returns its parts.
            through: runs all its layers in turn.
            x: its input, in its layout.
            hx: the initial states as the caller passed them, or None.

        Returns:
            None if the call is not small, or must go another way.
        """
        if type(x) is not Tensor or x.dim() != 3 or not is_plain(x):
            return None
        spec = layer.spec
        T, B, features = x.shape
        if spec.batch_first:
            T, B = B, T
        if T <= FEW_STEPS or B == 0 or features != spec.input_size:
            return None
        if hx is not None and not fits(hx, layer, B):
            return None
        # Another thread may replace self._bound meanwhile.
        bound = self._bound
        weights = None if bound is None or bound.dtype is not x.dtype else bound.weights(layer)
        if bound is None or weights is None:
            if x.dtype is not layer.dtype:
                return None
            bound = self._bound = _Bound(layer, x, describe().refusal)
            weights = bound.weights(layer)
        if bound.runs is None or weights is None or T * B > bound.most_rows:
            return None
        x = bound.layout.time_first(x.resolve_neg() if x.is_neg() else x)
        if hx is None:
            state = bound.initial(layer, x)
        else:
            state = [s.unbind() for s in ((hx,) if isinstance(hx, Tensor) else hx)]
        output, rows = through(x, partial(bound.run, layer, weights, state))
        if len(rows) == 1 and not spec.proj_size:
            return bound.layout.restored(output), [*rows[0]]
        # A projection leaves views of wider rows.
        if spec.proj_size:
            output = output.contiguous()
        return bound.layout.restored(output), [torch.cat(r) for r in zip(*rows, strict=True)]


class _Weight(NamedTuple):
    """The place of a weight, which is read in each call: another tensor may stand there then.

    Args:
        space, name: the dict of the layer that contains it, and its name there.
        shape: its shape.
    """

    space: Mapping[str, Any]
    name: str
    shape: torch.Size


@dataclass(frozen=True)
class _Run:
    """How one layer runs in one direction.

    Args:
        plan, form: the plan, and the constants of its calls.
        weights: the places of the weights in the order of ``Call.tensors``, None for a weight that
            the cell does not have. None instead of them if some weights are computed for each
            call: by an option, the cell or a parametrization.
    """

    plan: TrainingPlan
    form: Form
    weights: tuple[_Weight | None, ...] | None


class _Bound:
    """The runs of a layer as it is now.

    Args:
        layer: the layer.
        x: the input of a call, in its layout.
        why: why a call of the layer is more than its layers in turn; else empty.

    Attributes:
        runs: the run of each layer and direction; None if compiled kernels do not run all of them.
        dtype, layout: the dtype of the weights, and the layout of sequences.
        most_rows: the most rows, over all steps, of a call.
    """

    def __init__(self, layer: Stack, x: Tensor, why: str) -> None:
        # The layer keeps this object: a reference back would delay the release of its memory.
        self._layer, self._spec, self._mode = ref(layer), layer.spec, layer.training
        self._key = cell_key(layer.equations)
        self._draws = bool(layer.equations.drawn_inputs)
        self.dtype, self.layout = layer.dtype, Layout(layer.batch_first)
        self._num_directions = layer.num_directions
        self._initial: dict[int, Sequence[Rows]] = {}
        self.most_rows = 0
        self.runs = self._runs(layer, x, why)
        self._weights = [run.weights or () for of_layer in self.runs or () for run in of_layer]

    def weights(self, layer: Stack) -> list[list[Tensor | None]] | None:
        """The weights that each run reads now; an empty list for a run that computes some.

        Returns:
            None if the layer has other options, or weights that the runs cannot read.
        """
        # A shallow copy of a layer shares this object, but not the options.
        if (
            self._layer() is not layer
            or self._spec is not layer.spec
            or self._mode is not layer.training
            or cell_key(layer.equations) != self._key
        ):
            return None
        dtype, all_values = self.dtype, []
        for places in self._weights:
            values: list[Any] = []
            for place in places:
                if place is None:
                    values.append(None)
                    continue
                space, name, shape = place
                value = space.get(name)
                if (
                    not isinstance(value, Tensor)
                    or value.shape != shape
                    or value.dtype is not dtype
                ):
                    return None
                values.append(value)
            if not have_memory(values):
                return None
            all_values.append(values)
        return all_values

    def _runs(self, layer: Stack, x: Tensor, why: str) -> list[list[_Run]] | None:
        # Inputs with a default and save="states" are left to the usual way.
        if why or layer.cell.given_inputs or layer.save != "gates":
            return None
        first = self.layout.time_first(x)
        incoming = self._incoming(first, self.initial(layer, first))
        # Some weights are computed here, and computed again by the call itself. So this must draw
        # none of the caller's random numbers, change no buffer of a parametrization, and save no
        # tensor for the backward pass, which a checkpoint would count.
        with torch.random.fork_rng([]), ExitStack() as modes:
            for part in layer.children():
                modes.enter_context(evaluating(part))
            modes.enter_context(torch.no_grad())
            calls = [
                [self._call(layer, incoming, number, d) for d in range(layer.num_directions)]
                for number in range(layer.num_layers)
            ]
        for call in (call for of_layer in calls for call in of_layer):
            chosen = dispatch.chosen(call, layer.backend, layer.strict)
            if chosen is not BACKENDS["cpp"] or not is_direct(call.tensors):
                return None
            if not kernel_of(call.cell, self.dtype).has_plans:
                return None
        runs = [
            [
                self._run_of(layer, call, layer._suffixes(number)[d])
                for d, call in enumerate(of_layer)
            ]
            for number, of_layer in enumerate(calls)
        ]
        self.most_rows = min(run.plan.most_rows for of_layer in runs for run in of_layer)
        return runs

    def _call(self, layer: Stack, incoming: Incoming, number: int, direction: int) -> Call:
        """A call of one layer whose input has the right shape, but no memory."""
        suffix = layer._suffixes(number)[direction]
        features = layer._shapes[f"weight_ih{suffix}"][1]
        x = incoming.x.new_zeros(()).expand(*incoming.x.shape[:2], features)
        seed = x.new_zeros((), dtype=torch.int64) if self._draws else None
        return layer._call(incoming, x, number, direction, seed)

    def _run_of(self, layer: Stack, call: Call, suffix: str) -> _Run:
        kernel = kernel_of(call.cell, self.dtype)
        cell = kernel.program.cell
        folded = fold(call, cell, folds_of(cell))
        plan = kernel.plan(call.x.shape[2], layer.hidden_size, call.reverse)
        counts = (len(folded.weights.parameters), len(call.state), 0)
        form = Form(identity(cell), call.reverse, "gates", *counts)
        return _Run(plan, form, self._direct(layer, call, suffix) if folded is call else None)

    def _direct(self, layer: Stack, call: Call, suffix: str) -> tuple[_Weight | None, ...] | None:
        """The places of a call's weights, which are noted; None if some are computed."""
        w = call.weights
        named = {
            "weight_ih": w.weight_ih,
            "weight_hh": w.weight_hh,
            "bias_ih": w.bias_ih,
            "bias_hh": w.bias_hh,
            **w.parameters,
        }
        weights: list[_Weight | None] = []
        for name, value in named.items():
            if value is None:
                weights.append(None)
                continue
            name += suffix
            space = next((s for s in (layer._parameters, layer._buffers) if name in s), {})
            if space.get(name) is not value:
                return None
            weights.append(_Weight(space, name, value.shape))
        return tuple(weights)

    def _incoming(self, x: Tensor, state: Sequence[Rows]) -> Incoming:
        """The arguments of a call that has x (T, B, I) and initial states alone."""
        # Of each state s the call of a layer reads s[row].
        rows: Any = tuple(state)
        return Incoming(x, None, None, self.layout, rows, ())

    def initial(self, layer: Stack, x: Tensor) -> Sequence[Rows]:
        """The initial states of a call without ``hx``; x is (T, B, I)."""
        if self._spec.learned_state:
            return [s.unbind() for s in initial(layer, x, None, self.layout)]
        rows = x.shape[1]
        state = self._initial.get(rows)
        if state is None:
            # A later call saves them for its backward pass, which excludes inference tensors.
            with torch.inference_mode(False):
                state = [s.unbind() for s in initial(layer, x, None, self.layout)]
            self._initial = {rows: state}
        return state

    def run(
        self,
        layer: Stack,
        weights: list[list[Tensor | None]],
        state: Sequence[Rows],
        x: Tensor,
        number: int,
        direction: int,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs one layer in one direction.

        Args:
            layer: the layer.
            weights: the result of :meth:`weights`.
            state: the initial states.
            x, number, direction: see :data:`RunLayer`.
        """
        assert self.runs is not None
        run = self.runs[number][direction]
        seed = new_seed(x.device) if self._draws else None
        if run.weights is None:
            call = layer._call(self._incoming(x, state), x, number, direction, seed)
            cell = run.plan.cell
            tensors = fold(call, cell, folds_of(cell)).tensors
            # A parametrization may return tensors of any type.
            if not have_memory(tensors):
                output, last = dispatch.run(call, layer.backend, layer.strict)
                return output, tuple(s.unsqueeze(0) for s in last)
        else:
            row = number * self._num_directions + direction
            tensors = (x, *weights[row], *[s[row] for s in state])
        results = apply_plan(run.plan, run.form, seed, tensors)
        return results[0], results[1:]

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
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from throughtime.kernels import BACKENDS, Call, dispatch
from throughtime.kernels.cpp.autograd import Form, apply_plan
from throughtime.kernels.cpp.backend import FEW_STEPS
from throughtime.kernels.cpp.identity import identity, kernel_of
from throughtime.kernels.cpp.training import TrainingPlan
from throughtime.kernels.graph.cell_keys import cell_key
from throughtime.kernels.graph.folded import fold, folds_of
from throughtime.kernels.graph.random import new_seed
from throughtime.kernels.transforms import is_direct
from throughtime.layers.evaluation import evaluating
from throughtime.layers.incoming import initial
from throughtime.layers.planning import Network, fits, is_plain
from throughtime.layers.sequence import Layout
from throughtime.layers.stack import Incoming, Stack

__all__ = ["SmallTraining"]

_PLAIN = (Tensor, nn.Parameter)
"""Types of which every tensor on the CPU has memory; see ``is_direct``."""

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
        through: Callable[[Tensor, RunLayer], tuple[Tensor, list[list[Tensor]]]],
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
        time = 1 if layer.batch_first else 0
        T, B = x.shape[time], x.shape[1 - time]
        if T <= FEW_STEPS or B == 0 or x.shape[2] != layer.input_size:
            return None
        if hx is not None and not fits(hx, layer, B):
            return None
        # Another thread may replace self._bound meanwhile.
        bound = self._bound
        if bound is None or bound.dtype is not x.dtype or not bound.is_current(layer):
            if x.dtype is not layer.dtype:
                return None
            bound = self._bound = _Bound(layer, x, describe().refusal)
        if bound.runs is None or T * B > bound.most_rows:
            return None
        x = bound.layout.time_first(x.resolve_neg() if x.is_neg() else x)
        state = (hx,) if isinstance(hx, Tensor) else hx
        if state is None:
            state = bound.initial(layer, x)
        output, last = through(x, partial(bound.run, layer, state))
        # A projection leaves views of wider rows.
        if layer.proj_size:
            output = output.contiguous()
        are_whole = layer.num_layers * layer.num_directions == 1 and not layer.proj_size
        return bound.layout.restored(output), [r[0] if are_whole else torch.cat(r) for r in last]


@dataclass(frozen=True)
class _Weight:
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
        self._weights: list[_Weight] = []
        self._initial: dict[int, tuple[Tensor, ...]] = {}
        self.most_rows = 0
        self.runs = self._runs(layer, x, why)

    def is_current(self, layer: Stack) -> bool:
        """Whether the layer has the same options, and weights as the runs read them."""
        # A shallow copy of a layer shares this object, but not the options.
        if (
            self._layer() is not layer
            or self._spec is not layer.spec
            or self._mode is not layer.training
            or cell_key(layer.equations) != self._key
        ):
            return False
        for weight in self._weights:
            value: Any = weight.space.get(weight.name)
            if type(value) not in _PLAIN and not (
                isinstance(value, Tensor) and is_direct((value,))
            ):
                return False
            if value.shape != weight.shape or value.dtype is not self.dtype or not value.is_cpu:
                return False
        return True

    def _runs(self, layer: Stack, x: Tensor, why: str) -> list[list[_Run]] | None:
        # Inputs with a default and save="states" are left to the usual way.
        if why or layer.cell.given_inputs or layer.save != "gates":
            return None
        first = self.layout.time_first(x)
        incoming = Incoming(first, None, None, self.layout, self.initial(layer, first), ())
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
        self._weights += [weight for weight in weights if weight is not None]
        return tuple(weights)

    def initial(self, layer: Stack, x: Tensor) -> tuple[Tensor, ...]:
        """The initial states of a call without ``hx``; x is (T, B, I)."""
        if self._spec.learned_state:
            return initial(layer, x, None, self.layout)
        rows = x.shape[1]
        state = self._initial.get(rows)
        if state is None:
            # A later call saves them for its backward pass, which excludes inference tensors.
            with torch.inference_mode(False):
                state = initial(layer, x, None, self.layout)
            self._initial = {rows: state}
        return state

    def run(
        self, layer: Stack, state: Sequence[Tensor], x: Tensor, number: int, direction: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Runs one layer in one direction.

        Args:
            layer: the layer.
            state: the initial states of all layers, each (L*D, B, size).
            x, number, direction: see :data:`RunLayer`.
        """
        assert self.runs is not None
        run = self.runs[number][direction]
        seed = new_seed(x.device) if self._draws else None
        if run.weights is None:
            incoming = Incoming(x, None, None, self.layout, tuple(state), ())
            call = layer._call(incoming, x, number, direction, seed)
            cell = run.plan.cell
            tensors = fold(call, cell, folds_of(cell)).tensors
        else:
            row = number * self._spec.num_directions + direction
            weights = [None if w is None else w.space[w.name] for w in run.weights]
            tensors = (x, *weights, *[s[row] for s in state])
        output, *states = apply_plan(run.plan, run.form, seed, tensors)
        return output, tuple(states)

"""The derivatives of the compiled kernels: autograd, ``torch.func``, and second derivatives.

An autograd function takes flat arguments: here a :class:`Form`, which says what they are, then
lengths, resets and seed, then x, the four weights (None where the cell has none), parameters,
states and further inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.kernels import reference
from throughtime.kernels.cpp.identity import cell_of
from throughtime.kernels.cpp.operators import call_of, recurrence, recurrence_backward
from throughtime.kernels.samples import as_rows, one_by_one
from throughtime.kernels.transforms import (
    alive,
    gradients_of,
    has_tangent,
    is_batched,
    is_transformed,
)

__all__ = ["Form", "apply"]

_LENGTHS, _RESETS = 0, 1
_NUM_VARYING = 3
"""Lengths, resets and seed come before the tensors that have gradients."""
_NUM_MATRICES = 5
"""x, weight_ih, weight_hh, bias_ih and bias_hh come before the parameters."""


class Form(NamedTuple):
    """The constants of a call, and what its flat tensors are.

    Args:
        cell: its identity; see :func:`throughtime.kernels.cpp.identity.identity`.
        reverse: whether time runs backwards.
        save: gates, states, or nothing if there is no backward pass.
        num_parameters, num_states, num_inputs: how many there are of each.
    """

    cell: str
    reverse: bool
    save: str
    num_parameters: int
    num_states: int
    num_inputs: int

    @property
    def num_arguments(self) -> int:
        """How many flat tensors a call has."""
        own = self.num_parameters + self.num_states + self.num_inputs
        return _NUM_VARYING + _NUM_MATRICES + own

    @property
    def places_of_weights(self) -> range:
        """Where the weights and the parameters are among the flat tensors; the states follow."""
        first = _NUM_VARYING + 1
        return range(first, _NUM_VARYING + _NUM_MATRICES + self.num_parameters)

    def parts(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """x and the weights; parameters, states and further inputs as lists."""
        a = _NUM_MATRICES + self.num_parameters
        b = a + self.num_states
        own = (list(tensors[_NUM_MATRICES:a]), list(tensors[a:b]), list(tensors[b:]))
        return *tensors[:_NUM_MATRICES], *own

    def operator_arguments(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """The flat arguments in the order of the operators."""
        varying, tensors = arguments[:_NUM_VARYING], arguments[_NUM_VARYING:]
        return *self.parts(tensors), *varying, self.cell, self.reverse, self.save


class _Recurrence(torch.autograd.Function):
    """The forward operator; its arguments are a :class:`Form` and flat tensors."""

    @staticmethod
    def forward(form, *arguments):
        return tuple(recurrence(*form.operator_arguments(arguments)))

    @staticmethod
    def setup_context(ctx, inputs, output):
        form, *arguments = inputs
        ctx.form = form
        ctx.save_for_backward(*arguments, *output)
        # What is kept for the backward pass comes after the output and the last states.
        ctx.mark_non_differentiable(*output[1 + form.num_states :])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, d_output, *d_rest):  # type: ignore[override]
        form = ctx.form
        arguments = ctx.saved_tensors[: form.num_arguments]
        output, *others = ctx.saved_tensors[form.num_arguments :]
        of_input = ctx.needs_input_grad[1 + _NUM_VARYING]
        tensors, gradients = arguments[_NUM_VARYING:], (d_output, *d_rest[: form.num_states])
        # Inside torch.compile there is no second derivative, and its view of a function that is
        # called by another's backward has the arguments wrong. Elsewhere few ask for one.
        if torch.compiler.is_compiling():
            derive = _RecurrenceBackward.forward
        elif has_tangent((*tensors, *gradients)) or is_batched(gradients):
            derive = _by_reference
        elif torch.is_grad_enabled() or is_transformed():
            derive = _RecurrenceBackward.apply
        else:
            derive = _RecurrenceBackward.forward
        kept = others[form.num_states :]
        results = derive(form, of_input, *arguments, output, *kept, *gradients)
        return *(None,) * (1 + _NUM_VARYING), *_spread(results, tensors, of_input)

    @staticmethod
    def vmap(info, in_dims, form, *arguments):  # type: ignore[override]
        dims = in_dims[1:]

        def apply(*values):
            return _Recurrence.apply(form, *values)

        lengths, _, seed = arguments[:_NUM_VARYING]
        of_layer = form.places_of_weights
        weights_are_shared = all(dims[i] is None for i in of_layer)
        # What is kept of ragged rows is in the order of their lengths, which one sample cannot
        # know of the others; of states there are as many as chunks. What is drawn at random
        # depends on a row's place in the batch.
        is_apart = form.save != "nothing" and (form.save == "states" or lengths is not None)
        if not weights_are_shared or is_apart or seed is not None:
            return one_by_one(apply, info.batch_size, dims, arguments)
        # All samples are rows of one batch. Lengths have their rows in front, resets at the end,
        # and all others have them before their features.
        dim_of_rows = {_LENGTHS: 0, _RESETS: -1}
        rows = [
            v
            if v is None or i in of_layer
            else as_rows(v, d, info.batch_size, dim_of_rows.get(i, -2))
            for i, (v, d) in enumerate(zip(arguments, dims, strict=True))
        ]
        results = apply(*rows)
        B = rows[of_layer.stop].shape[0] // info.batch_size
        split = [r.unflatten(r.dim() - 2, (info.batch_size, B)) for r in results]
        return tuple(split), tuple(r.dim() - 3 for r in split)


def _spread(
    gradients: Sequence[Tensor], tensors: Sequence[Tensor | None], of_input: bool
) -> list[Any]:
    """The gradients, with None where there is nothing to have one."""
    rest = iter(gradients)
    wanted = [of_input, *(t is not None for t in tensors[1:])]
    return [next(rest) if is_wanted else None for is_wanted in wanted]


def _by_reference(form: Form, of_input: bool, *values: Tensor | None) -> list[Tensor]:
    """The gradients of :class:`_RecurrenceBackward`, for the same arguments, by plain operations.

    They can be derived again, and every transform of PyTorch knows them. The output and what was
    kept may be left out of the arguments.
    """
    living = alive(values)
    arguments, d_results = living[: form.num_arguments], living[-1 - form.num_states :]
    varying, tensors = arguments[:_NUM_VARYING], arguments[_NUM_VARYING:]
    wanted = [i for i, t in enumerate(tensors) if t is not None and (i > 0 or of_input)]

    def run(*differentiable: Tensor) -> list[Tensor]:
        filled = list(tensors)
        for i, value in zip(wanted, differentiable, strict=True):
            filled[i] = value
        call = call_of(form.parts(filled), varying, cell_of(form.cell), form.reverse)
        output, last = reference.run(call)
        return [output, *last]

    return gradients_of(run, [tensors[i] for i in wanted], d_results)


class _RecurrenceBackward(torch.autograd.Function):
    """The backward operator; its own gradient is that of the reference, derived once more.

    Its arguments after ``form`` and ``of_input``: those of :class:`_Recurrence`, the output, what
    was kept, and the gradients of the output and of the last states.
    """

    @staticmethod
    def forward(form, of_input, *values):
        arguments, gradients = values[: form.num_arguments], values[-1 - form.num_states :]
        output, *kept = values[form.num_arguments : -1 - form.num_states]
        d_output, *d_last = gradients
        operands = form.operator_arguments(arguments)
        return tuple(recurrence_backward(*operands, output, kept, d_output, d_last, of_input))

    @staticmethod
    def setup_context(ctx, inputs, output):
        form, of_input, *values = inputs
        ctx.form, ctx.of_input, ctx.num_values = form, of_input, len(values)
        ctx.save_for_backward(*values[: form.num_arguments], *values[-1 - form.num_states :])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *seconds):
        form, count = ctx.form, ctx.form.num_arguments
        values = alive(ctx.saved_tensors)
        varying, differentiable_values = values[:_NUM_VARYING], values[_NUM_VARYING:]
        there = [i for i, v in enumerate(differentiable_values) if v is not None]

        def first(*differentiable: Tensor) -> list[Tensor]:
            filled = list(differentiable_values)
            for i, value in zip(there, differentiable, strict=True):
                filled[i] = value
            return _by_reference(form, ctx.of_input, *varying, *filled)

        gradients: list[Any] = [None] * len(values)
        second = gradients_of(first, [differentiable_values[i] for i in there], seconds)
        for i, gradient in zip(there, second, strict=True):
            gradients[_NUM_VARYING + i] = gradient
        # The output and what was kept have none.
        between = (None,) * (ctx.num_values - len(values))
        return None, None, *gradients[:count], *between, *gradients[count:]

    @staticmethod
    def vmap(info, in_dims, form, of_input, *values):  # type: ignore[override]
        def apply(*values):
            return _RecurrenceBackward.apply(form, of_input, *values)

        return one_by_one(apply, info.batch_size, in_dims[2:], values)


def apply(form: Form, varying: Sequence[Tensor | None], tensors: Sequence[Tensor | None]) -> Any:
    """Runs the operator so that its results can be derived and transformed.

    Args:
        varying: lengths, resets and seed.
        tensors: all that can have a gradient, in the order of ``Call.tensors``.
    """
    return _Recurrence.apply(form, *varying, *tensors)

"""The derivatives of the compiled kernels: autograd, ``torch.func``, and second derivatives.

An autograd function takes a flat list of arguments. Here it consists of a :class:`Form`, which
describes the rest; lengths, resets and seed; x and the four weights (None if the cell has none);
and the parameters, states and further inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from throughtime.kernels import reference
from throughtime.kernels.cpp.identity import cell_of
from throughtime.kernels.cpp.operators import call_of, recurrence, recurrence_backward
from throughtime.kernels.cpp.training import TrainingPlan
from throughtime.kernels.samples import as_rows, one_by_one
from throughtime.kernels.transforms import (
    alive,
    gradients_of,
    has_tangent,
    is_batched,
    is_direct,
    is_transformed,
)

__all__ = ["Form", "apply", "apply_plan"]

_LENGTHS, _RESETS = 0, 1
_NUM_VARYING = 3
"""The number of tensors without a gradient, which come first: lengths, resets and seed."""
_NUM_MATRICES = 5
"""The number of tensors before the parameters: x, weight_ih, weight_hh, bias_ih and bias_hh."""


class Form(NamedTuple):
    """The constants of a call, and the meaning of its flat list of tensors.

    Args:
        cell: the identity of the cell; see :func:`throughtime.kernels.cpp.identity.identity`.
        reverse: whether time runs backwards.
        save: ``gates``, ``states``, or ``nothing`` if no backward pass follows.
        num_parameters, num_states, num_inputs: the number of tensors of each kind.
    """

    cell: str
    reverse: bool
    save: str
    num_parameters: int
    num_states: int
    num_inputs: int

    @property
    def num_arguments(self) -> int:
        """The length of the flat list."""
        of_cell = self.num_parameters + self.num_states + self.num_inputs
        return _NUM_VARYING + _NUM_MATRICES + of_cell

    @property
    def places_of_weights(self) -> range:
        """The positions of the weights and the parameters in the flat list; the states follow."""
        first = _NUM_VARYING + 1
        return range(first, _NUM_VARYING + _NUM_MATRICES + self.num_parameters)

    def parts(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """x and the weights, then parameters, states and further inputs as one list each.

        Args:
            tensors: the flat list without lengths, resets and seed.
        """
        a = _NUM_MATRICES + self.num_parameters
        b = a + self.num_states
        lists = (list(tensors[_NUM_MATRICES:a]), list(tensors[a:b]), list(tensors[b:]))
        return *tensors[:_NUM_MATRICES], *lists

    def operator_arguments(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments of the operators for a flat list."""
        varying, tensors = arguments[:_NUM_VARYING], arguments[_NUM_VARYING:]
        return *self.parts(tensors), *varying, self.cell, self.reverse, self.save


class _Recurrence(torch.autograd.Function):
    """The forward operator with its derivative; its arguments are a :class:`Form` and tensors."""

    @staticmethod
    def forward(form, *arguments):
        return tuple(recurrence(*form.operator_arguments(arguments)))

    @staticmethod
    def setup_context(ctx, inputs, output):
        form, *arguments = inputs
        ctx.form = form
        ctx.save_for_backward(*arguments, *output)
        # The kept arrays come after the output and the last states.
        ctx.mark_non_differentiable(*output[1 + form.num_states :])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, d_output, *d_rest):  # type: ignore[override]
        form = ctx.form
        # Read once: a checkpoint computes the saved tensors, and frees each as it is read.
        saved = ctx.saved_tensors
        arguments, (output, *others) = saved[: form.num_arguments], saved[form.num_arguments :]
        of_input = ctx.needs_input_grad[1 + _NUM_VARYING]
        tensors, gradients = arguments[_NUM_VARYING:], (d_output, *d_rest[: form.num_states])
        if torch.compiler.is_compiling():
            # torch.compile supports no second derivatives, and passes wrong arguments to an
            # autograd function that the backward of another one applies.
            derive = _RecurrenceBackward.forward
        elif has_tangent((*tensors, *gradients)) or is_batched(gradients):
            # The operator has no rule for tangents, nor for the legacy vmap of batched gradients.
            derive = _by_reference
        elif torch.is_grad_enabled() or is_transformed():
            # The gradients may be differentiated again.
            derive = _RecurrenceBackward.apply
        else:
            derive = _RecurrenceBackward.forward
        kept = others[form.num_states :]
        results = derive(form, of_input, *arguments, output, *kept, *gradients)
        return *(None,) * (1 + _NUM_VARYING), *_with_nones(results, tensors, of_input)

    @staticmethod
    def vmap(info, in_dims, form, *arguments):  # type: ignore[override]
        dims = in_dims[1:]

        def apply(*values):
            return _Recurrence.apply(form, *values)

        lengths, _, seed = arguments[:_NUM_VARYING]
        of_layer = form.places_of_weights
        weights_are_shared = all(dims[i] is None for i in of_layer)
        # The samples may become rows of one batch only if the results can be split into samples
        # again. The kept arrays of a ragged batch cannot: their rows are sorted by length over
        # all samples. With save="states" their number depends on the size of the batch. Random
        # numbers depend on the position of a row in its batch.
        cannot_split = form.save != "nothing" and (form.save == "states" or lengths is not None)
        if not weights_are_shared or cannot_split or seed is not None:
            return one_by_one(apply, info.batch_size, dims, arguments)
        # Lengths (B) have the rows first, resets (T, B) last, and all others before the features.
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


def _with_nones(
    gradients: Sequence[Tensor], tensors: Sequence[Tensor | None], of_input: bool
) -> list[Any]:
    """One entry for each tensor: its gradient, or None if it has none."""
    rest = iter(gradients)
    has_gradient = [of_input, *(t is not None for t in tensors[1:])]
    return [next(rest) if has_one else None for has_one in has_gradient]


def _by_reference(form: Form, of_input: bool, *values: Tensor | None) -> list[Tensor]:
    """The results of :class:`_RecurrenceBackward`, computed by differentiating the reference.

    They can be differentiated again, and every transform of PyTorch supports them. The output and
    the kept arrays may be omitted from the arguments.
    """
    live_values = alive(values)
    arguments, d_results = live_values[: form.num_arguments], live_values[-1 - form.num_states :]
    varying, tensors = arguments[:_NUM_VARYING], arguments[_NUM_VARYING:]
    places = [i for i, t in enumerate(tensors) if t is not None and (i > 0 or of_input)]

    def run(*differentiable: Tensor) -> list[Tensor]:
        filled = list(tensors)
        for i, value in zip(places, differentiable, strict=True):
            filled[i] = value
        call = call_of(form.parts(filled), varying, cell_of(form.cell), form.reverse)
        output, last = reference.run(call)
        return [output, *last]

    return gradients_of(run, [tensors[i] for i in places], d_results)


class _RecurrenceBackward(torch.autograd.Function):
    """The backward operator with its derivative, which differentiates the reference twice.

    The arguments after ``form`` and ``of_input`` are the tensors of :class:`_Recurrence`, the
    output, the kept arrays, and the gradients of the output and of the last states.
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
        # The output and the kept arrays are not needed: the reference computes them again.
        ctx.save_for_backward(*values[: form.num_arguments], *values[-1 - form.num_states :])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *seconds):
        form, count = ctx.form, ctx.form.num_arguments
        values = alive(ctx.saved_tensors)
        varying, differentiable_values = values[:_NUM_VARYING], values[_NUM_VARYING:]
        places = [i for i, v in enumerate(differentiable_values) if v is not None]

        def first(*differentiable: Tensor) -> list[Tensor]:
            filled = list(differentiable_values)
            for i, value in zip(places, differentiable, strict=True):
                filled[i] = value
            return _by_reference(form, ctx.of_input, *varying, *filled)

        gradients: list[Any] = [None] * len(values)
        second = gradients_of(first, [differentiable_values[i] for i in places], seconds)
        for i, gradient in zip(places, second, strict=True):
            gradients[_NUM_VARYING + i] = gradient
        # The output and the kept arrays have no gradient.
        between = (None,) * (ctx.num_values - len(values))
        return None, None, *gradients[:count], *between, *gradients[count:]

    @staticmethod
    def vmap(info, in_dims, form, of_input, *values):  # type: ignore[override]
        def apply(*values):
            return _RecurrenceBackward.apply(form, of_input, *values)

        return one_by_one(apply, info.batch_size, in_dims[2:], values)


def apply(form: Form, varying: Sequence[Tensor | None], tensors: Sequence[Tensor | None]) -> Any:
    """Runs the forward operator so that autograd and transforms can differentiate its results.

    Args:
        form: the constants of the call.
        varying: lengths, resets and seed.
        tensors: the tensors that can have a gradient, in the order of ``Call.tensors``.
    """
    return _Recurrence.apply(form, *varying, *tensors)


class _Planned(torch.autograd.Function):
    """A training step by a plan; its arguments are a tuple of plan, form and seed, and tensors.

    It has no method ``setup_context``, which takes longer than a short sequence. Transforms of
    PyTorch need one, so they must not be active.
    """

    @staticmethod
    def forward(ctx, constants, *tensors):
        ctx.plan, ctx.form, seed = constants
        ctx.seed = 0 if seed is None else int(seed)
        output, last, kept = ctx.plan.forward(tensors, ctx.seed)
        ctx.save_for_backward(*tensors, seed, kept)
        ctx.set_materialize_grads(False)
        return output, *last

    @staticmethod
    def backward(ctx, *gradients):  # type: ignore[override]
        *tensors, seed, kept = ctx.saved_tensors
        d_output, *d_last = gradients
        values = (*tensors, kept, *gradients)
        may_be_derived = torch.is_grad_enabled() or not is_direct(values)
        if may_be_derived or has_tangent(values) or is_batched(gradients):
            results = _derived_again(ctx, tensors, seed, kept, gradients)
        else:
            needed = ctx.needs_input_grad[1:]
            results = ctx.plan.backward(tensors, kept, ctx.seed, d_output, d_last, needed)
        return None, *results


def _derived_again(
    ctx: Any, tensors: list[Tensor], seed: Tensor | None, kept: Tensor, gradients: tuple[Any, ...]
) -> list[Any]:
    """The gradients of a :class:`_Planned` as those of a :class:`_Recurrence`.

    They can be differentiated again, and other code can intercept their computation.
    """
    form, (T, B, _) = ctx.form, tensors[0].shape
    # The last states of a plan have a dimension for the layers.
    gradients = (gradients[0], *(None if d is None else d.squeeze(0) for d in gradients[1:]))
    H = tensors[form.places_of_weights.stop - _NUM_VARYING].shape[-1]
    varying, of_input = (None, None, seed), ctx.needs_input_grad[1]
    is_compiling = torch.compiler.is_compiling()
    if not is_compiling and (has_tangent((*tensors, *gradients)) or is_batched(gradients)):
        results = _by_reference(form, of_input, *varying, *tensors, *gradients)
        return _with_nones(results, tensors, of_input)
    arrays = ctx.plan.views(kept, T, B)
    names = ctx.plan.names_of_operator(T, B)
    own = arrays[ctx.plan.output]
    arrays["own"] = own
    values = (own[..., :H], *(arrays[name] for name in names), *gradients)
    # See _Recurrence.backward.
    is_derivable = not is_compiling and (torch.is_grad_enabled() or is_transformed())
    derive = _RecurrenceBackward.apply if is_derivable else _RecurrenceBackward.forward
    results = derive(form, of_input, *varying, *tensors, *values)
    return _with_nones(results, tensors, of_input)


def apply_plan(
    plan: TrainingPlan, form: Form, seed: Tensor | None, tensors: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """Runs a training step by a plan; returns the output (T, B, H) and the last states (1, B, H).

    ``is_direct`` must be true of the tensors.

    Args:
        plan: the plan.
        form: the constants of the call.
        seed: the seed of the random numbers that the cell draws, or None.
        tensors: the tensors that can have a gradient, in the order of ``Call.tensors``.
    """
    # `_Planned.apply` without its support of torch.func, which takes as long as the kernel.
    run = super(torch.autograd.Function, _Planned).apply  # type: ignore[misc]
    return run((plan, form, seed), *tensors)

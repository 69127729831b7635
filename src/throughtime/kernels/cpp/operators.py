"""The compiled kernels as two operators of PyTorch, which compilers and tracers do not trace into.

``throughtime::recurrence`` runs a cell through time, and ``throughtime::recurrence_backward``
computes its gradients. Both have a function that gives the shapes of their results without running
them, which torch.compile and torch.export need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.kernels.arguments import check, of_call
from throughtime.kernels.call import Call, Weights
from throughtime.kernels.cpp.identity import cell_of, kernel_of_identity
from throughtime.kernels.cpp.recurrence import STORAGE, KeptArrays, Kernel

__all__ = ["call_of", "recurrence", "recurrence_backward"]

# The first arguments of both operators: x, the weights and lists of tensors; then lengths, resets
# and seed; then constants.
_CALL = (
    "Tensor x, Tensor weight_ih, Tensor? weight_hh, Tensor? bias_ih, Tensor? bias_hh, "
    "Tensor[] parameters, Tensor[] state, Tensor[] inputs, Tensor? lengths, Tensor? resets, "
    "Tensor? seed, str cell, bool reverse, str save"
)
_LENGTH_OF_CALL = _CALL.count(",") + 1
_NUM_PARTS = 8
"""The number of arguments before lengths, resets and seed."""


def _kernel_and_call(arguments: Sequence[Any]) -> tuple[Kernel, Call]:
    """The kernel and the call that the arguments of an operator describe; checks the call."""
    *tensors, text, reverse, save = arguments
    call = call_of(tensors[:_NUM_PARTS], tensors[_NUM_PARTS:], cell_of(text), reverse, save)
    check(call, of_call(call, STORAGE))
    return kernel_of_identity(text, call.x.dtype), call


def call_of(
    parts: Sequence[Any],
    varying: Sequence[Tensor | None],
    cell: Cell,
    reverse: bool,
    save: str = "gates",
) -> Call:
    """The call that the arguments of an operator describe.

    Args:
        parts: x, the four weights, and the lists of parameters, states and further inputs.
        varying: lengths, resets and seed.
        cell: the cell that runs.
        reverse, save: as in :class:`~throughtime.kernels.call.Call`.
    """
    x, ih, hh, bias_ih, bias_hh, parameters, state, inputs = parts
    lengths, resets, seed = varying
    named_parameters = dict(zip(cell.parameter_specs, parameters, strict=True))
    return Call(
        cell,
        x,
        Weights(ih, hh, bias_ih, bias_hh, named_parameters),
        tuple(state),
        inputs=tuple(inputs),
        lengths=lengths,
        resets=resets,
        seed=seed,
        reverse=reverse,
        save=save,
    )


def _kept_arrays(kernel: Kernel, call: Call) -> list[tuple[str, tuple[int, ...]]]:
    (T, B, _), H = call.x.shape, call.state[0].shape[-1]
    return kernel.kept_arrays(T, B, H, call.save, call.lengths is not None)


def _forward(*arguments: Any) -> list[Tensor]:
    """The forward operator: returns the output, the last states, and the kept arrays.

    Its argument ``save`` may also be ``nothing``, if no backward pass follows.
    """
    kernel, call = _kernel_and_call(arguments)
    # A chunk of x is multiplied as one matrix (steps rows, I), which a view of strided memory
    # cannot be.
    call = replace(call, x=call.x.contiguous())
    output, last, kept = kernel.forward(call, None if call.save == "nothing" else call.save)
    if kept is None:
        return [output, *last]
    arrays = {"own": kept.output, **kept.arrays}
    return [output, *last, *(arrays[name] for name, _ in _kept_arrays(kernel, call))]


def _forward_shapes(*arguments: Any) -> list[Tensor]:
    """Empty tensors with the shapes of the results of :func:`_forward`."""
    kernel, call = _kernel_and_call(arguments)
    (T, B, _), H, empty = call.x.shape, call.state[0].shape[-1], call.x.new_empty
    results = [empty(T, B, H), *(s.new_empty(s.shape) for s in call.state)]
    if call.save != "nothing":
        arrays = _kept_arrays(kernel, call)
        results += [empty(shape, dtype=kernel.type_of(name)) for name, shape in arrays]
    return results


def _kernel_and_call_of_backward(arguments: Sequence[Any]) -> tuple[Kernel, Call]:
    """The kernel and the call of the backward operator; checks its further arguments too."""
    kernel, call = _kernel_and_call(arguments[:_LENGTH_OF_CALL])
    output, kept, d_output, d_last, _ = arguments[_LENGTH_OF_CALL:]
    arrays, state, dtype = _kept_arrays(kernel, call), tuple(call.state[0].shape), call.x.dtype
    sequence = (call.x.shape[0], *state)
    further = [
        ("output", output, sequence, dtype),
        ("d_output", d_output, sequence, dtype),
        *(("d_last", d, state, dtype) for d in d_last),
    ]
    for (name, shape), array in zip(arrays, kept, strict=True):
        further.append((name, array, shape, kernel.type_of(name)))
    check(call, further)
    return kernel, call


def _backward(*arguments: Any) -> list[Tensor]:
    """The backward operator: returns the gradients of all tensors of the call that are not None.

    The gradient of x is among them only if ``of_input`` is True.
    """
    kernel, call = _kernel_and_call_of_backward(arguments)
    output, kept, d_output, d_last, of_input = arguments[_LENGTH_OF_CALL:]
    names = [name for name, _ in _kept_arrays(kernel, call)]
    # vmap passes slices of the stacked arrays, which need not be contiguous.
    arrays = {name: array.contiguous() for name, array in zip(names, kept, strict=True)}
    kept_arrays = KeptArrays(call.save, arrays.pop("own", output).contiguous(), arrays)
    call = replace(call, x=call.x.contiguous())
    return kernel.backward(call, kept_arrays, d_output, d_last, of_input).flat()


def _backward_shapes(*arguments: Any) -> list[Tensor]:
    """Empty tensors with the shapes of the results of :func:`_backward`."""
    _kernel_and_call_of_backward(arguments)
    x, *matrices, parameters, state, inputs = arguments[:_NUM_PARTS]
    of_input = arguments[-1]
    tensors = [x if of_input else None, *matrices, *parameters, *state, *inputs]
    return [t.new_empty(t.shape) for t in tensors if t is not None]


# With operators, torch.compile and torch.export put one node into their graph, where a call by
# ctypes would break the graph; fake tensors, tracers and the profiler see them too.
# torch.library.custom_op is not used: it takes 15 microseconds more for each call.
_library = torch.library.Library("throughtime", "DEF")


def _operator(
    name: str, arguments: str, implementation: Callable[..., Any], shapes: Callable[..., Any]
) -> Any:
    _library.define(f"{name}({arguments}) -> Tensor[]", tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, implementation, "CPU")
    torch.library.register_fake(f"throughtime::{name}", shapes, lib=_library)
    return getattr(torch.ops.throughtime, name).default


recurrence = _operator("recurrence", _CALL, _forward, _forward_shapes)
recurrence_backward = _operator(
    "recurrence_backward",
    f"{_CALL}, Tensor output, Tensor[] kept, Tensor? d_output, Tensor?[] d_last, bool of_input",
    _backward,
    _backward_shapes,
)

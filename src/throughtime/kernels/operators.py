"""The compiled kernels as operators of PyTorch: autograd, ``torch.func``, compile and export.

Two operators, forward and backward, that nothing looks into, each inside an autograd function.
The backward function has a backward of its own, which derives the reference once more: second
derivatives are right, and slow.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell, get, is_registered
from throughtime.kernels import reference
from throughtime.kernels.call import Call, Weights
from throughtime.kernels.cpp import compiler
from throughtime.kernels.cpp.recurrence import STORAGE, Kept, Kernel, kernel
from throughtime.kernels.program import Program, looked_at, program
from throughtime.kernels.samples import as_rows, one_by_one
from throughtime.kernels.trace import Untraceable, held, same
from throughtime.kernels.transforms import (
    alive,
    gradients_of,
    has_tangent,
    is_batched,
    is_functionalized,
    is_transformed,
)

__all__ = [
    "identity",
    "kernel_of",
    "missing",
    "reasons",
    "run",
    "trace",
    "traced_identity",
]

_texts: dict[Hashable, str] = {}
_cells: dict[str, Cell] = {}
_programs: dict[str, Program] = {}


def identity(cell: Cell) -> str:
    """A text by which the operators find the cell again, in this process or another.

    A cell of the registry is named with its constants. Any other is known in this process only.
    """
    key = same(cell)
    if key not in _texts:
        _texts[key] = _named(cell)
    return _texts[key]


def _named(cell: Cell) -> str:
    """A text that no cell which does another thing has."""
    arguments = ", ".join(f"{k}={v!r}" for k, v in cell.constants.items())
    # No name of the registry has brackets: another process must not take another cell for it.
    name = cell.name if is_registered(cell) else f"<{cell.name or type(cell).__name__}>"
    label = name + (f"({arguments})" if arguments else "")
    text, number, does = label, 1, program(cell)
    while _programs.setdefault(text, does) is not does:
        number += 1
        text = f"{label}#{number}"
    # A copy: the caller's may have other constants when its backward pass comes.
    _cells.setdefault(text, held(cell))
    return text


def _cell(text: str) -> Cell:
    if text not in _cells:
        # A program that was exported in another process.
        name, _, arguments = text.partition("(")
        call = ast.parse(f"f({arguments or ')'}", mode="eval").body
        assert isinstance(call, ast.Call)
        cell = get(name, **{k.arg or "": ast.literal_eval(k.value) for k in call.keywords})
        _cells[text], _programs[text] = cell, program(cell)
    return _cells[text]


def kernel_of(cell: Cell, dtype: torch.dtype) -> Kernel:
    """The kernel that runs the cell."""
    return kernel(program(cell), dtype)


# The two operators. Both begin with the arguments of one call.

_CALL = (
    "Tensor x, Tensor weight_ih, Tensor? weight_hh, Tensor? bias_ih, Tensor? bias_hh, "
    "Tensor[] parameters, Tensor[] state, Tensor[] inputs, Tensor? lengths, Tensor? resets, "
    "Tensor? seed, str cell, bool reverse, str save"
)
_LENGTH_OF_CALL = _CALL.count(",") + 1


def _opened(arguments: Sequence[Any]) -> tuple[Kernel, Call]:
    """The kernel, and its call."""
    lengths, resets, seed, text, reverse, save = arguments[8:]
    call = _call_of(_cell(text), arguments[:8], lengths, resets, seed, reverse, save)
    return kernel(_programs[text], call.x.dtype), call


def _call_of(
    cell: Cell,
    parts: Sequence[Any],
    lengths: Tensor | None,
    resets: Tensor | None,
    seed: Tensor | None,
    reverse: bool,
    save: str = "gates",
) -> Call:
    """A call from x, the weights, lists of parameters, states and further inputs; and the rest."""
    x, ih, hh, bias_ih, bias_hh, parameters, state, inputs = parts
    own = dict(zip(cell.parameter_specs, parameters, strict=True))
    weights = Weights(ih, hh, bias_ih, bias_hh, own)
    return Call(
        cell,
        x,
        weights,
        tuple(state),
        inputs=tuple(inputs),
        lengths=lengths,
        resets=resets,
        seed=seed,
        reverse=reverse,
        save=save,
    )


def _kept_arrays(made: Kernel, call: Call) -> list[tuple[str, tuple[int, ...]]]:
    (T, B, _), H = call.x.shape, call.state[0].shape[-1]
    return made.kept_arrays(T, B, H, call.save, call.lengths is not None)


def _forward(*arguments: Any) -> list[Tensor]:
    """The outputs, the last states, and what is kept; save is gates, states or nothing."""
    made, call = _opened(arguments)
    call = replace(call, x=call.x.contiguous())
    output, last, kept = made.forward(call, None if call.save == "nothing" else call.save)
    if kept is None:
        return [output, *last]
    arrays = {"own": kept.output, **kept.arrays}
    return [output, *last, *(arrays[name] for name, _ in _kept_arrays(made, call))]


def _forward_shapes(*arguments: Any) -> list[Tensor]:
    made, call = _opened(arguments)
    (T, B, _), H, empty = call.x.shape, call.state[0].shape[-1], call.x.new_empty
    results = [empty(T, B, H), *(s.new_empty(s.shape) for s in call.state)]
    if call.save != "nothing":
        arrays = _kept_arrays(made, call)
        results += [empty(shape, dtype=made.type_of(name)) for name, shape in arrays]
    return results


def _backward(*arguments: Any) -> list[Tensor]:
    """The gradients: of x where it is wanted, of the weights that there are, of the states."""
    made, call = _opened(arguments[:_LENGTH_OF_CALL])
    output, kept, d_output, d_last, of_input = arguments[_LENGTH_OF_CALL:]
    names = [name for name, _ in _kept_arrays(made, call)]
    # They are slices where vmap took them apart.
    arrays = {name: array.contiguous() for name, array in zip(names, kept, strict=True)}
    held = Kept(call.save, arrays.pop("own", output).contiguous(), arrays)
    call = replace(call, x=call.x.contiguous())
    return made.backward(call, held, d_output, d_last, of_input).flat()


def _backward_shapes(*arguments: Any) -> list[Tensor]:
    x, *matrices, parameters, state, inputs = arguments[:8]
    of_input = arguments[-1]
    tensors = [x if of_input else None, *matrices, *parameters, *state, *inputs]
    return [t.new_empty(t.shape) for t in tensors if t is not None]


# Not by torch.library.custom_op, which takes 15 microseconds more for each call.
_library = torch.library.Library("throughtime", "DEF")


def _operator(
    name: str, arguments: str, implementation: Callable[..., Any], shapes: Callable[..., Any]
) -> Any:
    _library.define(f"{name}({arguments}) -> Tensor[]", tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, implementation, "CPU")
    torch.library.register_fake(f"throughtime::{name}", shapes, lib=_library)
    return getattr(torch.ops.throughtime, name).default


_recurrence = _operator("recurrence", _CALL, _forward, _forward_shapes)
_recurrence_backward = _operator(
    "recurrence_backward",
    f"{_CALL}, Tensor output, Tensor[] kept, Tensor? d_output, Tensor?[] d_last, bool of_input",
    _backward,
    _backward_shapes,
)


# The autograd functions. Their arguments are flat: cell, reverse, save, how many parameters and
# further inputs there are, lengths, resets, seed, then x, the four weights (None where there is
# none), parameters, states and further inputs.

_CONSTANTS = 5
_FIRST = _CONSTANTS + 3
"""Where the tensors that have gradients begin."""


def _parts(tensors: Sequence[Any], owned: int, given: int) -> tuple[Any, ...]:
    """x and the weights; parameters, states and further inputs as lists."""
    end = len(tensors) - given
    return (
        *tensors[:5],
        list(tensors[5 : 5 + owned]),
        list(tensors[5 + owned : end]),
        list(tensors[end:]),
    )


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(cell, reverse, save, owned, given, lengths, resets, seed, *tensors):
        options = (lengths, resets, seed, cell, reverse, save)
        return tuple(_recurrence(*_parts(tensors, owned, given), *options))

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, _, _, owned, given, lengths, resets, seed, *tensors = inputs
        ctx.constants = inputs[:_CONSTANTS]
        ctx.counts = (len(tensors), len(tensors) - 5 - owned - given)
        ctx.save_for_backward(lengths, resets, seed, *tensors, *output)
        ctx.mark_non_differentiable(*output[1 + ctx.counts[1] :])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, d_output, *d_rest):  # type: ignore[override]
        count, states = ctx.counts
        lengths, resets, seed, *rest = ctx.saved_tensors
        tensors, (output, *others) = rest[:count], rest[count:]
        of_input, gradients = ctx.needs_input_grad[_FIRST], (d_output, *d_rest[:states])
        call = (*ctx.constants, of_input, count, states, lengths, resets, seed)
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
        found = derive(*call, *tensors, output, *others[states:], *gradients)
        return *(None,) * _FIRST, *_spread(found, tensors, of_input)

    @staticmethod
    def vmap(info, in_dims, *arguments):
        constants, values, dims = (
            arguments[:_CONSTANTS],
            arguments[_CONSTANTS:],
            in_dims[_CONSTANTS:],
        )
        save, owned = constants[2], constants[3]

        def apply(*values):
            return _Recurrence.apply(*constants, *values)

        # Of the values: lengths, resets, seed, x, and from here on what belongs to a layer.
        shared = range(4, 8 + owned)
        weights_are_shared = all(dims[i] is None for i in shared)
        # What is kept of ragged rows stands in the order of their lengths, which one sample cannot
        # know of the others; of states there are as many as chunks. What is drawn at random
        # depends on a row's place in the batch.
        is_apart = save != "nothing" and (save == "states" or values[0] is not None)
        if not weights_are_shared or is_apart or values[2] is not None:
            return one_by_one(apply, info.batch_size, dims, values)
        # All samples are rows of one batch.
        rows = [
            v if v is None or i in shared else as_rows(v, d, info.batch_size, 0 if i == 0 else -2)
            for i, (v, d) in enumerate(zip(values, dims, strict=True))
        ]
        if rows[1] is not None:
            rows[1] = as_rows(values[1], dims[1], info.batch_size, -1)
        found = apply(*rows)
        B = rows[8 + owned].shape[0] // info.batch_size
        split = [f.unflatten(f.dim() - 2, (info.batch_size, B)) for f in found]
        return tuple(split), tuple(f.dim() - 3 for f in split)


def _spread(found: Sequence[Tensor], tensors: Sequence[Tensor | None], of_input: bool) -> list[Any]:
    """The gradients, with None where there is nothing to have one."""
    rest = iter(found)
    wanted = [of_input, *(t is not None for t in tensors[1:])]
    return [next(rest) if is_wanted else None for is_wanted in wanted]


def _by_reference(
    cell, reverse, save, owned, given, of_input, count, states, lengths, resets, seed, *rest
) -> list[Tensor]:
    """What :class:`_RecurrenceBackward` gives, of the same arguments, by plain operations.

    They can be derived again, and know whatever PyTorch does with a gradient.
    """
    rest = alive(rest)
    tensors, d_results = rest[:count], rest[-1 - states :]
    wanted = [i for i, t in enumerate(tensors) if t is not None and (i > 0 or of_input)]

    def run(*differentiable: Tensor) -> list[Tensor]:
        filled = list(tensors)
        for i, value in zip(wanted, differentiable, strict=True):
            filled[i] = value
        call = _call_of(_cell(cell), _parts(filled, owned, given), lengths, resets, seed, reverse)
        output, last = reference.run(call)
        return [output, *last]

    return gradients_of(run, [tensors[i] for i in wanted], d_results)


class _RecurrenceBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        cell, reverse, save, owned, given, of_input, count, states, lengths, resets, seed, *rest
    ):
        tensors, output = rest[:count], rest[count]
        kept, gradients = rest[count + 1 : -1 - states], rest[-1 - states :]
        return tuple(
            _recurrence_backward(
                *(*_parts(tensors, owned, given), lengths, resets, seed, cell, reverse, save),
                *(output, list(kept), gradients[0], list(gradients[1:]), of_input),
            )
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        *_, of_input, count, states = inputs[: _CONSTANTS + 3]
        lengths, resets, seed, *rest = inputs[_CONSTANTS + 3 :]
        ctx.constants = (*inputs[:_CONSTANTS], of_input, count, states, len(rest))
        ctx.save_for_backward(lengths, resets, seed, *rest[:count], *rest[-1 - states :])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *seconds):
        *constants, count, states, total = ctx.constants
        saved = alive(ctx.saved_tensors)
        options, values = saved[:3], saved[3:]
        there = [i for i, v in enumerate(values) if v is not None]

        def first(*differentiable: Tensor) -> list[Tensor]:
            filled = list(values)
            for i, value in zip(there, differentiable, strict=True):
                filled[i] = value
            return _by_reference(*constants, count, states, *options, *filled)

        found: list[Any] = [None] * len(values)
        seconds = gradients_of(first, [values[i] for i in there], seconds)
        for i, gradient in zip(there, seconds, strict=True):
            found[i] = gradient
        between = (None,) * (total - len(values))
        return *(None,) * (_CONSTANTS + 6), *found[:count], *between, *found[count:]

    @staticmethod
    def vmap(info, in_dims, *arguments):
        constants, values = arguments[: _CONSTANTS + 3], arguments[_CONSTANTS + 3 :]

        def apply(*values):
            return _RecurrenceBackward.apply(*constants, *values)

        return one_by_one(apply, info.batch_size, in_dims[_CONSTANTS + 3 :], values)


def missing() -> list[str]:
    """What this machine lacks."""
    return compiler.missing()


def reasons(call: Call) -> list[str]:
    """Why the compiled kernels cannot run the call."""
    found = []
    if call.x.device.type != "cpu":
        found.append(f"x is on {call.x.device.type} (needs cpu)")
    dtype = _dtype(call)
    if dtype not in STORAGE:
        names = ", ".join(str(d).removeprefix("torch.") for d in STORAGE)
        found.append(f"x is of {str(dtype).removeprefix('torch.')} (needs {names})")
    if is_functionalized():
        found.append("torch.func.functionalize is active, which knows no autograd function")
    if has_tangent(call.tensors):
        found.append("an input has a tangent, and the kernels have no forward mode")
    if call.x.shape[1] == 0:
        found.append("the batch is empty")
    if found:
        return found
    try:
        made = kernel_of(call.cell, dtype)
    except Untraceable as reason:
        return [str(reason)]
    if "x" in made.program.inputs and call.x.shape[-1] != call.state[0].shape[-1]:
        found.append("the step uses x unit by unit, and it has not H features")
    elif not compiler.missing():
        try:
            made.build(_trains(call))
        except compiler.CompileError as error:
            first = str(error).splitlines()[0].rstrip(":")
            found.append(f"its C++ does not compile ({first})")
    return found


def traced_identity(cell: Cell, weight: Tensor) -> str:
    """The :func:`identity` where these kernels run the cell with such weights; else empty."""
    if missing() or weight.device.type != "cpu" or weight.dtype not in STORAGE:
        return ""
    try:
        if "x" in program(cell).inputs:
            return ""
        kernel_of(cell, weight.dtype).build(trains=True)
    except (Untraceable, compiler.CompileError):
        return ""
    return identity(cell)


def _dtype(call: Call) -> torch.dtype:
    # As all of PyTorch, float64 stays what it is.
    if torch.is_autocast_enabled("cpu") and call.x.dtype is not torch.float64:
        return torch.get_autocast_dtype("cpu")
    return call.x.dtype


def _trains(call: Call) -> bool:
    # An exported program has no backward pass.
    if not torch.is_grad_enabled() or torch.compiler.is_exporting():
        return False
    return any(t is not None and t.requires_grad for t in call.tensors)


def run(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Applies the cell through time; see :func:`throughtime.kernels.reference.run`."""
    tensors, dtype = call.tensors, _dtype(call)
    if torch.is_autocast_enabled("cpu"):
        # Each on its own: what an operator before has cast meets weights that none has.
        tensors = tuple(None if t is None else t.to(dtype) for t in tensors)
    text, owned = call.identity or identity(call.cell), len(call.weights.parameters)
    given, trains = len(call.inputs), _trains(call)
    varying = (call.lengths, call.resets, call.seed)
    if trains or is_transformed():
        save = call.save if trains else "nothing"
        constants = (text, call.reverse, save, owned, given)
        found = _Recurrence.apply(*constants, *varying, *tensors)
    else:
        # Nothing to derive and nothing to transform: the operator itself.
        constants = (text, call.reverse, "nothing")
        found = _recurrence(*_parts(tensors, owned, given), *varying, *constants)
    return found[0], tuple(found[1 : 1 + len(call.state)])


@torch.no_grad()
def trace(call: Call) -> dict[str, Tensor]:
    """All that the step returns by name, of all steps; see ``reference.trace``."""
    tensors, dtype = call.tensors, _dtype(call)
    tensors = tuple(None if t is None else t.detach().to(dtype) for t in tensors)
    parts = _parts(tensors, len(call.weights.parameters), len(call.inputs))
    varying = (call.lengths, call.resets, call.seed, call.reverse)
    made = _call_of(call.cell, parts, *varying)
    return kernel(looked_at(call.cell), dtype).trace(replace(made, x=made.x.contiguous()))

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
from torch._C._functorch import peek_interpreter_stack

from throughtime.cells.cell import Cell, get, is_registered
from throughtime.kernels import reference, slowness
from throughtime.kernels.call import Call, Weights
from throughtime.kernels.cpp import compiler
from throughtime.kernels.cpp.recurrence import STORAGE, Kept, Kernel, kernel
from throughtime.kernels.program import Program, looked_at, program
from throughtime.kernels.samples import as_rows, one_by_one
from throughtime.kernels.trace import Untraceable, held, same

__all__ = [
    "identity",
    "is_transformed",
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
        # Inside torch.compile there is no second derivative, and its view of a function that is
        # called by another's backward has the arguments wrong. Elsewhere few ask for one.
        again = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        is_function = again or is_transformed()
        derive = _RecurrenceBackward.apply if is_function else _RecurrenceBackward.forward
        found = derive(
            *(*ctx.constants, ctx.needs_input_grad[_FIRST], count, states),
            *(lengths, resets, seed),
            *(*tensors, output, *others[states:], d_output, *d_rest[:states]),
        )
        return *(None,) * _FIRST, *_spread(found, tensors, ctx.needs_input_grad[_FIRST])

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
        # What is drawn at random depends on a row's place in the batch.
        if not weights_are_shared or save == "states" or values[2] is not None:
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
        cell, reverse, _, owned, given, of_input, count, states, total = ctx.constants
        lengths, resets, seed, *rest = ctx.saved_tensors
        tensors, gradients = rest[:count], rest[count:]
        options = (lengths, resets, seed, reverse)

        def first(*differentiable: Tensor) -> list[Tensor]:
            """The first derivatives, by way of the reference."""
            it = iter(differentiable)
            values = [None if t is None else next(it) for t in tensors]
            d_results = [None if g is None else next(it) for g in gradients]
            call = _call_of(_cell(cell), _parts(values, owned, given), *options)
            output, last = reference.run(call)
            results = [output, *last]
            pairs = [(r, d) for r, d in zip(results, d_results, strict=True) if d is not None]
            wrt = [v for i, v in enumerate(values) if v is not None and (i > 0 or of_input)]
            return list(
                torch.autograd.grad(
                    [r for r, _ in pairs],
                    wrt,
                    [d for _, d in pairs],
                    create_graph=True,
                    allow_unused=True,
                    materialize_grads=True,
                )
            )

        there = [t for t in (*tensors, *gradients) if t is not None]
        goes_on = torch.is_grad_enabled()
        with torch.enable_grad():
            # Views, where third derivatives may follow: they stand apart from one another, and
            # yet lead on to what they were made from.
            inputs = [
                t.view_as(t) if goes_on and t.requires_grad else t.detach().requires_grad_()
                for t in there
            ]
            firsts = first(*inputs)
            pairs = [
                (f, s)
                for f, s in zip(firsts, seconds, strict=True)
                if s is not None and f.requires_grad
            ]
            found: list[Any] = [None] * len(inputs)
            if pairs:
                found = list(
                    torch.autograd.grad(
                        [f for f, _ in pairs],
                        inputs,
                        [s for _, s in pairs],
                        allow_unused=True,
                        create_graph=goes_on,
                    )
                )
        it = iter(found)
        of_tensors = [None if t is None else next(it) for t in tensors]
        of_gradients = [None if g is None else next(it) for g in gradients]
        between = (None,) * (total - count - 1 - states)
        return *(None,) * (_CONSTANTS + 6), *of_tensors, *between, *of_gradients

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
            found.append(compiler.Failure(f"its C++ does not compile ({first})"))
    return found


def traced_identity(cell: Cell, weight: Tensor) -> str:
    """The :func:`identity` where these kernels run the cell with such weights; else empty."""
    if weight.device.type != "cpu" or weight.dtype not in STORAGE:
        return ""
    why = missing()
    try:
        if "x" in program(cell).inputs:
            return ""
        if not why:
            kernel_of(cell, weight.dtype).build(trains=True)
    except Untraceable:
        return ""
    except compiler.CompileError as error:
        why = [str(error).splitlines()[0]]
    if why:
        slowness.warn_of_steps(cell.name or type(cell).__name__, why, stacklevel=2)
        return ""
    slowness.warn_of_threads(stacklevel=2)
    return identity(cell)


def _dtype(call: Call) -> torch.dtype:
    # As all of PyTorch, float64 stays what it is.
    if torch.is_autocast_enabled("cpu") and call.x.dtype is not torch.float64:
        return torch.get_autocast_dtype("cpu")
    return call.x.dtype


def _tensors(call: Call) -> tuple[Tensor | None, ...]:
    w = call.weights
    matrices = (call.x, w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh)
    return (*matrices, *w.parameters.values(), *call.state, *call.inputs)


def _trains(call: Call) -> bool:
    needs = (t is not None and t.requires_grad for t in _tensors(call))
    return torch.is_grad_enabled() and any(needs)


def is_transformed() -> bool:
    """Whether a transform of torch.func is at work."""
    # Not to be asked inside torch.compile, where there is no transformation from outside.
    return not torch.compiler.is_compiling() and peek_interpreter_stack() is not None


def run(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Applies the cell through time; see :func:`throughtime.kernels.reference.run`."""
    tensors, dtype = _tensors(call), _dtype(call)
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
    tensors, dtype = _tensors(call), _dtype(call)
    tensors = tuple(None if t is None else t.detach().to(dtype) for t in tensors)
    parts = _parts(tensors, len(call.weights.parameters), len(call.inputs))
    varying = (call.lengths, call.resets, call.seed, call.reverse)
    made = _call_of(call.cell, parts, *varying)
    return kernel(looked_at(call.cell), dtype).trace(replace(made, x=made.x.contiguous()))

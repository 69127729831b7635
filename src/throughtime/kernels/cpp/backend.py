"""The compiled kernels as a backend; see :class:`throughtime.kernels.backend.Backend`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.kernels import slowness
from throughtime.kernels.backend import Failure
from throughtime.kernels.call import Call
from throughtime.kernels.cpp import compiler
from throughtime.kernels.cpp.autograd import Form, apply
from throughtime.kernels.cpp.gemm import has_amx
from throughtime.kernels.cpp.identity import cell_of, identity, kernel_of
from throughtime.kernels.cpp.operators import recurrence
from throughtime.kernels.cpp.packing import without_negative_bits
from throughtime.kernels.cpp.recurrence import STORAGE, kernel
from throughtime.kernels.graph.folded import Fold, fold, folds_of
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.program import program, recording_program
from throughtime.kernels.graph.trace import trace
from throughtime.kernels.transforms import has_tangent, is_functionalized, is_transformed

__all__ = [
    "FEW_STEPS",
    "IS_KERNEL",
    "IS_TRACEABLE",
    "compiled_identity",
    "missing",
    "rank",
    "reasons",
    "record",
    "run",
    "runs_compiled",
    "slower_because",
]

IS_KERNEL = True
IS_TRACEABLE = False
FEW_STEPS = 2
"""So few steps are run sooner by the reference; see :func:`rank`."""


def missing() -> list[str]:
    """Why this machine cannot compile kernels; empty if it can."""
    return compiler.missing()


def reasons(call: Call) -> list[str]:
    """Why the compiled kernels cannot run the call; empty if they can."""
    refusals = []
    if call.x.device.type != "cpu":
        refusals.append(f"x is on {call.x.device.type} (needs cpu)")
    dtype = call.x.dtype
    if dtype not in STORAGE:
        names = ", ".join(str(d).removeprefix("torch.") for d in STORAGE)
        refusals.append(f"x is of {str(dtype).removeprefix('torch.')} (needs {names})")
    if is_functionalized():
        refusals.append("torch.func.functionalize is active, which knows no autograd function")
    if has_tangent(call.tensors):
        refusals.append("an input has a tangent, and the kernels have no forward mode")
    if call.x.shape[1] == 0:
        refusals.append("the batch is empty")
    if refusals:
        return refusals
    try:
        compiled = kernel_of(call.cell, dtype)
    except Untraceable as reason:
        return [str(reason)]
    (I, H), used = (call.x.shape[-1], call.state[0].shape[-1]), compiled.program.cell
    for name, is_of_x, shape in _own_shapes(used, call.weights.parameters):
        expected = [(H,)] if len(shape) < 2 else [(H, I), (I, H)] if is_of_x else [(H, H)]
        if shape not in expected:
            sizes = " or ".join(map(str, expected))
            refusals.append(f"{name} of the cell has the shape {shape} (needs {sizes})")
    if problem := trace(call.cell).graph.problem(H):
        refusals.append(problem)
    if refusals:
        return refusals
    if "x" in compiled.program.inputs and call.x.shape[-1] != call.state[0].shape[-1]:
        refusals.append("the step uses x elementwise, so x must have H features")
    elif not compiler.missing():
        try:
            compiled.build(_trains(call))
        except compiler.CompileError as error:
            first = str(error).splitlines()[0].rstrip(":")
            refusals.append(Failure(f"its C++ does not compile ({first})"))
    return refusals


def _own_shapes(
    cell: Cell, parameters: Mapping[str, Tensor]
) -> Iterator[tuple[str, bool, tuple[int, ...]]]:
    """The parameters that the step uses: the name, whether x is multiplied by it, the shape."""
    for letter, name, _, _ in folds_of(cell):
        yield name, letter == "W", tuple(parameters[name].shape)
    for name in cell.parameter_specs:
        if parameters[name].dim() < 2:
            yield name, False, tuple(parameters[name].shape)


def compiled_identity(cell: Cell, weight: Tensor) -> str:
    """The :func:`identity` of the cell if these kernels can run it with such weights; else empty.

    torch.compile cannot report reasons, so that this function warns if the machine is the reason.
    """
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
        slowness.warn_of_steps(cell.title, why, stacklevel=3)
        return ""
    slowness.warn_of_kernels(slower_because(), stacklevel=3)
    return identity(program(cell).cell)


def slower_because() -> str:
    """See :class:`throughtime.kernels.backend.Backend`."""
    command = compiler.command_without_openmp()
    if not command:
        return ""
    return (
        f"kernels run on one thread, because {command} has no OpenMP here; install its OpenMP "
        "(libomp-dev for clang), install g++, or name another compiler in CXX"
    )


def _trains(call: Call) -> bool:
    """Whether a backward pass may follow the call."""
    # An exported program has no backward pass.
    if not torch.is_grad_enabled() or torch.compiler.is_exporting():
        return False
    return any(t is not None and t.requires_grad for t in call.tensors)


def run(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Applies the cell through time; see :func:`throughtime.kernels.reference.run`."""
    text = call.identity or identity(program(call.cell).cell)
    call, trains = fold(call, call.cell, _blocks_of(text)), _trains(call)
    if trains and not torch.compiler.is_compiling() and torch._C._is_tracing():
        # torch.jit.trace would trace the autograd function, and could not save the result.
        raise ValueError(
            "torch.jit.trace cannot record how the gradients of the compiled kernels are derived, "
            "and TorchScript is deprecated. Export the model with torch.export.export or "
            "throughtime.save_onnx; for a trace that runs forward only, trace it under "
            "torch.no_grad()."
        )
    counts = (len(call.weights.parameters), len(call.state), len(call.inputs))
    form = Form(text, call.reverse, call.save if trains else "nothing", *counts)
    varying = (call.lengths, call.resets, call.seed)
    if trains or is_transformed():
        results = apply(form, varying, call.tensors)
    else:
        # Without gradients and transforms the operator itself is enough: an autograd function
        # costs as much as a short sequence.
        results = recurrence(*form.operator_arguments((*varying, *call.tensors)))
    return results[0], tuple(results[1 : 1 + len(call.state)])


def _blocks_of(text: str) -> tuple[Fold, ...]:
    """The matrices that the cell with this identity has among its blocks."""
    return folds_of(cell_of(text))


# What torch.compiler.assume_constant_result does, which would import the whole compiler here.
_blocks_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


@torch.no_grad()
def record(call: Call) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]] | None:
    """Runs the call and records it; see :func:`throughtime.kernels.reference.record`.

    :func:`throughtime.kernels.transforms.is_direct` must be true of the call's tensors, because
    the kernel is called without the dispatcher.
    """

    def plain(tensor: Tensor) -> Tensor:
        return tensor.detach().resolve_neg()

    call = replace(
        call,
        x=plain(call.x).contiguous(),
        weights=without_negative_bits(call.weights),
        state=tuple(map(plain, call.state)),
        inputs=tuple(map(plain, call.inputs)),
    )
    try:
        recording = recording_program(call.cell)
    except Untraceable:
        return None
    call = fold(call, recording.cell, folds_of(recording.cell))
    return kernel(recording, call.x.dtype).record(call)


def rank(call: Call) -> tuple[int, str]:
    """See :class:`throughtime.kernels.backend.Backend`.

    The figures in benchmarks/results justify two exceptions. A compiled kernel allocates memory,
    packs the weights and starts threads before its first step; with one or two steps this takes
    longer than it saves. PyTorch's LSTM multiplies bfloat16 with AMX if the processor has it; the
    compiled kernels do not.
    """
    # torch.jit.trace would unroll the reference's loop for this one number of steps.
    if call.x.shape[0] <= FEW_STEPS and not torch._C._is_tracing():
        return 30, "cpp could, but so few steps are done sooner without"
    if call.x.dtype is torch.bfloat16 and call.cell.torch_equivalent == "LSTM" and has_amx():
        return 15, "cpp could, but has no use of this processor's AMX"
    return 0, ""


def runs_compiled(call: Call) -> bool:
    """Whether these kernels can run the call inside torch.compile."""
    # The layer set the identity by the dtype of its weights; autocast may have changed the dtype.
    return bool(call.identity) and call.x.dtype in STORAGE

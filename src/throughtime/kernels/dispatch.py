"""Chooses the backend that runs a call, and explains why the faster ones cannot run it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.checks import unknown
from throughtime.kernels import reference, slowness, torch_native
from throughtime.kernels.autocast import outside_autocast
from throughtime.kernels.backend import Backend
from throughtime.kernels.call import Call
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.graph.program import program
from throughtime.kernels.graph.untraceable import Untraceable
from throughtime.kernels.transforms import has_tangent, is_direct, is_transformed

__all__ = [
    "BACKENDS",
    "Explanation",
    "check",
    "chosen",
    "compiled_identity",
    "explain",
    "run",
    "run_and_record",
]

BACKENDS: dict[str, Backend] = {
    "cpp": cast(Backend, cpp),
    "torch": cast(Backend, torch_native),
    "reference": cast(Backend, reference),
}
"""The backends by name; see :class:`throughtime.kernels.backend.Backend`."""

_logger = logging.getLogger("throughtime.kernels")
_logged: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Explanation:
    """The backend that runs a call, and why no faster one does.

    Args:
        backend: the name of the backend that runs the call.
        reasons: for every faster backend, why it cannot run the call.
        note: why a backend that could run the call is not the fastest for it, or why the chosen
            backend is slower on this machine than it could be.
    """

    backend: str
    reasons: dict[str, list[str]]
    note: str = ""

    def __str__(self) -> str:
        lines = [f"{self.backend} runs this call."]
        lines += [f"{name} cannot: {'; '.join(why)}." for name, why in self.reasons.items()]
        lines += [f"{self.note}."] if self.note else []
        return "\n".join(lines)


def check(backend: str) -> str:
    """Returns the name of a backend unchanged.

    Raises:
        ValueError: if there is no such backend; the message names the most similar one.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise unknown("backend", backend, ["auto", *BACKENDS])
    return backend


def _order(call: Call) -> list[tuple[str, str]]:
    """The names of the backends, the fastest for this call first.

    Each comes with the reason why its rank differs from the usual one; empty if it does not.
    """
    ranks = {name: backend.rank(call) for name, backend in BACKENDS.items()}
    return [(name, ranks[name][1]) for name in sorted(ranks, key=lambda name: ranks[name][0])]


def _refusals(name: str, call: Call) -> list[str]:
    """Why a backend cannot run the call, whether the machine or the call is the cause."""
    return [*BACKENDS[name].missing(), *BACKENDS[name].reasons(call)]


@outside_autocast
def explain(call: Call, backend: str = "auto", strict: bool = False) -> Explanation:
    """Chooses the backend of a call.

    Args:
        call: the call to run.
        backend: ``auto``, or the name of the only backend that may run the call.
        strict: whether ``auto`` raises if it would use the reference because no kernel can run
            the call.

    Raises:
        ValueError: if the named backend cannot run the call, or with ``strict`` no kernel can.
    """
    if check(backend) != "auto":
        why = _refusals(backend, call)
        if why:
            raise ValueError(
                f'backend="{backend}" cannot run this: {"; ".join(why)}. Use backend="auto".'
            )
        return Explanation(backend, {}, BACKENDS[backend].slower_because())
    order = _order(call)
    notes = [note for _, note in order if note]
    refused: dict[str, list[str]] = {}
    for name, note in order:
        why = _refusals(name, call)
        if strict and not BACKENDS[name].IS_KERNEL:
            _check_has_kernel(call)
        if not why:
            # The chosen backend's own note would say why it is slow; the reader wants to know why
            # another one, with a note, was not chosen.
            why_not_another = "" if note or not notes else notes[0]
            return Explanation(name, refused, BACKENDS[name].slower_because() or why_not_another)
        refused[name] = why
    raise AssertionError("the reference refuses nothing")


def _check_has_kernel(call: Call) -> None:
    """Raises a ValueError if no kernel can run the call, whether or not it would be the fastest."""
    refused = {name: _refusals(name, call) for name, b in BACKENDS.items() if b.IS_KERNEL}
    if all(refused.values()):
        reasons = "; ".join(f"{name} cannot: {', '.join(why)}" for name, why in refused.items())
        raise ValueError(f"strict=True, and no kernel runs this: {reasons}.")


@outside_autocast
def run(
    call: Call, backend: str = "auto", strict: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Runs a call by the backend that :func:`explain` chooses.

    Args: see :func:`explain`.

    Returns:
        The outputs (T, B, H) and the last states, each (B, H). Under autocast all of them have
        autocast's dtype, whichever backend runs the call.
    """
    if torch.compiler.is_compiling():
        return _run_traced(call, backend, strict)
    return _chosen(call, backend, strict).run(call)


@outside_autocast
def run_and_record(
    call: Call, backend: str = "auto", strict: bool = False
) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
    """Runs a call as :func:`run` does, and records all values that the step returns.

    If no gradient is needed, the sequence is computed once, by a backend that can record: the
    outputs are exactly those of the recorded values, and may differ by rounding from those of
    :func:`run`. Otherwise it is computed a second time for the record.

    Returns:
        The outputs and the last states; and for each name that the step returns, its values at all
        steps, (T, B, H), zero past a row's end and without a gradient.
    """
    is_compiling = torch.compiler.is_compiling()
    if is_compiling or is_transformed() or has_tangent(call.tensors) or _has_gradient(call):
        return *run(call, backend, strict), _record(call, backend)[2]
    # Errors, warnings and the log are those of a run.
    _chosen(call, backend, strict)
    return _record(call, backend)


def _has_gradient(call: Call) -> bool:
    """Whether a backward pass may follow the call."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in call.tensors)


def _chosen(call: Call, backend: str, strict: bool) -> Backend:
    """The backend that :func:`explain` chooses; the choice is logged once."""
    explanation = explain(call, backend, strict)
    cell_name, name = call.cell.title, explanation.backend
    if (cell_name, name) not in _logged:
        _logged.add((cell_name, name))
        _logger.info("%s: %s", cell_name, explanation)
    if call.x.numel() > 0 and not call.x.is_meta:
        _warn_of_slowness(cell_name, explanation)
    return BACKENDS[name]


chosen = outside_autocast(_chosen)
"""The backend that :func:`run` would use; it logs the choice and warns as ``run`` does."""


def _warn_of_slowness(cell: str, chosen: Explanation) -> None:
    """Warns, once, if a change to this machine would make the call faster."""
    backend = BACKENDS[chosen.backend]
    if backend.IS_KERNEL:
        slowness.warn_of_kernels(backend.slower_because(), stacklevel=10)
        return
    # Only refusals of the compiled backends count: PyTorch's own operators refuse most cells.
    compiled = {name for name, b in BACKENDS.items() if b.IS_KERNEL and not b.IS_TRACEABLE}
    refusals = {name: why for name, why in chosen.reasons.items() if name in compiled}
    missing = [why for name in refusals for why in BACKENDS[name].missing()]
    slowness.warn_of_steps(
        cell, missing or [why for some in refusals.values() for why in some], stacklevel=10
    )


def _record(call: Call, backend: str) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
    """The record by the fastest backend that can; see :func:`run_and_record`.

    PyTorch's own operators cannot: their gates are not accessible.
    """
    may_use_kernel = backend == "auto" or BACKENDS[backend].IS_KERNEL
    for name, _ in _order(call) if may_use_kernel and is_direct(call.tensors) else ():
        if not _refusals(name, call):
            results = BACKENDS[name].record(call)
            if results is not None:
                return results
    return reference.record(call)


def compiled_identity(
    cell: Cell, weight: Tensor, backend: str = "auto", strict: bool = False
) -> str:
    """The text that names the cell inside ``torch.compile``; empty if no kernel runs it there.

    Args:
        cell: the cell of a layer.
        weight: any weight of the layer; its device and dtype are read.
        backend: ``auto``, or the name of the only backend that may run the cell.
        strict: whether the layer refuses the reference, so that no warning is needed.
    """
    texts = (
        module.compiled_identity(cell, weight)
        for name, module in BACKENDS.items()
        if backend in ("auto", name)
    )
    text = next((text for text in texts if text), "")
    if not text and backend == "auto" and not strict:
        try:
            program(cell)
        except Untraceable as reason:
            slowness.warn_of_steps(cell.title, [str(reason)], stacklevel=3)
    return text


def _run_traced(call: Call, backend: str, strict: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Runs a call inside torch.compile, which cannot trace the choice of :func:`explain`."""
    if is_transformed() or has_tangent(call.tensors):
        # torch.compile computes wrong derivatives of an autograd function inside a transform.
        # Without fullgraph=True this error breaks the graph, and the call runs outside of it.
        raise ValueError(
            "torch.compile and torch.export cannot put a recurrence under torch.func or "
            "forward-mode differentiation into one graph. Use torch.compile(fullgraph=False)."
        )
    for name, module in BACKENDS.items():
        if backend in ("auto", name) and not module.IS_TRACEABLE and module.runs_compiled(call):
            return module.run(call)
    if (strict and backend == "auto") or (backend != "auto" and not BACKENDS[backend].IS_TRACEABLE):
        # With fullgraph=True the user sees this error; without, the call runs outside the graph.
        raise ValueError("no kernel runs this inside torch.compile; layer.explain(x) may say why.")
    return (reference if backend == "auto" else BACKENDS[backend]).run(call)

"""Which backend runs a call, and the reasons of those that do not."""

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
    "compiled_identity",
    "explain",
    "record",
    "run",
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
    """Which backend runs a call, and why each faster one does not.

    Args:
        backend: the one that runs.
        reasons: for every faster backend that cannot run the call, why.
        note: why a backend that could run it is not the fastest for it, or is slower here.
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
    """The backend's name; raises a ValueError with the nearest one where there is no such."""
    if backend != "auto" and backend not in BACKENDS:
        raise unknown("backend", backend, ["auto", *BACKENDS])
    return backend


def _order(call: Call) -> list[tuple[str, str]]:
    """The backends, the fastest for this call first, each with why it has not its usual rank."""
    ranks = {name: backend.rank(call) for name, backend in BACKENDS.items()}
    return [(name, ranks[name][1]) for name in sorted(ranks, key=lambda name: ranks[name][0])]


def _refusals(name: str, call: Call) -> list[str]:
    return [*BACKENDS[name].missing(), *BACKENDS[name].reasons(call)]


@outside_autocast
def explain(call: Call, backend: str = "auto", strict: bool = False) -> Explanation:
    """Chooses the backend of a call.

    Args:
        call: what is to be run.
        backend: ``auto``, or the only one that may run it.
        strict: whether ``auto`` may not fall back to the reference for want of a kernel.

    Raises:
        ValueError: if the backend that is asked for cannot run the call.
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
            usual = "" if note or not notes else notes[0]
            return Explanation(name, refused, BACKENDS[name].slower_because() or usual)
        refused[name] = why
    raise AssertionError("the reference refuses nothing")


def _check_has_kernel(call: Call) -> None:
    """Raises unless a kernel can run the call, even if it is not the fastest way."""
    refused = {name: _refusals(name, call) for name, b in BACKENDS.items() if b.IS_KERNEL}
    if all(refused.values()):
        reasons = "; ".join(f"{name} cannot: {', '.join(why)}" for name, why in refused.items())
        raise ValueError(f"strict=True, and no kernel runs this: {reasons}.")


@outside_autocast
def run(
    call: Call, backend: str = "auto", strict: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Runs a call: the outputs (T, B, H) and the last states, each (B, H).

    Under autocast all of them are of its type, whichever backend runs the call.
    """
    if torch.compiler.is_compiling():
        return _run_traced(call, backend, strict)
    chosen = explain(call, backend, strict)
    what = (call.cell.title, chosen.backend)
    if what not in _logged:
        _logged.add(what)
        _logger.info("%s: %s", what[0], chosen)
    if call.x.numel() > 0 and not call.x.is_meta:
        _warn_of_slowness(what[0], chosen)
    return BACKENDS[chosen.backend].run(call)


def _warn_of_slowness(cell: str, chosen: Explanation) -> None:
    """Warns, once, if this machine makes the call slower than it need be."""
    backend = BACKENDS[chosen.backend]
    if backend.IS_KERNEL:
        slowness.warn_of_kernels(backend.slower_because(), stacklevel=8)
        return
    # PyTorch's own operators run few cells, so that they are missed by no one.
    compiled = {name for name, b in BACKENDS.items() if b.IS_KERNEL and not b.IS_TRACEABLE}
    refusals = {name: why for name, why in chosen.reasons.items() if name in compiled}
    missing = [why for name in refusals for why in BACKENDS[name].missing()]
    slowness.warn_of_steps(
        cell, missing or [why for some in refusals.values() for why in some], stacklevel=8
    )


@outside_autocast
def record(call: Call, backend: str = "auto") -> dict[str, Tensor]:
    """All that the step returns by name, of all steps, each (T, B, H); zero past a row's end."""
    wants_kernel = backend == "auto" or BACKENDS[backend].IS_KERNEL
    for name, module in BACKENDS.items() if wants_kernel and is_direct(call.tensors) else ():
        if module.IS_KERNEL and not _refusals(name, call):
            # A backend that keeps no record leaves it to the next one.
            values = module.record(call)
            if values is not None:
                return values
    return reference.record(call)


def compiled_identity(
    cell: Cell, weight: Tensor, backend: str = "auto", strict: bool = False
) -> str:
    """The cell as ``torch.compile`` may know it: a text; empty if no kernel runs the cell there.

    Args:
        weight: one of the layer, for its device and dtype.
        backend: ``auto``, or the only one that may run it.
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
    """The same inside torch.compile, which cannot look into the choice."""
    if is_transformed() or has_tangent(call.tensors):
        # torch.compile takes wrong derivatives of an autograd function inside a transform. Without
        # fullgraph this sends the call to the code outside the graph.
        raise ValueError(
            "torch.compile and torch.export cannot put a recurrence under torch.func or "
            "forward-mode differentiation into one graph. Use torch.compile(fullgraph=False)."
        )
    for name, module in BACKENDS.items():
        if backend in ("auto", name) and not module.IS_TRACEABLE and module.runs_compiled(call):
            return module.run(call)
    if (strict and backend == "auto") or (backend != "auto" and not BACKENDS[backend].IS_TRACEABLE):
        # With fullgraph this is what the user sees; without, the call is run outside the graph.
        raise ValueError("no kernel runs this inside torch.compile; layer.explain(x) may say why.")
    return (reference if backend == "auto" else BACKENDS[backend]).run(call)

"""Which backend runs a call, and the reasons of those that do not."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from throughtime.checks import unknown
from throughtime.kernels import operators, reference, torch_native
from throughtime.kernels.call import Call
from throughtime.kernels.cpp.gemm import has_amx
from throughtime.kernels.transforms import has_tangent, is_transformed

__all__ = ["BACKENDS", "Explanation", "check", "explain", "run", "trace"]

BACKENDS: dict[str, ModuleType] = {
    "cpp": operators,
    "torch": torch_native,
    "reference": reference,
}
"""The backends, for most calls from the fastest to the slowest. Each is a module with
``missing()``, what this machine lacks, ``reasons(call)``, why it cannot run a call, and
``run(call)``."""

_logger = logging.getLogger("throughtime.kernels")
_logged: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Explanation:
    """Which backend runs a call, and why each faster one does not.

    Args:
        backend: the one that runs.
        reasons: for every faster backend that cannot run the call, why.
        note: why a backend that could run it is not the fastest for it.
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


_FEW_STEPS = 2


def _order(call: Call) -> tuple[list[str], str]:
    """The backends, the fastest for this call first, and why the compiled kernels are not it.

    From benchmarks/results: a compiled kernel is asked for memory, packs the weights and starts
    threads before its first step, which a step or two do not bring in again. PyTorch's LSTM
    multiplies bfloat16 by AMX where there is one, and the compiled kernels do not yet.
    """
    if call.x.shape[0] <= _FEW_STEPS:
        return ["torch", "reference", "cpp"], "cpp could, but so few steps are done sooner without"
    if call.x.dtype is torch.bfloat16 and call.cell.torch_equivalent == "LSTM" and has_amx():
        return ["torch", "cpp", "reference"], "cpp could, but has no use of this processor's AMX"
    return list(BACKENDS), ""


def explain(call: Call, backend: str = "auto", strict: bool = False) -> Explanation:
    """Chooses the backend of a call.

    Args:
        call: what is to be run.
        backend: ``auto``, or the only one that may run it.
        strict: whether ``auto`` may not fall back to the reference for want of a kernel.

    Raises:
        ValueError: where the backend that is asked for cannot run the call.
    """
    if check(backend) != "auto":
        why = [*BACKENDS[backend].missing(), *BACKENDS[backend].reasons(call)]
        if why:
            raise ValueError(
                f'backend="{backend}" cannot run this: {"; ".join(why)}. Use backend="auto".'
            )
        return Explanation(backend, {})
    order, why_not_cpp = _order(call)
    refused: dict[str, list[str]] = {}
    for name in order:
        why = [*BACKENDS[name].missing(), *BACKENDS[name].reasons(call)]
        if name == "reference" and strict:
            # Where it is the fastest there must be a kernel all the same.
            cpp = [*operators.missing(), *operators.reasons(call)]
            if cpp:
                reasons = "; ".join(
                    f"{b} cannot: {', '.join(w)}" for b, w in ({"cpp": cpp} | refused).items()
                )
                raise ValueError(f"strict=True, and no kernel runs this: {reasons}.")
        if not why:
            return Explanation(name, refused, "" if name == "cpp" else why_not_cpp)
        refused[name] = why
    raise AssertionError("the reference refuses nothing")


def run(
    call: Call, backend: str = "auto", strict: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Runs a call: the outputs (T, B, H) and the last states, each (B, H)."""
    if torch.compiler.is_compiling():
        return _run_traced(call, backend, strict)
    chosen = explain(call, backend, strict)
    what = (call.cell.name or type(call.cell).__name__, chosen.backend)
    if what not in _logged:
        _logged.add(what)
        _logger.info("%s: %s", what[0], chosen)
        if chosen.backend == "reference" and backend == "auto" and operators.missing():
            warnings.warn(
                f"{what[0]} runs step by step in Python, which is several times slower: "
                f"{'; '.join(operators.missing())}.",
                stacklevel=6,
            )
    return BACKENDS[chosen.backend].run(call)


def trace(call: Call, backend: str = "auto") -> dict[str, Tensor]:
    """All that the step returns by name, of all steps, each (T, B, H); zero past a row's end."""
    # The kernel is called as it is, with nothing around it that transforms and compilation know.
    by_steps = backend == "reference" or torch.compiler.is_compiling() or is_transformed()
    refused = by_steps or [*operators.missing(), *operators.reasons(call)]
    return (reference if refused else operators).trace(call)


def _run_traced(call: Call, backend: str, strict: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same inside torch.compile, which cannot look into the choice."""
    if is_transformed() or has_tangent(call.tensors):
        # torch.compile takes wrong derivatives of an autograd function inside a transform. Without
        # fullgraph this sends the call to the code outside the graph.
        raise ValueError(
            "torch.compile and torch.export cannot put a recurrence under torch.func or "
            "forward-mode differentiation into one graph. Use torch.compile(fullgraph=False)."
        )
    if backend in ("auto", "cpp") and call.identity:
        return operators.run(call)
    if backend == "cpp" or (strict and backend == "auto"):
        # With fullgraph this is what the user sees; without, the call is run outside the graph.
        raise ValueError("no kernel runs this inside torch.compile; layer.explain(x) may say why.")
    return BACKENDS["reference" if backend in ("auto", "cpp") else backend].run(call)

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

__all__ = ["BACKENDS", "Explanation", "check", "explain", "run"]

BACKENDS: dict[str, ModuleType] = {
    "cpp": operators,
    "torch": torch_native,
    "reference": reference,
}
"""The backends from the fastest to the slowest. Each is a module with ``missing()``, what this
machine lacks, ``reasons(call)``, why it cannot run a call, and ``run(call)``."""

_logger = logging.getLogger("throughtime.kernels")
_logged: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Explanation:
    """Which backend runs a call, and why each faster one does not.

    Args:
        backend: the one that runs.
        reasons: for every backend that cannot run the call, why.
    """

    backend: str
    reasons: dict[str, list[str]]

    def __str__(self) -> str:
        lines = [f"{self.backend} runs this call."]
        lines += [f"{name} cannot: {'; '.join(why)}." for name, why in self.reasons.items()]
        return "\n".join(lines)


def check(backend: str) -> str:
    """The backend's name; raises a ValueError with the nearest one where there is no such."""
    if backend != "auto" and backend not in BACKENDS:
        raise unknown("backend", backend, ["auto", *BACKENDS])
    return backend


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
    refused: dict[str, list[str]] = {}
    for name, module in BACKENDS.items():
        why = [*module.missing(), *module.reasons(call)]
        if name == "reference" and strict:
            reasons = "; ".join(f"{b} cannot: {', '.join(w)}" for b, w in refused.items())
            raise ValueError(f"strict=True, and no kernel runs this: {reasons}.")
        if not why:
            return Explanation(name, refused)
        refused[name] = why
    raise AssertionError("the reference refuses nothing")


def run(
    call: Call, backend: str = "auto", strict: bool = False
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Runs a call: the outputs (T, B, H) and the last states, each (B, H)."""
    if torch.compiler.is_compiling():
        return _run_traced(call, backend)
    chosen = explain(call, backend, strict)
    what = (call.cell.name or type(call.cell).__name__, chosen.backend)
    if what not in _logged:
        _logged.add(what)
        _logger.info("%s: %s", what[0], chosen)
        if chosen.backend == "reference" and backend == "auto" and operators.missing():
            warnings.warn(
                f"{what[0]} runs step by step in Python, which is several times slower: "
                f"{'; '.join(operators.missing())}.",
                stacklevel=4,
            )
    return BACKENDS[chosen.backend].run(call)


def _run_traced(call: Call, backend: str) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same inside torch.compile, which cannot look into the choice."""
    if backend in ("auto", "cpp") and call.identity:
        return operators.run(call)
    return BACKENDS["reference" if backend in ("auto", "cpp") else backend].run(call)

"""Which backend runs a call, and the reasons of those that do not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from throughtime.checks import unknown
from throughtime.kernels import reference, torch_native
from throughtime.kernels.call import Call

__all__ = ["BACKENDS", "Explanation", "check", "explain", "run"]

BACKENDS: dict[str, ModuleType] = {"torch": torch_native, "reference": reference}
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


def explain(call: Call, backend: str = "auto") -> Explanation:
    """Chooses the backend of a call.

    Raises:
        ValueError: where the backend that is asked for cannot run the call.
    """
    candidates = BACKENDS if check(backend) == "auto" else {backend: BACKENDS[backend]}
    refused: dict[str, list[str]] = {}
    for name, module in candidates.items():
        why = [*module.missing(), *module.reasons(call)]
        if not why:
            return Explanation(name, refused)
        refused[name] = why
    # The reference refuses nothing, so this is a forced backend.
    raise ValueError(
        f'backend="{backend}" cannot run this: {"; ".join(refused[backend])}. Use backend="auto".'
    )


def run(call: Call, backend: str = "auto") -> tuple[Tensor, tuple[Tensor, ...]]:
    """Runs a call: the outputs (T, B, H) and the last states, each (B, H)."""
    chosen = explain(call, backend)
    what = (call.cell.name or type(call.cell).__name__, chosen.backend)
    if what not in _logged:
        _logged.add(what)
        _logger.info("%s: %s", what[0], chosen)
    return BACKENDS[chosen.backend].run(call)

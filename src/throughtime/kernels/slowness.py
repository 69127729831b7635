"""What the user is told, once, of calls that are slower on this machine than they need be."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from throughtime.kernels.cpp.compiler import without_openmp

__all__ = ["about_threads", "warn_of_steps", "warn_of_threads"]

_told: set[str] = set()


def warn_of_steps(name: str, why: Sequence[str], stacklevel: int) -> None:
    """Warns that a cell runs without a kernel because of the compiler.

    Args:
        name: of the cell.
        why: the reasons; nothing is said where there are none.
        stacklevel: of :func:`warnings.warn`, counted from the caller.
    """
    if why:
        slow = "runs step by step in Python, which is several times slower"
        _tell(f"{name} {slow}: {'; '.join(why)}.", stacklevel)


def about_threads() -> str:
    """Why kernels run on one thread; empty where they may run on several."""
    command = without_openmp()
    return f"kernels run on one thread, because {command} has no OpenMP here" if command else ""


def warn_of_threads(stacklevel: int) -> None:
    """Warns that kernels run on one thread, where they do; the stacklevel as above."""
    why = about_threads()
    if why:
        what_to_do = "install its OpenMP (Debian: libomp-dev), or name a compiler with one in CXX"
        _tell(f"throughtime: {why}; {what_to_do}.", stacklevel)


def _tell(text: str, stacklevel: int) -> None:
    if text not in _told:
        _told.add(text)
        warnings.warn(text, stacklevel=stacklevel + 2)

"""What the user is told, once, of calls that are slower on this machine than they need be."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

__all__ = ["warn_of_kernels", "warn_of_steps"]

_told: set[str] = set()


def warn_of_steps(name: str, why: Sequence[str], stacklevel: int) -> None:
    """Warns that a cell runs without a kernel, once for each cell and reason.

    Args:
        name: of the cell.
        why: the reasons; without any, no warning is given.
        stacklevel: of :func:`warnings.warn`, counted from the caller.
    """
    if why:
        # lstm-peephole, forward and backward, on one thread: 2.6 times at B = 32 and H = 128,
        # 5 times at B = 16 and H = 64, 24 times at B = 1 and H = 64.
        slow = "runs step by step in Python, which is 3 to 25 times slower"
        _tell(f"{name} {slow}: {'; '.join(why)}.", stacklevel)


def warn_of_kernels(why: str, stacklevel: int) -> None:
    """Warns that kernels are slower than they need be, for the reason ``why``; empty is none."""
    if why:
        _tell(f"throughtime: {why}.", stacklevel)


def _tell(text: str, stacklevel: int) -> None:
    if text not in _told:
        _told.add(text)
        warnings.warn(text, stacklevel=stacklevel + 2)

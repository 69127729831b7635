"""Warnings about calls that are slower on this machine than they could be, each shown once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

__all__ = ["warn_of_kernels", "warn_of_steps"]

_warned: set[str] = set()


def warn_of_steps(name: str, why: Sequence[str], stacklevel: int) -> None:
    """Warns that a cell runs step by step without a kernel, once for each cell and reason.

    Args:
        name: the name of the cell.
        why: the reasons; if there are none, no warning is shown.
        stacklevel: the argument of :func:`warnings.warn`, counted from the caller.
    """
    if why:
        # lstm-peephole, forward and backward, on one thread: 2.6 times at B = 32 and H = 128,
        # 5 times at B = 16 and H = 64, 24 times at B = 1 and H = 64.
        slow = "runs step by step in Python, which is 3 to 25 times slower"
        _warn_once(f"{name} {slow}: {'; '.join(why)}.", stacklevel)


def warn_of_kernels(why: str, stacklevel: int) -> None:
    """Warns that kernels run slower than they could, unless the reason ``why`` is empty."""
    if why:
        _warn_once(f"throughtime: {why}.", stacklevel)


def _warn_once(text: str, stacklevel: int) -> None:
    if text not in _warned:
        _warned.add(text)
        warnings.warn(text, stacklevel=stacklevel + 2)

"""What a backend is: the functions of its module that dispatch and the layers call."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.kernels.call import Call

__all__ = ["Backend", "Failure"]


class Failure(str):
    """A reason that lies in the tools of this machine, not in the call: a compiler that fails."""


class Backend(Protocol):
    """A way to run a cell through time; a module, or a folder of modules, with these functions.

    Attributes:
        IS_KERNEL: whether the loop over time is compiled; False for the reference alone.
        IS_TRACEABLE: whether torch.compile can look into it; if not, it needs an identity there.
    """

    IS_KERNEL: bool
    IS_TRACEABLE: bool

    def missing(self) -> list[str]:
        """What this machine lacks to run any call; empty if nothing."""
        ...

    def reasons(self, call: Call) -> list[str]:
        """Why this backend cannot run the call; empty if it can."""
        ...

    def rank(self, call: Call) -> tuple[int, str]:
        """How fast this backend runs the call, beside others: the lowest rank is the fastest.

        Returns:
            The rank, and why it is not the backend's usual one; empty if it is.
        """
        ...

    def run(self, call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs (T, B, H), zero past a row's end, and the last states, each (B, H)."""
        ...

    def record(self, call: Call) -> dict[str, Tensor] | None:
        """All that the step returns, by name, of all steps; None if it keeps no record."""
        ...

    def compiled_identity(self, cell: Cell, weight: Tensor) -> str:
        """The cell as a text inside ``torch.compile``; empty if this backend is not for it.

        Args:
            weight: one of the layer, for its device and dtype.
        """
        ...

    def runs_compiled(self, call: Call) -> bool:
        """Whether it runs the call inside ``torch.compile``, by the identity in the call."""
        ...

    def slower_because(self) -> str:
        """Why this backend is slower on this machine than it need be; empty if it is not."""
        ...

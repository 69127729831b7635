"""The protocol of a backend: the functions that dispatch and the layers call."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.kernels.call import Call

__all__ = ["Backend", "Failure"]


class Failure(str):
    """A reason that blames this machine and not the call, such as a compiler that fails."""


class Backend(Protocol):
    """A module, or a folder of modules, that can run a cell through time.

    Attributes:
        IS_KERNEL: whether the loop over time is compiled code; False for the reference alone.
        IS_TRACEABLE: whether torch.compile can trace the backend. If not, the backend runs there
            as an operator, which needs the identity of the cell.
    """

    IS_KERNEL: bool
    IS_TRACEABLE: bool

    def missing(self) -> list[str]:
        """Why this machine can run no call at all; empty if it can."""
        ...

    def reasons(self, call: Call) -> list[str]:
        """Why this backend cannot run the call; empty if it can."""
        ...

    def rank(self, call: Call) -> tuple[int, str]:
        """The expected speed of the call, compared with the other backends.

        Returns:
            The rank, of which the lowest is the fastest; and the reason if it differs from the
            backend's usual rank, else an empty text.
        """
        ...

    def run(self, call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Returns the outputs (T, B, H), zero past a row's end, and the last states (B, H)."""
        ...

    def record(self, call: Call) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]] | None:
        """Returns the results of :meth:`run`, and all values that the step returns.

        The values are by name, at all steps, each (T, B, H). Nothing has a gradient. None if the
        backend cannot record these values.
        """
        ...

    def compiled_identity(self, cell: Cell, weight: Tensor) -> str:
        """The text that names the cell inside ``torch.compile``.

        Empty if this backend needs none, or cannot run the cell there.

        Args:
            cell: the cell of a layer.
            weight: any weight of the layer; its device and dtype are read.
        """
        ...

    def runs_compiled(self, call: Call) -> bool:
        """Whether this backend can run the call inside ``torch.compile``."""
        ...

    def slower_because(self) -> str:
        """Why this backend runs slower on this machine than it could; empty if it does not."""
        ...

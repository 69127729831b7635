"""Maps between rows: they select, move, reverse or accumulate the units of a row.

A map is a linear function from a source row to a target row: each target unit is the sum of some
source units. The map stores which ones (index pairs); all coefficients are 1. Its gradient is the
transposed map.

A trace does not know the number H of units, so widths and offsets are expressions in H, each a
:class:`Size`. They are evaluated when a layer with a certain H is run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "UNITS",
    "Cumsum",
    "Flip",
    "Map",
    "Pick",
    "Place",
    "Roll",
    "Size",
    "Slice",
    "constant",
]


@dataclass(frozen=True)
class Size:
    """An integer expression in H, the number of units.

    Args:
        op: ``units`` is H itself, ``constant`` a fixed number. ``add``, ``sub``, ``mul``,
            ``floordiv``, ``ceildiv``, ``min`` and ``max`` combine two arguments. ``length`` is the
            number of elements of a slice, with the arguments width, start, stop and step.
        args: the arguments of the operation, sizes and numbers.
    """

    op: str
    args: tuple[Any, ...] = ()

    def at(self, H: int) -> int:
        """The value of the expression for a layer with H units."""
        if self.op == "units":
            return H
        if self.op == "constant":
            return int(self.args[0])
        a = [v.at(H) if isinstance(v, Size) else v for v in self.args]
        if self.op == "length":
            width, *bounds = a
            return len(range(*slice(*bounds).indices(width)))
        if self.op in ("floordiv", "ceildiv"):
            # A division by zero gives 0 here. The reference raises the error of Python, because it
            # runs the step on tensors.
            # Rounding up is rounding down with both signs changed.
            sign = 1 if self.op == "floordiv" else -1
            return sign * (sign * a[0] // a[1]) if a[1] else 0
        return {"add": a[0] + a[1], "sub": a[0] - a[1], "mul": a[0] * a[1]}.get(
            self.op, min(a) if self.op == "min" else max(a)
        )

    def __str__(self) -> str:
        signs = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//"}
        if self.op == "units":
            return "H"
        if self.op == "constant":
            return str(self.args[0])
        if self.op in signs:
            return f"({self.args[0]} {signs[self.op]} {self.args[1]})"
        return f"{self.op}({', '.join(map(str, self.args))})"

    # The arithmetic that a step may do with the width of a value.

    def __add__(self, other: Any) -> Any:
        return _combined("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return _combined("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return _combined("sub", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _combined("sub", other, self)

    def __mul__(self, other: Any) -> Any:
        return _combined("mul", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _combined("mul", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _combined("floordiv", self, other)


UNITS = Size("units")
"""The number H of units as a size."""


def constant(number: int) -> Size:
    """A fixed number as a size."""
    return Size("constant", (int(number),))


ZERO = constant(0)
"""The number 0 as a size."""


def _combined(op: str, a: Any, b: Any) -> Any:
    """The size ``a op b``; NotImplemented unless both are sizes or whole numbers."""
    if not all(
        isinstance(v, Size) or (isinstance(v, int) and not isinstance(v, bool)) for v in (a, b)
    ):
        return NotImplemented
    if op in ("add", "sub") and b in (0, constant(0)):
        return a
    if op == "add" and a in (0, constant(0)):
        return b
    return Size(op, (a, b))


@dataclass(frozen=True)
class Map(ABC):
    """A linear function from a row to a row, in which all coefficients are 0 or 1.

    Args:
        source: the width of the row that the map reads.
        target: the width of the row that the map computes.
        is_transposed: whether to apply the transposed map, which reads ``target`` units and
            computes ``source`` units. Gradients are such maps.
    """

    source: Size
    target: Size
    is_transposed: bool = False

    @property
    def width(self) -> Size:
        """The width of the row that the map computes, transposed or not."""
        return self.source if self.is_transposed else self.target

    def pairs(self, H: int) -> tuple[Tensor, Tensor]:
        """The positions of the coefficients that are 1: for each, the written and the read unit."""
        written, read = self._pairs(H)
        return (read, written) if self.is_transposed else (written, read)

    @abstractmethod
    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        """As :meth:`pairs`, but always for the map that is not transposed."""

    @abstractmethod
    def printed(self) -> tuple[str, tuple[Any, ...]]:
        """The name of the function that prints as this map, and its arguments after the row."""

    def problem(self, H: int) -> str:
        """The reason why the map cannot be applied with H units; empty if it can."""
        return ""

    def apply(self, value: Tensor, H: int) -> Tensor:
        """Applies the map along the last dimension of a tensor with plain PyTorch."""
        written, read = self.pairs(H)
        out = value.new_zeros(*value.shape[:-1], self.width.at(H))
        return out.index_add(-1, written.to(value.device), value[..., read.to(value.device)])


@dataclass(frozen=True)
class Slice(Map):
    """Selects the units ``start:stop:step`` with the meaning of Python's slices."""

    start: Any = None
    stop: Any = None
    step: Any = None

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        bounds = [v.at(H) if isinstance(v, Size) else v for v in (self.start, self.stop, self.step)]
        read = torch.tensor(range(*slice(*bounds).indices(self.source.at(H))), dtype=torch.long)
        return torch.arange(len(read)), read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        stop = self.source if self.stop is None else self.stop
        bounds = (self.start or 0, stop, *([] if self.step in (None, 1) else [self.step]))
        return ("place", bounds) if self.is_transposed else ("part", bounds)


@dataclass(frozen=True)
class Pick(Map):
    """Selects the units with certain indices, which may be negative and may repeat."""

    indices: tuple[int, ...] = ()

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        width = self.source.at(H)
        read = torch.tensor([i % width for i in self.indices], dtype=torch.long)
        return torch.arange(len(read)), read

    def problem(self, H: int) -> str:
        width = self.source.at(H)
        outside = [i for i in self.indices if not -width <= i < width]
        return f"the index {outside[0]} is out of range for {width} units" if outside else ""

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "put" if self.is_transposed else "pick", self.indices


@dataclass(frozen=True)
class Place(Map):
    """Writes the row into a wider row of zeros, from unit ``offset`` on."""

    offset: Size = ZERO

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        read = torch.arange(self.source.at(H))
        return read + self.offset.at(H), read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "part" if self.is_transposed else "place", (self.offset, self.offset + self.source)


@dataclass(frozen=True)
class Roll(Map):
    """Shifts the units cyclically by ``shift`` positions, as ``torch.roll`` does."""

    shift: int = 0

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        width = self.source.at(H)
        read = torch.arange(width)
        return (read + self.shift) % max(width, 1), read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "roll", (-self.shift if self.is_transposed else self.shift,)


@dataclass(frozen=True)
class Flip(Map):
    """Reverses the order of the units."""

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        read = torch.arange(self.source.at(H))
        return read.flip(0), read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "flip", ()


@dataclass(frozen=True)
class Cumsum(Map):
    """Computes cumulative sums: each unit becomes the sum of itself and all units before it."""

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        width = self.source.at(H)
        written, read = torch.tril_indices(width, width)
        return written, read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "cumsum_from_the_end" if self.is_transposed else "cumsum", ()

    def apply(self, value: Tensor, H: int) -> Tensor:
        if self.is_transposed:
            return value.flip(-1).cumsum(-1).flip(-1)
        return value.cumsum(-1)

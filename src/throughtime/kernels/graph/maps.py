"""Maps over the units of a row: parts of it, other orders of its units, running sums.

A map says from which units of a row each unit of another row is summed up, with weights of one.
Which units these are follows from the number H of units, which a trace does not know: widths and
places are kept as expressions in H, a :class:`Size`.
"""

from __future__ import annotations

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
    """A whole number that follows from H, the number of units.

    Args:
        op: ``units`` is H, ``constant`` a number; the others combine their arguments.
        args: sizes and numbers.
    """

    op: str
    args: tuple[Any, ...] = ()

    def at(self, H: int) -> int:
        """The number, where the layer has H units."""
        if self.op == "units":
            return H
        if self.op == "constant":
            return int(self.args[0])
        a = [v.at(H) if isinstance(v, Size) else v for v in self.args]
        if self.op == "length":
            width, *bounds = a
            return len(range(*slice(*bounds).indices(width)))
        if self.op in ("floordiv", "ceildiv"):
            # A division by zero is refused by the reference, which runs the step on tensors.
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

    # What a step may compute with the width of a value.

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
"""H itself."""


def constant(number: int) -> Size:
    """A number as a size."""
    return Size("constant", (int(number),))


ZERO = constant(0)
"""The number 0 as a size."""


def _combined(op: str, a: Any, b: Any) -> Any:
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
class Map:
    """What each unit of a row is summed up from.

    Args:
        source: the width of the row that is read.
        target: the width of the row that is made.
        is_transposed: whether the map runs the other way, as gradients do.
    """

    source: Size
    target: Size
    is_transposed: bool = False

    @property
    def width(self) -> Size:
        """The width of what the map makes."""
        return self.source if self.is_transposed else self.target

    def pairs(self, H: int) -> tuple[Tensor, Tensor]:
        """For each summand the unit that is made, and the unit that is read."""
        made, read = self._pairs(H)
        return (read, made) if self.is_transposed else (made, read)

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        """How equations write it: the name of a function, and its arguments after the row."""
        raise NotImplementedError

    def problem(self, H: int) -> str:
        """Why the map does not fit H units; empty if it does."""
        return ""

    def apply(self, value: Tensor, H: int) -> Tensor:
        """The map in plain PyTorch."""
        made, read = self.pairs(H)
        out = value.new_zeros(*value.shape[:-1], self.width.at(H))
        return out.index_add(-1, made.to(value.device), value[..., read.to(value.device)])


@dataclass(frozen=True)
class Slice(Map):
    """The units from ``start`` to ``stop`` by ``step``, as Python's slices take them."""

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
    """The units of these numbers, which may be negative, and repeated."""

    indices: tuple[int, ...] = ()

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        width = self.source.at(H)
        read = torch.tensor([i % width for i in self.indices], dtype=torch.long)
        return torch.arange(len(read)), read

    def problem(self, H: int) -> str:
        width = self.source.at(H)
        wrong = [i for i in self.indices if not -width <= i < width]
        return f"there is no unit {wrong[0]} among {width}" if wrong else ""

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "put" if self.is_transposed else "pick", self.indices


@dataclass(frozen=True)
class Place(Map):
    """The row at an offset in a wider row, which has zeros elsewhere."""

    offset: Size = ZERO

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        read = torch.arange(self.source.at(H))
        return read + self.offset.at(H), read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "part" if self.is_transposed else "place", (self.offset, self.offset + self.source)


@dataclass(frozen=True)
class Roll(Map):
    """The units moved round by a number of places."""

    shift: int = 0

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        width = self.source.at(H)
        read = torch.arange(width)
        return (read + self.shift) % max(width, 1), read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "roll", (-self.shift if self.is_transposed else self.shift,)


@dataclass(frozen=True)
class Flip(Map):
    """The units in the opposite order."""

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        read = torch.arange(self.source.at(H))
        return read.flip(0), read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "flip", ()


@dataclass(frozen=True)
class Cumsum(Map):
    """The sum of each unit and all before it."""

    def _pairs(self, H: int) -> tuple[Tensor, Tensor]:
        width = self.source.at(H)
        made, read = torch.tril_indices(width, width)
        return made, read

    def printed(self) -> tuple[str, tuple[Any, ...]]:
        return "cumsum_from_the_end" if self.is_transposed else "cumsum", ()

    def apply(self, value: Tensor, H: int) -> Tensor:
        if self.is_transposed:
            return value.flip(-1).cumsum(-1).flip(-1)
        return value.cumsum(-1)

"""The functions of PyTorch that take parts of a row of units, or put rows together.

They are written as maps of graph/maps.py. A part of one unit is one number for all units of a row
that it meets, as PyTorch broadcasts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any

from torch import Tensor

from throughtime.kernels.graph.graph import Node, Operand, is_mask
from throughtime.kernels.graph.maps import (
    Cumsum,
    Flip,
    Map,
    Pick,
    Place,
    Roll,
    Size,
    Slice,
    constant,
)
from throughtime.kernels.graph.untraceable import Untraceable

__all__ = ["PARTS"]


def _check(a: Any, dim: Any, what: str) -> Node:
    """The value, if it has units and ``dim`` is their dimension."""
    if not isinstance(a, Node) or is_mask(a) or a.kind not in ("row", "unit"):
        raise Untraceable(f"{what} has a kernel only for a value of each unit")
    dims = (-1, 1) if a.kind == "row" else (-1, 0)
    if dim not in (*dims, *((d,) for d in dims), *([d] for d in dims)):
        raise Untraceable(f"{what} has a kernel only along the units")
    return a


def _mapped(w: Any, a: Node, rule: Map) -> Operand:
    value = w.graph.map(rule, a)
    if rule.width == constant(1) and a.kind == "row":
        return w.graph.node("row_sum", value)
    return value


def _slice(w: Any, a: Node, start: Any, stop: Any, step: Any = None) -> Operand:
    for bound in (start, stop, step):
        if not (bound is None or isinstance(bound, (int, Size))) or isinstance(bound, bool):
            raise Untraceable(f"the bound {bound!r} of a slice is no whole number")
    return _mapped(
        w, a, Slice(a.width, _length(a.width, start, stop, step), False, start, stop, step)
    )


def _length(width: Size, start: Any, stop: Any, step: Any) -> Size:
    """The width of a slice; a number where it is the same for each H of at least so many units."""
    if step in (None, 1):
        if start in (None, 0) and isinstance(stop, Size):
            return stop
        if start in (None, 0) and stop is None:
            return width
        if isinstance(start, int) and isinstance(stop, int) and (start < 0) == (stop < 0):
            return constant(max(stop - start, 0))
        if start == -1 and stop is None:
            return constant(1)
    return Size("length", (width, start, stop, step))


def _chunk(w: Any, a: Any, chunks: Any, dim: Any = 0) -> tuple[Operand, ...]:
    a = _check(a, dim, "chunk")
    size = Size("ceildiv", (a.width, chunks))
    bounds = [Size("min", (a.width, size * i)) for i in range(chunks + 1)]
    # PyTorch gives fewer chunks, or a smaller last one, where the units cannot be shared evenly.
    w.graph.equal_sizes[Size("ceildiv", (a.width, size)), constant(chunks)] = None
    parts = [_slice_of(w, a, bounds[i], size) for i in range(chunks - 1)]
    return (*parts, _slice_of(w, a, bounds[-2], a.width - bounds[-2]))


def _slice_of(w: Any, a: Node, start: Any, size: Size) -> Operand:
    return _mapped(w, a, Slice(a.width, size, False, start, start + size, None))


def _split(w: Any, a: Any, split_size_or_sections: Any, dim: Any = 0) -> tuple[Operand, ...]:
    a = _check(a, dim, "split")
    sections = split_size_or_sections
    if isinstance(sections, Size) and sections.op == "floordiv" and sections.args[0] == a.width:
        sections = [sections] * sections.args[1]
    if not isinstance(sections, (list, tuple)):
        raise Untraceable(
            "how many parts split makes depends on the number of units; write chunk, or the "
            "sizes of all parts"
        )
    sizes = [s if isinstance(s, Size) else constant(s) for s in sections]
    total: Size = reduce(add, sizes)
    if total != a.width:
        w.graph.equal_sizes[total, a.width] = None
    parts, start = [], constant(0)
    for size in sizes:
        parts.append(_slice_of(w, a, start, size))
        start = start + size
    return tuple(parts)


def _cat(w: Any, tensors: Any, dim: Any = 0) -> Operand:
    rows: list[Node] = []
    for a in tensors:
        if isinstance(a, Node) and a.kind == "column" and not is_mask(a):
            a = w.graph.spread(a, constant(1))
        rows.append(_check(a, dim, "cat"))
    if len({a.kind for a in rows}) != 1:
        raise Untraceable("cat of rows with what is the same for all rows has no kernel")
    total: Size = reduce(add, (a.width for a in rows))
    placed, offset = [], constant(0)
    for a in rows:
        placed.append(w.graph.map(Place(a.width, total, False, offset), a))
        offset = offset + a.width
    return reduce(w.add, placed)


def _narrow(w: Any, a: Any, dim: Any, start: Any, length: Any) -> Operand:
    a = _check(a, dim, "narrow")
    return _slice_of(w, a, start, length if isinstance(length, Size) else constant(length))


def _picked(w: Any, a: Any, dim: Any, index: Any) -> Operand:
    a = _check(a, dim, "index_select")
    return _pick(w, a, index)


def _pick(w: Any, a: Node, index: Any) -> Operand:
    if isinstance(index, Tensor):
        if index.dim() != 1 or index.is_floating_point() or index.is_complex():
            raise Untraceable("an index has a kernel as a slice, or a list of whole numbers")
        index = index.tolist()
    if not isinstance(index, Sequence) or not all(isinstance(i, int) for i in index):
        raise Untraceable("an index has a kernel as a slice, or a list of whole numbers")
    if any(isinstance(i, bool) for i in index):
        w.graph.equal_sizes[a.width, constant(len(index))] = None
        index = [i for i, is_taken in enumerate(index) if is_taken]
    return _mapped(w, a, Pick(a.width, constant(len(index)), False, tuple(index)))


def _indexed(w: Any, a: Any, index: Any) -> Operand:
    if not isinstance(a, Node) or a.kind not in ("row", "unit") or is_mask(a):
        raise Untraceable("an index has a kernel only for a value of each unit")
    parts = list(index) if isinstance(index, tuple) else [index]
    if a.kind == "row":
        # All rows, then units.
        if len(parts) != 2 or not (parts[0] is Ellipsis or parts[0] == slice(None)):
            raise Untraceable("an index has a kernel only along the units, as in a[:, 1:3]")
        parts = parts[1:]
    elif parts and parts[0] is Ellipsis:
        parts = parts[1:]
    if len(parts) != 1:
        raise Untraceable("an index has a kernel only along the units, as in a[:, 1:3]")
    (part,) = parts
    if isinstance(part, slice):
        if part == slice(None):
            return a
        return _slice(w, a, part.start, part.stop, part.step)
    if isinstance(part, int) and not isinstance(part, bool):
        raise Untraceable("an index of one number drops a dimension; write a[:, 3:4]")
    return _pick(w, a, part)


def _simple_map(kind: Callable[[Node], Map], what: str) -> Callable[..., Operand]:
    def write(w: Any, a: Any, dim: Any, **kwargs: Any) -> Operand:
        if kwargs:
            raise Untraceable(f"{what} with {', '.join(kwargs)} has no kernel")
        a = _check(a, dim, what)
        return _mapped(w, a, kind(a))

    return write


def _roll(w: Any, a: Any, shifts: Any, dims: Any = None) -> Operand:
    a = _check(a, dims, "roll")
    shift = shifts[0] if isinstance(shifts, (tuple, list)) else shifts
    if not isinstance(shift, int):
        raise Untraceable("roll has a kernel only with a whole number of places")
    return _mapped(w, a, Roll(a.width, a.width, False, shift))


def _glu(w: Any, input: Any, dim: Any = -1) -> Operand:
    value, gate = _chunk(w, input, 2, dim)
    return w.mul(value, w.sigmoid(gate))


_cumsum = _simple_map(lambda a: Cumsum(a.width, a.width), "cumsum")
_flip = _simple_map(lambda a: Flip(a.width, a.width), "flip")

PARTS: dict[str, Callable[..., Any]] = {
    "chunk": _chunk,
    "split": _split,
    "split_with_sizes": _split,
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "narrow": _narrow,
    "index_select": _picked,
    "__getitem__": _indexed,
    "cumsum": _cumsum,
    "flip": lambda w, a, dims: _flip(w, a, dims),
    "roll": _roll,
    "glu": _glu,
}
"""By their names in PyTorch; what takes a tensor apart gives a tuple."""

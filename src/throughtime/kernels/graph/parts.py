"""PyTorch's functions that split, slice, reorder or join rows, as nodes of a graph.

Each function becomes maps of graph/maps.py. PyTorch broadcasts a part with a single unit against
all units of another row; such a part therefore becomes a ``column``, one number for each row.

In each function ``w`` is the :class:`~throughtime.kernels.graph.functions.Operations` that adds the
nodes. Whether sizes fit depends on H, which a trace does not know: the functions record in
``w.graph.equal_sizes`` which sizes must be equal, and each layer checks them for its own H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, TypeGuard

import torch
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


def _has_units(a: Any) -> TypeGuard[Node]:
    return isinstance(a, Node) and not is_mask(a) and a.kind in ("row", "unit")


def _check(a: Any, dim: Any, what: str) -> Node:
    """Returns ``a`` if it has one number for each unit and ``dim`` is the dimension of the units.

    Args:
        a: the argument of the function.
        dim: the dimension along which the function works.
        what: the name of the function, for the reason.

    Raises:
        Untraceable: otherwise.
    """
    if not _has_units(a):
        raise Untraceable(f"{what} has a kernel only for values with one number for each unit")
    # A value of kind "row" has the dimensions (rows, units), one of kind "unit" only (units).
    dims = (-1, 1) if a.kind == "row" else (-1, 0)
    if dim not in (*dims, *((d,) for d in dims), *([d] for d in dims)):
        raise Untraceable(f"{what} has a kernel only along the units")
    return a


def _mapped(w: Any, a: Node, rule: Map) -> Operand:
    """The map ``rule`` applied to ``a``; a row with a single unit becomes a column."""
    value = w.graph.map(rule, a)
    if rule.width == constant(1) and a.kind == "row":
        # The sum over one unit is that unit, with the kind that broadcasts.
        return w.graph.node("row_sum", value)
    return value


def _slice(w: Any, a: Node, start: Any, stop: Any, step: Any = None) -> Operand:
    """The units ``start:stop:step`` of ``a``."""
    for bound in (start, stop, step):
        if not (bound is None or isinstance(bound, (int, Size))) or isinstance(bound, bool):
            raise Untraceable(f"the bound {bound!r} of a slice is not a whole number")
    length = _length(a.width, start, stop, step)
    _require_length(w, a, length, start, stop, step)
    return _mapped(w, a, Slice(a.width, length, False, start, stop, step))


def _length(width: Size, start: Any, stop: Any, step: Any) -> Size:
    """The width of a slice of a row with this width, in its simplest form.

    The general form is the operation ``length``. The simple forms matter because sizes are compared
    as expressions: ``a[:, :n]`` and a row of n units must have the same width. They hold for a row
    that has at least as many units as the bounds ask for; see :func:`_require_length`.
    """
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


def _require_length(w: Any, a: Node, length: Size, start: Any, stop: Any, step: Any = None) -> None:
    """Records that a slice of ``a`` must have ``length`` units.

    A slice of a shorter row has fewer, as in Python. A kernel would take zeros for the others.
    """
    general = Size("length", (a.width, start, stop, step))
    if length not in (general, a.width):
        w.graph.equal_sizes[general, length] = None


def _chunk(w: Any, a: Any, chunks: Any, dim: Any = 0) -> tuple[Operand, ...]:
    a = _check(a, dim, "chunk")
    # As PyTorch does: all chunks have ceil(width / chunks) units, and the last one has the rest.
    size = Size("ceildiv", (a.width, chunks))
    bounds = [Size("min", (a.width, size * i)) for i in range(chunks + 1)]
    # For some widths PyTorch returns fewer chunks than asked for (5 units in 4 chunks: 2, 2 and 1).
    # Such a width has no kernel.
    w.graph.equal_sizes[Size("ceildiv", (a.width, size)), constant(chunks)] = None
    parts = [_slice_of(w, a, bounds[i], size) for i in range(chunks - 1)]
    return (*parts, _slice_of(w, a, bounds[-2], a.width - bounds[-2]))


def _slice_of(w: Any, a: Node, start: Any, size: Size) -> Operand:
    """The ``size`` units of ``a`` from ``start`` on."""
    return _mapped(w, a, Slice(a.width, size, False, start, start + size, None))


def _split(w: Any, a: Any, split_size_or_sections: Any, dim: Any = 0) -> tuple[Operand, ...]:
    a = _check(a, dim, "split")
    sections = split_size_or_sections
    # A size such as H // 2 gives two parts whatever H is; a fixed number gives more for a larger H.
    if isinstance(sections, Size) and sections.op == "floordiv" and sections.args[0] == a.width:
        sections = [sections] * sections.args[1]
    if not isinstance(sections, (list, tuple)):
        raise Untraceable(
            "the number of parts that split returns depends on the number of units; use chunk, or "
            "list the sizes of all parts"
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
    # Each row is placed into a row of zeros with the total width; their sum is the joined row.
    rows: list[Node] = []
    for a in tensors:
        if isinstance(a, Node) and a.kind == "column" and not is_mask(a):
            a = w.graph.spread(a, constant(1))
        rows.append(_check(a, dim, "cat"))
    if len({a.kind for a in rows}) != 1:
        raise Untraceable(
            "cat of values that differ between the rows with values that do not (parameters) has "
            "no kernel"
        )
    total: Size = reduce(add, (a.width for a in rows))
    placed, offset = [], constant(0)
    for a in rows:
        placed.append(w.graph.map(Place(a.width, total, False, offset), a))
        offset = offset + a.width
    return reduce(w.add, placed)


def _narrow(w: Any, a: Any, dim: Any, start: Any, length: Any) -> Operand:
    a = _check(a, dim, "narrow")
    size = length if isinstance(length, Size) else constant(length)
    if isinstance(start, int) and start < 0:
        start = a.width + start
    _require_length(w, a, size, start, start + size)
    return _slice_of(w, a, start, size)


def _index_select(w: Any, a: Any, dim: Any, index: Any) -> Operand:
    a = _check(a, dim, "index_select")
    return _pick(w, a, index)


def _pick(w: Any, a: Node, index: Any) -> Operand:
    """The units of ``a`` that ``index`` lists, by their numbers or as a mask of all units."""
    if isinstance(index, Tensor):
        if index.dtype is torch.uint8:
            raise Untraceable("an index of torch.uint8 is a mask in PyTorch; use torch.bool")
        if index.dim() != 1 or index.is_floating_point() or index.is_complex():
            raise Untraceable("an index has a kernel as a slice, or a list of whole numbers")
        index = index.tolist()
    if not isinstance(index, Sequence) or not all(isinstance(i, int) for i in index):
        raise Untraceable("an index has a kernel as a slice, or a list of whole numbers")
    # Booleans are a mask with one element for each unit.
    if any(isinstance(i, bool) for i in index):
        w.graph.equal_sizes[a.width, constant(len(index))] = None
        index = [i for i, is_selected in enumerate(index) if is_selected]
    return _mapped(w, a, Pick(a.width, constant(len(index)), False, tuple(index)))


def _getitem(w: Any, a: Any, index: Any) -> Operand:
    if not _has_units(a):
        raise Untraceable("an index has a kernel only for values with one number for each unit")
    units = _unit_index(a, index)
    if isinstance(units, slice):
        if units == slice(None):
            return a
        return _slice(w, a, units.start, units.stop, units.step)
    if isinstance(units, int) and not isinstance(units, bool):
        raise Untraceable("an index of one number drops a dimension; write a[:, 3:4]")
    return _pick(w, a, units)


def _unit_index(a: Node, index: Any) -> Any:
    """The index of the units in ``a[index]``; raises Untraceable unless all rows are selected."""
    parts = list(index) if isinstance(index, tuple) else [index]
    selects_all_rows = bool(parts) and (
        parts[0] is Ellipsis or (a.kind == "row" and parts[0] == slice(None))
    )
    if selects_all_rows:
        parts = parts[1:]
    if len(parts) != 1 or (a.kind == "row" and not selects_all_rows):
        raise Untraceable("an index has a kernel only along the units, as in a[:, 1:3]")
    return parts[0]


def _function_of_map(rule_for: Callable[[Node], Map], what: str) -> Callable[..., Operand]:
    """A function of a value and a dimension that applies one map.

    Args:
        rule_for: the map for a certain value.
        what: the name of the function, for the reason of a refusal.
    """

    def write(w: Any, a: Any, dim: Any, **kwargs: Any) -> Operand:
        if kwargs:
            raise Untraceable(f"{what} with {', '.join(kwargs)} has no kernel")
        a = _check(a, dim, what)
        return _mapped(w, a, rule_for(a))

    return write


def _roll(w: Any, a: Any, shifts: Any, dims: Any = None) -> Operand:
    a = _check(a, dims, "roll")
    shift = shifts[0] if isinstance(shifts, (tuple, list)) else shifts
    if not isinstance(shift, int):
        raise Untraceable("roll has a kernel only with a whole number as its shift")
    return _mapped(w, a, Roll(a.width, a.width, False, shift))


def _glu(w: Any, input: Any, dim: Any = -1) -> Operand:
    # The gated linear unit: the first half of the units, gated by the second half.
    value, gate = _chunk(w, input, 2, dim)
    return w.mul(value, w.sigmoid(gate))


_cumsum = _function_of_map(lambda a: Cumsum(a.width, a.width), "cumsum")
_flip = _function_of_map(lambda a: Flip(a.width, a.width), "flip")

PARTS: dict[str, Callable[..., Any]] = {
    "chunk": _chunk,
    "split": _split,
    "split_with_sizes": _split,
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "narrow": _narrow,
    "index_select": _index_select,
    "__getitem__": _getitem,
    "cumsum": _cumsum,
    "flip": lambda w, a, dims: _flip(w, a, dims),
    "roll": _roll,
    "glu": _glu,
}
"""The functions of this module by their names in PyTorch. ``chunk`` and ``split`` return a tuple of
values, the others one value."""

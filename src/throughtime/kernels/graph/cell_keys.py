"""Which cells have the same step and the same constants, so that what is derived can be shared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from copy import copy
from functools import cache, wraps
from numbers import Real
from types import NoneType
from typing import Any, TypeVar

from torch import Tensor

from throughtime.cells.cell import Cell, Input, Parameter, State
from throughtime.kernels.graph.functions import Untraceable

__all__ = ["cell_key", "once_per_key", "snapshot"]


def cell_key(cell: Cell) -> Hashable:
    """A key that is equal for cells with the same step and the same constants.

    Numbers are compared by value, whether the step reads them from the cell, its class, or the
    module around it. Other objects are compared by identity; a tensor also gets a new key when it
    is changed in place.
    """
    values = vars(cell)
    # The usual case, in which nothing needs to be converted: this runs for each call of a layer.
    if not all(isinstance(v, _PLAIN) for v in values.values()):
        follows = getattr(type(cell), "follows", ())
        values = {name: _key_of(v) for name, v in values.items() if name not in follows}
    outside = [_key_of(space.get(name)) for space, name in _outside_constants(type(cell))]
    return type(cell), type(cell).step, tuple(values.items()), *outside


_PLAIN = (bool, int, float, str, NoneType)


class _Object:
    """A key that compares an object by identity.

    It keeps a reference to the object, so that no later object can get the same id.
    """

    def __init__(self, target: Any) -> None:
        self.target = target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and self.target is other.target

    def __hash__(self) -> int:
        return id(self.target)


def _key_of(v: Any) -> Hashable:
    """The part of a :func:`cell_key` that stands for one constant."""
    if isinstance(v, _PLAIN):
        return v
    if isinstance(v, Cell):
        return cell_key(v)
    if isinstance(v, (list, tuple)):
        return tuple(_key_of(element) for element in v)
    if isinstance(v, dict):
        return tuple((_key_of(k), _key_of(element)) for k, element in v.items())
    if isinstance(v, (State, Parameter, Input)):
        return v
    if isinstance(v, Real):
        return float(v)
    if isinstance(v, Tensor):
        # The value is not compared: inside torch.compile no element may be read.
        return _Object(v), v.requires_grad, 0 if v.is_inference() else v._version
    return _Object(v)


def snapshot(cell: Cell) -> Cell:
    """A copy of a cell, with copies of the cells, lists, tuples and dicts in it.

    It keeps its constants when the caller changes those of the cell.
    """
    duplicate = copy(cell)
    vars(duplicate).update({name: _snapshot_of(v) for name, v in vars(cell).items()})
    return duplicate


def _snapshot_of(v: Any) -> Any:
    if isinstance(v, Cell):
        return snapshot(v)
    if type(v) in (list, tuple):
        return type(v)(map(_snapshot_of, v))
    return {k: _snapshot_of(element) for k, element in v.items()} if type(v) is dict else v


@cache
def _outside_constants(kind: type[Cell]) -> list[tuple[Mapping[str, Any], str]]:
    """The constants that the step of a class reads from its classes and its module.

    Returns:
        Pairs of a namespace and a name in it. The value is looked up again for each key, because
        it may change.
    """
    constants: list[tuple[Mapping[str, Any], str]] = []
    code = getattr(kind.step, "__code__", None)
    spaces: list[Mapping[str, Any]] = [vars(k) for k in kind.__mro__ if k not in (Cell, object)]
    spaces += [getattr(kind.step, "__globals__", {})] if code else []
    for space in spaces:
        for name in code.co_names if code else ():
            if isinstance(space.get(name), (bool, int, float, Tensor, list, tuple)):
                constants.append((space, name))
    return constants


_Result = TypeVar("_Result")


def once_per_key(function: Callable[[Cell], _Result]) -> Callable[[Cell], _Result]:
    """Caches a function by :func:`cell_key`; a refusal (:class:`Untraceable`) is cached too."""
    results: dict[Hashable, _Result | Untraceable] = {}

    @wraps(function)
    def cached(cell: Cell) -> _Result:
        key = cell_key(cell)
        if key not in results:
            try:
                results[key] = function(cell)
            except Untraceable as reason:
                # A new exception without a traceback, whose frames would keep all their local
                # variables alive.
                results[key] = Untraceable(str(reason))
        result = results[key]
        if isinstance(result, Untraceable):
            raise Untraceable(str(result))
        return result

    return cached

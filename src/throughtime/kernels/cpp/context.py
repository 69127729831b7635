"""The arguments of a compiled kernel: the structs of ``recurrence.hpp`` with the same fields.

The same fields are written in two languages. So each kernel exports the layout that its C++
compiler chose, and :func:`check_layout` compares it with that of the classes here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

__all__ = ["LAYOUT", "Context", "StepArray", "check_layout", "context_of", "layout"]

_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p


class _Array(ctypes.Structure):
    """``Array``: where a kernel finds step t of a value."""

    _fields_ = (("base", _POINTER), ("time", _INT), ("mask", _INT))


class Context(ctypes.Structure):
    """``Context`` without its arrays; recurrence.hpp says what each field is."""

    _fields_ = (
        *(("rows", _INT), ("units", _INT), ("width", _INT), ("narrow", _INT)),
        *(("begin", _INT), ("count", _INT), ("direction", _INT)),
        *(("offset", _INT), ("steps", _INT)),
        *(("reverse", _INT), ("groups", _INT), ("members", _INT)),
        *(("active", _POINTER), ("flags", _POINTER), ("order", _POINTER)),
        ("seed", _INT),
        *(("weights", _POINTER), ("sums", _POINTER), ("partials", _POINTER)),
    )


@cache
def context_of(num_arrays: int) -> type[Context]:
    """The :class:`Context` of a kernel that works on so many arrays, its last field ``arrays``."""

    class ContextWithArrays(Context):
        # At least one, as in C++: no struct there ends with an array of none.
        _fields_ = (("arrays", _Array * max(num_arrays, 1)),)

    return ContextWithArrays


def layout(structs: Mapping[str, type[ctypes.Structure]]) -> dict[str, int]:
    """The sizes of structs, and the places and sizes of their fields.

    Args:
        structs: by their names in C++.

    Returns:
        For each C++ expression, like ``offsetof(Context, rows)``, its value in Python.
    """
    values = {}
    for name, struct in structs.items():
        values[f"sizeof({name})"] = ctypes.sizeof(struct)
        # A subclass of a Structure lists only the fields that it adds.
        fields = [field for part in struct.__mro__ for field in part.__dict__.get("_fields_", ())]
        for field, *_ in fields:
            place = getattr(struct, field)
            values[f"offsetof({name}, {field})"] = place.offset
            values[f"sizeof({name}::{field})"] = place.size
    return values


LAYOUT = layout({"Array": _Array, "Context": context_of(1)})
"""What each kernel exports, in this order, as ``context_layout``."""


def check_layout(library: ctypes.CDLL, expected: Mapping[str, int] = LAYOUT) -> None:
    """Asserts that a compiled kernel has the structs that Python fills.

    Args:
        library: exports ``context_layout``, which writes the values of :data:`LAYOUT`.
        expected: the same expressions as :data:`LAYOUT`, with the values of Python.
    """
    # The kernel writes one number for each expression of LAYOUT, from which frame.py wrote it.
    values = (ctypes.c_int64 * len(LAYOUT))()
    library.context_layout(values)
    for expression, value in zip(LAYOUT, values, strict=True):
        assert value == expected[expression], (
            f"{expression}: expected {expected[expression]} as in kernels/cpp/context.py, got "
            f"{value} from recurrence.hpp. Write the same fields in the same order in both."
        )


@dataclass(frozen=True)
class StepArray:
    """A tensor as a kernel sees it: step t begins at ``first + (t & mask)``.

    Args:
        tensor: (steps, …), or one step where mask is 0.
        first: the step of the tensor that the kernel calls 0.
        mask: -1 if the tensor has all steps, 1 if it has two that take turns, 0 if it has one.
    """

    tensor: Tensor
    first: int = 0
    mask: int = -1

    def at(self, t: int) -> StepArray:
        """The array with step t as the kernel's step 0."""
        # Chunks begin at even steps, so that two steps that take turns stay in turn.
        return StepArray(self.tensor, self.first + t, self.mask) if self.mask == -1 else self

    def steps(self, begin: int, end: int) -> Tensor:
        """The steps from begin to end, in the kernel's count."""
        return self.tensor[self.first + begin : self.first + end]

    def fields(self) -> tuple[int, int, int]:
        """The fields of ``Array``: the address of step 0, the elements of a step, and the mask."""
        tensor = self.tensor
        # The kernel knows the distance between steps alone; rows and units lie side by side.
        assert tensor.is_contiguous()
        # With a distance of 0 between steps each step is at the same place.
        if self.mask == 0:
            return tensor.data_ptr(), 0, 0
        time = tensor.stride(0)
        return tensor.data_ptr() + self.first * time * tensor.element_size(), time, self.mask

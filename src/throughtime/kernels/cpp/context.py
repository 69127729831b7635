"""The arguments of a compiled kernel: the structs of ``recurrence.hpp`` in Python.

Both languages declare the same fields. To detect a difference, each kernel exports the layout that
its C++ compiler chose, and :func:`check_layout` compares it with that of the classes here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from torch import Tensor

__all__ = [
    "LAYOUT",
    "LAYOUT_OF_PLAN",
    "Context",
    "PlanContext",
    "StepArray",
    "check_layout",
    "context_of",
    "layout",
    "plan_context_of",
]

_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p


class _Array(ctypes.Structure):
    """``Array`` of ahead.hpp: the address of a value at each step."""

    _fields_ = (("base", _POINTER), ("time", _INT), ("mask", _INT))


class Context(ctypes.Structure):
    """``Context`` of recurrence.hpp, which describes each field, without its arrays."""

    _fields_ = (
        *(("rows", _INT), ("units", _INT), ("width", _INT), ("narrow", _INT)),
        *(("begin", _INT), ("count", _INT), ("direction", _INT)),
        *(("offset", _INT), ("steps", _INT)),
        *(("reverse", _INT), ("groups", _INT), ("members", _INT)),
        *(("active", _POINTER), ("flags", _POINTER), ("order", _POINTER)),
        ("seed", _INT),
        *(("weights", _POINTER), ("sums", _POINTER), ("partials", _POINTER)),
        ("ahead", _POINTER),
    )


@cache
def context_of(num_arrays: int) -> type[Context]:
    """The :class:`Context` with a last field ``arrays`` of so many arrays."""

    class ContextWithArrays(Context):
        # At least one, because a C++ struct cannot end with an array of length 0.
        _fields_ = (("arrays", _Array * max(num_arrays, 1)),)

    return ContextWithArrays


class _Linear(ctypes.Structure):
    """``Linear`` of ahead.hpp, which describes each field."""

    _fields_ = (("panel", _POINTER), ("bias", _POINTER), ("inputs", _INT), ("outputs", _INT))


class _Layer(ctypes.Structure):
    """``Layer`` of plan.hpp, which describes each field."""

    _fields_ = (
        *(("run", _POINTER), ("context", _POINTER)),
        *(("x", _Array), ("x_width", _INT)),
        *(("input", _Linear), ("hoisted", _Array)),
        *(("output", _Array), ("sum", _Array), ("columns", _POINTER)),
    )


class PlanContext(ctypes.Structure):
    """``Plan`` of plan.hpp, which describes each field, without its layers."""

    _fields_ = (
        *(("rows", _INT), ("time", _INT), ("chunk", _INT)),
        *(("layers", _INT), ("flags", _POINTER)),
        *(("x", _Array), ("x_width", _INT), ("inputs", _INT)),
        *(("table", _POINTER), ("tokens", _INT)),
        *(("y", _Array), ("y_width", _INT)),
        *(("head", _Linear), ("results", _POINTER), ("outputs", _INT)),
    )


@cache
def plan_context_of(num_layers: int) -> type[PlanContext]:
    """The :class:`PlanContext` with a last field ``layer`` of so many layers."""

    class PlanContextWithLayers(PlanContext):
        _fields_ = (("layer", _Layer * num_layers),)

    return PlanContextWithLayers


def layout(structs: Mapping[str, type[ctypes.Structure]]) -> dict[str, int]:
    """The sizes of structs, and the offsets and sizes of their fields.

    Args:
        structs: the structs by their names in C++.

    Returns:
        Each C++ expression, like ``offsetof(Context, rows)``, with its value in Python.
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
"""The expressions whose values each kernel exports by ``context_layout``, in this order."""

LAYOUT_OF_PLAN = layout({"Linear": _Linear, "Layer": _Layer, "Plan": plan_context_of(1)})
"""The expressions whose values the runner of a plan exports by ``context_layout``."""


def check_layout(library: ctypes.CDLL, expected: Mapping[str, int] = LAYOUT) -> None:
    """Asserts that the structs of a compiled kernel have the layout of the classes here.

    Args:
        library: a library that exports ``context_layout``.
        expected: the expressions of :data:`LAYOUT` with their values in Python.
    """
    # The C++ of context_layout is generated from the expressions: it writes a number for each.
    values = (ctypes.c_int64 * len(expected))()
    library.context_layout(values)
    for expression, value in zip(expected, values, strict=True):
        assert value == expected[expression], (
            f"{expression}: expected {expected[expression]} as in kernels/cpp/context.py, got "
            f"{value} from C++. Write the same fields in the same order in both."
        )


@dataclass(frozen=True)
class StepArray:
    """A tensor with the numbering of its steps: step t lies at ``first + (t & mask)``.

    Args:
        tensor: (steps, …); without the dimension of steps if mask is 0.
        first: the index in the tensor of the kernel's step 0.
        mask: -1 if the tensor has all steps; 1 if it has two, which steps use alternately; 0 if
            it has one, which all steps share.
    """

    tensor: Tensor
    first: int = 0
    mask: int = -1

    def at(self, t: int) -> StepArray:
        """The same tensor with step t as the kernel's step 0."""
        # With mask 1 nothing changes: chunks begin at even steps, so that t & 1 is the same.
        return StepArray(self.tensor, self.first + t, self.mask) if self.mask == -1 else self

    def steps(self, begin: int, end: int) -> Tensor:
        """The steps from begin to end, in the numbering of the kernel."""
        return self.tensor[self.first + begin : self.first + end]

    def fields(self) -> tuple[int, int, int]:
        """The fields of ``Array``: the address of step 0, the elements of a step, and the mask."""
        tensor = self.tensor
        # The kernel knows only the stride of the steps, and assumes contiguous rows and units.
        assert tensor.is_contiguous()
        # A stride of 0 puts all steps at the same address.
        if self.mask == 0:
            return tensor.data_ptr(), 0, 0
        time = tensor.stride(0)
        return tensor.data_ptr() + self.first * time * tensor.element_size(), time, self.mask

"""The compiled code of training.hpp for one storage type, and its structs in Python."""

from __future__ import annotations

import ctypes
from functools import cache

from throughtime.kernels.cpp.build import load
from throughtime.kernels.cpp.context import check_layout, layout

__all__ = ["MEMORY_KINDS", "Direction", "Source", "Training", "TrainingCode", "code_of", "source"]

_INT, _POINTER = ctypes.c_int64, ctypes.c_void_p

MEMORY_KINDS = (
    *("FIXED", "KEPT", "INITIAL", "INPUT", "HOISTED", "BIAS", "PARAMETERS", "SPILL", "ZEROS"),
    *("D_OUTPUT", "D_LAST", "D_STATE", "D_INITIAL", "D_INPUT", "D_SLOTS"),
)
"""The names of ``Kind`` of training.hpp, whose values count from 0."""


class Source(ctypes.Structure):
    """``Source`` of training.hpp."""

    _fields_ = (("kind", _INT), ("number", _INT), ("fixed", _POINTER))


class Direction(ctypes.Structure):
    """``Direction`` of training.hpp."""

    _fields_ = (
        *(("run", _POINTER), ("pack", _POINTER)),
        *(("packed_size", _POINTER), ("partials_size", _POINTER)),
        *(("arrays", _INT), ("source", _POINTER), ("spilled", _INT)),
    )


class Training(ctypes.Structure):
    """``Training`` of training.hpp, which describes each field."""

    _fields_ = (
        *(("forward", Direction), ("backward", Direction), ("matmul", _POINTER)),
        *(("units", _INT), ("width", _INT), ("narrow", _INT), ("features", _INT)),
        *(("reverse", _INT), ("slots", _INT), ("hoisted", _INT), ("sums", _INT)),
        *(("parameters", _INT), ("states", _INT), ("reads_x", _INT)),
        *(("kept_arrays", _INT), ("output", _INT), ("kept", _POINTER)),
        *(("input_products", _INT), ("input_product", _POINTER)),
        *(("recurrent_products", _INT), ("recurrent_product", _POINTER)),
        *(("bias_terms", _INT), ("bias_term", _POINTER)),
        *(("sum_terms", _INT), ("sum_term", _POINTER)),
        *(("zeros_of_input", _INT), ("zeros_of_recurrent", _INT)),
    )


_LAYOUT = layout({"Source": Source, "Direction": Direction, "Training": Training})


class TrainingCode:
    """The compiled code of training.hpp for one storage type.

    Args:
        storage: the type of stored values: ``float`` or ``double``.

    Attributes:
        forward, backward: run one call; take the address of a ``Training``, and that of the
            numbers and addresses of the call. They return 0, or 1 if there is no memory.
    """

    def __init__(self, storage: str) -> None:
        self._library = load(source(storage))
        check_layout(self._library, _LAYOUT)
        self.forward, self.backward = self._library.train_forward, self._library.train_backward
        for function in (self.forward, self.backward):
            function.argtypes = [_POINTER, _POINTER]


@cache
def code_of(storage: str) -> TrainingCode:
    """The :class:`TrainingCode` of a type; compiled by the first call."""
    return TrainingCode(storage)


def source(storage: str) -> str:
    """The C++ that includes training.hpp, and the functions that Python calls."""
    values = "\n".join(f"        int64_t({expression})," for expression in _LAYOUT)
    kinds = "\n".join(
        f'static_assert({name} == {value}, "");' for value, name in enumerate(MEMORY_KINDS)
    )
    return f"""// training, {storage}
#include "training.hpp"
using namespace throughtime;
#define PUBLIC extern "C" __attribute__((visibility("default")))
{kinds}
PUBLIC int train_forward(const Training* layer, const int64_t* call) {{
    return TrainingCall<{storage}>(*layer, call, false).forward();
}}
PUBLIC int train_backward(const Training* layer, const int64_t* call) {{
    return TrainingCall<{storage}>(*layer, call, true).backward();
}}
PUBLIC void context_layout(int64_t* to) {{
    const int64_t values[] = {{
{values}
    }};
    for (const int64_t value : values) *to++ = value;
}}
"""

"""The structs that Python fills and compiled kernels read: the same fields in both languages."""

import ctypes
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from throughtime.kernels.cpp.build import load, missing
from throughtime.kernels.cpp.context import LAYOUT, StepArray, check_layout, context_of, layout
from throughtime.kernels.cpp.emit import emit
from throughtime.kernels.cpp.scratch import Scratch
from throughtime.kernels.graph.program import program

from .cpp_calls import PeepholeGRU

compiled = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def of_context(fields):
    """The layout that Python would expect if Context had these fields."""

    class Other(ctypes.Structure):
        _fields_ = fields

    return LAYOUT | layout({"Context": Other})


FIELDS = [
    field for part in reversed(context_of(1).__mro__) for field in part.__dict__.get("_fields_", ())
]


@pytest.fixture
def kernel():
    return load(emit(program(PeepholeGRU()), "double", backward=False).text)


@compiled
def test_the_layout_of_a_kernel_is_that_of_python(kernel):
    check_layout(kernel)
    check_layout(kernel, of_context(FIELDS))


@compiled
@pytest.mark.parametrize("i", range(len(FIELDS) - 1))
def test_two_fields_that_changed_places_are_noticed(kernel, i):
    swapped = [*FIELDS[:i], FIELDS[i + 1], FIELDS[i], *FIELDS[i + 2 :]]
    with pytest.raises(AssertionError, match=r"offsetof\(Context, \w+\): expected \d+ as in"):
        check_layout(kernel, of_context(swapped))


@compiled
def test_a_field_more_or_of_another_size_is_noticed(kernel):
    with pytest.raises(AssertionError, match=r"sizeof\(Context\): expected"):
        check_layout(kernel, of_context([*FIELDS, ("more", ctypes.c_int64)]))
    smaller = [("rows", ctypes.c_int32), *FIELDS[1:]]
    with pytest.raises(AssertionError, match=r"sizeof\(Context::rows\): expected 4 as .* got 8"):
        check_layout(kernel, of_context(smaller))


def test_the_fields_of_an_array_are_those_of_its_tensor():
    tensor = torch.zeros(6, 2, 16, dtype=torch.float32)
    context = context_of(3)()
    context.arrays[0] = StepArray(tensor).at(4).fields()
    context.arrays[1] = StepArray(tensor[:2], mask=1).at(4).fields()
    context.arrays[2] = StepArray(tensor[0], mask=0).at(4).fields()
    places = [(a.base - tensor.data_ptr(), a.time, a.mask) for a in context.arrays]
    assert places == [(4 * 2 * 16 * 4, 2 * 16, -1), (0, 2 * 16, 1), (0, 0, 0)]


def test_scratch_memory_is_reused_by_name_and_belongs_to_one_thread():
    scratch = Scratch()

    def address(name, *shape, dtype=torch.float32):
        return scratch.take(name, shape, dtype).data_ptr()

    first = address("a", 8, 4)
    assert address("a", 4, 4, dtype=torch.float64) == first
    assert address("a", 3) == first
    assert address("b", 3) != first
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(address, "a", 8, 4).result() != first

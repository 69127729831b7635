"""Edge cases of a cell's further inputs: their use in the step, their dtype, their names."""

import pytest
import torch
from torch.func import vmap

from throughtime.cells.cell import Cell, Input
from throughtime.kernels.cpp import backend as cpp
from throughtime.layers import Recurrent

needs_cpp = pytest.mark.skipif(bool(cpp.missing()), reason="; ".join(cpp.missing()))


class Applied(Cell):
    """A cell that applies W to an input other than x."""

    gates, states, inputs = ("h",), ("h",), ("z",)

    def step(self, x, W, R, s, p, u=None):
        return dict(h=torch.tanh(W.h(u.z) + R.h(s.h)))


class Noisy(Cell):
    """A cell that computes with a random input instead of only comparing it."""

    gates, states = ("h",), ("h",)
    inputs = {"noise": Input(drawn="step")}  # noqa: RUF012

    def step(self, x, W, R, s, p, u=None):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h * (u.noise + 0.5))) + u.noise)


class Named(Cell):
    """A cell whose inputs have the names that zoneout and recurrent dropout use."""

    gates, states, inputs = ("h",), ("h",), ("keep_h", "leave")

    def step(self, x, W, R, s, p, u=None):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h)) * u.keep_h + u.leave)


class Scaled(Cell):
    gates, states = ("h",), ("h",)

    def __init__(self, scale):
        self.scale = scale

    def step(self, x, W, R, s, p):
        return dict(h=self.scale[0] * torch.tanh(W.h(x) + R.h(s.h)))


def test_w_of_another_input_is_not_w_of_x():
    layer = Recurrent(Applied(), 4, 4, dtype=torch.float64)
    x, z = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    outputs, _ = layer(x, inputs={"z": z})
    again, _ = layer(x + 1, inputs={"z": z})
    torch.testing.assert_close(outputs, again)
    layer.backend = "reference"
    torch.testing.assert_close(outputs, layer(x, inputs={"z": z})[0])
    layer.backend = "cpp"
    with pytest.raises(ValueError, match=r"W\.h is applied to a value other than x"):
        layer(x, inputs={"z": z})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_drawn_does_not_widen_a_step_of_half_precision(dtype):
    layer = Recurrent(Noisy(), 4, 5, backend="reference", dtype=dtype)
    output, last = layer(torch.randn(6, 3, 4, dtype=dtype))
    output.float().sum().backward()
    assert output.dtype is last.dtype is layer.weight_hh_l0.grad.dtype is dtype


@needs_cpp
def test_names_of_inputs_may_be_those_that_the_options_use():
    layer = Recurrent(Named(), 4, 5, zoneout=0.3, recurrent_dropout=0.3, dtype=torch.float64)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    further = {"keep_h": torch.randn(6, 3, 5).double(), "leave": torch.randn(6, 3, 5).double()}
    outputs = []
    for backend in ("cpp", "reference"):
        layer.backend = backend
        torch.manual_seed(0)
        outputs.append(layer(x, inputs=further)[0])
    torch.testing.assert_close(*outputs)


@needs_cpp
@pytest.mark.parametrize("zoneout", [0.0, 0.2])
def test_constants_that_change_before_the_backward_pass_change_nothing_of_it(zoneout):
    layer = Recurrent(Scaled([2.0]), 4, 5, zoneout=zoneout, dtype=torch.float64).eval()
    x = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x)[0].sum(), x)
    output = layer(x)[0].sum()
    layer.cell.scale[0] = 7.0
    (outputs,) = torch.autograd.grad(output, x)
    assert torch.equal(outputs, expected)


def test_a_trace_inside_vmap():
    layer = Recurrent("lstm", 4, 5, dtype=torch.float64)
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    outputs = vmap(lambda x: layer(x, return_trace=True)[2]["f_l0"])(x)
    one_by_one = [layer(one, return_trace=True)[2]["f_l0"] for one in x]
    torch.testing.assert_close(outputs, torch.stack(one_by_one))

"""Edge cases of a cell's further inputs: their use in the step, their dtype, their names."""

import pytest
import torch
from torch.func import vmap

from throughtime.cells.cell import Cell, Input, Parameter
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


class Aged(Cell):
    """A cell with an input that has a default, and one that has none."""

    gates, states = ("h",), ("h",)
    inputs = {"gap": Input(size=1, default=1.5), "scale": Input()}  # noqa: RUF012

    def step(self, x, W, R, s, p, u=None):
        return dict(h=u.scale * torch.tanh(W.h(x) + R.h(s.h * torch.exp(-u.gap))))


@pytest.mark.parametrize("backend", ["reference", pytest.param("cpp", marks=needs_cpp)])
@pytest.mark.parametrize("batch_first", [False, True])
def test_an_input_that_is_not_passed_has_its_default_in_every_step(backend, batch_first):
    options = {"backend": backend, "batch_first": batch_first, "dtype": torch.float64}
    layer = Recurrent(Aged(), 4, 5, num_layers=2, bidirectional=True, **options)
    shape = (3, 6) if batch_first else (6, 3)
    x = torch.randn(*shape, 4, dtype=torch.float64)
    scale = torch.rand(*shape, 5, dtype=torch.float64)
    gap = torch.full(shape, 1.5, dtype=torch.float64)
    expected, last = layer(x, inputs={"gap": gap, "scale": scale}, lengths=[6, 2, 0])
    output, end = layer(x, inputs={"scale": scale}, lengths=[6, 2, 0])
    assert torch.equal(output, expected)
    assert torch.equal(end, last)
    assert not torch.equal(layer(x, inputs={"gap": 2 * gap, "scale": scale})[0], expected)
    with pytest.raises(ValueError, match="expected the input scale of the cell as a tensor"):
        layer(x)
    with pytest.raises(ValueError, match="expected the input gap"):
        layer(x, inputs={"gap": 1.5, "scale": scale})
    with pytest.raises(ValueError, match="expected the input gap of the cell as a tensor, got No"):
        layer(x, inputs={"gap": None, "scale": scale})


def test_a_stream_takes_the_default_too():
    layer = Recurrent("cfc", 4, 5, dtype=torch.float64)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    stream = layer.stream()
    torch.testing.assert_close(torch.stack([stream.step(x_t) for x_t in x]), layer(x)[0])
    ones = torch.ones(3, 1, dtype=torch.float64)
    stream = layer.stream()
    outputs = [stream.step(x_t, inputs={"gap": ones}) for x_t in x]
    torch.testing.assert_close(torch.stack(outputs), layer(x)[0])


@pytest.mark.parametrize(
    "one", [Input(default="1"), Input(default=True), Input(drawn="step", default=1.0)]
)
def test_a_default_is_a_number_and_not_of_a_drawn_input(one):
    class Mine(Aged):
        inputs = {"gap": one}  # noqa: RUF012

    with pytest.raises(ValueError, match="Mine: expected the default of the input gap as a number"):
        Recurrent(Mine(), 4, 5)


class Paired(Cell):
    """A cell with a matrix of weights of its own, whose size it does not know."""

    gates, states = ("h",), ("h",)
    parameters = {"U": Parameter(size=(None, None), initial=(1.0, 2.0))}  # noqa: RUF012

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h) + s.h @ p.U))


@needs_cpp
def test_a_matrix_with_a_weight_for_each_pair_of_units_has_a_kernel():
    layer = Recurrent(Paired(), 4, 5, num_layers=2, backend="cpp", dtype=torch.float64)
    assert layer.U_l1.shape == (5, 5)
    assert 1 <= layer.U_l1.min() < layer.U_l1.max() <= 2
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    output, _ = layer(x)
    gradients = torch.autograd.grad(output.sum(), list(layer.parameters()))
    layer.backend = "reference"
    expected, _ = layer(x)
    torch.testing.assert_close(output, expected)
    wanted = torch.autograd.grad(expected.sum(), list(layer.parameters()))
    torch.testing.assert_close(gradients, wanted)
    assert gradients[4].any()

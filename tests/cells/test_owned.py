"""Parameters, modules and constants as attributes of a cell: names, learning, and refusals."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import throughtime as tt

I, H = 3, 6


class WithTensors(tt.Cell):
    """A cell with tensors of every kind; each enters the equations in another way."""

    gates, states = ("h", "g"), ("h",)

    def __init__(self, units, features):
        self.units, self.features = units, features
        self.alpha = nn.Parameter(torch.linspace(0.5, 1.5, units))
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.one = nn.Parameter(torch.tensor([1.1]))
        self.U = nn.Parameter(0.3 * torch.randn(units, units))
        self.V = nn.Parameter(0.3 * torch.randn(features, units))
        self.linear = nn.Linear(units, units)
        self.read = nn.Linear(features, units, bias=False)
        self.norm = nn.LayerNorm(units)
        self.register = nn.Module()
        self.register.register_buffer("fixed", torch.linspace(0.1, 0.9, units))
        self.decay = torch.linspace(0.2, 0.8, units)
        self.mixing = 0.2 * torch.randn(units, units)

    def step(self, x, W, R, s, p):
        a = torch.tanh(W.h(x) + self.alpha * R.h(s.h) + s.h @ self.U + x @ self.V)
        g = torch.sigmoid(self.one * self.linear(a) + self.scale * W.g(x) + self.read(x))
        a = self.norm(a @ self.mixing.T + self.register.fixed)
        return dict(h=self.decay * s.h + g * torch.tanh(a))


NAMES = {
    *("alpha", "scale", "one", "U", "V", "linear_weight", "linear_bias", "read_weight"),
    *("norm_weight", "norm_bias"),
}


@pytest.fixture
def cell():
    torch.manual_seed(0)
    return WithTensors(H, I)


def layers(cell, *args, **options):
    """The same weights in compiled kernels and in the reference."""
    options = {"dtype": torch.float64, **options}
    kernel = tt.Recurrent(cell, *args, backend="cpp", **options)
    reference = tt.Recurrent(cell, *args, backend="reference", **options)
    reference.load_state_dict(kernel.state_dict())
    return kernel, reference


def results(layer, x, lengths=None):
    torch.manual_seed(1)
    y, h = layer(x, lengths=lengths)
    loss = (y * torch.linspace(1, 2, y.shape[-1], dtype=y.dtype)).sum() + (h**2).sum()
    inputs = [x, *layer.parameters()]
    return [y, h, *torch.autograd.grad(loss, inputs, materialize_grads=True)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bidirectional": True},
        {"save": "states"},
        {"zoneout": 0.3, "recurrent_dropout": 0.3},
        {"activations": {"tanh": "softsign"}, "clip": 2.0},
    ],
    ids=lambda options: "+".join(options) or "plain",
)
def test_kernels_give_the_gradients_of_own_tensors_as_the_reference_does(cell, options):
    kernel, reference = layers(cell, I, H, **options)
    x = torch.randn(6, 3, I, dtype=torch.float64, requires_grad=True)
    for lengths in (None, [6, 0, 4]):
        pairs = zip(results(kernel, x, lengths), results(reference, x, lengths), strict=True)
        for got, expected in pairs:
            torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-11)
    copies = {n: p for n, p in kernel.named_parameters() if n.rsplit("_l", 1)[0] in NAMES}
    assert len(copies) == len(NAMES) * kernel.num_directions
    gradients = torch.autograd.grad(kernel(x)[0].sum(), list(copies.values()))
    assert all(g.abs().max() > 0 for g in gradients)


def test_the_gradients_equal_numerical_ones(cell):
    layer = tt.Recurrent(cell, I, H, dtype=torch.float64, backend="cpp")
    x = torch.randn(3, 2, I, dtype=torch.float64, requires_grad=True)
    names = sorted(f"{name}_l0" for name in NAMES)
    values = [dict(layer.named_parameters())[n].detach().requires_grad_() for n in names]

    def run(x, *tensors):
        parameters = dict(zip(names, tensors, strict=True))
        return torch.func.functional_call(layer, parameters, (x,))[0]

    assert torch.autograd.gradcheck(run, (x, *values))
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


def test_layers_and_directions_have_copies_of_their_own(cell):
    layer = tt.Recurrent(cell, H, H, 1, bidirectional=True, merge="sum")
    assert {n.removesuffix("_l0") for n in layer.state_dict() if n.endswith("_l0")} >= NAMES
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        # The matrices for x fit the first layer alone.
        tt.Recurrent(cell, I, H, 2, backend="reference")(torch.randn(4, 2, I))

    class Scaled(tt.Cell):
        gates, states = ("h",), ("h",)

        def __init__(self):
            self.a = nn.Parameter(torch.ones(H))

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(self.a * W.h(x) + R.h(s.h)))

    cell = Scaled()
    stack = tt.Recurrent(cell, I, H, 2, bidirectional=True)
    other = tt.Recurrent(cell, I, H)
    copies = [p for n, p in stack.named_parameters() if n.startswith("a_")]
    assert len(copies) == 4
    assert len({p.data_ptr() for p in (*copies, other.a_l0, cell.a)}) == 6
    with torch.no_grad():
        copies[0].zero_()
    assert all(torch.equal(p, torch.ones(H)) for p in (*copies[1:], other.a_l0, cell.a))
    x = torch.randn(5, 2, I)
    optimiser = torch.optim.SGD(stack.parameters(), lr=0.1)
    stack(x)[0].square().sum().backward()
    optimiser.step()
    assert len({tuple(p.tolist()) for p in copies}) == 4
    stack.reset_parameters()
    assert all(torch.equal(p, torch.ones(H)) for p in copies)


def test_the_copies_follow_the_layer_in_device_dtype_and_state_dict(cell):
    layer = tt.Recurrent(cell, I, H)
    again = tt.Recurrent(WithTensors(H, I), I, H)
    again.load_state_dict(layer.state_dict())
    x = torch.randn(5, 2, I)
    cell_of_again = again.cell.mixing.copy_(cell.mixing)
    assert cell_of_again is again.cell.mixing
    torch.testing.assert_close(again(x)[0], layer(x)[0], rtol=0, atol=0)
    assert "register_fixed_l0" in dict(layer.named_buffers())
    assert layer.double()(x.double())[0].dtype == torch.float64
    assert copy.deepcopy(layer).alpha_l0 is not layer.alpha_l0
    on_meta = tt.Recurrent(cell, I, H, device="meta")
    assert on_meta.U_l0.is_meta
    assert on_meta(x.to("meta"))[0].shape == (5, 2, H)


@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_constants_are_right_in_every_dtype(backend, dtype):
    class Constant(tt.Cell):
        gates, states = ("h",), ("h",)
        decay = torch.linspace(0.1, 0.9, H)

        def __init__(self):
            self.mix = torch.eye(H).flip(0)

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh((self.decay * s.h) @ self.mix + W.h(x) + R.h(s.h)))

    layer = tt.Recurrent(Constant(), I, H, backend=backend).to(dtype)
    y = layer(torch.randn(4, 2, I, dtype=dtype))[0]
    assert y.dtype == dtype
    w = [p.double() for p in layer.parameters()]
    h = torch.zeros(2, H, dtype=torch.float64)
    torch.manual_seed(2)
    x = torch.randn(4, 2, I, dtype=dtype)
    for t in range(4):
        mixed = (Constant.decay.double() * h).flip(-1)
        h = torch.tanh(mixed + F.linear(x[t].double(), w[0], w[2]) + F.linear(h, w[1], w[3]))
    tolerance = {torch.float64: 1e-7, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(layer(x)[0][-1].double(), h, rtol=0, atol=tolerance)


def test_a_cell_without_a_kernel_is_learned_by_the_reference_with_a_warning():
    class Deep(tt.Cell):
        gates, states = ("h",), ("h",)

        def __init__(self):
            self.net = nn.Sequential(nn.Linear(H, 2 * H), nn.Tanh(), nn.Linear(2 * H, H))
            self.drop = nn.Dropout(0.5)

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(W.h(x) + self.drop(self.net(s.h)) + R.h(s.h)))

    layer = tt.Recurrent(Deep(), I, H)
    x = torch.randn(4, 2, I)
    with pytest.warns(UserWarning, match="Deep runs step by step in Python.*3 to 25 times slower"):
        layer(x)[0].sum().backward()
    assert layer.net_0_weight_l0.grad.abs().max() > 0
    assert "dropout has no kernel" in str(layer.explain(x))
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])

    class Wide(Deep):
        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(W.h(x) + self.net(s.h) + R.h(s.h)))

    reasons = tt.Recurrent(Wide(), I, H).explain(x).reasons["cpp"]
    assert reasons[0] == f"net_0_weight of the cell has the shape {(2 * H, H)} (needs {(H, H)})"


def test_frozen_parameters_stay_frozen_and_tied_ones_tied():
    class Tied(tt.Cell):
        gates, states = ("h",), ("h",)

        def __init__(self):
            self.first, self.second = nn.Linear(H, H, bias=False), nn.Linear(H, H, bias=False)
            self.second.weight = self.first.weight
            self.fixed = nn.Parameter(torch.ones(H), requires_grad=False)

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(W.h(x) + self.first(s.h) * self.second(self.fixed * s.h)))

    kernel, reference = layers(Tied(), I, H)
    assert [n for n in kernel.state_dict() if n.startswith(("first", "second"))] == [
        "first_weight_l0"
    ]
    assert not kernel.fixed_l0.requires_grad
    x = torch.randn(4, 2, I, dtype=torch.float64)
    for layer in (kernel, reference):
        layer(x)[0].sum().backward()
    torch.testing.assert_close(kernel.first_weight_l0.grad, reference.first_weight_l0.grad)


@pytest.mark.parametrize(
    ("add_attribute", "message"),
    [
        (lambda c: vars(c).update(a=[nn.Parameter(torch.ones(H))]), "torch.nn.ParameterList"),
        (lambda c: vars(c).update(a={"x": nn.Linear(H, H)}), "a dict with a Linear in it"),
        (lambda c: vars(c).update(a=([nn.Linear(H, H)],)), "a list with a Linear in it"),
        (lambda c: vars(c).update(weight_ih=nn.Parameter(torch.ones(H))), "another name"),
        (lambda c: vars(c).update(p=nn.Parameter(torch.ones(H))), "another name"),
        (
            lambda c: vars(c).update(z=nn.Parameter(torch.ones(H, dtype=torch.complex64))),
            "of real numbers",
        ),
    ],
)
def test_attributes_that_could_not_be_learned_are_refused(add_attribute, message):
    class Plain(tt.Cell):
        gates, states, parameters = ("h",), ("h",), ("p",)

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(W.h(x) + R.h(p.p * s.h)))

    cell = Plain()
    add_attribute(cell)
    with pytest.raises(ValueError, match=message):
        tt.Recurrent(cell, I, H)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_the_kernel_runs_inside_torch_compile_and_gives_a_trace(cell):
    layer = tt.Recurrent(cell, I, H, dtype=torch.float64)
    x = torch.randn(4, 2, I, dtype=torch.float64)
    y, _, trace = layer(x, return_trace=True)
    torch.testing.assert_close(trace["h_l0"], y.detach())
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], y)
    assert str(layer.explain(x)) == "cpp runs this call."

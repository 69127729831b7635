"""The options activations and clip."""

import pytest
import torch
import torch.nn.functional as F

import throughtime as tt
from throughtime.cells.wrapped import ACTIVATIONS
from throughtime.kernels.cpp import backend as cpp

from .by_hand import Steps, through_time

I, H, T, B = 3, 4, 6, 5
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
every_backend = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("cpp", marks=needs_compiler)]
)
# The functions written out, without the PyTorch functions of these names.
FORMULAS = {
    "sigmoid": lambda a: 1 / (1 + torch.exp(-a)),
    "tanh": lambda a: (torch.exp(a) - torch.exp(-a)) / (torch.exp(a) + torch.exp(-a)),
    "relu": lambda a: torch.where(a > 0, a, 0.0),
    "identity": lambda a: a,
    "hardsigmoid": lambda a: (a / 6 + 0.5).clamp(0, 1),
    "hardtanh": lambda a: a.clamp(-1, 1),
    "softsign": lambda a: a / (1 + a.abs()),
    "softplus": lambda a: torch.log(1 + torch.exp(a)),
    "elu": lambda a: torch.where(a > 0, a, torch.exp(a) - 1),
    "leaky_relu": lambda a: torch.where(a > 0, a, 0.01 * a),
    "gelu": lambda a: a * 0.5 * (1 + torch.erf(a / 2**0.5)),
    "silu": lambda a: a / (1 + torch.exp(-a)),
    "sin": torch.sin,
}
# Each function is replaced by the next one in the list.
NAMES = list(FORMULAS)
NEXT = dict(zip(NAMES, NAMES[1:] + NAMES[:1], strict=True))


def layer(name="lstm-peephole", **options):
    torch.manual_seed(0)
    recurrent = tt.Recurrent(name, I, H, dtype=torch.float64, **options)
    with torch.no_grad():
        for p in recurrent.parameters():
            p.copy_(1.5 * torch.randn_like(p))
    return recurrent


def sequence():
    return torch.randn(T, B, I, dtype=torch.float64)


def start(recurrent):
    return {k: torch.zeros(B, H).double() for k in recurrent.cell.state_specs}


def test_the_formulas_are_those_of_all_names():
    assert FORMULAS.keys() == ACTIVATIONS.keys()
    a = torch.linspace(-5, 5, 101, dtype=torch.float64)
    for name, formula in FORMULAS.items():
        torch.testing.assert_close(ACTIVATIONS[name](a), formula(a))


class All(tt.Cell):
    """A cell that calls every replaceable function, each with a weight of its own."""

    gates, states = ("a",), ("h",)

    def step(self, x, W, R, s, p):
        a = W.a(x) + R.a(s.h)
        called = (
            *(torch.sigmoid(a), a.tanh(), F.relu(a), F.hardsigmoid(a), F.hardtanh(a)),
            *(F.softsign(a), F.softplus(a), F.elu(a), F.leaky_relu(a), F.gelu(a), F.silu(a)),
            *(torch.sin(a),),
        )
        return dict(h=0.1 * sum((1 + k) * v for k, v in enumerate(called)) / len(called))


@torch.no_grad()
@every_backend
@pytest.mark.parametrize("clip", [None, 0.7])
def test_each_function_may_stand_for_each_other(backend, clip):
    """All functions are replaced at once; each call computes the formula of the replacement."""
    order = [name for name in NAMES if name != "identity"]
    chosen = {name: NEXT[name] for name in order}
    recurrent = tt.Recurrent(
        *(All(), I, H), dtype=torch.float64, activations=chosen, clip=clip, backend=backend
    )
    x, h = sequence(), torch.zeros(B, H).double()
    output, _ = recurrent(3 * x)
    w = dict(recurrent.named_parameters())
    for t in range(T):
        a = 3 * x[t] @ w["weight_ih_l0"].T + w["bias_ih_l0"] + h @ w["weight_hh_l0"].T
        a = a + w["bias_hh_l0"]
        if clip is not None:
            assert (a.abs() > clip).any()
            a = a.clamp(-clip, clip)
        values = [FORMULAS[NEXT[name]](a) for name in order]
        h = 0.1 * sum((1 + k) * v for k, v in enumerate(values)) / len(values)
        torch.testing.assert_close(output[t], h)


@torch.no_grad()
@every_backend
@pytest.mark.parametrize("name", ["rnn-tanh", "lstm-peephole"])
def test_a_cell_runs_with_the_functions_that_were_named(backend, name):
    chosen = {"tanh": "softsign", "sigmoid": "hardsigmoid"}
    if name == "rnn-tanh":
        del chosen["sigmoid"]
    recurrent, x = layer(name, activations=chosen, backend=backend), sequence()
    steps = Steps(recurrent, sigmoid=FORMULAS["hardsigmoid"], tanh=FORMULAS["softsign"])
    expected, _, _ = through_time(steps, x, start(recurrent))
    torch.testing.assert_close(recurrent(x)[0], expected)


@torch.no_grad()
@every_backend
def test_a_function_of_ones_own_may_be_given(backend):
    def squared(a):
        return a * torch.abs(a) / (1 + a * a)

    recurrent, x = layer(activations={"tanh": squared}, backend=backend), sequence()
    expected, _, _ = through_time(Steps(recurrent, tanh=squared), x, start(recurrent))
    torch.testing.assert_close(recurrent(x)[0], expected)


def test_a_function_without_a_kernel_is_run_by_the_reference_which_says_so():
    recurrent, x = layer(activations={"tanh": torch.special.bessel_j0}), sequence()
    explanation = recurrent.explain(x)
    assert explanation.backend == "reference"
    assert "bessel_j0 has no kernel" in str(explanation)
    expected, _, _ = through_time(
        Steps(recurrent, tanh=torch.special.bessel_j0), x, start(recurrent)
    )
    torch.testing.assert_close(recurrent(x)[0], expected)


@torch.no_grad()
@every_backend
def test_the_limit_holds_for_what_functions_are_given_and_not_for_states(backend):
    recurrent, x = layer(clip=0.5, backend=backend), sequence()
    limited = {
        name: lambda a, f=f: f(a.clamp(-0.5, 0.5))
        for name, f in (("sigmoid", torch.sigmoid), ("tanh", torch.tanh))
    }
    expected, last, _ = through_time(Steps(recurrent, **limited), x, start(recurrent))
    output, (_, c) = recurrent(x)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(c[0], last["c"])
    assert not torch.allclose(output, layer(backend=backend)(x)[0])


@every_backend
def test_beyond_the_limit_there_is_no_gradient(backend):
    recurrent = tt.Recurrent("rnn-tanh", 1, 1, clip=0.5, bias=False, dtype=torch.float64)
    recurrent.backend = backend
    with torch.no_grad():
        recurrent.weight_ih_l0.fill_(1.0)
        recurrent.weight_hh_l0.zero_()
    x = torch.tensor([-3.0, -0.4, 0.0, 0.4, 3.0]).double().view(5, 1, 1).requires_grad_()
    output, _ = recurrent(x)
    output.sum().backward()
    inside = (1 - torch.tensor([-0.4, 0.0, 0.4]).double().tanh() ** 2).tolist()
    assert x.grad.flatten().tolist() == pytest.approx([0.0, *inside, 0.0], abs=1e-14)
    assert output.abs().max().item() == pytest.approx(torch.tensor(0.5).tanh().item())


@torch.no_grad()
def test_options_that_are_set_later_hold_from_then_on():
    recurrent, x = layer(), sequence()
    recurrent.activations = {"tanh": "softsign"}
    assert torch.equal(recurrent(x)[0], layer(activations={"tanh": "softsign"})(x)[0])
    with pytest.raises(ValueError, match='did you mean "tanh"'):
        recurrent.activations = {"tahn": "relu"}
    recurrent.activations, recurrent.clip = {}, 0.5
    assert torch.equal(recurrent(x)[0], layer(clip=0.5)(x)[0])
    with pytest.raises(ValueError, match="expected clip as a number above 0"):
        recurrent.clip = -1.0
    assert recurrent.clip == 0.5

"""Calls of many cells, some of them written for these tests, and the comparison of all results of
the compiled kernels with those of the reference in float64."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import throughtime as tt
from throughtime.kernels import Call, Weights, reference
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.graph.program import program

from ..further_inputs import RANGES, drawn
from . import rounded
from .noted import noted_runs

# Why these: the head of test_cpp.py.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 4e-2}
DTYPES = list(TOLERANCE)
NAN = float("nan")


# Cells that no one has written a kernel for.


class PeepholeGRU(tt.Cell):
    gates, states, parameters = ("r", "z", "n"), ("h",), ("p_r", "p_z")

    def step(self, x, W, R, s, p):
        r = torch.sigmoid(W.r(x) + R.r(s.h) + p.p_r * s.h)
        z = torch.sigmoid(W.z(x) + R.z(s.h) + p.p_z * s.h)
        n = F.softsign(W.n(x) + r * R.n(s.h))
        return dict(h=(1 - z) * n + z * s.h)


class LayerNormRNN(tt.Cell):
    """Means and variances over the units: a sum, and a sum of squares that depends on it."""

    gates, states, parameters = ("h",), ("h",), ("p_g", "p_b")

    def step(self, x, W, R, s, p):
        a = W.h(x) + R.h(s.h)
        centred = a - a.mean(-1, keepdim=True)
        norm = centred * torch.rsqrt(a.var(-1, unbiased=False, keepdim=True) + 0.1)
        return dict(h=torch.tanh(p.p_g * norm + p.p_b))


class Kinked(tt.Cell):
    """Functions with kinks and jumps whose combination is smooth: rounding changes it little."""

    gates, states = ("a", "b"), ("h", "c")

    def step(self, x, W, R, s, p):
        a, b = W.a(x) + R.a(s.h), W.b(x) + R.b(s.h)
        wave = torch.sin(torch.pi * torch.remainder(a, 2.0))
        square = torch.where(b > 0, b * b, -0.5 * b * b) + a * torch.abs(a)
        c = 0.5 * s.c + F.logsigmoid(b) + 0.1 * square
        return dict(h=torch.tanh(wave + torch.maximum(c, torch.zeros_like(c)) ** 2), c=c)


class IndependentRNN(tt.Cell):
    gates, states, parameters, recurrent_blocks = ("h",), ("h",), ("u",), ()

    def step(self, x, W, R, s, p):
        return dict(h=F.softplus(W.h(x) + p.u * s.h) - 0.5)


class Decays(tt.Cell):
    """Values computed from parameters alone: one number for each unit, and one for all units."""

    gates, states, parameters, recurrent_blocks = ("h",), ("h",), ("q", "w"), ()

    def step(self, x, W, R, s, p):
        decay = torch.exp(-F.softplus(p.q))
        share = torch.tanh(torch.exp(p.w)).mean(-1, keepdim=True)
        return dict(h=decay * s.h + share * torch.sqrt(1 - decay * decay) * W.h(x))


class OutputApart(tt.Cell):
    """The output is no state, and only one of the two states is fed back."""

    gates, states, output = ("i", "o"), ("c", "m"), "y"

    def step(self, x, W, R, s, p):
        c = 0.9 * s.c + torch.tanh(W.i(x) + R.i(s.m))
        o = torch.sigmoid(W.o(x) + R.o(s.m) + c)
        return dict(y=o * torch.tanh(c), c=c, m=0.5 * s.m + 0.5 * o)


class UnitByUnit(tt.Cell):
    """The simple recurrent unit: its equations use x itself besides the products with W."""

    gates, states, parameters, recurrent_blocks = ("c", "f", "r"), ("c",), ("v_f", "v_r"), ()
    output = "h"

    def step(self, x, W, R, s, p):
        f = torch.sigmoid(W.f(x) + p.v_f * s.c)
        r = torch.sigmoid(W.r(x) + p.v_r * s.c)
        c = f * s.c + (1 - f) * W.c(x)
        return dict(c=c, h=r * c + (1 - r) * x)


class SoftmaxRNN(tt.Cell):
    """A distribution over the units, which needs a maximum and a sum over each row."""

    gates, states = ("a", "b"), ("h",)

    def step(self, x, W, R, s, p):
        weights = torch.softmax(3 * (W.a(x) + R.a(s.h)), -1)
        return dict(h=0.5 * s.h + weights * torch.tanh(W.b(x) + R.b(s.h)))


class Chained(tt.Cell):
    """Products of products, a block that multiplies two values, and a block without a gate."""

    gates, states, parameters = ("a", "b"), ("h", "c"), ("p_a",)
    recurrent_blocks = ("a", "b", "u")

    def step(self, x, W, R, s, p):
        a = torch.sigmoid(W.a(x) + R.a(s.h) + p.p_a * s.c)
        inner = R.u(a * s.c)
        b = torch.tanh(W.b(x) * R.b(torch.tanh(inner)) + R.u(s.h))
        c = a * s.c + (1 - a) * b
        return dict(h=torch.tanh(c + R.u(b)), c=c)


class Still(tt.Cell):
    """A state that never changes, a state that is a number, and a gate that is not used."""

    gates, states = ("a", "b"), ("h", "c", "one")

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.a(x) + R.a(s.h) + s.c * s.one), c=s.c, one=torch.ones_like(s.h))


class Swapped(tt.Cell):
    """Two next states with one value, and two states that are swapped."""

    gates, states = ("a",), ("h", "k", "u", "v")

    def step(self, x, W, R, s, p):
        h = torch.tanh(W.a(x) + R.a(s.v) + 0.5 * s.k)
        return dict(h=h, k=h, u=s.v, v=0.5 * s.u + 0.5 * s.h)


class EveryOperation(tt.Cell):
    """Every operation of a graph, those with jumps included."""

    gates, states = ("a", "b"), ("h",)

    def step(self, x, W, R, s, p):
        a, b = 2 * (W.a(x) + R.a(s.h)), 2 * (W.b(x) + R.b(s.h))
        pos = torch.abs(a) + 0.5
        smooth = (
            *(torch.sigmoid(a), torch.tanh(b), torch.relu(a), torch.exp(-pos), torch.expm1(-pos)),
            *(torch.log(pos), torch.log1p(pos), F.logsigmoid(a), F.softplus(b), torch.sqrt(pos)),
            *(torch.rsqrt(pos), torch.sin(a), torch.cos(b), torch.erf(a), pos**1.7, pos**-0.5),
            *(a**3, torch.reciprocal(pos), b / pos, -a, a - b, 1 - b, F.gelu(a), F.elu(b)),
            *(torch.softmax(a, -1), b.mean(-1, keepdim=True), a * a.var(-1, keepdim=True)),
        )
        rough = (
            *(torch.sign(a), torch.floor(a), torch.ceil(b), torch.round(3 * a), torch.trunc(b)),
            *(torch.remainder(a, pos), torch.fmod(b, pos), torch.maximum(a, b), a.detach() * b),
            *(torch.minimum(a, b), torch.where((a < b) & ~(a < 0) | (b <= 0.1), a, b)),
            *(torch.where(torch.round(a) == torch.round(b), a, 0.0), torch.clamp(a, -0.5, 0.7)),
        )
        terms = [(1 + i % 5) * term for i, term in enumerate((*smooth, *rough))]
        return dict(h=torch.tanh(0.02 * sum(terms)))


OWN = (PeepholeGRU, LayerNormRNN, Kinked, IndependentRNN, OutputApart, UnitByUnit, SoftmaxRNN)
OWN = [cell() for cell in (*OWN, Decays, Chained, Still, Swapped, EveryOperation)]
ALL = [*map(tt.cells.get, tt.cells.names()), *OWN]
CELLS = {cell.name or type(cell).__name__: cell for cell in ALL}
# What differs in kind: states kept or not, one stage or several, with and without a product.
SOME = ["lstm", "gru-reset-before", "LayerNormRNN", "PeepholeGRU"]
MANY = [*SOME, "lstm-fgr", "Kinked", "IndependentRNN", "OutputApart", "UnitByUnit", "SoftmaxRNN"]
# With inputs besides x.
MANY += ["Chained", "Still", "Decays", "gru-d", "lstm-mass-conserving"]
# Every feature of the kernels between them. Each adds seconds of compiling for each processor.
_CHOSEN = ("lstm", "gru-reset-before", "LayerNormRNN", "SoftmaxRNN", "Chained", "UnitByUnit")
_CHOSEN += ("Kinked", "EveryOperation")


def chosen(names):
    """The names as parameters of a test; the chosen ones have the mark ``everywhere``."""
    everywhere = pytest.mark.everywhere
    return [pytest.param(n, marks=everywhere) if n in _CHOSEN else n for n in names]


def make(name, T=7, B=5, H=3, *, I=4, dtype=torch.float64, bias=True, seed=0, **options):
    """A call of the cell with random weights and states."""
    cell, generator = CELLS[name], torch.Generator().manual_seed(seed)

    def randn(*shape, scale=1.0):
        values = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(dtype)

    def own(name, *shape):
        return drawn(name, *shape, generator=generator).to(dtype)

    if "x" in program(cell).inputs:
        I = H
    blocks, biased = cell.recurrent_block_names, cell.recurrent_bias_names
    scale = 0.7 * H**-0.5
    weights = Weights(
        randn(len(cell.gates) * H, I, scale=0.7 * I**-0.5),
        randn(len(blocks) * H, H, scale=scale) if blocks else None,
        randn(len(cell.gates) * H, scale=0.3) if bias else None,
        randn(len(biased) * H, scale=0.3) if bias and biased else None,
        {k: own(k, H) if k in RANGES else randn(H, scale=0.5) for k in cell.parameter_specs},
    )
    state = tuple(randn(B, H, scale=0.5) for _ in cell.state_specs)
    x = randn(T, B, I)
    entering = tuple(own(k, T, B, H) for k in cell.given_inputs)
    return Call(cell, x, weights, state, inputs=entering, **options)


def ragged(T, B, seed=0):
    """Lengths that include T, 0 and 1, and random resets."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, T + 1, (B,), generator=generator)
    lengths[: min(B, 4)] = torch.tensor([T - 1, 0, T, 1])[: min(B, 4)]
    return lengths, torch.rand(T, B, generator=generator) < 0.3


def tensors(call):
    """All tensors of a call that can have a gradient, by name."""
    w = call.weights
    named = {"x": call.x, "weight_ih": w.weight_ih, "weight_hh": w.weight_hh}
    named |= {"bias_ih": w.bias_ih, "bias_hh": w.bias_hh, **w.parameters}
    named |= {f"initial {k}": s for k, s in zip(call.cell.state_specs, call.state, strict=True)}
    named |= {f"input {k}": v for k, v in zip(call.cell.given_inputs, call.inputs, strict=True)}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def with_tensors(call, tensor_values):
    matrices = (tensor_values.get(k) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    weights = Weights(*matrices, {k: tensor_values[k] for k in call.cell.parameter_specs})
    state = tuple(tensor_values[f"initial {k}"] for k in call.cell.state_specs)
    inputs = tuple(tensor_values[f"input {k}"] for k in call.cell.given_inputs)
    return replace(call, x=tensor_values["x"], weights=weights, state=state, inputs=inputs)


def seeds(output, last, dtype):
    """Incoming gradients, with the same numbers for every backend."""
    generator = torch.Generator().manual_seed(1)
    drawn = (
        torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in (output, *last)
    )
    return [d.to(dtype).to(v.dtype) for d, v in zip(drawn, (output, *last), strict=True)]


def results(backend, call, of="both", dtype=None):
    """The outputs, the last states and all gradients, by name."""
    own = call.x.dtype
    leaves = {k: v.detach().to(dtype or own).requires_grad_() for k, v in tensors(call).items()}
    output, last = backend.run(with_tensors(call, leaves))
    results_by_name = {"output": output.detach()}
    results_by_name |= {k: s.detach() for k, s in zip(call.cell.state_specs, last, strict=True)}
    pairs = list(zip((output, *last), seeds(output, last, own), strict=True))
    pairs = {"output": pairs[:1], "last": pairs[1:], "both": pairs}[of]
    pairs = [(v, d) for v, d in pairs if v.requires_grad]
    gradients = torch.autograd.grad(
        *([v for v, _ in pairs], list(leaves.values()), [d for _, d in pairs]),
        allow_unused=True,
        materialize_grads=True,
    )
    return results_by_name | {f"d {k}": d for k, d in zip(leaves, gradients, strict=True)}


def check_close(ours, theirs, dtype, share=None, allowed=None):
    """Asserts that all tensors agree within the tolerance of the dtype, or that allowed by name."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        got = ours[name]
        assert got.shape == expected.shape, name
        assert got.dtype is dtype, name
        error = (got.double() - expected.double()).abs().max().item() if got.numel() else 0.0
        most = expected.double().abs().max().item() if expected.numel() else 0.0
        bound = (share or TOLERANCE[dtype]) * (most + 1e-3) if allowed is None else allowed[name]
        # NaN is no small error.
        assert error <= bound, f"{name}: off by {error:.2e}, and {bound:.2e} is allowed"


def parity(call, of="both"):
    """Asserts that the compiled kernel gives the results of the reference in float64."""

    def exact():
        return results(reference, call, of, torch.float64)

    theirs, allowed = exact(), None
    if call.x.dtype is torch.bfloat16:
        allowed = rounded.allowed(theirs, exact, TOLERANCE[torch.float32])
    with noted_runs() as ran:
        ours = results(cpp, call, of)
    assert ran == ["forward", "backward"]
    check_close(ours, theirs, call.x.dtype, allowed=allowed)
    return ours

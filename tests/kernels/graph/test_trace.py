"""Tracing: each function of a graph equals PyTorch's, or the step is refused with a reason."""

import math
import operator
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import throughtime as tt
from throughtime.kernels.graph import functions, symbols
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import OPERATIONS, Graph, evaluate, is_mask, reachable
from throughtime.kernels.graph.trace import trace

B, H = 4, 6


def cell_of(function, **declared):
    """A cell whose h is a function of both its states and of its parameter."""

    class OfFunction(tt.Cell):
        gates, states, parameters = ("a",), ("h", "c"), ("q",)

        def step(self, x, W, R, s, p):
            return dict(h=function(s.h, s.c, p.q), c=s.c)

    for name, value in declared.items():
        setattr(OfFunction, name, value)
    return OfFunction()


def values(seed=0):
    generator = torch.Generator().manual_seed(seed)
    a, b = (3 * torch.randn(B, H, generator=generator, dtype=torch.float64) for _ in range(2))
    return a, b, torch.randn(H, generator=generator, dtype=torch.float64)


def evaluated(root, a, b, q):
    leaves = {("state", "h"): a, ("state", "c"): b, ("parameter", "q"): q}
    (value,) = evaluate([root], leaves | {("units", "H"): torch.tensor(float(H)).double()})
    return value


def number_of_nodes(root, op=None):
    return sum(node.op == op if op else True for node in reachable([root]))


# What the tracer knows. Positive arguments where a function needs them.


def pos(a):
    return torch.abs(a) + 0.25


def as_number(mask):
    return torch.where(mask, 1.5, -0.5)


EXPRESSIONS = {
    # operators, also with a number on either side
    "+": lambda a, b, q: (a + b) + 2 + q,
    "r+": lambda a, b, q: 2 + a,
    "-": lambda a, b, q: a - b - 0.5,
    "r-": lambda a, b, q: 1 - a,
    "*": lambda a, b, q: a * b * 3,
    "r*": lambda a, b, q: 0.25 * a * q,
    "/": lambda a, b, q: a / b / 4,
    "r/": lambda a, b, q: 2 / b,
    "-a": lambda a, b, q: -a,
    "+= is no writing in place": lambda a, b, q: sum([a, b, a], start=0.0),
    "%": lambda a, b, q: a % 2.0 + a % b,
    "**": lambda a, b, q: a**2 + a**3 + pos(a) ** 0.5 + b**-1 + pos(b) ** 1.7 + a**1,
    "abs()": lambda a, b, q: abs(a),
    "<": lambda a, b, q: as_number(a < b) + as_number(a < 0.5),
    "<=": lambda a, b, q: as_number(a <= b) + as_number(0.5 <= a),
    ">": lambda a, b, q: as_number(a > b) + as_number(a > 0),
    ">=": lambda a, b, q: as_number(a >= b) + as_number(2 >= a),
    "==": lambda a, b, q: as_number(torch.round(a) == torch.round(b)),
    "!=": lambda a, b, q: as_number(torch.round(a) != torch.round(b)),
    "&": lambda a, b, q: as_number((a > 0) & (b > 0)),
    "|": lambda a, b, q: as_number((a > 0) | (b > 0)),
    "~": lambda a, b, q: as_number(~(a > 0)),
    # functions and methods of the same name
    "add": lambda a, b, q: torch.add(a, b) + a.add(b, alpha=0.5) + torch.add(a, 2, alpha=3),
    "sub": lambda a, b, q: torch.sub(a, b, alpha=2) + a.sub(b) + torch.subtract(a, b),
    "rsub": lambda a, b, q: torch.rsub(a, b) + torch.rsub(a, 2, alpha=3),
    "mul": lambda a, b, q: torch.mul(a, b) + torch.multiply(a, 2) + a.mul(q),
    "div": lambda a, b, q: torch.div(a, b) + torch.divide(a, 3) + torch.true_divide(b, a),
    "div floor": lambda a, b, q: torch.div(a, b, rounding_mode="floor"),
    "div trunc": lambda a, b, q: a.div(b, rounding_mode="trunc"),
    "neg": lambda a, b, q: torch.neg(a) + torch.negative(b) + a.neg(),
    "reciprocal": lambda a, b, q: torch.reciprocal(a) + b.reciprocal(),
    "sigmoid": lambda a, b, q: torch.sigmoid(a) + b.sigmoid() + F.sigmoid(q),
    "expit": lambda a, b, q: (
        torch.special.expit(a) + torch.expit(b)
        if hasattr(torch, "expit")
        else torch.special.expit(a)
    ),
    "tanh": lambda a, b, q: torch.tanh(a) + b.tanh() + F.tanh(q),
    "exp": lambda a, b, q: torch.exp(a) + b.exp(),
    "expm1": lambda a, b, q: torch.expm1(a),
    "log": lambda a, b, q: torch.log(pos(a)),
    "log1p": lambda a, b, q: torch.log1p(pos(a)),
    "sqrt": lambda a, b, q: torch.sqrt(pos(a)),
    "rsqrt": lambda a, b, q: torch.rsqrt(pos(a)),
    "sin": lambda a, b, q: torch.sin(a),
    "cos": lambda a, b, q: torch.cos(a),
    "erf": lambda a, b, q: torch.erf(a),
    "abs": lambda a, b, q: torch.abs(a) + torch.absolute(b) + a.abs(),
    "sign": lambda a, b, q: torch.sign(a),
    "floor": lambda a, b, q: torch.floor(a),
    "ceil": lambda a, b, q: torch.ceil(a),
    "round": lambda a, b, q: torch.round(a) + torch.round(torch.round(a) + 0.5),
    "trunc": lambda a, b, q: torch.trunc(a),
    "remainder": lambda a, b, q: torch.remainder(a, b) + torch.remainder(a, 1.5),
    "fmod": lambda a, b, q: torch.fmod(a, b) + a.fmod(1.5),
    "maximum": lambda a, b, q: torch.maximum(a, b) + a.maximum(q),
    "minimum": lambda a, b, q: torch.minimum(a, b),
    "max": lambda a, b, q: torch.max(a, b) + a.max(other=q),
    "min": lambda a, b, q: torch.min(a, other=b) + a.min(q),
    "where": lambda a, b, q: torch.where(a > b, a, q) + torch.where(a < 0, 0.0, b),
    "pow": lambda a, b, q: torch.pow(a, 3) + a.pow(2) + pos(a).pow(-0.5),
    "square": lambda a, b, q: torch.square(a) + b.square(),
    "relu": lambda a, b, q: torch.relu(a) + F.relu(b) + q.relu(),
    "relu6": lambda a, b, q: F.relu6(3 * a),
    "silu": lambda a, b, q: F.silu(a),
    "hardsigmoid": lambda a, b, q: F.hardsigmoid(a),
    "hardtanh": lambda a, b, q: F.hardtanh(a) + F.hardtanh(b, -0.5, 2.0),
    "leaky_relu": lambda a, b, q: F.leaky_relu(a) + F.leaky_relu(b, 0.2),
    "elu": lambda a, b, q: F.elu(a) + F.elu(b, 0.7),
    "gelu": lambda a, b, q: F.gelu(a) + F.gelu(b, approximate="tanh"),
    "softsign": lambda a, b, q: F.softsign(a),
    "softplus": lambda a, b, q: F.softplus(a) + F.softplus(9 * b) + F.softplus(b, beta=2),
    "logsigmoid": lambda a, b, q: F.logsigmoid(9 * a),
    "clamp": lambda a, b, q: torch.clamp(a, -1, 1) + a.clamp(min=0) + torch.clip(b, max=0.5),
    "clamp to values": lambda a, b, q: torch.clamp(a, -pos(b), pos(b)),
    "clamp between limits in the wrong order": lambda a, b, q: torch.clamp(a, 1.0, -1.0),
    "clamp_min": lambda a, b, q: torch.clamp_min(a, 0.5) + a.clamp_max(1.0),
    "lerp": lambda a, b, q: torch.lerp(a, b, 0.3) + torch.lerp(a, b, torch.sigmoid(q)),
    "addcmul": lambda a, b, q: torch.addcmul(a, b, q) + torch.addcmul(a, b, b, value=0.5),
    "detach": lambda a, b, q: a.detach() * b,
    "clone": lambda a, b, q: a.clone() + b.contiguous(),
    "casts of a value": lambda a, b, q: a.to(torch.float64) + b.type_as(a) + q.double(),
    "a mask as a number": lambda a, b, q: a * (a > b).to(torch.float64) + (b > 0).double(),
    "like": lambda a, b, q: a + torch.ones_like(a) + torch.full_like(b, 3) + torch.zeros_like(b),
    "sum": lambda a, b, q: b * a.sum(-1, keepdim=True) + torch.sum(a * b, dim=1, keepdim=True),
    "mean": lambda a, b, q: b - a.mean(-1, keepdim=True) * torch.mean(b, (-1,), True),
    "mean of a parameter": lambda a, b, q: a * q.sum(-1, keepdim=True),
    "var": lambda a, b, q: b * a.var(-1, keepdim=True),
    "var, biased": lambda a, b, q: (
        b * (a.var(-1, unbiased=False, keepdim=True) + torch.var(b, -1, correction=0, keepdim=True))
    ),
    "var, corrected twice": lambda a, b, q: b * a.var(-1, correction=2, keepdim=True),
    "softmax": lambda a, b, q: torch.softmax(a, -1) + F.softmax(40 * b, dim=1) + a.softmax(-1),
    "less": lambda a, b, q: as_number(torch.lt(a, b)) + 2 * as_number(a.less(0)),
    "less_equal": lambda a, b, q: as_number(torch.le(a, b)) + 2 * as_number(a.less_equal(b)),
    "greater": lambda a, b, q: as_number(torch.gt(a, b)) + 2 * as_number(torch.greater(b, 0)),
    "greater_equal": lambda a, b, q: as_number(a.ge(b)) + 2 * as_number(b.greater_equal(0)),
    "equal": lambda a, b, q: as_number(a.round().eq(b.round())) + as_number(torch.ne(a.sign(), 1)),
    "logical": lambda a, b, q: as_number(
        torch.logical_or(torch.logical_and(a > 0, b > 0), torch.logical_not(a > b))
    ),
    "bitwise": lambda a, b, q: as_number(
        torch.bitwise_or(torch.bitwise_and(a > 0, b > 0), torch.bitwise_not(a > b))
    ),
    # a number of a tensor on either side
    "0-dimensional tensors": lambda a, b, q: torch.tensor(2.0) * a - torch.tensor(1.0) + b,
    "divided tensor": lambda a, b, q: torch.tensor(2.0, dtype=torch.float64) / a,
    "subtracted from a tensor": lambda a, b, q: torch.tensor(2.0, dtype=torch.float64) - a,
    "constants": lambda a, b, q: a * math.pi + True,
    "mish": lambda a, b, q: F.mish(a) + F.mish(20 * b),
    "layer_norm": lambda a, b, q: F.layer_norm(a, (H,)) + F.layer_norm(b, b.shape[-1:], q, q, 0.1),
    # parts of rows; all widths but one are the same
    "shape": lambda a, b, q: a * a.shape[-1] + b / b.size(1),
    "chunk": lambda a, b, q: torch.cat([*b.chunk(2, -1), *torch.chunk(a, 3, dim=1)], -1),
    "split": lambda a, b, q: torch.cat(b.split([1, H - 1], -1)[::-1], 1),
    "split in halves": lambda a, b, q: torch.concat(torch.split(a, a.size(-1) // 1, -1), -1),
    "split_with_sizes": lambda a, b, q: torch.concatenate(a.split_with_sizes([2, H - 2], 1), -1),
    "narrow": lambda a, b, q: a.narrow(-1, 1, 2) * torch.narrow(b, 1, 0, 2),
    "narrow from the end": lambda a, b, q: a.narrow(-1, -2, 2) + a.narrow(1, -2, 1) * b[:, :2],
    "index_select": lambda a, b, q: a.index_select(-1, torch.tensor([0, 2, 2])),
    "a slice": lambda a, b, q: a[:, 1:] * b[..., :-1] + a[:, -1:] * b[:, 1:2],
    "a slice with a step": lambda a, b, q: a[:, ::2] + b[:, : b.shape[-1] : 2],
    "a list of units": lambda a, b, q: a[:, [1, 0, -1]] * b[:, torch.tensor([0, 0, 1])],
    "a mask of units": lambda a, b, q: a[:, [i % 2 == 0 for i in range(H)]],
    "a part of a parameter": lambda a, b, q: a[:, 1:] * q[1:] + q[..., [0] * (H - 1)],
    "cumsum": lambda a, b, q: a.cumsum(-1) * torch.cumsum(b, dim=1),
    "flip": lambda a, b, q: a.flip(-1) + torch.flip(b, (1,)) + q.flip(0),
    "roll": lambda a, b, q: a.roll(2, -1) + torch.roll(b, -1, 1),
    "glu": lambda a, b, q: F.glu(torch.cat([a, b], -1)),
    "a mean of a part": lambda a, b, q: a[:, :2] - a[:, :2].mean(-1, keepdim=True),
    "a column in a row": lambda a, b, q: torch.cat([a.sum(-1, keepdim=True), b], -1),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_function_of_the_graph_is_that_of_pytorch(name, seed):
    a, b, q = values(seed)
    function = EXPRESSIONS[name]
    root = trace(cell_of(function)).states["h"]
    expected = function(a, b, q)
    got = evaluated(root, a, b, q)
    expected = expected.double()
    torch.testing.assert_close(got.expand(expected.shape), expected, rtol=1e-12, atol=1e-12)


def test_every_function_that_the_tracer_knows_is_among_those_tried(monkeypatch):
    tried = set()

    class Noting(dict):
        def __getitem__(self, name):
            tried.add(name)
            return super().__getitem__(name)

    monkeypatch.setattr(symbols, "FUNCTIONS", Noting(functions.FUNCTIONS))
    for function in EXPRESSIONS.values():
        trace(cell_of(function))
    # Operators and the functions that they call are two names of one; so are casts.
    seen = {functions.FUNCTIONS.get(name) for name in tried}
    rest = {n for n, f in dict.items(functions.FUNCTIONS) if n not in tried and f not in seen}
    assert rest == set()


@pytest.mark.parametrize(
    "function",
    [torch.maximum, torch.relu, torch.clamp_min, torch.abs, torch.sign, F.hardtanh, F.relu6],
)
def test_nan_stays_nan(function):
    a, b, q = values()
    a[1, 2] = math.nan

    def apply(a, b, q):
        return function(a, b) if function in (torch.maximum, torch.clamp_min) else function(a)

    root = trace(cell_of(apply)).states["h"]
    torch.testing.assert_close(evaluated(root, a, b, q), apply(a, b, q), equal_nan=True)


def test_common_parts_of_the_equations_are_computed_once():
    root = trace(cell_of(lambda a, b, q: torch.tanh(a * b) * torch.tanh(b * a) + q)).states["h"]
    assert number_of_nodes(root, "tanh") == 1
    # h, c, their product, tanh, its square, q, the sum
    assert number_of_nodes(root) == 7


def test_every_operation_evaluates_to_what_it_means():
    """Also those operations that no function of the tracer uses."""
    graph = Graph()
    a, b, q = values()
    leaf_a, leaf_b = graph.leaf("state", "h"), graph.leaf("state", "c")
    torch.testing.assert_close(
        evaluated(graph.node("row_max", leaf_a), a, b, q), a.amax(-1, keepdim=True)
    )
    for op in ("add", "sub", "mul", "div", "maximum", "minimum", "less", "remainder"):
        for number in (2.0, -0.5):
            right = evaluated(graph.node(op, leaf_a, number), a, b, q)
            left = evaluated(graph.node(op, number, leaf_b), a, b, q)
            as_tensor = torch.tensor(number, dtype=torch.float64)
            torch.testing.assert_close(right, OPERATIONS[op](a, as_tensor))
            torch.testing.assert_close(left, OPERATIONS[op](as_tensor, b))


# What it does not know.


def _grow(history=[]):  # noqa: B006
    history.append(0)
    return len(history)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda a, b, q: F.celu(a), "celu has no kernel"),
        (lambda a, b, q: torch.cumprod(a, -1), "cumprod has no kernel"),
        (lambda a, b, q: torch.cat([a, b]), "cat has a kernel only along the units"),
        (lambda a, b, q: a.cumprod(-1), "asks a value for its cumprod"),
        (lambda a, b, q: a.cumsum(0), "cumsum has a kernel only along the units"),
        (lambda a, b, q: torch.topk(a, 2, -1).values, "topk has no kernel, because values decide"),
        (
            lambda a, b, q: a.topk(2).values.sum(-1),
            r"topk has no kernel, .*\(torch.softmax\(c \* a",
        ),
        (lambda a, b, q: a.sort(-1).values[..., 0], "sort has no kernel, .* tends to the largest"),
        (lambda a, b, q: torch.sort(a)[0], r"sort has no kernel, .*torch.where\(a > limit"),
        (lambda a, b, q: b - a.amax(-1, keepdim=True), "amax has no kernel, because values decide"),
        (lambda a, b, q: torch.max(a, -1).values, "max has no kernel, because values decide"),
        (lambda a, b, q: b - a.max(dim=-1, keepdim=True)[0], "max has no kernel, because values"),
        (lambda a, b, q: b - a.min(), "min has no kernel, because values decide"),
        (lambda a, b, q: a.median(-1).values, "median has no kernel, because values decide"),
        (lambda a, b, q: a.split(2, -1)[0], "the number of parts that split returns depends on"),
        (
            lambda a, b, q: torch.cat([a, q], -1),
            "with values that do not .parameters. has no kernel",
        ),
        (
            lambda a, b, q: F.layer_norm(a, (B, H)),
            "layer_norm has a kernel over the units of a row",
        ),
        (lambda a, b, q: a.relu_(), "asks a value for its relu_"),
        (lambda a, b, q: a if a > 0 else b, "decides by a value .* use torch.where"),
        (lambda a, b, q: a and b, "decides by a value"),
        (lambda a, b, q: max(a, b), "decides by a value"),
        (lambda a, b, q: a * a.shape[0], "the number of rows"),
        (lambda a, b, q: a.to(a.dtype), "asks a value for its dtype"),
        (lambda a, b, q: a[0] * b, "only along the units"),
        (lambda a, b, q: a[:, 1] * b, "drops a dimension"),
        (lambda a, b, q: a[:, None] * b, "a slice, or a list of whole numbers"),
        (lambda a, b, q: a[:, 0.5:] * b, "not a whole number"),
        (lambda a, b, q: sum(a), "iterates over a value; use torch.chunk"),
        (lambda a, b, q: a * torch.ones(H), rf"a tensor of its own, of shape \({H},\)"),
        (lambda a, b, q: torch.ones(B, H) - a, rf"a tensor of its own, of shape \({B}, {H}\)"),
        (lambda a, b, q: F.dropout(a, 0.5), "dropout has no kernel"),
        (lambda a, b, q: a * torch.rand_like(a), "rand_like has no kernel"),
        (lambda a, b, q: a * random.random(), "not do the same each time"),
        (lambda a, b, q: a * torch.rand(()), "not do the same each time"),
        (lambda a, b, q: a * _grow(), "not do the same each time"),
        (lambda a, b, q: a**b, "an exponent is not a number"),
        (lambda a, b, q: 2**a, "cannot be run on symbols"),
        (lambda a, b, q: a // 2, "cannot be run on symbols"),
        (lambda a, b, q: a @ b, "cannot be run on symbols"),
        (lambda a, b, q: a * float(b), "cannot be run on symbols"),
        (lambda a, b, q: math.exp(a), "cannot be run on symbols"),
        (lambda a, b, q: a * len(b), "cannot be run on symbols"),
        (lambda a, b, q: a * "x", "'x' as a value"),
        (lambda a, b, q: a * 1j, "1j as a value"),
        (lambda a, b, q: a + None, "None as a value"),
        (lambda a, b, q: a * a.sum(), "only over the units, with keepdim=True"),
        (lambda a, b, q: a * a.mean(-1), "only over the units, with keepdim=True"),
        (lambda a, b, q: a - a.mean(0, keepdim=True), "only over the units"),
        (lambda a, b, q: torch.softmax(a, 0), "only over the units"),
        (lambda a, b, q: F.softplus(a, threshold=5), "only with threshold=20"),
        (lambda a, b, q: torch.tanh(a, out=b), "tanh is used in a way that has no kernel"),
        (lambda a, b, q: a.softsign(), "asks a value for its softsign"),
        (lambda a, b, q: a > b, "h is true or false"),
        (lambda a, b, q: a.sum(-1, keepdim=True), "h has one value for each row"),
        (lambda a, b, q: None, "None as a value"),
        (lambda a, b, q: a.to(torch.int64) * b, "cast to whole numbers has no kernel"),
        (lambda a, b, q: torch.zeros_like(a, dtype=torch.bool) * b, "whole numbers has no kernel"),
        (lambda a, b, q: (a > 0) * (b > 0), "mul of a mask .* has no kernel"),
        (lambda a, b, q: a * ((a > 0) & True), "both of a number has no kernel"),
        (lambda a, b, q: 1 - (a > 0), "sub of a mask .* has no kernel"),
        (lambda a, b, q: a * torch.ones((), requires_grad=True), "of its own that has a gradient"),
        (lambda a, b, q: operator.iadd(a, 1), "in place that shares memory"),
        (lambda a, b, q: F.relu(a, inplace=True), "in place that shares memory"),
        (lambda a, b, q: operator.iadd((a * b).detach(), 1), "in place that shares memory"),
    ],
)
def test_what_no_graph_can_hold_is_refused_with_the_reason(function, reason):
    with pytest.raises(Untraceable, match=reason):
        trace(cell_of(function))


def _added(a, b, q):
    total = a * b
    alias = total
    total += q
    total *= 2
    return alias + total


def _activated(function, *args):
    def total(a, b, q):
        inner = a * b
        return inner + function(inner, *args)

    return total


@pytest.mark.parametrize(
    "function",
    [
        _added,
        _activated(lambda v: F.relu(v, inplace=True)),
        _activated(F.relu, True),
        _activated(F.elu, 0.5, True),
        _activated(F.leaky_relu, 0.1, True),
        _activated(lambda v: F.hardtanh(v, -1.0, 1.0, True)),
        _activated(F.relu, False),
    ],
)
def test_what_is_changed_in_place_is_changed_for_all_that_hold_it(function):
    a, b, q = values()
    got = evaluated(trace(cell_of(function)).states["h"], a, b, q)
    torch.testing.assert_close(got, function(a.clone(), b.clone(), q.clone()))


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, q: (a > 0) * b,
        lambda a, b, q: a + (b > 0),
        lambda a, b, q: a + 2.5 * (b > 0),
        lambda a, b, q: torch.where(a > 0, b > 0, a),
        lambda a, b, q: a * torch.logical_and(F.relu(a), b > 0),
        lambda a, b, q: a * torch.logical_not(F.relu(b)),
    ],
)
def test_a_mask_beside_a_number_is_a_number(function):
    a, b, q = values()
    root = trace(cell_of(function)).states["h"]
    torch.testing.assert_close(evaluated(root, a, b, q), function(a, b, q))
    # In the graph itself: a kernel knows no product of a mask and a number.
    for node in reachable([root]):
        numbers = node.args[1:] if node.op == "where" else node.args
        are_masks = node.op in ("both", "either", "negate")
        assert all(is_mask(v) == are_masks for v in numbers)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_a_number_of_numpy_is_a_number(kind):
    for function in (lambda a, b, q: kind(3) * a, lambda a, b, q: a * kind(3)):
        assert trace(cell_of(function)).states["h"].args[1] == 3.0


def test_the_power_of_zero_has_the_derivative_of_a_number():
    assert trace(cell_of(lambda a, b, q: a + b**0)).states["h"].args[1] == 1.0


def test_the_seed_of_pytorch_is_no_way_around():
    """A step that draws random numbers is refused, whatever numbers the generator gives."""
    torch.manual_seed(0)
    with pytest.raises(Untraceable):
        trace(cell_of(lambda a, b, q: torch.bernoulli(torch.sigmoid(a)) * b))


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"states": {"h": tt.cells.State(), "c": tt.cells.State(3)}}, "state c has a width .*3"),
        ({"parameters": {"q": tt.cells.Parameter(1)}}, "parameter q has a size of its own, 1"),
    ],
)
def test_a_declaration_that_no_kernel_holds_is_refused_with_the_reason(declared, reason):
    with pytest.raises(Untraceable, match=reason):
        trace(cell_of(lambda a, b, q: a, **declared))


def test_a_function_that_is_a_constant_may_be_changed_too():
    cell = cell_of(lambda a, b, q: cell.function(a))
    for function in (torch.tanh, torch.sigmoid):
        cell.function = function
        assert trace(cell).states["h"].op == function.__name__


def test_an_error_of_the_equations_themselves_is_not_swallowed():
    def divide(a, b, q):
        return a * (1 / 0)

    with pytest.raises(ZeroDivisionError):
        trace(cell_of(divide))


def test_what_a_reason_says_to_write_instead_has_a_kernel_and_that_limit():
    def extreme(c):
        return lambda a, b, q: (torch.softmax(c * a, -1) * a).sum(-1, keepdim=True) + 0 * b

    a, b, q = values()
    root = trace(cell_of(extreme(400))).states["h"]
    torch.testing.assert_close(evaluated(root, a, b, q), a.amax(-1, keepdim=True).expand(B, H))
    least = trace(cell_of(extreme(-400))).states["h"]
    torch.testing.assert_close(evaluated(least, a, b, q), a.amin(-1, keepdim=True).expand(B, H))
    kept = trace(cell_of(lambda a, b, q: torch.where(a > 0.5, a, 0.0))).states["h"]
    assert torch.equal(evaluated(kept, a, b, q), torch.where(a > 0.5, a, 0.0))

"""Tracing of cells: their blocks, the values that the step returns, and the constants of their
equations."""

import pytest
import torch

import throughtime as tt
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.program import program
from throughtime.kernels.graph.trace import trace


def test_products_are_noted_in_their_order_and_one_that_is_used_twice_once():
    class Made(tt.Cell):
        gates, states, recurrent_blocks = ("a", "b"), ("h",), ("a", "u")

        def step(self, x, W, R, s, p):
            once = R.u(s.h) + R.u(s.h) * R.a(torch.tanh(s.h))
            return dict(h=W.b(x) + once + W.a(x) + R.u(s.h * 1))

    step = trace(Made())
    noted = [(p.matrix, p.block, p.operand.op) for p in step.products]
    # Python runs them in this order
    assert noted == [
        ("R", "u", "state"),
        ("R", "a", "tanh"),
        ("W", "b", "input"),
        ("W", "a", "input"),
    ]


def test_what_a_step_returns_is_sorted():
    class Made(tt.Cell):
        gates, states, output = ("a",), ("h", "c"), "y"

        def step(self, x, W, R, s, p):
            a = torch.sigmoid(W.a(x))
            return dict(y=a * s.h, a=a, c=s.c, h=a)

    step = trace(Made())
    assert list(step.states) == ["h", "c"]
    assert step.states["c"].op == "state"
    assert step.output.op == "mul"
    assert list(step.others) == ["a"]


def test_every_cell_of_the_registry_can_be_traced():
    for name in tt.cells.names():
        step = trace(tt.cells.get(name))
        assert set(step.states) == set(step.cell.state_specs)


@pytest.mark.parametrize(
    ("returned", "got"), [(None, "NoneType"), ([1, 2], "list"), ({"a": 1.0, "h": 0.0}, "a, h")]
)
def test_a_step_must_return_its_states_and_its_output(returned, got):
    class Made(tt.Cell):
        gates, states, output = ("a",), ("h",), "y"

        def step(self, x, W, R, s, p):
            return returned

    with pytest.raises(ValueError, match=rf"Made\.step: expected a dict with h, y, got {got}\."):
        trace(Made())


def test_constants_are_part_of_the_equations():
    class Scaled(tt.Cell):
        gates, states = ("a",), ("h",)

        def __init__(self, scale):
            self.scale = scale

        def step(self, x, W, R, s, p):
            return dict(h=self.scale * torch.tanh(s.h))

    cell = Scaled(2.0)
    assert trace(cell).states["h"].args[1] == 2.0
    assert trace(Scaled(3.0)).states["h"].args[1] == 3.0
    assert trace(Scaled(2.0)) is trace(cell)
    cell.scale = 4.0
    assert trace(cell).states["h"].args[1] == 4.0


_RATE = 2.0


class _Rated(tt.Cell):
    gates, states = ("a",), ("h",)
    factor = 1.0

    def __init__(self, factors):
        self.factors = factors

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(s.h) * (self.factors[0] * self.factor * _RATE))


def _fill(cell, monkeypatch):
    cell.factors.fill_(5.0)


def _put(cell, monkeypatch):
    cell.factors[0] = 5.0


def _of_class(cell, monkeypatch):
    monkeypatch.setattr(_Rated, "factor", 5.0)


def _of_module(cell, monkeypatch):
    monkeypatch.setitem(globals(), "_RATE", 10.0)


@pytest.mark.parametrize(
    ("factors", "change"),
    [
        ([1.0], _put),
        (torch.ones(1), _fill),
        (torch.ones(1), _put),
        ([1.0], _of_class),
        ([1.0], _of_module),
    ],
)
def test_a_constant_that_changes_wherever_it_stands_changes_the_equations(
    factors, change, monkeypatch
):
    cell = _Rated(factors)
    assert trace(cell).states["h"].args[1] == 2.0
    assert trace(cell) is trace(cell)
    change(cell, monkeypatch)
    assert trace(cell).states["h"].args[1] == 10.0


def test_a_step_that_counts_its_calls_is_traced_once():
    class Counting(tt.Cell):
        gates, states = ("a",), ("h",)

        def __init__(self):
            self.count = 0

        def step(self, x, W, R, s, p):
            self.count += 1
            return dict(h=torch.tanh(s.h))

    cell = Counting()
    assert trace(cell) is trace(cell)
    assert cell.count == 0


def matrix_cell(function):
    class Made(tt.Cell):
        gates, states, parameters = ("a",), ("h",), ("q",)

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(function(x, W, R, s, p)))

    return Made()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x, W, R, s, p: W.b(x), "b"),
        (lambda x, W, R, s, p: R.u(s.h), "u"),
        (lambda x, W, R, s, p: s.c, "c"),
        (lambda x, W, R, s, p: p.p_i, "p_i"),
    ],
)
def test_an_unknown_block_state_or_parameter_is_an_attribute_error(function, name):
    with pytest.raises(AttributeError, match=name):
        trace(matrix_cell(function))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x, W, R, s, p: W.a(x) + R.a(0.0), "R.a is applied to a number"),
        (lambda x, W, R, s, p: W.a(x) + R.a(torch.ones_like(s.h)), "R.a is applied to a number"),
        (lambda x, W, R, s, p: W.a(s.h), "W.a is applied to a value other than x"),
        (lambda x, W, R, s, p: W.a(2 * x), "W.a is applied to a value other than x"),
        (lambda x, W, R, s, p: W.a(x) + R.a(p.q), "R.a is applied to no row of units"),
        (
            lambda x, W, R, s, p: W.a(x) + R.a(s.h.sum(-1, keepdim=True)),
            "R.a is applied to no row of units",
        ),
        (lambda x, W, R, s, p: W.a(x, 2), "cannot be run on symbols"),
    ],
)
def test_a_block_is_applied_to_rows_of_units_alone(function, reason):
    with pytest.raises(Untraceable, match=reason):
        program(matrix_cell(function))

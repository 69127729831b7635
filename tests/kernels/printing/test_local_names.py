"""Printed equations have the names of the step's local variables."""

import functools
import sys

import pytest
import torch
from torch import nn, sigmoid, tanh

import throughtime as tt
from throughtime.kernels.cpp.emit import emit
from throughtime.kernels.graph import trace as tracer
from throughtime.kernels.graph.program import program
from throughtime.kernels.printing.equations import describe
from throughtime.kernels.printing.local_names import local_names

from . import test_equations_text as by_numbers


class Named(tt.Cell):
    """Variables of all kinds; only `pace` is the same in all steps."""

    gates, states, parameters = ("a", "b"), ("h", "c"), ("p_a", "q")

    def step(self, x, W, R, s, p):
        before = s.h
        pace = sigmoid(p.p_a)
        update_t = sigmoid(W.a(x) + R.a(before))
        _c_tilde = tanh(W.b(x) + R.b(update_t * before))
        unused = x * s.c  # noqa: F841
        is_large = s.c > p.q
        c = torch.where(is_large, pace * s.c, 0.0) + update_t * _c_tilde
        lambda_ = (1 - update_t) * before + pace * c
        return dict(h=lambda_ * tanh(c), c=c)


def test_values_have_the_names_of_their_variables():
    assert describe(Named()).forward == [
        ("pace", "sigmoid(p_a)"),
        ("update_t", "sigmoid(W_a x_t + R_a h_{t-1} + b_a)"),
        ("u_t", "update_t * h_{t-1}"),
        ("c_tilde_t", "tanh(W_b x_t + R_b u_t + b_b)"),
        ("is_large_t", "q < c_{t-1}"),
        ("c_t", "pace * c_{t-1} * is_large_t + update_t * c_tilde_t"),
        ("lambda_t", "(1 - update_t) * h_{t-1} + pace * c_t"),
        ("h_t", "lambda_t * tanh(c_t)"),
    ]


class Again(tt.Cell):
    """Variables with several values, and with names that the equations use otherwise."""

    gates, states, parameters = ("a",), ("h",), ("gain",)

    def step(self, x, W, R, s, p):
        h = tanh(W.a(x) + R.a(s.h))
        for _ in range(2):
            h = tanh(h + R.a(h))
        x = x * h
        dx = sigmoid(x + s.h)
        dgain = sigmoid(p.gain)
        H = 2 * p.gain
        H += 0.5
        b = a = dgain * H * dx
        return dict(h=h * a + a * b)


def test_a_name_that_is_in_use_gets_a_number():
    assert describe(Again()).forward == [
        ("h2_t", "tanh(W_a x_t + R_a h_{t-1} + b_Wa + b_Ra)"),
        ("h3_t", "tanh(R_a h2_t + h2_t + b_Ra)"),
        ("h4_t", "tanh(R_a h3_t + h3_t + b_Ra)"),
        ("x2_t", "x_t * h4_t"),
        ("dx2_t", "sigmoid(h_{t-1} + x2_t)"),
        ("dgain2", "sigmoid(gain)"),
        ("H2", "2 * gain"),
        ("H3", "0.5 + H2"),
        ("b_t", "dx2_t * dgain2 * H3"),
        ("h_t", "h4_t * b_t + b_t^2"),
    ]


class Swish(tt.Cell):
    gates, states = ("a",), ("h",)

    def gate(self, v):
        inner = sigmoid(v)
        return inner * v * inner

    def step(self, x, W, R, s, p):
        drive = W.a(x) + R.a(s.h)
        return dict(h=self.gate(drive) + s.h)


class Closure(Swish):
    def step(self, x, W, R, s, p):
        drive = W.a(x) + R.a(s.h)

        def swish(power):
            inside = sigmoid(drive)
            return self.rate * inside**power * drive

        return dict(h=swish(2) + s.h)

    rate = 1.0


class Residual(Swish):
    def step(self, x, W, R, s, p):
        candidate = super().step(tanh(x), W, R, s, p)["h"]
        return dict(h=candidate + x * candidate)


def decorated(step):
    @functools.wraps(step)
    def call(self, *args):
        result = step(self, *args)
        return result

    return call


class Decorated(Swish):
    step = decorated(Swish.step)


class Owner(tt.Cell):
    gates, states = ("a",), ("h",)

    def __init__(self):
        self.alpha = nn.Parameter(torch.ones(4))
        self.mix = nn.Parameter(torch.eye(4))

    def step(self, x, W, R, s, p):
        mixed = s.h @ self.mix
        drive = sigmoid(self.alpha * W.a(x) + mixed)
        return dict(h=drive * s.h)


FORWARD = {
    Swish: [
        ("drive_t", "W_a x_t + R_a h_{t-1} + b_a"),
        ("h_t", "h_{t-1} + sigmoid(drive_t)^2 * drive_t"),
    ],
    Closure: [
        ("drive_t", "W_a x_t + R_a h_{t-1} + b_a"),
        ("h_t", "h_{t-1} + drive_t * sigmoid(drive_t)^2"),
    ],
    Owner: [
        ("mixed_t", "R_mix_T h_{t-1}"),
        ("Wa_t", "W_a x_t + b_a"),
        ("drive_t", "sigmoid(mixed_t + alpha * Wa_t)"),
        ("h_t", "drive_t * h_{t-1}"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "like"),
    [(k, k) for k in FORWARD] + [(Decorated, Swish)],
)
def test_functions_that_the_step_calls_name_nothing(kind, like):
    assert describe(kind()).forward == FORWARD[like]


def test_the_step_of_a_base_class_is_read_too():
    assert describe(Residual()).forward == [
        ("drive_t", "W_a tanh(x_t) + R_a h_{t-1} + b_a"),
        ("candidate_t", "h_{t-1} + sigmoid(drive_t)^2 * drive_t"),
        ("h_t", "candidate_t + x_t * candidate_t"),
    ]


@pytest.mark.parametrize("kind", [Named, Again, Swish, Residual])
def test_the_named_equations_compute_what_autograd_does(kind):
    by_numbers.test_the_printed_equations_give_the_values_and_gradients_of_autograd(kind())


def test_the_backward_step_has_the_names_too():
    backward = dict(describe(tt.cells.get("lstm-phased")).backward)
    assert backward["dh_new_t"] == "dh_t * k_t"
    assert backward["δo_t"] == "dh_new_t * tanh(c_new_t) * o_t * (1 - o_t)"


def test_latex_has_the_names_too():
    assert r"\tilde{c}_{t} &= \tanh(" in describe(Named()).latex()
    assert r"\lambda_{t}" in describe(Named()).latex()


def test_printing_changes_no_kernel():
    class Fresh(Named):
        pass

    before = program(Fresh())
    nodes = list(tracer.trace(Fresh()).graph.nodes)
    sources = [emit(before, "float", backward) for backward in (False, True)]
    describe(Fresh())
    assert tracer.trace(Fresh()).graph.nodes == nodes
    assert program(Fresh()) is before
    assert [emit(program(Fresh()), "float", backward) for backward in (False, True)] == sources


def test_nothing_is_watched_when_nothing_is_printed(monkeypatch):
    class Unprinted(Named):
        pass

    def refuse(function):
        raise AssertionError("a trace function was set")

    monkeypatch.setattr(sys, "settrace", refuse)
    program(Unprinted())
    with pytest.raises(AssertionError, match="a trace function was set"):
        describe(Unprinted())


def test_a_debugger_goes_on_afterwards():
    seen = []

    def debugger(frame, event, arg):
        seen.append(frame.f_code.co_name)
        return debugger

    def after():
        pass

    before = sys.gettrace()
    sys.settrace(debugger)
    try:
        names = local_names(Named())
        assert sys.gettrace() is debugger
        after()
    finally:
        sys.settrace(before)
    assert seen[-1] == "after"
    assert "update_t" in names.values()


class Failing(Named):
    def step(self, x, W, R, s, p):
        raise KeyError("no step")


def test_a_debugger_goes_on_after_an_error():
    before = sys.gettrace()
    with pytest.raises(KeyError, match="no step"):
        local_names(Failing())
    assert sys.gettrace() is before

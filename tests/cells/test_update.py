"""The cells of update.py against their equations in NumPy."""

import numpy as np
import pytest

from .statements import (
    L2,
    L3,
    all_stated,
    computes,
    each_stated,
    gives,
    mix,
    one_unit,
    relu,
    sigmoid,
)


def hard_sigmoid(a):
    return np.clip(a / 5 + 1 / 2, 0, 1)


def ugrnn(k, x, s):
    return {"h": mix(sigmoid(k.a("g", x, s["h"])), s["h"], np.tanh(k.a("c", x, s["h"])))}


def intersection(k, x, s):
    u, c = relu(k.a("u", x, s["h"])), np.tanh(k.a("c", x, s["h"]))
    y = mix(sigmoid(k.a("k", x, s["h"])), k.W("y", x), u)
    return {"y": y, "h": mix(sigmoid(k.a("g", x, s["h"])), s["h"], c)}


def sgu(deep):
    def step(k, x, s):
        m = np.tanh(k.R("m", k.W("m", x) * s["h"])) * s["h"]
        o = sigmoid(k.R("o", m)) if deep else np.log1p(np.exp(m))
        return {"h": mix(hard_sigmoid(k.a("z", x, s["h"])), o, s["h"])}

    return step


def mut1(k, x, s):
    r = sigmoid(k.a("r", x, s["h"]))
    n = np.tanh(k.R("n", r * s["h"]) + np.tanh(k.W("n", x)))
    return {"h": mix(sigmoid(k.W("z", x)), n, s["h"])}


def mut(seen):
    def step(k, x, s):
        z = sigmoid(k.W("z", x) + k.R("z", seen(s["h"])))
        r = sigmoid(k.a("r", x, s["h"]))
        return {"h": mix(z, np.tanh(k.W("n", x) + k.R("n", r * s["h"])), s["h"])}

    return step


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("ugrnn", {}, "c g", "c g", "h", "", ugrnn),
    ("intersection-rnn", {}, "u c k g y", "u c k g", "y h", "", intersection),
    ("sgu", {}, "m z", "m z", "h", "", sgu(deep=False)),
    ("dsgu", {}, "m z", "m z o", "h", "", sgu(deep=True)),
    ("mut-1", {}, "z r n", "r n", "h", "", mut1),
    ("mut-2", {}, "z r n", "z r n", "h", "", mut(lambda h: h)),
    ("mut-3", {}, "z r n", "z r n", "h", "", mut(np.tanh)),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1, h before is 2 unless stated, and there are no biases. W and R are numbers, in the
# order of the blocks: W = a - 2 and R = 1 make a of x = 1 and h = 2.
BY_HAND = [
    # c = 3/5, g = 3/4: h = 3/4 * 2 + 1/4 * 3/5
    ("ugrnn", {"W": [L2 - 2, L3 - 2], "R": [1, 1]}, {}, {"h": 1.65}),
    # u = max(0, -1 + 4) = 3, c = 3/5, k = 3/4, g = 1/4
    # y = 3/4 * 4 + 1/4 * 3; h = 1/4 * 2 + 3/4 * 3/5
    (
        "intersection-rnn",
        {"W": [-1, L2 - 2, L3 - 2, -L3 - 2, 4], "R": [2, 1, 1, 1]},
        {"y": 5},
        {"y": 3.75, "h": 0.95},
    ),
    # h before is ln 3 / 0.6 and W_m x * h is 1: m = tanh(ln 2) = 3/5, o = softplus(ln 3) = ln 4
    # z = 1/5 + 1/2: h = 0.3 * ln 3 / 0.6 + 0.7 * ln 4 = 0.5493061443340549 + 0.9704060527839234
    ("sgu", {"W": [0.6 / L3, 1], "R": [L2, 0]}, {"h": L3 / 0.6}, {"h": 1.5197121971179783}),
    # z = min(1, 9/5 + 1/2) = 1 and max(0, -9/5 + 1/2) = 0
    ("sgu", {"W": [0.6 / L3, 9], "R": [L2, 0]}, {"h": L3 / 0.6}, {"h": 1.3862943611198906}),
    ("sgu", {"W": [0.6 / L3, -9], "R": [L2, 0]}, {"h": L3 / 0.6}, {"h": 1.8310204811135165}),
    # m = 3/5, o = sigmoid(ln 3 / 1.2 * 3/5 * 2) = 3/4, z = (-1 + 2) / 5 + 1/2 = 7/10
    # h = 3/10 * 2 + 7/10 * 3/4
    ("dsgu", {"W": [0.5, -1], "R": [L2, 1, L3 / 1.2]}, {}, {"h": 1.125}),
    # z = 3/4, r = 3/4; n = tanh((ln 3 - 0.6) / 1.5 * (3/4 * 2) + tanh(ln 2)) = 4/5
    # h = 4/5 * 3/4 + 2 * 1/4
    ("mut-1", {"W": [L3, L3 - 2, L2], "R": [1, (L3 - 0.6) / 1.5]}, {}, {"h": 1.1}),
    # z = 3/4, r = 3/4; n = tanh(2 * (3/4 * 2) + ln 3 - 3) = 4/5
    ("mut-2", {"W": [L3 - 2, L3 - 2, L3 - 3], "R": [1, 1, 2]}, {}, {"h": 1.1}),
    # h before is ln 2: z = sigmoid(ln 3 - 3 + 5 * 3/5) = 3/4, r = 3/4, n = 4/5
    # h = 4/5 * 3/4 + 1/4 * 0.6931471805599453
    (
        "mut-3",
        {"W": [L3 - 3, L3 - L2, L3 - 0.75 * L2], "R": [5, 1, 1]},
        {"h": L2},
        {"h": 0.7732867951399863},
    ),
]


@pytest.mark.parametrize(("name", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, numbers, before, after):
    gives(one_unit(name, numbers, {"h": 2, **before}), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("update", STATED, BY_HAND)

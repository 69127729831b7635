"""The cells of fast.py against their equations in NumPy."""

import numpy as np
import pytest

from .statements import L2, L3, all_stated, computes, each_stated, gives, one_unit, sigmoid


def fast_rnn(k, x, s):
    n = np.tanh(k.a("n", x, s["h"]))
    return {"h": sigmoid(k.p["alpha"]) * n + sigmoid(k.p["beta"]) * s["h"]}


def fast_grnn(k, x, s):
    a = k.a("n", x, s["h"])
    z = sigmoid(a + k.p["b_z"])
    weight = sigmoid(k.p["zeta"]) * (1 - z) + sigmoid(k.p["nu"])
    return {"h": weight * np.tanh(a) + z * s["h"]}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("fast-rnn", {}, "n", "n", "h", "alpha beta", fast_rnn),
    ("fast-grnn", {}, "n", "n", "h", "b_z zeta nu", fast_grnn),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1, h before is 2 unless stated, and there are no biases. W and R are numbers, in the
# order of the blocks: W = a - 2 and R = 1 make a of x = 1 and h = 2.
BY_HAND = [
    # n = 3/5: h = 3/4 * 3/5 + 1/4 * 2
    ("fast-rnn", {"W": [L2 - 2], "R": [1], "alpha": L3, "beta": -L3}, {}, {"h": 0.95}),
    # a = ln 2, z = sigmoid(ln 3) = 3/4, n = 3/5: h = (1/2 * 1/4 + 1/4) * 3/5 + 3/4 * 2
    (
        "fast-grnn",
        {"W": [L2 - 2], "R": [1], "b_z": L3 - L2, "zeta": 0, "nu": -L3},
        {},
        {"h": 1.725},
    ),
]


@pytest.mark.parametrize(("name", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, numbers, before, after):
    gives(one_unit(name, numbers, {"h": 2, **before}), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("fast", STATED, BY_HAND)

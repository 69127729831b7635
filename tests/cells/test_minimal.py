"""The cells of minimal.py against their equations in NumPy."""

import numpy as np
import pytest
import torch

import throughtime as tt

from .statements import (
    L2,
    L3,
    B,
    H,
    I,
    all_stated,
    computes,
    each_stated,
    gives,
    mix,
    one_unit,
    sigmoid,
)


def mgu(gate):
    def step(k, x, s):
        f = sigmoid(gate(k, x, s["h"]))
        n = np.tanh(k.W("n", x) + k.R("n", f * s["h"]))
        return {"h": mix(f, n, s["h"])}

    return step


def minimal_rnn(k, x, s):
    z = np.tanh(k.W("z", x))
    return {"h": mix(sigmoid(k.R("u", s["h"]) + k.R("z", z)), s["h"], z)}


def miru(gate):
    def step(k, x, s):
        n = np.tanh(k.W("n", x) + k.R("n", gate(k, x, s["h"]) * s["h"]))
        return {"h": mix(0.5, s["h"], n)}

    return step


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("mgu", {}, "f n", "f n", "h", "", mgu(lambda k, x, h: k.a("f", x, h))),
    ("mgu-1", {}, "n", "n f", "h", "b_f", mgu(lambda k, x, h: k.R("f", h) + k.p["b_f"])),
    ("mgu-2", {}, "n", "n f", "h", "", mgu(lambda k, x, h: k.R("f", h))),
    ("mgu-3", {}, "n", "n", "h", "b_f", mgu(lambda k, x, h: k.p["b_f"])),
    ("minimal-rnn", {}, "z", "z u", "h", "", minimal_rnn),
    ("miru-1", {}, "r n", "r n", "h", "", miru(lambda k, x, h: sigmoid(k.a("r", x, h)))),
    ("miru-2", {}, "n", "n", "h", "", miru(lambda k, x, h: 0.5)),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1, h before is 2 unless stated, and there are no biases. W and R are numbers, in the
# order of the blocks: W = a - 2 and R = 1 make a of x = 1 and h = 2.
BY_HAND = [
    # f = 3/4; n = tanh(ln 2 - 3 + 2 * (3/4 * 2)) = 3/5; h = 1/4 * 2 + 3/4 * 3/5
    ("mgu", {"W": [L3 - 2, L2 - 3], "R": [1, 2]}, {}, {"h": 0.95}),
    # f = 3/4, the rest as before
    ("mgu-1", {"W": [L2 - 3], "R": [2, 1], "b_f": L3 - 2}, {}, {"h": 0.95}),
    ("mgu-2", {"W": [L2 - 3], "R": [2, L3 / 2]}, {}, {"h": 0.95}),
    ("mgu-3", {"W": [L2 - 3], "R": [2], "b_f": L3}, {}, {"h": 0.95}),
    # z = 3/5; u = sigmoid((ln 3 - 3) / 2 * 2 + 5 * 3/5) = 3/4; h = 3/4 * 2 + 1/4 * 3/5
    ("minimal-rnn", {"W": [L2], "R": [5, (L3 - 3) / 2]}, {}, {"h": 1.65}),
    # r = 3/4, n = 3/5: h = (2 + 3/5) / 2
    ("miru-1", {"W": [L3 - 2, L2 - 3], "R": [1, 2]}, {}, {"h": 1.3}),
    # n = tanh(ln 2 - 2 + 2 * (1/2 * 2)) = 3/5
    ("miru-2", {"W": [L2 - 2], "R": [2]}, {}, {"h": 1.3}),
]


@pytest.mark.parametrize(("name", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, numbers, before, after):
    gives(one_unit(name, numbers, {"h": 2, **before}), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("minimal", STATED, BY_HAND)


def test_the_constants_of_miru_say_what_is_kept_and_what_is_shown():
    cell = tt.cells.get("miru-2", keep=0.25, show=0.0)
    layer = tt.Recurrent(cell, I, H, dtype=torch.float64)
    x, h = torch.randn(1, B, I, dtype=torch.float64), torch.randn(1, B, H, dtype=torch.float64)
    output, _ = layer(x, h)
    n = torch.tanh(x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0)
    torch.testing.assert_close(output, 0.25 * h + 0.75 * n)

"""The cells of light.py against their equations in NumPy."""

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
    T,
    all_stated,
    computes,
    each_stated,
    gives,
    layer_of,
    mix,
    one_unit,
    relu,
    sigmoid,
)


def janet(k, x, s):
    a, g = k.a("f", x, s["h"]), np.tanh(k.a("g", x, s["h"]))
    return {"h": sigmoid(a) * s["h"] + (1 - sigmoid(a - 1)) * g}


def light_ru(k, x, s):
    return {"h": mix(sigmoid(k.a("f", x, s["h"])), np.tanh(k.W("n", x)), s["h"])}


def li_gru(k, x, s):
    return {"h": mix(sigmoid(k.a("z", x, s["h"])), s["h"], relu(k.a("n", x, s["h"])))}


def atr(k, x, s):
    p, q = k.W("p", x), k.R("p", s["h"])
    return {"h": sigmoid(p + q) * p + sigmoid(p - q) * s["h"]}


def ran(k, x, s):
    i, f = sigmoid(k.a("i", x, s["h"])), sigmoid(k.a("f", x, s["h"]))
    c = i * k.W("g", x) + f * s["c"]
    return {"h": np.tanh(c), "c": c}


def star(k, x, s):
    return {"h": np.tanh(mix(sigmoid(k.a("k", x, s["h"])), np.tanh(k.W("z", x)), s["h"]))}


def sgrn(k, x, s):
    return {"h": np.tanh(mix(sigmoid(k.a("f", x, s["h"])), s["h"], k.W("f", x)))}


def cfn(k, x, s):
    theta, eta = sigmoid(k.a("theta", x, s["h"])), sigmoid(k.a("eta", x, s["h"]))
    return {"h": theta * np.tanh(s["h"]) + eta * np.tanh(k.W("g", x))}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("janet", {}, "f g", "f g", "h", "", janet),
    ("light-ru", {}, "n f", "f", "h", "", light_ru),
    ("li-gru", {}, "z n", "z n", "h", "", li_gru),
    ("atr", {}, "p", "p", "h", "", atr),
    ("ran", {}, "g i f", "i f", "h c", "", ran),
    ("star", {}, "z k", "k", "h", "", star),
    ("sgrn", {}, "f", "f", "h", "", sgrn),
    ("cfn", {}, "theta eta g", "theta eta", "h", "", cfn),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1, h before is 2 unless stated, and there are no biases. W and R are numbers, in the
# order of the blocks: W = a - 2 and R = 1 make a of x = 1 and h = 2.
BY_HAND = [
    # s = -1 + 2 = 1: h = sigmoid(1) * 2 + (1 - sigmoid(0)) * 3/5 = 2 * 0.7310585786300049 + 0.3
    ("janet", {"W": [-1, L2 - 2], "R": [1, 1]}, {}, {"h": 1.7621171572600098}),
    # n = 3/5, f = 3/4: h = 1/4 * 2 + 3/4 * 3/5
    ("light-ru", {"W": [L2, L3 - 2], "R": [1]}, {}, {"h": 0.95}),
    # z = 3/4; n = max(0, -1 + 4) or max(0, -5 + 4): h = 3/4 * 2 + 1/4 * n
    ("li-gru", {"W": [L3 - 2, -1], "R": [1, 2]}, {}, {"h": 2.25}),
    ("li-gru", {"W": [L3 - 2, -5], "R": [1, 2]}, {}, {"h": 1.5}),
    # p = q = ln 3 / 2: i = 3/4, f = 1/2; h = 3/8 * ln 3 + 1/2 * 2, with ln 3 = 1.0986122886681098
    ("atr", {"W": [L3 / 2], "R": [L3 / 4]}, {}, {"h": 1.4119796082505411}),
    # i = 3/4, f = 1/2: c = 3/4 * 0.4 + 1/2 * 2 * (ln 2 - 0.3) = ln 2; h = 3/5
    (
        "ran",
        {"W": [0.4, L3 - 2, -2], "R": [1, 1]},
        {"c": 2 * (L2 - 0.3)},
        {"c": 0.6931471805599453, "h": 0.6},
    ),
    # z = 3/5, k = 3/4: tanh(1/4 * 2 + 3/4 * 3/5) = tanh(0.95)
    ("star", {"W": [L2, L3 - 2], "R": [1]}, {}, {"h": 0.7397830512740042}),
    # The candidate is W x = 1, and h before is (ln 2 - 1/4) * 4/3: f = sigmoid(1 + ln 3 - 1) = 3/4
    # tanh(1/4 * 1 + 3/4 * h) = tanh(ln 2)
    (
        "sgrn",
        {"W": [1], "R": [0.75 * (L3 - 1) / (L2 - 0.25)]},
        {"h": (L2 - 0.25) / 0.75},
        {"h": 0.6},
    ),
    # h before is ln 2: theta = 3/4, eta = sigmoid(-ln 3 - 2 ln 2 + 2 ln 2) = 1/4
    # h = 3/4 * 3/5 + 1/4 * 4/5
    ("cfn", {"W": [L3 - L2, -L3 - 2 * L2, L3], "R": [1, 2]}, {"h": L2}, {"h": 0.65}),
]


@pytest.mark.parametrize(("name", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, numbers, before, after):
    gives(one_unit(name, numbers, {"h": 2, **before}), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("light", STATED, BY_HAND)


def test_the_beta_of_janet_couples_both_gates_when_it_is_zero():
    coupled = tt.Recurrent(tt.cells.get("janet", beta=0.0), I, H, dtype=torch.float64)
    h = torch.ones(1, B, H, dtype=torch.float64)
    for parameter in coupled.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(coupled.bias_ih_l0[H:], 50.0)
    output, _ = coupled(torch.randn(T, B, I, dtype=torch.float64), h)
    torch.testing.assert_close(output, torch.ones_like(output))


def test_a_chaos_free_network_without_input_dies_away():
    layer = layer_of("cfn", bias=False)
    h = 5 * torch.randn(1, B, H, dtype=torch.float64)
    output, _ = layer(torch.zeros(200, B, I, dtype=torch.float64), h)
    assert (output[1:].abs() <= output[:-1].abs()).all()
    assert output[-1].abs().max() < 0.2

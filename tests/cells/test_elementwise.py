"""The cells of elementwise.py against their equations in NumPy."""

import numpy as np
import pytest
import torch

from .statements import (
    L2,
    L3,
    B,
    I,
    T,
    all_stated,
    computes,
    each_stated,
    gives,
    layer_of,
    mix,
    one_unit,
    pooled,
    relu,
    sigmoid,
    with_last_input,
)


def ind_rnn(k, x, s):
    return {"h": relu(k.W("h", x) + k.p["u"] * s["h"])}


def sru(k, x, s):
    f, r = (sigmoid(k.W(gate, x) + k.p[f"v_{gate}"] * s["c"]) for gate in "fr")
    c = mix(f, s["c"], k.W("c", x))
    return {"h": mix(r, c, k.W("x", x)), "c": c}


def min_gru(k, x, s):
    return {"h": mix(sigmoid(k.W("z", x)), k.W("n", x), s["h"])}


def min_lstm(k, x, s):
    f, i = sigmoid(k.W("f", x)), sigmoid(k.W("i", x))
    return {"h": f / (f + i) * s["h"] + i / (f + i) * k.W("n", x)}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("ind-rnn", {}, "h", "", "h", "u", ind_rnn),
    ("sru", {}, "c f r x", "", "h c", "v_f v_r", sru),
    (
        "qrnn",
        {},
        "z f o vz vf vo",
        "",
        "h c vz vf vo",
        "",
        with_last_input(pooled, out=sigmoid, candidate=np.tanh),
    ),
    ("min-gru", {}, "z n", "", "h", "", min_gru),
    ("min-lstm", {}, "f i n", "", "h", "", min_lstm),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1, h before is 2 unless stated, and there are no biases. W and R are numbers, in the
# order of the blocks: W = a - 2 and R = 1 make a of x = 1 and h = 2.
BY_HAND = [
    # max(0, -1 + 2 * 2) and max(0, -5 + 2 * 2)
    ("ind-rnn", {"W": [-1], "u": 2}, {}, {"h": 3}),
    ("ind-rnn", {"W": [-5], "u": 2}, {}, {"h": 0}),
    # f = 3/4, r = sigmoid(-ln 3 - 4 + 2 * 2) = 1/4: c = 3/4 * 2 + 1/4 * 4; h = 1/4 * c + 3/4 * 8
    ("sru", {"W": [4, L3 - 2, -L3 - 4, 8], "v_f": 1, "v_r": 2}, {"c": 2}, {"h": 6.625, "c": 2.5}),
    # z = 3/5, f = 3/4, o = 1/4: c = 3/4 * 2 + 1/4 * 3/5; h = 1/4 * 1.65
    (
        "qrnn",
        {"W": [L2 - 1, L3 - 2, -L3 - 3, 5, 6, 7]},
        {"c": 2, "vz": 1, "vf": 2, "vo": 3},
        {"h": 0.4125, "c": 1.65, "vz": 5, "vf": 6, "vo": 7},
    ),
    # z = 3/4: h = 1/4 * 2 + 3/4 * 4
    ("min-gru", {"W": [L3, 4]}, {}, {"h": 3.5}),
    # f = 1/2, i = 1/4, of their sum 2/3 and 1/3: h = 2/3 * 2 + 1/3 * 4
    ("min-lstm", {"W": [0, -L3, 4]}, {}, {"h": 8 / 3}),
]


@pytest.mark.parametrize(("name", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, numbers, before, after):
    gives(one_unit(name, numbers, {"h": 2, **before}), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("elementwise", STATED, BY_HAND)


@pytest.mark.parametrize("name", ["qrnn"])
def test_a_product_kept_for_one_step_is_that_of_the_last_input(name):
    """A sequence cut into two pieces continues from the stored products as if it were whole."""
    layer = layer_of(name)
    x = torch.randn(T, B, I, dtype=torch.float64)
    whole, _ = layer(x)
    first, states = layer(x[:2])
    second, _ = layer(x[2:], states)
    torch.testing.assert_close(torch.cat([first, second]), whole)

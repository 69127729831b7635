"""The cells of typed.py against their equations in NumPy."""

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
    sigmoid,
    with_last_input,
)


def t_rnn(k, x, s):
    return {"h": mix(sigmoid(k.W("f", x)), s["h"], k.W("z", x))}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("t-rnn", {}, "z f", "", "h", "", t_rnn),
    (
        "t-gru",
        {},
        "z f o vz vf vo",
        "",
        "h vz vf vo",
        "",
        with_last_input(lambda z, f, o, s: {"h": f * s["h"] + z * o}),
    ),
    ("t-lstm", {}, "z f o vz vf vo", "", "h c vz vf vo", "", with_last_input(pooled)),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1, h before is 2 unless stated, and there are no biases. W and R are numbers, in the
# order of the blocks: W = a - 2 and R = 1 make a of x = 1 and h = 2.
BY_HAND = [
    # h = 3/4 * 2 + 1/4 * 4
    ("t-rnn", {"W": [4, L3]}, {}, {"h": 2.5}),
    # z = 1 + 3, f = 3/4, o = 3/5: h = 3/4 * 2 + 4 * 3/5
    (
        "t-gru",
        {"W": [3, L3 - 2, L2 - 3, 5, 6, 7]},
        {"vz": 1, "vf": 2, "vo": 3},
        {"h": 3.9, "vz": 5, "vf": 6, "vo": 7},
    ),
    # c = 3/4 * 2 + 1/4 * 4; h = 3/5 * 2.5
    (
        "t-lstm",
        {"W": [3, L3 - 2, L2 - 3, 5, 6, 7]},
        {"c": 2, "vz": 1, "vf": 2, "vo": 3},
        {"h": 1.5, "c": 2.5, "vz": 5, "vf": 6, "vo": 7},
    ),
]


@pytest.mark.parametrize(("name", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, numbers, before, after):
    gives(one_unit(name, numbers, {"h": 2, **before}), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("typed", STATED, BY_HAND)


@pytest.mark.parametrize("name", ["t-gru", "t-lstm"])
def test_a_product_kept_for_one_step_is_that_of_the_last_input(name):
    """A sequence cut into two pieces continues from the stored products as if it were whole."""
    layer = layer_of(name)
    x = torch.randn(T, B, I, dtype=torch.float64)
    whole, _ = layer(x)
    first, states = layer(x[:2])
    second, _ = layer(x[2:], states)
    torch.testing.assert_close(torch.cat([first, second]), whole)

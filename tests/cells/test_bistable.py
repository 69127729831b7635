"""The cells of bistable.py against their equations in NumPy."""

import numpy as np
import pytest
import torch

import throughtime as tt

from .statements import L2, L3, all_stated, computes, each_stated, gives, mix, one_unit, sigmoid


def bistable(of_state):
    def step(k, x, s):
        a = 1 + np.tanh(k.W("a", x) + of_state(k, "a", s["h"]))
        c = sigmoid(k.W("c", x) + of_state(k, "c", s["h"]))
        return {"h": mix(c, s["h"], np.tanh(k.W("h", x) + a * s["h"]))}

    return step


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("br", {}, "a c h", "", "h", "w_a w_c", bistable(lambda k, gate, h: k.p[f"w_{gate}"] * h)),
    ("nbr", {}, "a c h", "a c", "h", "", bistable(lambda k, gate, h: k.R(gate, h))),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1, h before is 2 unless stated, and there are no biases. W and R are numbers, in the
# order of the blocks: W = a - 2 and R = 1 make a of x = 1 and h = 2.
BY_HAND = [
    # a = 1 + 3/5, c = 3/4: h = 3/4 * 2 + 1/4 * tanh(ln 3 - 3.2 + 1.6 * 2)
    ("br", {"W": [L2 - 2, L3 - 2, L3 - 3.2], "w_a": 1, "w_c": 1}, {}, {"h": 1.7}),
    ("nbr", {"W": [L2 - 2, L3 - 2, L3 - 3.2], "R": [1, 1]}, {}, {"h": 1.7}),
]


@pytest.mark.parametrize(("name", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, numbers, before, after):
    gives(one_unit(name, numbers, {"h": 2, **before}), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("bistable", STATED, BY_HAND)


def test_a_bistable_unit_with_strong_feedback_keeps_its_sign_without_input():
    """With a = 2 and a large c, h = c h + (1 - c) tanh(2 h) has two stable points, +-0.9575."""
    layer = tt.Recurrent("br", 1, 1, dtype=torch.float64)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(layer.bias_ih_l0[:1], 20.0)
    h = torch.tensor([[[0.1], [-0.1]]], dtype=torch.float64)
    output, _ = layer(torch.zeros(100, 2, 1, dtype=torch.float64), h)
    assert output[-1].flatten().tolist() == pytest.approx([0.9575040240772687, -0.9575040240772687])

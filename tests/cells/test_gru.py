"""The cells of gru.py against their equations in NumPy."""

import numpy as np
import pytest

from .statements import (
    L2,
    L3,
    all_stated,
    computes,
    each_stated,
    gives,
    one_unit_of_logits,
    sigmoid,
)


def gru(reset_before):
    """Cho et al. (2014), where z keeps. Resetting after is the form that cuDNN computes."""

    def step(k, x, s):
        r, z = sigmoid(k.a("r", x, s["h"])), sigmoid(k.a("z", x, s["h"]))
        if reset_before:
            inside = (r * s["h"]) @ k.matrix("n").T + k.bias("n")
        else:
            inside = r * (s["h"] @ k.matrix("n").T + k.bias("n"))
        n = np.tanh(k.W("n", x) + inside)
        return {"h": z * s["h"] + (1 - z) * n}

    return step


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("gru", {}, "r z n", "r z n", "h", "", gru(reset_before=False)),
    ("gru-reset-before", {}, "r z n", "r z n", "h", "", gru(reset_before=True)),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and h before is 2; see one_unit_of_logits.
BY_HAND = [
    # r = 1/4, z = 3/4. Block n has W x + b_W = a + 1 + 3/4 and R h + b_R = -2 + 1/4 = -7/4, so
    # with a = ln 2 - 21/16 its logit is ln 2 - 21/16 + 7/4 - 1/4 * 7/4 = ln 2; n = 3/5.
    # h = 1/4 * 3/5 + 3/4 * 2 = 1.65
    ("gru", {"r": -L3, "z": L3, "n": L2 - 21 / 16}, {}, {}, {"h": 1.65}),
    # Here R (r * h) + b_R = -(1/4 * 2) + 1/4 = -1/4, so a = ln 2 - 3/2 gives
    # ln 2 - 3/2 + 7/4 - 1/4 = ln 2; n = 3/5 and h = 1.65 as before.
    ("gru-reset-before", {"r": -L3, "z": L3, "n": L2 - 3 / 2}, {}, {}, {"h": 1.65}),
]


@pytest.mark.parametrize(("name", "logits", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, logits, numbers, before, after):
    gives(one_unit_of_logits(name, logits, numbers, before), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("gru", STATED, BY_HAND)

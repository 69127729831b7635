"""The cell of decaying.py against its equations in NumPy."""

import numpy as np
import pytest

from .statements import L2, L3, all_stated, computes, each_stated, gives, one_unit, sigmoid


def decaying(k, x, s, u):
    left = u["decay"] * s["h"]
    r, z = sigmoid(k.a("r", x, left)), sigmoid(k.a("z", x, left))
    n = np.tanh(k.W("n", x) + k.R("n", r * left))
    return {"h": (1 - z) * left + z * n}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("gru-d", {}, "r z n", "r z n", "h", "", decaying),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# x is 1 and there are no biases.
BY_HAND = [
    # Half of 4 is left: r of -ln 3 - 2 + 2 is 1/4, z of ln 3 + 2 - 2 is 3/4, and of n the logit is
    # ln 2 + 1/2 - 1/4 * 2: h = 1/4 * 2 + 3/4 * 3/5
    (
        *("gru-d", {}, {"r": -L3 - 2, "z": L3 + 2, "n": L2 + 0.5}, {"r": 1, "z": -1, "n": -1}),
        *({}, {"decay": 0.5}, {"h": 4}, {"h": 0.95}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "u", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, u, before, after):
    numbers = {"W": W, "R": R, **p}
    gives(one_unit(name, numbers, before, constants=constants, inputs=u), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("decaying", STATED, BY_HAND)

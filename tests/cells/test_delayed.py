"""The cells of delayed.py against their equations in NumPy."""

import numpy as np
import pytest

import throughtime as tt

from .statements import L2, L3, all_stated, computes, each_stated, gives, one_unit, sigmoid


def tau_gru(k, x, s, delay=3):
    u, z = np.tanh(k.a("u", x, s["h"])), np.tanh(k.a("z", x, s[f"d{delay}"]))
    g, a = sigmoid(k.a("g", x, s["h"])), sigmoid(k.a("a", x, s["h"]))
    register = {f"d{j}": s[f"d{j - 1}"] for j in range(2, delay + 1)}
    return {"h": (1 - g) * s["h"] + g * (u + a * z), "d1": s["h"], **register}


def scrn(k, x, s, alpha=0.95):
    context = (1 - alpha) * k.W("s", x) + alpha * s["s"]
    h = sigmoid(context @ k.matrix("p").T + k.a("h", x, s["h"]))
    return {"h": h, "s": context, "y": h @ k.matrix("u").T + context @ k.matrix("v").T}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("tau-gru", {}, "u z g a", "u z g a", "h d1 d2 d3", "", tau_gru),
    ("tau-gru", {"delay": 1}, "u z g a", "u z g a", "h d1", "", tau_gru),
    ("scrn", {}, "s h", "h p u v", "y h s", "", scrn),
    ("scrn", {"alpha": 0.3}, "s h", "h p u v", "y h s", "", scrn),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
BY_HAND = [
    # u = 3/5, z = tanh(ln 3 - 3 + 3 * 1), of d2; g = 3/4, a = 1/4
    # h = 1/4 * 2 + 3/4 * (3/5 + 1/4 * 4/5)
    (
        *("tau-gru", {"delay": 2}, {"u": L2 - 2, "z": L3 - 3, "g": L3 - 1, "a": 2 - L3}),
        {"u": 1, "z": 3, "g": 0.5, "a": -1},
        *({}, {"h": 2, "d1": 5, "d2": 1}, {"h": 1.1, "d1": 2, "d2": 5}),
    ),
    # s = 1/4 * 4 + 3/4 * 2 = 5/2; h = sigmoid(2 * 5/2 + ln 3 - 4 - 1/4 * 4); y = 4 * 3/4 - 5/2
    (
        *("scrn", {"alpha": 0.75}),
        *({"s": 4, "h": L3 - 4}, {"h": -0.25, "p": 2, "u": 4, "v": -1}),
        *({}, {"y": 9, "h": 4, "s": 2}, {"h": 0.75, "s": 2.5, "y": 0.5}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    gives(one_unit(name, {"W": W, "R": R, **p}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("delayed", STATED, BY_HAND)


def test_a_delay_below_one_is_refused():
    with pytest.raises(ValueError, match=r"expected a delay of at least 1.*got 0"):
        tt.cells.get("tau-gru", delay=0)

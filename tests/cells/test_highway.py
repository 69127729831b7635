"""The cells of highway.py against their equations in NumPy."""

from math import tanh

import numpy as np
import pytest

import throughtime as tt

from .statements import L2, L3, all_stated, computes, each_stated, gives, one_unit, sigmoid


def rhn(k, x, s, depth=3):
    y = s["y"]
    for layer in range(1, depth + 1):
        if layer == 1:
            h, t = np.tanh(k.a("h", x, y)), sigmoid(k.a("t", x, y))
        else:
            h = np.tanh(y @ k.matrix(f"h{layer}").T + k.p[f"b_h{layer}"])
            t = sigmoid(y @ k.matrix(f"t{layer}").T + k.p[f"b_t{layer}"])
        y = h * t + y * (1 - t)
    return {"y": y}


def nas(k, x, s):
    sums = [k.a(f"a{j}", x, s["h"]) for j in range(8)]
    product = k.W("a3", x) * k.R("a3", s["h"])
    first = np.tanh(np.tanh(sigmoid(sums[0]) * np.maximum(sums[1], 0)) + s["c"])
    c = first * np.tanh(sigmoid(sums[2]) + np.maximum(product, 0))
    third = np.tanh(np.tanh(sums[4]) * sigmoid(sums[5]))
    fourth = sigmoid(np.tanh(sums[6]) + sigmoid(sums[7]))
    return {"h": np.tanh(c * np.tanh(third + fourth)), "c": c}


EIGHT = "a0 a1 a2 a3 a4 a5 a6 a7"


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("rhn", {}, "h t", "h t h2 t2 h3 t3", "y", "b_h2 b_t2 b_h3 b_t3", rhn),
    ("rhn", {"depth": 1}, "h t", "h t", "y", "", rhn),
    ("nas", {}, EIGHT, EIGHT, "h c", "", nas),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
BY_HAND = [
    # First layer: 3/5 * 3/4 + 2 * 1/4 = 0.95; second: tanh(ln 3 - 1.9 + 2 * 0.95) = 4/5 and
    # sigmoid(1.9 - 2 * 0.95) = 1/2: 4/5 * 1/2 + 0.95 * 1/2
    (
        *("rhn", {"depth": 2}),
        *({"h": L2 - 2, "t": L3 - 1}, {"h": 1, "t": 0.5, "h2": 2, "t2": -2}),
        *({"b_h2": L3 - 1.9, "b_t2": 1.9}, {"y": 2}, {"y": 0.875}),
    ),
    # u_0 = tanh(3/4 * ln(2) / (3/4)) = 3/5; u_1 = tanh(1/2 + (ln 3 - 1/2) * (1/2 * 2)) = 4/5
    # u_2 = tanh(0 * 1/2) = 0; u_3 = sigmoid(-1/2 + 1/2) = 1/2
    # c = tanh(3/5 + ln 3 - 3/5) * 4/5 = 0.64; h = tanh(0.64 * tanh(1/2))
    (
        *("nas", {}),
        {
            **{"a0": L3 - 1, "a1": L2 / 0.75 - 1, "a2": -1, "a3": L3 - 0.5},
            **{"a4": -1, "a5": -1, "a6": -L3 / 2 - 1, "a7": -1},
        },
        *(dict.fromkeys(EIGHT.split(), 0.5), {}, {"h": 2, "c": L3 - 0.6}),
        {"c": 0.64, "h": tanh(0.64 * tanh(0.5))},
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    gives(one_unit(name, {"W": W, "R": R, **p}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("highway", STATED, BY_HAND)


def test_a_depth_below_one_is_refused():
    with pytest.raises(ValueError, match=r"expected a depth of at least 1.*got 0"):
        tt.cells.get("rhn", depth=0)

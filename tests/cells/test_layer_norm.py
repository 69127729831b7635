"""The cells of layer_norm.py against their equations in NumPy."""

import numpy as np
import pytest

from .statements import L2, L3, all_stated, computes, each_stated, gives, one_unit, sigmoid


def norm(epsilon, *blocks):
    whole = np.concatenate(blocks, axis=1)
    deviation = whole - whole.mean(axis=1, keepdims=True)
    whole = deviation / np.sqrt((deviation**2).mean(axis=1, keepdims=True) + epsilon)
    return np.split(whole, len(blocks), axis=1)


def lstm_layer_norm(k, x, s, epsilon=1e-5):
    from_x = dict(zip("ifgo", norm(epsilon, *(k.W(g, x) for g in "ifgo")), strict=True))
    from_h = dict(zip("ifgo", norm(epsilon, *(k.R(g, s["h"]) for g in "ifgo")), strict=True))
    a = {
        g: k.p[f"gain_x_{g}"] * from_x[g] + k.p[f"gain_h_{g}"] * from_h[g] + k.p[f"shift_{g}"]
        for g in "ifgo"
    }
    c = sigmoid(a["f"]) * s["c"] + sigmoid(a["i"]) * np.tanh(a["g"])
    inside = k.p["gain_c"] * norm(epsilon, c)[0] + k.p["shift_c"]
    return {"h": sigmoid(a["o"]) * np.tanh(inside), "c": c}


def gru_layer_norm(k, x, s, epsilon=1e-5):
    from_x = norm(epsilon, k.W("r", x), k.W("z", x))
    from_h = norm(epsilon, k.R("r", s["h"]), k.R("z", s["h"]))
    r, z = (
        sigmoid(k.p[f"gain_x_{g}"] * u + k.p[f"gain_h_{g}"] * v + k.p[f"shift_{g}"])
        for g, u, v in zip("rz", from_x, from_h, strict=True)
    )
    below = k.p["gain_x_n"] * norm(epsilon, k.W("n", x))[0] + k.p["shift_n"]
    before = k.p["gain_h_n"] * norm(epsilon, k.R("n", s["h"]))[0] + k.p["shift_h_n"]
    return {"h": (1 - z) * s["h"] + z * np.tanh(below + r * before)}


KINDS = ("gain_x", "gain_h", "shift")
GAINS = " ".join([*(f"{kind}_{g}" for kind in KINDS for g in "ifgo"), "gain_c", "shift_c"])
GAINS_GRU = " ".join([*(f"{kind}_{g}" for kind in KINDS for g in "rzn"), "shift_h_n"])


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("lstm-layer-norm", {}, "i f g o", "i f g o", "h c", GAINS, lstm_layer_norm),
    ("lstm-layer-norm", {"epsilon": 0.3}, "i f g o", "i f g o", "h c", GAINS, lstm_layer_norm),
    ("gru-layer-norm", {}, "r z n", "r z n", "h", GAINS_GRU, gru_layer_norm),
    ("gru-layer-norm", {"epsilon": 0.3}, "r z n", "r z n", "h", GAINS_GRU, gru_layer_norm),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
BY_HAND = [
    # Products 10.5, 9.5, 10.5, 9.5 and, of h = 2, 2.5, 2.5, 1.5, 1.5: each has the variance 1/4,
    # and the root of 1/4 + 3/4 is 1, so what is left is 1/2 or -1/2.
    # i: 1 - 1 + ln 3 gives 3/4; f: -2 + 2 gives 1/2; g: 1 - 2 + ln 2 + 1 gives 3/5
    # o: -1 + 1 - ln 3 gives 1/4; c = 0.05 + 0.45; alone, c is its own mean: h = 1/4 * tanh(ln 2)
    (
        *("lstm-layer-norm", {"epsilon": 0.75}, {"i": 10.5, "f": 9.5, "g": 10.5, "o": 9.5}),
        {"i": 1.25, "f": 1.25, "g": 0.75, "o": 0.75},
        {
            **{"gain_x_i": 2, "gain_h_i": -2, "shift_i": L3},
            **{"gain_x_f": 4, "gain_h_f": 4, "shift_f": 0},
            **{"gain_x_g": 2, "gain_h_g": 4, "shift_g": L2 + 1},
            **{"gain_x_o": 2, "gain_h_o": -2, "shift_o": -L3},
            **{"gain_c": 5, "shift_c": L2},
        },
        *({"h": 2, "c": 0.1}, {"c": 0.5, "h": 0.15}),
    ),
    # Likewise: r: 1 + 1 + ln 3 - 2 gives 3/4; z: -1 + 1 - ln 3 gives 1/4
    # n = tanh(ln 2 - 3 + 3/4 * 4); h = 3/4 * 2 + 1/4 * 3/5
    (
        *("gru-layer-norm", {"epsilon": 0.75}),
        *({"r": 3.5, "z": 2.5, "n": 9}, {"r": 1.25, "z": 0.75, "n": 8}),
        {
            **{"gain_x_r": 2, "gain_h_r": 2, "shift_r": L3 - 2},
            **{"gain_x_z": 2, "gain_h_z": -2, "shift_z": -L3},
            **{"gain_x_n": 5, "gain_h_n": 6, "shift_n": L2 - 3, "shift_h_n": 4},
        },
        *({"h": 2}, {"h": 1.65}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    gives(one_unit(name, {"W": W, "R": R, **p}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("layer_norm", STATED, BY_HAND)

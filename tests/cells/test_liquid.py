"""The cells of liquid.py against their equations in NumPy."""

import numpy as np
import pytest

from .statements import L2, L3, all_stated, computes, each_stated, gives, mix, one_unit, sigmoid


def ltc(k, x, s, u, unfolds=6):
    v, d = s["h"], u["gap"] / unfolds
    for _ in range(unfolds):
        f = sigmoid(k.a("f", x, v))
        v = (v + d * f * k.p["A"]) / (1 + d * (1 / np.exp(k.p["log_tau"]) + f))
    return {"h": v}


def lecun(a):
    return 1.7159 * np.tanh(0.666 * a)


def heads(k, names, x, h, backbone):
    if backbone == 0:
        return [k.a(name, x, h) for name in names]
    z = lecun(k.a("z1", x, h))
    for i in range(2, backbone + 1):
        z = lecun(k.R(f"z{i}", z) + k.p[f"b_z{i}"])
    return [k.R(name, z) + k.p[f"b_{name}"] for name in names]


def cfc(k, x, s, u, backbone=1):
    g, n, a, b = heads(k, "gnab", x, s["h"], backbone)
    return {"h": mix(sigmoid(a * u["gap"] + b), np.tanh(n), np.tanh(g))}


def cfc_no_gate(k, x, s, u, backbone=1):
    g, n, a, b = heads(k, "gnab", x, s["h"], backbone)
    return {"h": np.tanh(g) + sigmoid(a * u["gap"] + b) * np.tanh(n)}


def cfc_pure(k, x, s, u, backbone=1):
    (f,) = heads(k, "f", x, s["h"], backbone)
    decay = np.exp(-u["gap"] * (np.abs(k.p["w_tau"]) + np.abs(f)))
    return {"h": k.p["A"] * (1 - decay * f)}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
GATED, GNAB = "z1 g n a b", "b_g b_n b_a b_b"
STATED = [
    ("ltc", {}, "f", "f", "h", "log_tau A", ltc),
    ("ltc", {"unfolds": 1}, "f", "f", "h", "log_tau A", ltc),
    ("cfc", {}, "z1", GATED, "h", GNAB, cfc),
    ("cfc", {"backbone": 0}, "g n a b", "g n a b", "h", "", cfc),
    ("cfc", {"backbone": 2}, "z1", "z1 z2 g n a b", "h", f"b_z2 {GNAB}", cfc),
    ("cfc-no-gate", {}, "z1", GATED, "h", GNAB, cfc_no_gate),
    ("cfc-no-gate", {"backbone": 0}, "g n a b", "g n a b", "h", "", cfc_no_gate),
    ("cfc-pure", {}, "z1", "z1 f", "h", "A w_tau b_f", cfc_pure),
    ("cfc-pure", {"backbone": 0}, "f", "f", "h", "A w_tau", cfc_pure),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
BY_HAND = [
    # f = sigmoid(ln 3 - 2 + 1 * 2) = 3/4, and a leak of 1/2: with a gap of 2 and one substep
    # (2 + 2 * 3/4 * 4) / (1 + 2 * (1/2 + 3/4)) = 8 / 3.5
    (
        *("ltc", {"unfolds": 1}, {"f": L3 - 2}, {"f": 1}, {"log_tau": L2, "A": 4}),
        *({"gap": 2.0}, {"h": 2}, {"h": 16 / 7}),
    ),
    # g = 3/5, n = 4/5 and k = sigmoid((ln 3 / 2 + 1 - 1) * 2) = 3/4: 1/4 * 3/5 + 3/4 * 4/5
    (
        *("cfc", {"backbone": 0}, {"g": L2 - 2, "n": L3 + 2, "a": L3 / 2 + 1, "b": 2}),
        {"g": 1, "n": -1, "a": -0.5, "b": -1},
        *({}, {"gap": 2.0}, {"h": 2}, {"h": 0.75}),
    ),
    # … and 3/5 + 3/4 * 4/5
    (
        *("cfc-no-gate", {"backbone": 0}, {"g": L2 - 2, "n": L3 + 2, "a": L3 / 2 + 1, "b": 2}),
        {"g": 1, "n": -1, "a": -0.5, "b": -1},
        *({}, {"gap": 2.0}, {"h": 2}, {"h": 1.2}),
    ),
    # f = 1/2 - 1 * 1 = -1/2: 3 - 3 * exp(-2 * (ln 2 - 1/2 + 1/2)) * -1/2 = 3 + 3/8
    (
        *("cfc-pure", {"backbone": 0}, {"f": 0.5}, {"f": -1}, {"A": 3, "w_tau": 0.5 - L2}),
        *({"gap": 2.0}, {"h": 1}, {"h": 3.375}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "u", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, u, before, after):
    numbers = {"W": W, "R": R, **p}
    gives(one_unit(name, numbers, before, constants=constants, inputs=u), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("liquid", STATED, BY_HAND)

"""The cells of lstm_extensions.py against their equations in NumPy."""

from math import log

import numpy as np
import pytest
import torch

import throughtime as tt

from .statements import L2, L3, all_stated, computes, each_stated, gives, one_unit, sigmoid


def multiplicative(k, x, s):
    m = k.W("m", x) * k.R("m", s["h"])
    i, f, o = (sigmoid(k.a(gate, x, m)) for gate in "ifo")
    c = f * s["c"] + i * np.tanh(k.a("g", x, m))
    return {"h": o * np.tanh(c), "c": c}


def residual(k, x, s):
    i, f = (sigmoid(k.a(gate, x, s["h"]) + k.p[f"p_{gate}"] * s["c"]) for gate in "if")
    c = f * s["c"] + i * np.tanh(k.a("g", x, s["h"]))
    o = sigmoid(k.a("o", x, s["h"]) + k.p["p_o"] * c)
    return {"h": o * (k.R("s", np.tanh(c)) + k.W("s", x)), "c": c}


def working_memory(k, x, s):
    def gate(name, c):
        return sigmoid(k.a(name, x, s["h"]) + np.tanh(c @ k.matrix(f"c_{name}").T))

    c = gate("f", s["c"]) * s["c"] + gate("i", s["c"]) * np.tanh(k.a("g", x, s["h"]))
    return {"h": gate("o", c) * np.tanh(c), "c": c}


def slstm(k, x, s):
    """The equations without the stabiliser, as the paper first has them; m only scales c and n."""
    i, f = np.exp(k.a("i", x, s["h"])), sigmoid(k.a("f", x, s["h"]))
    z, o = np.tanh(k.a("z", x, s["h"])), sigmoid(k.a("o", x, s["h"]))
    c = f * s["c"] * np.exp(s["m"]) + i * z
    n = f * s["n"] * np.exp(s["m"]) + i
    m = np.maximum(np.log(f) + s["m"], np.log(i))
    return {"h": o * c / n, "c": c * np.exp(-m), "n": n * np.exp(-m), "m": m}


def memory_controller(k, x, s):
    f, i, o, m = (sigmoid(k.a(gate, x, s["v"])) for gate in "fiom")
    c = f * s["c"] + i * np.tanh(k.a("n", x, s["v"]))
    return {"v": m * np.tanh(c), "c": c, "h": o * np.tanh(c)}


# The normaliser n is a sum of positive terms, so its initial value must be positive.
POSITIVE = {"slstm": ("n",)}

# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("lstm-multiplicative", {}, "m i f g o", "m i f g o", "h c", "", multiplicative),
    ("lstm-residual", {}, "i f g o s", "i f g o s", "h c", "p_i p_f p_o", residual),
    ("lstm-working-memory", {}, "i f g o", "i f g o c_i c_f c_o", "h c", "", working_memory),
    ("lstm-memory-controller", {}, "f i o m n", "f i o m n", "v c", "", memory_controller),
    ("slstm", {}, "z i f o", "z i f o", "h c n m", "", slstm),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend, positive=POSITIVE.get(stated[0], ()))


# The input is 1 and there are no biases.
C = 2 * (L2 - 0.45)
BY_HAND = [
    # m = 3/2 * (1 * 2) = 3; i = 3/4, f = 1/2, g = 3/5, o = 1/4
    # c = 1/2 * 0.1 + 3/4 * 3/5; h = 1/4 * tanh(1/2)
    (
        *("lstm-multiplicative", {}, {"m": 1.5, "i": L3 - 3, "f": -3, "g": L2 - 3, "o": -L3 - 3}),
        *(dict.fromkeys("mifgo", 1), {}, {"h": 2, "c": 0.1}, {"c": 0.5, "h": 0.11552928931500244}),
    ),
    # i: ln 3 - 2 ln 3 * 1 gives 1/4; f: ln 3 * 1 gives 3/4; g = 4/5; c = 3/4 * 1 + 1/4 * 4/5
    # o: ln 3 - 0.95 + 0.95 gives 3/4; h = 3/4 * (2 * tanh(0.95) + 1/2)
    (
        *("lstm-residual", {}),
        {"i": L3 + 2, "f": 2, "g": L3 + 2, "o": L3 - 0.95 + 2, "s": 0.5},
        {**dict.fromkeys("ifgo", -1), "s": 2},
        {"p_i": -2 * L3, "p_f": L3, "p_o": 1},
        *({"h": 2, "c": 1}, {"c": 0.95, "h": 1.4846745769110063}),
    ),
    # i: ln 3 - 3/5 + tanh(ln 2) gives 3/4; f: -4/5 + tanh(ln 3) gives 1/2; g = 3/5
    # c = 1/2 + 3/4 * 3/5; o: -ln 3 - 3/5 + tanh(ln(2) / 0.95 * 0.95) gives 1/4
    (
        *("lstm-working-memory", {}),
        {"i": L3 - 0.6 + 2, "f": -0.8 + 2, "g": L2 + 2, "o": -L3 - 0.6 + 2},
        {**dict.fromkeys("ifgo", -1), "c_i": L2, "c_f": L3, "c_o": L2 / 0.95},
        *({}, {"h": 2, "c": 1}, {"c": 0.95, "h": 0.18494576281850105}),
    ),
    # v = 2 adds 0 to f and 2 * 1/2 to n. c = 1/2 * 2 (ln 2 - 9/20) + 3/4 * 3/5 = ln 2
    # h = 1/4 * 3/5, v = 3/4 * 3/5
    (
        *("lstm-memory-controller", {}),
        {"f": 0, "i": L3, "o": -L3, "m": L3, "n": L2 - 1},
        {**dict.fromkeys("fiom", 0), "n": 0.5},
        *({}, {"v": 2, "c": C}, {"c": L2, "h": 0.15, "v": 0.45}),
    ),
    # z = 3/5, i~ = 0, o = 1/4; log f + m = ln(3/4 * 2) = ln(3/2) is the larger, so i = 2/3, f = 1
    # c = 0.2 + 2/3 * 3/5; n = 1/3 + 2/3; h = 1/4 * 0.6 / 1
    (
        *("slstm", {}, {"z": L2 + 2, "i": 2, "f": L3 + 2, "o": -L3 + 2}),
        *(dict.fromkeys("zifo", -1), {}, {"h": 2, "c": 0.2, "n": 1 / 3, "m": L2}),
        {"m": log(1.5), "c": 0.6, "n": 1.0, "h": 0.15},
    ),
    # i~ = ln 3 is the larger: i = 1, f = 1/2 / 3; c = 0.6 / 6 + 3/5; n = 1.5 / 6 + 1
    # h = 1/4 * 0.7 / 1.25
    (
        *("slstm", {}, {"z": L2 + 2, "i": L3 + 2, "f": 2, "o": -L3 + 2}),
        *(dict.fromkeys("zifo", -1), {}, {"h": 2, "c": 0.6, "n": 1.5, "m": 0}),
        {"m": L3, "c": 0.7, "n": 1.25, "h": 0.14},
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    gives(one_unit(name, {"W": W, "R": R, **p}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("lstm_extensions", STATED, BY_HAND)


def test_the_first_step_of_slstm_holds_in_float32_where_the_input_gate_is_all_but_shut():
    """h_1 = o_1 z_1 even for a tiny exp(i~), because the normaliser cancels it."""
    layer = tt.Recurrent("slstm", 1, 1, bias=False)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor([[L2], [-200.0], [200.0], [0.0]]))
    output, _ = layer(torch.ones(1, 1, 1))
    assert output.item() == pytest.approx(0.3, rel=1e-6)

"""The cells of lstm_variants.py against their equations in NumPy."""

import numpy as np
import pytest

from .statements import (
    L2,
    L3,
    all_stated,
    computes,
    each_stated,
    gives,
    identity,
    lstm,
    one_unit_of_logits,
    sigmoid,
)


def full_gate_recurrence(k, x, s):
    """Greff et al. (2017), section III: nine more matrices, each from a gate to a gate."""
    from_gates = {to: sum(s[g] @ k.matrix(f"{g}_{to}").T for g in "ifo") for to in "ifo"}
    z = np.tanh(k.a("z", x, s["h"]))
    i = sigmoid(k.a("i", x, s["h"]) + k.p["p_i"] * s["c"] + from_gates["i"])
    f = sigmoid(k.a("f", x, s["h"]) + k.p["p_f"] * s["c"] + from_gates["f"])
    c = z * i + s["c"] * f
    o = sigmoid(k.a("o", x, s["h"]) + k.p["p_o"] * c + from_gates["o"])
    return {"h": np.tanh(c) * o, "c": c, "i": i, "f": f, "o": o}


NINE = "i_i i_f i_o f_i f_f f_o o_i o_f o_o"


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("lstm-nig", {}, "z f o", "z f o", "h c", "p_f p_o", lstm("z", i=1)),
    ("lstm-nfg", {}, "z i o", "z i o", "h c", "p_i p_o", lstm("z", f=1)),
    ("lstm-nog", {}, "z i f", "z i f", "h c", "p_i p_f", lstm("z", o=1)),
    ("lstm-niaf", {}, "z i f o", "z i f o", "h c", "p_i p_f p_o", lstm("z", g=identity)),
    ("lstm-noaf", {}, "z i f o", "z i f o", "h c", "p_i p_f p_o", lstm("z", h=identity)),
    ("lstm-cifg", {}, "z i o", "z i o", "h c", "p_i p_o", lstm("z", f="1-i")),
    ("lstm-np", {}, "z i f o", "z i f o", "h c", "", lstm("z", peepholes=False)),
    (
        "lstm-fgr",
        {},
        "z i f o",
        f"z i f o {NINE}",
        "h c i f o",
        "p_i p_f p_o",
        full_gate_recurrence,
    ),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and h before is 2; see one_unit_of_logits.
BY_HAND = [
    # z = 4/5, f = 3/4: c = 4/5 + 3/4 = 1.55; o: 0 + 0 * c gives 1/2
    # h = 1/2 * tanh(1.55) = 1/2 * 0.9137854901178277
    (
        "lstm-nig",
        {"z": L3, "f": 0, "o": 0},
        {"p_f": L3, "p_o": 0},
        {"c": 1},
        {"c": 1.55, "h": 0.4568927450589139},
    ),
    # i = 1/4: c = 4/5 * 1/4 + 1 = 1.2
    ("lstm-nfg", {"z": L3, "i": L3, "o": 0}, {"p_i": -2 * L3, "p_o": 0}, {"c": 1}, {"c": 1.2}),
    # c = 4/5 * 1/4 + (ln 2 - 0.2) / (3/4) * 3/4 = ln 2; nothing gates it: h = 3/5
    (
        "lstm-nog",
        {"z": L3, "i": -L3, "f": L3},
        {"p_i": 0, "p_f": 0},
        {"c": (L2 - 0.2) / 0.75},
        {"h": 0.6},
    ),
    # z = 3 as it is; c = 3 * 1/4 + 1 * 1/2 = 1.25
    (
        "lstm-niaf",
        {"z": 3, "i": -L3, "f": 0, "o": 0},
        {"p_i": 0, "p_f": 0, "p_o": 0},
        {"c": 1},
        {"c": 1.25},
    ),
    # c = 4/5 * 1/4 + 3 * 1/2 = 1.7; h = 1.7 * 1/2
    (
        "lstm-noaf",
        {"z": L3, "i": -L3, "f": 0, "o": 0},
        {"p_i": 0, "p_f": 0, "p_o": 0},
        {"c": 3},
        {"c": 1.7, "h": 0.85},
    ),
    # i = 1/4, so f = 3/4: c = 4/5 * 1/4 + 1 * 3/4 = 0.95
    ("lstm-cifg", {"z": L3, "i": L3, "o": 0}, {"p_i": -2 * L3, "p_o": 0}, {"c": 1}, {"c": 0.95}),
    # c = 4/5 * 1/4 + 2 * 3/4 = 1.7
    ("lstm-np", {"z": L3, "i": -L3, "f": L3, "o": 0}, {}, {"c": 2}, {"c": 1.7}),
    # Gates of the step before: i = 1, f = 2, o = 4, each matrix from gate to gate is a number.
    # i: 0 + 1 * 1 + 2 * 3 + 4 * (ln 3 - 7) / 4 gives 3/4
    # f: 0 + 1 * 2 + 2 * (-1) + 4 * 0 gives 1/2
    # c = 4/5 * 3/4 + 0 * 1/2 = 0.6
    # o: 0 + 1 * 4 + 2 * (-4 - ln 3) / 2 + 4 * 0 gives 1/4
    # h = tanh(0.6) / 4 = 0.5370495669980353 / 4
    (
        "lstm-fgr",
        {"z": L3, "i": 0, "f": 0, "o": 0},
        {
            **{"p_i": 0, "p_f": 0, "p_o": 0},
            **{"i_i": 1, "f_i": 3, "o_i": (L3 - 7) / 4},
            **{"i_f": 2, "f_f": -1, "o_f": 0},
            **{"i_o": 4, "f_o": (-4 - L3) / 2, "o_o": 0},
        },
        {"c": 0, "i": 1, "f": 2, "o": 4},
        {"c": 0.6, "h": 0.13426239174950883, "i": 0.75, "f": 0.5, "o": 0.25},
    ),
]


@pytest.mark.parametrize(("name", "logits", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, logits, numbers, before, after):
    gives(one_unit_of_logits(name, logits, numbers, before), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("lstm_variants", STATED, BY_HAND)

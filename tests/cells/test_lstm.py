"""The cells of lstm.py against their equations in NumPy."""

import pytest

from .statements import L2, L3, all_stated, computes, each_stated, gives, lstm, one_unit_of_logits

# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("lstm", {}, "i f g o", "i f g o", "h c", "", lstm(peepholes=False)),
    ("lstm-coupled", {}, "i g o", "i g o", "h c", "", lstm(f="1-i", peepholes=False)),
    ("lstm-1997", {}, "i g o", "i g o", "h c", "", lstm(f=1, peepholes=False)),
    ("lstm-peephole", {}, "z i f o", "z i f o", "h c", "p_i p_f p_o", lstm("z")),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and h before is 2; see one_unit_of_logits.
BY_HAND = [
    # i = 3/4, f = 1/2, g = 3/5, o = 1/4; c = 1/2 * 0.1 + 3/4 * 3/5 = 0.05 + 0.45 = 0.5
    # h = 1/4 * tanh(0.5) = 1/4 * 0.46211715726000975
    (
        "lstm",
        {"i": L3, "f": 0, "g": L2, "o": -L3},
        {},
        {"c": 0.1},
        {"c": 0.5, "h": 0.11552928931500244},
    ),
    # f = 1 - 3/4: c = 1/4 * 4 * (ln 2 - 0.45) + 0.45 = ln 2; h = 1/4 * 3/5
    (
        "lstm-coupled",
        {"i": L3, "g": L2, "o": -L3},
        {},
        {"c": 4 * (L2 - 0.45)},
        {"c": 0.6931471805599453, "h": 0.15},
    ),
    # c = (ln 3 - 0.45) + 3/4 * 3/5 = ln 3; h = 1/2 * 4/5
    ("lstm-1997", {"i": L3, "g": L2, "o": 0}, {}, {"c": L3 - 0.45}, {"h": 0.4}),
    # The old c is 1. i: ln 3 + (-2 ln 3) * 1 gives 1/4; f: 0 + ln 3 * 1 gives 3/4; z = 4/5.
    # c = 4/5 * 1/4 + 1 * 3/4 = 0.95. o looks at the new c: ln 3 - 0.95 + 1 * 0.95 gives 3/4.
    # h = 3/4 * tanh(0.95) = 3/4 * 0.7397830512740042
    (
        "lstm-peephole",
        {"z": L3, "i": L3, "f": 0, "o": L3 - 0.95},
        {"p_i": -2 * L3, "p_f": L3, "p_o": 1},
        {"c": 1},
        {"c": 0.95, "h": 0.5548372884555032},
    ),
]


@pytest.mark.parametrize(("name", "logits", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, logits, numbers, before, after):
    gives(one_unit_of_logits(name, logits, numbers, before), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("lstm", STATED, BY_HAND)

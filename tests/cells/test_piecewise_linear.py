"""The cell of piecewise_linear.py against its equation in NumPy."""

import numpy as np
import pytest

from .statements import all_stated, computes, each_stated, gives, one_unit, several_units


def plrnn(k, x, s):
    off_diagonal = k.matrix("z") * (1 - np.eye(len(k.matrix("z"))))
    others = np.maximum(0, s["z"] - k.p["theta"]) @ off_diagonal.T + k.bias("z")
    return {"z": k.p["a"] * s["z"] + others + k.W("z", x)}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("plrnn", {}, "z", "z", "z", "a theta", plrnn),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
BY_HAND = [
    # The unit does not see itself: z = 1/2 * 2 + 3
    ("plrnn", {}, {"z": 3}, {"z": 7}, {"a": 0.5, "theta": 1.5}, {"z": 2}, {"z": 4}),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    gives(one_unit(name, {"W": W, "R": R, **p}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("piecewise_linear", STATED, BY_HAND)


# The effect of a transform of the matrix shows only with two or more units.
TWO_UNITS = [
    # Only the first unit passes its threshold, by 1/2, and only the second sees it, threefold:
    # z = (1/2 * 2 + 4, 1/4 * 1 + 3 * 1/2 + 5)
    (
        *("plrnn", {}, [4, 5], [[7, 9], [3, 7]], {"a": [0.5, 0.25], "theta": [1.5, 3]}),
        *([2, 1], [5, 6.75]),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), TWO_UNITS)
def test_two_units_give_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    output = several_units(name, constants, W, R, p, before)
    assert output == pytest.approx(after, abs=1e-14)

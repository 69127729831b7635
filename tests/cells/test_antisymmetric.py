"""The cells of antisymmetric.py against their equations in NumPy."""

import numpy as np
import pytest

from .statements import (
    L2,
    L3,
    all_stated,
    computes,
    each_stated,
    gives,
    one_unit,
    several_units,
    sigmoid,
)


def antisymmetric(k, x, s, epsilon=0.1, gamma=0.01):
    M = k.matrix("h")
    A = M - M.T - gamma * np.eye(len(M))
    inside = s["h"] @ A.T + k.W("h", x) + k.bias("h")
    return {"h": s["h"] + epsilon * np.tanh(inside)}


def antisymmetric_gated(k, x, s, epsilon=0.1, gamma=0.01):
    M = k.matrix("a")
    flow = s["h"] @ (M - M.T - gamma * np.eye(len(M))).T
    z = sigmoid(k.W("z", x) + flow)
    return {"h": s["h"] + epsilon * z * np.tanh(k.W("h", x) + flow)}


def lipschitz(k, x, s, epsilon=0.01, beta=0.8, gamma=0.01):
    def blend(M):
        return (1 - beta) * (M + M.T) + beta * (M - M.T) - gamma * np.eye(len(M))

    linear = s["h"] @ blend(k.matrix("a")).T
    inside = s["h"] @ blend(k.matrix("h")).T + k.bias("h") + k.W("h", x)
    return {"h": s["h"] + epsilon * linear + epsilon * np.tanh(inside)}


OTHERS = {"epsilon": 0.5, "gamma": 0.3}

# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("antisymmetric", {}, "h", "h", "h", "", antisymmetric),
    ("antisymmetric", OTHERS, "h", "h", "h", "", antisymmetric),
    ("antisymmetric-gated", {}, "z h", "a", "h", "", antisymmetric_gated),
    ("antisymmetric-gated", OTHERS, "z h", "a", "h", "", antisymmetric_gated),
    ("lipschitz", {}, "h", "h a", "h", "", lipschitz),
    ("lipschitz", OTHERS | {"beta": 0.7}, "h", "h a", "h", "", lipschitz),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
HALF_A_STEP = {"epsilon": 0.5, "gamma": 0.25}
BY_HAND = [
    # A matrix of one number less its transpose is 0: A h = -1/4 * 2; h = 2 + 1/2 * 3/5
    ("antisymmetric", HALF_A_STEP, {"h": L2 + 0.5}, {"h": 7}, {}, {"h": 2}, {"h": 2.3}),
    # h = 2 + 1/2 * 3/4 * 3/5
    (
        *("antisymmetric-gated", HALF_A_STEP),
        *({"z": L3 + 0.5, "h": L2 + 0.5}, {"a": 7}, {}, {"h": 2}, {"h": 2.225}),
    ),
    # S(M) = 1/4 * 2 M + 3/4 * 0 - 1/4: 1/2 of 3/2, and -1/2 of -1/2
    # h = 2 + 1/2 * (1/2 * 2 + tanh(ln 2 + 1 - 1/2 * 2))
    (
        *("lipschitz", HALF_A_STEP | {"beta": 0.75}),
        *({"h": L2 + 1}, {"a": 1.5, "h": -0.5}, {}, {"h": 2}, {"h": 2.8}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    gives(one_unit(name, {"W": W, "R": R, **p}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("antisymmetric", STATED, BY_HAND)


# The effect of a transform of the matrix shows only with two or more units.
TWO_UNITS = [
    # A = [[-1/4, 2], [-2, -1/4]], A h = (3/4, -17/8): h = (1 + 1/2 * 3/5, 1/2 + 1/2 * 4/5)
    (
        *("antisymmetric", HALF_A_STEP),
        *([L2 - 0.75, L3 + 2.125], [[5, 3], [1, -2]], {}, [1, 0.5], [1.3, 0.9]),
    ),
    # S([[1, 3], [1, 1]]) = 1/4 * [[2, 4], [4, 2]] + 3/4 * [[0, 2], [-2, 0]] - 1/4 I
    #                     = [[1/4, 5/2], [-1/2, 1/4]], which makes (21/4, 0) of h; S(0) = -1/4 I
    # h = (1 + 1/2 * (21/4 + 3/5), 2 + 1/2 * 4/5)
    (
        *("lipschitz", HALF_A_STEP | {"beta": 0.75}),
        *([L2 + 0.25, L3 + 0.5], [[0, 0], [0, 0], [1, 3], [1, 1]], {}, [1, 2], [3.925, 2.4]),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), TWO_UNITS)
def test_two_units_give_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    output = several_units(name, constants, W, R, p, before)
    assert output == pytest.approx(after, abs=1e-14)

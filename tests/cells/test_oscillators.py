"""The cells of oscillators.py against their equations in NumPy."""

import numpy as np
import pytest

from .statements import L2, L3, all_stated, computes, each_stated, gives, one_unit, sigmoid


def co_rnn(k, x, s, dt=0.1, gamma=1.0, epsilon=1.0):
    u = np.tanh(k.R("y", s["y"]) + k.R("z", s["z"]) + k.W("a", x))
    z = s["z"] + dt * u - dt * gamma * s["y"] - dt * epsilon * s["z"]
    return {"y": s["y"] + dt * z, "z": z}


def unicornn(k, x, s, dt=0.1, alpha=1.0):
    c = dt * (0.5 + 0.5 * np.tanh(k.p["c"] / 2))
    z = s["z"] - c * (np.tanh(k.p["w"] * s["y"] + k.W("a", x)) + alpha * s["y"])
    return {"y": s["y"] + c * z, "z": z}


def lem(k, x, s, dt=1.0):
    step, step_bar = dt * sigmoid(k.a("dt", x, s["y"])), dt * sigmoid(k.a("dt_bar", x, s["y"]))
    z = (1 - step) * s["z"] + step * np.tanh(k.a("z", x, s["y"]))
    y = (1 - step_bar) * s["y"] + step_bar * np.tanh(k.a("y", x, z))
    return {"y": y, "z": z}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("co-rnn", {}, "a", "y z", "y z", "", co_rnn),
    ("co-rnn", {"dt": 0.3, "gamma": 2.0, "epsilon": 0.5}, "a", "y z", "y z", "", co_rnn),
    ("unicornn", {}, "a", "", "y z", "w c", unicornn),
    ("unicornn", {"dt": 0.3, "alpha": 3.0}, "a", "", "y z", "w c", unicornn),
    ("lem", {}, "dt dt_bar z y", "dt dt_bar z y", "y z", "", lem),
    ("lem", {"dt": 0.3}, "dt dt_bar z y", "dt dt_bar z y", "y z", "", lem),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
BY_HAND = [
    # z = 1/2 + 1/2 * (tanh(ln 2 + 2 * 1 - 4 * 1/2) - 2 * 1 - 1 * 1/2) = 1/2 - 1/2 * 1.9
    # y = 1 + 1/2 * (-0.45)
    (
        *("co-rnn", {"dt": 0.5, "gamma": 2.0, "epsilon": 1.0}),
        *({"a": L2}, {"y": 2, "z": -4}, {}, {"y": 1, "z": 0.5}, {"z": -0.45, "y": 0.775}),
    ),
    # The pace is 1/2 * 3/4: z = 1/2 - 3/8 * (tanh(ln 2 - 3 + 3 * 1) + 2 * 1); y = 1 - 3/8 * 0.475
    (
        *("unicornn", {"dt": 0.5, "alpha": 2.0}),
        *({"a": L2 - 3}, {}, {"w": 3, "c": L3}, {"y": 1, "z": 0.5}, {"z": -0.475, "y": 0.821875}),
    ),
    # The steps are 1/2 * 3/4 and 1/2 * 1/2: z = 5/8 * 1 + 3/8 * 3/5 = 0.85
    # y looks at this z: y = 3/4 * 2 + 1/4 * tanh(ln 3 - 1.7 + 2 * 0.85)
    (
        *("lem", {"dt": 0.5}, {"dt": L3 - 2, "dt_bar": 2, "z": L2 - 1, "y": L3 - 1.7}),
        {"dt": 1, "dt_bar": -1, "z": 0.5, "y": 2},
        *({}, {"y": 2, "z": 1}, {"z": 0.85, "y": 1.7}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    gives(one_unit(name, {"W": W, "R": R, **p}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("oscillators", STATED, BY_HAND)

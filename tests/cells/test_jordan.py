"""The cell of jordan.py against its equations in NumPy."""

import numpy as np
import pytest
import torch

import throughtime as tt

from .statements import L2, L3, all_stated, computes, each_stated, gives, one_unit


def jordan(k, x, s, memory=0.0):
    h = np.tanh(k.W("h", x) + k.R("h", s["c"]))
    y = np.tanh(k.R("y", h) + k.p["b_y"])
    return {"y": y, "c": memory * s["c"] + y}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("rnn-jordan", {}, "h", "h y", "y c", "b_y", jordan),
    ("rnn-jordan", {"memory": 0.7}, "h", "h y", "y c", "b_y", jordan),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
BY_HAND = [
    # h = tanh(ln 2 - 2 + 1 * 2) = 3/5; y = tanh(ln 3 - 3/2 + 5/2 * 3/5) = 4/5; c = 1/4 * 2 + 4/5
    (
        *("rnn-jordan", {"memory": 0.25}, {"h": L2 - 2}, {"h": 1, "y": 2.5}, {"b_y": L3 - 1.5}),
        *({"c": 2}, {"y": 0.8, "c": 1.3}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    gives(one_unit(name, {"W": W, "R": R, **p}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("jordan", STATED, BY_HAND)


def test_without_memory_the_context_is_the_last_output():
    output, (_, c) = tt.Recurrent("rnn-jordan", 2, 3)(torch.randn(4, 1, 2))
    assert torch.equal(c, output[-1:])


@pytest.mark.parametrize("memory", [1.0, -0.1, float("nan")])
def test_a_memory_that_does_not_fade_is_refused(memory):
    with pytest.raises(ValueError, match="expected memory from 0 to below 1"):
        tt.cells.get("rnn-jordan", memory=memory)

"""The cells of elman.py against their equations in NumPy."""

import numpy as np
import pytest
import torch

from .statements import (
    L2,
    L3,
    I,
    all_stated,
    computes,
    each_stated,
    gives,
    identity,
    layer_of,
    one_unit_of_logits,
    relu,
    sigmoid,
)


def elman(g):
    return lambda k, x, s: {"h": g(k.a("h", x, s["h"]))}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("rnn-tanh", {}, "h", "h", "h", "", elman(np.tanh)),
    ("rnn-relu", {}, "h", "h", "h", "", elman(relu)),
    ("rnn-sigmoid", {}, "h", "h", "h", "", elman(sigmoid)),
    ("rnn-linear", {}, "h", "h", "h", "", elman(identity)),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and h before is 2; see one_unit_of_logits.
BY_HAND = [
    # h = tanh(ln 2), max(0, -5), max(0, 5), sigmoid(ln 3), and 7 itself
    ("rnn-tanh", {"h": L2}, {}, {}, {"h": 0.6}),
    ("rnn-relu", {"h": -5}, {}, {}, {"h": 0.0}),
    ("rnn-relu", {"h": 5}, {}, {}, {"h": 5.0}),
    ("rnn-sigmoid", {"h": L3}, {}, {}, {"h": 0.75}),
    ("rnn-linear", {"h": 7}, {}, {}, {"h": 7.0}),
]


@pytest.mark.parametrize(("name", "logits", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, logits, numbers, before, after):
    gives(one_unit_of_logits(name, logits, numbers, before), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("elman", STATED, BY_HAND)


def test_a_linear_recurrence_multiplies_by_powers_of_its_eigenvalues():
    """With W = 0 and b = 0, h_t = R^t h_0: an eigenvector is scaled by its eigenvalue."""
    layer = layer_of("rnn-linear", bias=False, hidden_size=2)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.tensor([[2.0, 1.0], [0.0, 0.5]]))
    h0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    output, _ = layer(torch.zeros(4, I, dtype=torch.float64), h0)
    assert output[:, 0].tolist() == [2, 4, 8, 16]

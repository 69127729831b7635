"""The cell of mass_conserving.py against its equations in NumPy."""

import numpy as np
import pytest
import torch

import throughtime as tt

from ..further_inputs import drawn
from .statements import L3, B, H, I, T, all_stated, computes, each_stated, gives, one_unit, sigmoid


def softmax(a, axis):
    e = np.exp(a - a.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def mass_conserving(k, x, s, u):
    share = s["c"] / np.abs(s["c"]).sum(-1, keepdims=True)
    i, o = softmax(k.a("i", x, share), -1), sigmoid(k.a("o", x, share))
    m = s["c"] @ softmax(k.matrix("r"), 0).T + i * u["mass"]
    return {"c": (1 - o) * m, "h": o * m}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("lstm-mass-conserving", {}, "i o", "i o r", "c", "", mass_conserving),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# x is 1 and there are no biases.
BY_HAND = [
    # One unit takes all that enters and keeps all that is stored: m = 5 + 1 * 3 = 8, whatever R_r
    # is. Its share is 5 / 5 = 1: o of ln 3 + 1 - 1 is 3/4. h = 6, c = 2
    (
        *("lstm-mass-conserving", {}),
        *({"i": 7, "o": L3 + 1}, {"i": 3, "o": -1, "r": 9}, {}, {"mass": 3}),
        *({"c": 5}, {"c": 2, "h": 6}),
    ),
    # Nothing is stored, so the share is 0, and o of ln 3 is 3/4.
    (
        *("lstm-mass-conserving", {}),
        *({"i": 7, "o": L3}, {"i": 3, "o": -1, "r": 9}, {}, {"mass": 8}),
        *({"c": 0}, {"c": 2, "h": 6}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "u", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, u, before, after):
    numbers = {"W": W, "R": R, **p}
    gives(one_unit(name, numbers, before, constants=constants, inputs=u), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("mass_conserving", STATED, BY_HAND)


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_mass_is_conserved_at_every_step(backend):
    options = {"num_layers": 1, "backend": backend, "dtype": torch.float64}
    layer = tt.Recurrent("lstm-mass-conserving", I, 33, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    x, mass = torch.randn(9, B, I, dtype=torch.float64), drawn("mass", 9, B)
    c0 = torch.rand(1, B, 33, dtype=torch.float64)
    output, _, seen = layer(x, c0, inputs={"mass": mass}, return_trace=True)
    c = seen["c_l0"]
    assert (c >= 0).all()
    assert (output >= 0).all()
    before = torch.cat([c0, c[:-1]]).sum(-1)
    torch.testing.assert_close(c.sum(-1) + output.sum(-1), before + mass, rtol=1e-12, atol=0)
    assert not torch.allclose(output.sum(-1), mass, rtol=0.1)


def test_what_leaves_a_unit_arrives_somewhere_and_nothing_is_less_than_nothing():
    cell = tt.cells.get("lstm-mass-conserving")
    R = {name: torch.randn(H, H, dtype=torch.float64) for name in cell.recurrent_block_names}
    used = cell.transform(R)
    torch.testing.assert_close(used["r"].sum(0), torch.ones(H, dtype=torch.float64))
    assert (used["r"] > 0).all()
    assert used["i"] is R["i"]
    assert used["o"] is R["o"]


def test_where_nothing_was_ever_stored_all_is_finite():
    """Without the epsilon, the share of each unit would be 0 / 0."""
    layer = tt.Recurrent("lstm-mass-conserving", I, H, backend="reference")
    x, mass = torch.randn(T, B, I), torch.zeros(T, B, 1, requires_grad=True)
    output, c = layer(x, inputs={"mass": mass})
    assert not output.any()
    assert not c.any()
    output.sum().backward()
    assert all(p.grad.isfinite().all() for p in [mass, *layer.parameters()])
    with pytest.raises(ValueError, match=r"expected epsilon above 0, got 0\."):
        tt.cells.get("lstm-mass-conserving", epsilon=0)

"""The cell of phased.py against its equations in NumPy."""

from math import log

import numpy as np
import pytest
import torch

import throughtime as tt

from .statements import L2, L3, B, I, all_stated, computes, each_stated, gives, one_unit, sigmoid


def phased(k, x, s, u, leak=0.001):
    period, p = np.exp(k.p["log_period"]), k.p
    phi = (u["time"] / period - k.p["shift"]) % 1.0
    half = p["open"] / 2
    gate = np.select(
        [phi < half, phi < p["open"]], [phi / half, (p["open"] - phi) / half], leak * phi
    )
    i = sigmoid(k.a("i", x, s["h"]) + p["p_i"] * s["c"])
    f = sigmoid(k.a("f", x, s["h"]) + p["p_f"] * s["c"])
    c = f * s["c"] + i * np.tanh(k.a("g", x, s["h"]))
    h = sigmoid(k.a("o", x, s["h"]) + p["p_o"] * c) * np.tanh(c)
    return {"h": s["h"] + gate * (h - s["h"]), "c": s["c"] + gate * (c - s["c"])}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("lstm-phased", {}, "i f g o", "i f g o", "h c", "log_period shift open p_i p_f p_o", phased),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# x is 1 and there are no biases.
C = 2 * (L2 - 0.45)
BY_HAND = [
    # i = 3/4, f = 1/2, g = 3/5: c~ = 1/2 * 2 (ln 2 - 9/20) + 9/20 = ln 2; o = 1/4: h~ = 3/20.
    # Of a period of 4, time 5 less 0 is 1/4 of the way up to the middle of it: k = 1/2.
    # Time 4 less 1/4 is 3/4, on the way down: k = 1/2. At time 7 a gate that is open for a
    # half is shut: k = 3/4 * 1/5 = 3/20.
    *(
        (
            *("lstm-phased", {"leak": 0.2}),
            *({"i": L3 + 1, "f": -1, "g": L2, "o": -L3 - 1}, dict.fromkeys("ifgo", 0)),
            {
                **{"log_period": 2 * L2, "shift": shift, "open": awake},
                **{"p_i": -1 / C, "p_f": 1 / C, "p_o": 1 / L2},
            },
            {"time": time},
            {"h": 2, "c": C},
            {"h": k * 0.15 + (1 - k) * 2, "c": k * L2 + (1 - k) * C},
        )
        for time, shift, awake, k in ((5, 0, 1, 0.5), (4, 0.25, 1, 0.5), (7, 0, 0.5, 0.15))
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "u", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, u, before, after):
    numbers = {"W": W, "R": R, **p}
    gives(one_unit(name, numbers, before, constants=constants, inputs=u), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("phased", STATED, BY_HAND)


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_a_unit_that_sleeps_keeps_its_states_and_is_asked_for_no_gradient(backend):
    cell = tt.cells.get("lstm-phased", leak=0.0)
    layer = tt.Recurrent(cell, I, 2, backend=backend, dtype=torch.float64)
    with torch.no_grad():
        layer.log_period_l0.fill_(log(10))
        layer.shift_l0.copy_(torch.tensor([0.0, 0.5]))
        layer.open_l0.fill_(0.4)
    x = torch.randn(20, B, I, dtype=torch.float64, requires_grad=True)
    time = torch.arange(20, dtype=torch.float64).add(0.5).unsqueeze(1).expand(20, B)
    output, _, seen = layer(x, inputs={"time": time}, return_trace=True)
    # The gate is open from phase 0 to 0.4, and fully open at 0.2.
    wanted = [0.25, 0.75, 0.75, 0.25, *[0.0] * 6] * 2
    assert seen["k_l0"][:, 0, 0].tolist() == pytest.approx(wanted)
    assert seen["k_l0"][:, 0, 1].tolist() == pytest.approx(wanted[5:] + wanted[:5])
    assert torch.equal(output[4:10, :, 0], output[3:4, :, 0].expand(6, B))
    (gradient,) = torch.autograd.grad(output[9].sum(), x)
    assert not gradient[[4, 9]].any()
    assert gradient[[0, 1, 2, 3, 5, 6, 7, 8]].all()


def test_clocks_start_as_they_are_declared():
    layer = tt.Recurrent("lstm-phased", I, 500)
    assert 0 <= layer.log_period_l0.min() < 0.05
    assert 2.95 < layer.log_period_l0.max() <= 3
    assert 0.99 < layer.shift_l0.max() <= 1
    assert torch.equal(layer.open_l0, torch.full((500,), 0.05))
    assert layer.p_o_l0.abs().max() <= 500**-0.5

"""The cells that read more than x at each step, and the one whose output is fed back nowhere,
against numpy.

As in test_equations.py, nothing here knows the package: each step is stated a second time, from
its paper, and for one unit the numbers are worked out by hand.
"""

from math import log

import numpy as np
import pytest
import torch

import throughtime as tt

from ..given_inputs import bounded, drawn

T, B, I, H = 5, 3, 2, 4


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Weights:
    """What a layer has learned: ``k.W("i", v)`` and ``k.R("i", v)`` with their biases, ``k.p``."""

    def __init__(self, gates, blocks, learned):
        self.p, self._gates, self._blocks = learned, gates, blocks
        self._biased = [b for b in blocks if b in gates]

    def W(self, gate, v):
        bias = self._of("bias_ih", self._gates, gate) if "bias_ih" in self.p else 0.0
        return v @ self._of("weight_ih", self._gates, gate).T + bias

    def R(self, block, v):
        has_bias = "bias_hh" in self.p and block in self._biased
        bias = self._of("bias_hh", self._biased, block) if has_bias else 0.0
        return v @ self.matrix(block).T + bias

    def a(self, gate, x, h):
        return self.W(gate, x) + self.R(gate, h)

    def matrix(self, block):
        return self._of("weight_hh", self._blocks, block)

    def _of(self, key, names, name):
        return np.split(self.p[key], len(names))[list(names).index(name)]


def memory_controller(k, x, s, u):
    f, i, o, m = (sigmoid(k.a(gate, x, s["v"])) for gate in "fiom")
    c = f * s["c"] + i * np.tanh(k.a("n", x, s["v"]))
    return {"v": m * np.tanh(c), "c": c, "h": o * np.tanh(c)}


def softmax(a, axis):
    e = np.exp(a - a.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def mass_conserving(k, x, s, u):
    share = s["c"] / np.abs(s["c"]).sum(-1, keepdims=True)
    i, o = softmax(k.a("i", x, share), -1), sigmoid(k.a("o", x, share))
    m = s["c"] @ softmax(k.matrix("r"), 0).T + i * u["mass"]
    return {"c": (1 - o) * m, "h": o * m}


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


def decaying(k, x, s, u):
    left = u["decay"] * s["h"]
    r, z = sigmoid(k.a("r", x, left)), sigmoid(k.a("z", x, left))
    n = np.tanh(k.W("n", x) + k.R("n", r * left))
    return {"h": (1 - z) * left + z * n}


# Name: the gates, the recurrent blocks, the states, the parameters, the step.
STATED = {
    "lstm-memory-controller": ("fiomn", "fiomn", "vc", (), memory_controller),
    "lstm-mass-conserving": ("io", "ior", "c", (), mass_conserving),
    "gru-d": ("rzn", "rzn", "h", (), decaying),
    "lstm-phased": (
        *("ifgo", "ifgo", "hc", ("log_period", "shift", "open", "p_i", "p_f", "p_o"), phased),
    ),
}


def numpy_of(tensor):
    return tensor.detach().numpy()


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("backend", ["reference", "cpp"])
@pytest.mark.parametrize("name", STATED)
def test_a_cell_has_the_blocks_of_its_equations_and_computes_them(name, backend, bias):
    gates, blocks, states, parameters, step = STATED[name]
    cell = tt.cells.get(name)
    assert cell.gates == tuple(gates)
    assert cell.recurrent_block_names == tuple(blocks)
    assert list(cell.state_specs) == list(states)
    assert list(cell.parameter_specs) == list(parameters)

    layer = tt.Recurrent(cell, I, H, bias=bias, backend=backend, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    bounded(layer)
    x = torch.randn(T, B, I, dtype=torch.float64)
    given = {k: drawn(k, T, B, spec.size or H) for k, spec in cell.given_inputs.items()}
    initial = {k: torch.randn(1, B, H, dtype=torch.float64) for k in states}
    hx = tuple(initial.values())
    output, last = layer(x, hx if len(hx) > 1 else hx[0], inputs=given)

    learned = {k.removesuffix("_l0"): numpy_of(v) for k, v in layer.named_parameters()}
    weights = Weights(cell.gates, cell.recurrent_block_names, learned)
    state = {k: numpy_of(v[0]) for k, v in initial.items()}
    for t in range(T):
        entering = {k: numpy_of(v[t]) for k, v in given.items()}
        state = step(weights, numpy_of(x[t]), state, entering)
        expected = state[cell.output_name]
        np.testing.assert_allclose(numpy_of(output[t]), expected, rtol=1e-12, atol=1e-12)
    for k, value in zip(states, last if isinstance(last, tuple) else (last,), strict=True):
        np.testing.assert_allclose(numpy_of(value[0]), state[k], rtol=1e-12, atol=1e-12)


# One unit, one step, worked out by hand; x is 1 and the biases are 0.
#     sigmoid(0) = 1/2    sigmoid(ln 3) = 3/4    sigmoid(-ln 3) = 1/4    tanh(ln 2) = 3/5
L2, L3 = log(2), log(3)
C = 2 * (L2 - 0.45)

# Name, constants; W, R, the parameters, the inputs; the states before; what comes out.
BY_HAND = [
    # v = 2 adds 0 to f and 2 * 1/2 to n. c = 1/2 * 2 (ln 2 - 9/20) + 3/4 * 3/5 = ln 2
    # h = 1/4 * 3/5, v = 3/4 * 3/5
    (
        *("lstm-memory-controller", {}),
        *(
            {"f": 0, "i": L3, "o": -L3, "m": L3, "n": L2 - 1},
            {**dict.fromkeys("fiom", 0), "n": 0.5},
        ),
        *({}, {}, {"v": 2, "c": C}, {"c": L2, "h": 0.15, "v": 0.45}),
    ),
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
    # Half of 4 is left: r of -ln 3 - 2 + 2 is 1/4, z of ln 3 + 2 - 2 is 3/4, and of n the logit is
    # ln 2 + 1/2 - 1/4 * 2: h = 1/4 * 2 + 3/4 * 3/5
    (
        *("gru-d", {}, {"r": -L3 - 2, "z": L3 + 2, "n": L2 + 0.5}, {"r": 1, "z": -1, "n": -1}),
        *({}, {"decay": 0.5}, {"h": 4}, {"h": 0.95}),
    ),
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
    cell = tt.cells.get(name, **constants)
    layer = tt.Recurrent(cell, 1, 1, bias=False, dtype=torch.float64)
    values = {"weight_ih_l0": [[W[gate]] for gate in cell.gates]}
    values["weight_hh_l0"] = [[R[block]] for block in cell.recurrent_block_names]
    values |= {f"{k}_l0": [v] for k, v in p.items()}
    layer.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    hx = tuple(before[k] * one for k in cell.state_specs)
    given = {k: v * one for k, v in u.items()}
    output, last = layer(one, hx if len(hx) > 1 else hx[0], inputs=given)
    last = last if isinstance(last, tuple) else (last,)
    got = {k: v.item() for k, v in zip(cell.state_specs, last, strict=True)}
    got[cell.output_name] = output.item()
    assert {k: got[k] for k in after} == pytest.approx(after, abs=1e-14)


def test_every_cell_stated_here_has_numbers_worked_out_by_hand():
    assert {name for name, *_ in BY_HAND} == set(STATED)


# What is conserved.


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
    """The share of each unit is 0 by 0, but for the epsilon."""
    layer = tt.Recurrent("lstm-mass-conserving", I, H, backend="reference")
    x, mass = torch.randn(T, B, I), torch.zeros(T, B, 1, requires_grad=True)
    output, c = layer(x, inputs={"mass": mass})
    assert not output.any()
    assert not c.any()
    output.sum().backward()
    assert all(p.grad.isfinite().all() for p in [mass, *layer.parameters()])
    with pytest.raises(ValueError, match=r"expected epsilon above 0, got 0\."):
        tt.cells.get("lstm-mass-conserving", epsilon=0)


# What a clock does.


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
    # Open from phase 0 to 0.4, and widest at 0.2.
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

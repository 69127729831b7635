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


def mass_conserving(k, x, s, u, epsilon=1e-5):
    share = s["c"] / (np.abs(s["c"]).sum(-1, keepdims=True) + epsilon)
    i, o = softmax(k.a("i", x, share), -1), sigmoid(k.a("o", x, share))
    m = s["c"] @ softmax(k.matrix("r"), 0).T + i * u["mass"]
    return {"c": (1 - o) * m, "h": o * m}


# Name: the gates, the recurrent blocks, the states, the parameters, the step.
STATED = {
    "lstm-memory-controller": ("fiomn", "fiomn", "vc", (), memory_controller),
    "lstm-mass-conserving": ("io", "ior", "c", (), mass_conserving),
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
        *({}, {}, {"v": 2, "c": 2 * (L2 - 0.45)}, {"c": L2, "h": 0.15, "v": 0.45}),
    ),
    # One unit takes all that enters and keeps all that is stored: m = 5 + 1 * 3 = 8, whatever R_r
    # is. Its share is 5 / (5 + 5) = 1/2: o of ln 3 + 1/2 - 1/2 is 3/4. h = 6, c = 2
    (
        *("lstm-mass-conserving", {"epsilon": 5.0}),
        *({"i": 7, "o": L3 + 0.5}, {"i": 3, "o": -1, "r": 9}, {}, {"mass": 3}),
        *({"c": 5}, {"c": 2, "h": 6}),
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

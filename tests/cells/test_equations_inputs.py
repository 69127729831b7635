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


# Name: the gates, the recurrent blocks, the states, the parameters, the step.
STATED = {
    "lstm-memory-controller": ("fiomn", "fiomn", "vc", (), memory_controller),
}

# Where numbers must be positive, or spread wider than normal ones.
DRAWN = {}


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
        for k, parameter in layer.named_parameters():
            if k.removesuffix("_l0") not in DRAWN:
                parameter.normal_()
            else:
                parameter.uniform_(*DRAWN[k.removesuffix("_l0")])
    x = torch.randn(T, B, I, dtype=torch.float64)
    given = {k: _drawn(k, T, B, spec.size or H) for k, spec in cell.given_inputs.items()}
    initial = {k: _drawn(f"{name} {k}", 1, B, H) for k in states}
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


def _drawn(what, *shape):
    if what in DRAWN:
        return torch.empty(*shape, dtype=torch.float64).uniform_(*DRAWN[what])
    return torch.randn(*shape, dtype=torch.float64)


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

"""Helpers of the cell tests, which state the equations of each cell a second time.

Each test file of a family states its cells in NumPy, from their papers: STATED holds for each cell
its blocks in the order of the weights, and a function of one step. This function is independent of
the package; it reads the weights from ``k``, under the letters of the equations:

    k.W("i", v), k.R("i", v)    the products of block i with rows v, and its bias
    k.a("i", x, h)              their sum for x and h
    k.matrix("i"), k.bias("i")  the recurrent block alone, and its bias alone (0 where it has none)
    k.p["p_i"]                  a per-unit parameter

BY_HAND holds the hand-worked numbers of one unit and one step. The logits are chosen so that gates
have round values:

    sigmoid(0) = 1/2    sigmoid(ln 3) = 3/4    sigmoid(-ln 3) = 1/4
    tanh(ln 2) = (2 - 1/2) / (2 + 1/2) = 3/5   tanh(ln 3) = (3 - 1/3) / (3 + 1/3) = 4/5
"""

from math import log

import numpy as np
import pytest
import torch

import throughtime as tt

from ..further_inputs import bounded, drawn

T, B, I, H = 6, 3, 2, 4
L2, L3 = log(2), log(3)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.maximum(a, 0)


def identity(a):
    return a


def mix(share, a, b):
    return share * a + (1 - share) * b


class Blocks:
    """The weights of one layer by the names of their blocks."""

    def __init__(self, gates, blocks, layer):
        self.p = {k.removesuffix("_l0"): numpy_of(v) for k, v in layer.named_parameters()}
        biased = [block for block in blocks if block in gates]
        self._of = {
            key: dict(zip(names, np.split(self.p.pop(key), len(names)), strict=True))
            for key, names in (
                *(("weight_ih", gates), ("weight_hh", blocks)),
                *(("bias_ih", gates), ("bias_hh", biased)),
            )
            if key in self.p
        }

    def W(self, gate, v):
        return v @ self._of["weight_ih"][gate].T + self._of.get("bias_ih", {}).get(gate, 0.0)

    def R(self, block, v):
        return v @ self.matrix(block).T + self.bias(block)

    def a(self, gate, x, h):
        return self.W(gate, x) + self.R(gate, h)

    def matrix(self, block):
        return self._of["weight_hh"][block]

    def bias(self, block):
        return self._of.get("bias_hh", {}).get(block, 0.0)


def lstm(candidate="g", i=True, f=True, o=True, peepholes=True, g=np.tanh, h=np.tanh):
    """The LSTM of Greff et al. (2017), section II, with a value in place of any gate.

    A gate that is True is computed; f may be "1-i".
    """

    def step(k, x, s):
        def gate(name, open_, c):
            if open_ is not True:
                return open_
            look = k.p[f"p_{name}"] * c if peepholes else 0.0
            return sigmoid(k.a(name, x, s["h"]) + look)

        z = g(k.a(candidate, x, s["h"]))
        i_t = gate("i", i, s["c"])
        f_t = 1 - i_t if f == "1-i" else gate("f", f, s["c"])
        c = z * i_t + s["c"] * f_t
        o_t = gate("o", o, c)
        return {"h": h(c) * o_t, "c": c}

    return step


def pooled(z, f, o, s):
    c = mix(f, s["c"], z)
    return {"h": o * c, "c": c}


def with_last_input(step, out=np.tanh, candidate=lambda a: a):
    """Gates that add products of the present input and stored products of the previous input."""

    def whole(k, x, s):
        z, f, o = (s[f"v{gate}"] + k.W(gate, x) for gate in "zfo")
        next_states = step(candidate(z), sigmoid(f), out(o), s)
        return {**next_states, **{f"v{gate}": k.W(f"v{gate}", x) for gate in "zfo"}}

    return whole


def numpy_of(tensor):
    return tensor.detach().numpy()


def layer_of(name, bias=True, input_size=I, hidden_size=H, backend="auto", **constants):
    """A layer with weights so large that every term of the equations affects the result."""
    cell = tt.cells.get(name, **constants)
    options = {"bias": bias, "backend": backend, "dtype": torch.float64}
    layer = tt.Recurrent(cell, input_size, hidden_size, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return bounded(layer)


def run(layer, x, states, inputs=None):
    """Runs a layer; returns the output, and the last states by name."""
    hx = tuple(states.values())
    output, last = layer(x, hx if len(hx) > 1 else hx[0], inputs=inputs or None)
    return output, dict(zip(states, last if len(hx) > 1 else (last,), strict=True))


def each_stated(cells):
    """Runs a test of ``stated, bias, backend`` with each cell of STATED in each of four ways.

    They are: with and without bias, and by the reference and by a kernel.
    """

    def decorated(test):
        test = pytest.mark.parametrize("stated", cells, ids=_label)(test)
        test = pytest.mark.parametrize("backend", ["reference", "auto"])(test)
        return pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])(test)

    return decorated


def _label(stated):
    """The id of a test case for pytest: the cell and its constants."""
    name, constants, *_ = stated
    return " ".join([name, *map(str, constants.values())])


def computes(
    name, constants, gates, blocks, states, parameters, step, *, bias, backend, positive=()
):
    """Asserts that a cell has these blocks, and that a layer with it computes this step.

    Args:
        gates, blocks, states, parameters: names with spaces between them, in their order.
        step: a function of the weights, x, the states, the further inputs if the cell has any, and
            the constants.
        positive: the states that are above 0 before the first step.
    """
    gates, blocks = gates.split(), blocks.split()
    cell = tt.cells.get(name, **constants)
    assert list(cell.gates) == gates
    assert list(cell.recurrent_block_names) == blocks
    assert list(cell.state_specs) == states.split()
    assert list(cell.parameter_specs) == parameters.split()

    torch.manual_seed(3)
    layer = layer_of(name, bias, backend=backend, **constants)
    x = torch.randn(T, B, I, dtype=torch.float64)
    further = {k: drawn(k, T, B, spec.size or H) for k, spec in cell.given_inputs.items()}
    initial = {k: torch.randn(1, B, H, dtype=torch.float64) for k in states.split()}
    initial |= {k: 0.5 + initial[k].abs() for k in positive}
    output, last = run(layer, x, initial, further)

    weights = Blocks(gates, blocks, layer)
    state = {k: numpy_of(v[0]) for k, v in initial.items()}
    for t in range(T):
        entering = [{k: numpy_of(v[t]) for k, v in further.items()}] if further else []
        state = step(weights, numpy_of(x[t]), state, *entering, **constants)
        expected = state[cell.output_name]
        np.testing.assert_allclose(numpy_of(output[t]), expected, rtol=1e-12, atol=1e-12)
    assert set(last) <= set(state)
    for k, value in last.items():
        np.testing.assert_allclose(numpy_of(value[0]), state[k], rtol=1e-12, atol=1e-12)


def one_unit(name, numbers, before, *, constants=None, inputs=None, b_W=None, b_R=None):
    """The states, and the output, after one step of one unit with the input 1.

    Args:
        numbers: W and R, a number for each block, by name or in the order of the blocks; and the
            per-unit parameters.
        before: the states before the step by name; those not listed are 9.
        b_W, b_R: the value of all input biases and of all recurrent biases; None is a layer without
            biases.
    """
    cell = tt.cells.get(name, **constants or {})
    layer = tt.Recurrent(cell, 1, 1, bias=b_W is not None, dtype=torch.float64)
    values = {k: [v] for k, v in numbers.items() if k not in ("W", "R")}
    for letter, key, blocks in (
        ("W", "weight_ih", cell.gates),
        ("R", "weight_hh", cell.recurrent_block_names),
    ):
        of_blocks = numbers.get(letter, ())
        if blocks:
            in_order = [of_blocks[b] for b in blocks] if isinstance(of_blocks, dict) else of_blocks
            values[key] = [[v] for v in in_order]
    if b_W is not None:
        values["bias_ih"] = [b_W] * len(cell.gates)
        values["bias_hh"] = [b_R] * len(cell.recurrent_bias_names)
    layer.load_state_dict(
        {f"{k}_l0": torch.tensor(v, dtype=torch.float64) for k, v in values.items()}
    )
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    states = {k: before.get(k, 9.0) * one for k in cell.state_specs}
    output, last = run(layer, one, states, {k: v * one for k, v in (inputs or {}).items()})
    after = {k: v.item() for k, v in last.items()}
    if cell.output_name in after:
        assert output.item() == after[cell.output_name]
    return after | {cell.output_name: output.item()}


def one_unit_of_logits(name, logits, numbers, before):
    """The same, with gates of chosen logits: W = a + 1, R = -1 and the biases 3/4 and 1/4.

    The state h before is 2, so that W x + b_W + R h + b_R = (a + 1) + 3/4 - 2 + 1/4 = a.

    Args:
        logits: the logit a of each gate.
        numbers: the numbers of the other recurrent blocks, and the per-unit parameters.
    """
    own = {k: v for k, v in numbers.items() if k.startswith("p_")}
    R = dict.fromkeys(logits, -1.0) | {k: v for k, v in numbers.items() if k not in own}
    W = {gate: logit + 1.0 for gate, logit in logits.items()}
    weights = {"W": W, "R": R, **own}
    return one_unit(name, weights, {"h": 2, **before}, b_W=0.75, b_R=0.25)


def several_units(name, constants, W, R, p, before):
    """The output after one step of several units with the input 1, without biases.

    Args:
        W: one number for each unit.
        R: the rows of the recurrent matrix.
        p: the per-unit parameters by name.
        before: the state.
    """
    cell = tt.cells.get(name, **constants)
    layer = tt.Recurrent(cell, 1, len(before), bias=False, dtype=torch.float64)
    values = {"weight_ih": [[w] for w in W], "weight_hh": R, **p}
    layer.load_state_dict(
        {f"{k}_l0": torch.tensor(v, dtype=torch.float64) for k, v in values.items()}
    )
    x = torch.ones(1, 1, 1, dtype=torch.float64)
    output, _ = layer(x, torch.tensor([[before]], dtype=torch.float64))
    return output.flatten().tolist()


def gives(after, expected):
    """Asserts that the numbers after a step equal the hand-worked ones."""
    assert {k: after[k] for k in expected} == pytest.approx(expected, abs=1e-14)


def all_stated(file, stated, by_hand):
    """Asserts that STATED and BY_HAND contain all cells of a file of throughtime/cells."""
    modules = {name: type(tt.cells.get(name)).__module__ for name in tt.cells.names()}
    cells = {name for name, module in modules.items() if module == f"throughtime.cells.{file}"}
    assert cells
    assert {name for name, *_ in stated} == cells
    assert {name for name, *_ in by_hand} == cells

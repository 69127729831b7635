"""Every cell against its equations, stated a second time: in numpy, from the papers.

What is written here knows nothing of the package. A new cell brings its own statement: gates in
the order of the weights, and a function of one step in :data:`STATED`.
"""

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch

import throughtime as tt

T, B, I, H = 5, 3, 2, 4


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def identity(a):
    return a


class Blocks:
    """The weights of one layer, taken apart by the names of their blocks."""

    def __init__(self, gates, more, weights):
        self.W = dict(zip(gates, np.split(weights["weight_ih"], len(gates)), strict=True))
        recurrent = (*gates, *more)
        self.R = dict(zip(recurrent, np.split(weights["weight_hh"], len(recurrent)), strict=True))
        zero = np.zeros(len(gates) * weights["weight_hh"].shape[1])
        self.b_W = dict(zip(gates, np.split(weights.get("bias_ih", zero), len(gates)), strict=True))
        self.b_R = dict(zip(gates, np.split(weights.get("bias_hh", zero), len(gates)), strict=True))
        self.p = {k[2]: v for k, v in weights.items() if k.startswith("p_")}

    def a(self, gate, x, h):
        """W x + R h + b, for a batch of rows."""
        return x @ self.W[gate].T + self.b_W[gate] + h @ self.R[gate].T + self.b_R[gate]


def elman(g):
    return lambda k, x, s: {"h": g(k.a("h", x, s["h"]))}


def lstm(candidate="g", i=True, f=True, o=True, peepholes=True, g=np.tanh, h=np.tanh):
    """Greff et al. (2017), section II. A gate is True, or what stands for it; f may be "1-i"."""

    def step(k, x, s):
        def gate(name, open_, c):
            if open_ is not True:
                return open_
            look = k.p[name] * c if peepholes else 0.0
            return sigmoid(k.a(name, x, s["h"]) + look)

        z = g(k.a(candidate, x, s["h"]))
        i_t = gate("i", i, s["c"])
        f_t = 1 - i_t if f == "1-i" else gate("f", f, s["c"])
        c = z * i_t + s["c"] * f_t
        o_t = gate("o", o, c)
        return {"h": h(c) * o_t, "c": c}

    return step


def full_gate_recurrence(k, x, s):
    """Greff et al. (2017), section III: nine more matrices, each from a gate to a gate."""
    from_gates = {to: sum(s[g] @ k.R[f"{g}_{to}"].T for g in "ifo") for to in "ifo"}
    z = np.tanh(k.a("z", x, s["h"]))
    i = sigmoid(k.a("i", x, s["h"]) + k.p["i"] * s["c"] + from_gates["i"])
    f = sigmoid(k.a("f", x, s["h"]) + k.p["f"] * s["c"] + from_gates["f"])
    c = z * i + s["c"] * f
    o = sigmoid(k.a("o", x, s["h"]) + k.p["o"] * c + from_gates["o"])
    return {"h": np.tanh(c) * o, "c": c, "i": i, "f": f, "o": o}


def gru(reset_before):
    """Cho et al. (2014), where z keeps. Resetting after is the form that cuDNN computes."""

    def step(k, x, s):
        r, z = sigmoid(k.a("r", x, s["h"])), sigmoid(k.a("z", x, s["h"]))
        if reset_before:
            inside = (r * s["h"]) @ k.R["n"].T + k.b_R["n"]
        else:
            inside = r * (s["h"] @ k.R["n"].T + k.b_R["n"])
        n = np.tanh(x @ k.W["n"].T + k.b_W["n"] + inside)
        return {"h": z * s["h"] + (1 - z) * n}

    return step


NINE = ("i_i", "i_f", "i_o", "f_i", "f_f", "f_o", "o_i", "o_f", "o_o")

# Name: the gates in the order of the weights (one letter each), the peepholes, the other
# recurrent blocks, the step.
STATED = {
    "rnn-tanh": ("h", "", (), elman(np.tanh)),
    "rnn-relu": ("h", "", (), elman(lambda a: np.maximum(a, 0))),
    "rnn-sigmoid": ("h", "", (), elman(sigmoid)),
    "rnn-linear": ("h", "", (), elman(identity)),
    "lstm": ("ifgo", "", (), lstm(peepholes=False)),
    "lstm-coupled": ("igo", "", (), lstm(f="1-i", peepholes=False)),
    "lstm-1997": ("igo", "", (), lstm(f=1, peepholes=False)),
    "lstm-peephole": ("zifo", "ifo", (), lstm("z")),
    "lstm-nig": ("zfo", "fo", (), lstm("z", i=1)),
    "lstm-nfg": ("zio", "io", (), lstm("z", f=1)),
    "lstm-nog": ("zif", "if", (), lstm("z", o=1)),
    "lstm-niaf": ("zifo", "ifo", (), lstm("z", g=identity)),
    "lstm-noaf": ("zifo", "ifo", (), lstm("z", h=identity)),
    "lstm-cifg": ("zio", "io", (), lstm("z", f="1-i")),
    "lstm-np": ("zifo", "", (), lstm("z", peepholes=False)),
    "lstm-fgr": ("zifo", "ifo", NINE, full_gate_recurrence),
    "gru": ("rzn", "", (), gru(reset_before=False)),
    "gru-reset-before": ("rzn", "", (), gru(reset_before=True)),
}

# A cell that one of the other files names is stated there.
_FILES = set(Path(__file__).parent.glob("test_equations_*.py"))
_ELSEWHERE = "".join(p.read_text() for p in _FILES if "torchrecurrent" not in p.name)
HERE = [name for name in tt.cells.names() if f'"{name}"' not in _ELSEWHERE]


def stated(name):
    if name not in STATED:
        pytest.fail(f"state the equations of {name} here, in numpy and from its source")
    return STATED[name]


def layer_of(name, bias=True, input_size=I, hidden_size=H):
    """A layer whose weights and peepholes are large enough for every term to show."""
    layer = tt.Recurrent(name, input_size, hidden_size, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def test_the_cells_of_the_first_release_are_all_there():
    assert set(STATED) <= set(tt.cells.names())


@pytest.mark.parametrize("name", HERE)
def test_a_cell_has_the_blocks_of_its_equations_in_the_order_of_the_weights(name):
    gates, peepholes, more, _ = stated(name)
    cell = tt.cells.get(name)
    assert cell.gates == tuple(gates)
    assert cell.recurrent_block_names == (*gates, *more)
    assert list(cell.parameter_specs) == [f"p_{gate}" for gate in peepholes]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", HERE)
def test_a_cell_computes_its_equations(name, bias):
    gates, _, more, step = stated(name)
    layer = layer_of(name, bias)
    x = torch.randn(T, B, I, dtype=torch.float64)
    initial = [torch.randn(1, B, H, dtype=torch.float64) for _ in layer.cell.state_specs]
    output, last = layer(x, initial[0] if len(initial) == 1 else tuple(initial))

    weights = {k.removesuffix("_l0"): v.detach().numpy() for k, v in layer.named_parameters()}
    blocks = Blocks(gates, more, weights)
    state = {k: v[0].numpy() for k, v in zip(layer.cell.state_specs, initial, strict=True)}
    for t in range(T):
        state = step(blocks, x[t].numpy(), state)
        np.testing.assert_allclose(output[t].detach().numpy(), state["h"], rtol=1e-11, atol=1e-13)
    last = (last,) if isinstance(last, torch.Tensor) else last
    for k, value in zip(layer.cell.state_specs, last, strict=True):
        np.testing.assert_allclose(value[0].detach().numpy(), state[k], rtol=1e-11, atol=1e-13)


# One unit, one step, worked out by hand. Logits are chosen for round gates:
#     sigmoid(0) = 1/2    sigmoid(ln 3) = 3/4    sigmoid(-ln 3) = 1/4
#     tanh(ln 2) = (2 - 1/2) / (2 + 1/2) = 3/5    tanh(ln 3) = (3 - 1/3) / (3 + 1/3) = 4/5
# The input is 1 and the state h before is 2; a gate of logit a has W = a + 1, R = -1, b_W = 3/4
# and b_R = 1/4, so that W x + b_W + R h + b_R = (a + 1) + 3/4 - 2 + 1/4 = a.
L2, L3 = log(2), log(3)
BY_HAND = [
    # h = tanh(ln 2), max(0, -5), max(0, 5), sigmoid(ln 3), and 7 itself
    ("rnn-tanh", {"h": L2}, {}, {}, {"h": 0.6}),
    ("rnn-relu", {"h": -5}, {}, {}, {"h": 0.0}),
    ("rnn-relu", {"h": 5}, {}, {}, {"h": 5.0}),
    ("rnn-sigmoid", {"h": L3}, {}, {}, {"h": 0.75}),
    ("rnn-linear", {"h": 7}, {}, {}, {"h": 7.0}),
    # i = 3/4, f = 1/2, g = 3/5, o = 1/4; c = 1/2 * 0.1 + 3/4 * 3/5 = 0.05 + 0.45 = 0.5
    # h = 1/4 * tanh(0.5) = 1/4 * 0.46211715726000975
    (
        "lstm",
        {"i": L3, "f": 0, "g": L2, "o": -L3},
        {},
        {"c": 0.1},
        {"c": 0.5, "h": 0.11552928931500244},
    ),
    # f = 1 - 3/4: c = 1/4 * 4 * (ln 2 - 0.45) + 0.45 = ln 2; h = 1/4 * 3/5
    (
        "lstm-coupled",
        {"i": L3, "g": L2, "o": -L3},
        {},
        {"c": 4 * (L2 - 0.45)},
        {"c": 0.6931471805599453, "h": 0.15},
    ),
    # c = (ln 3 - 0.45) + 3/4 * 3/5 = ln 3; h = 1/2 * 4/5
    ("lstm-1997", {"i": L3, "g": L2, "o": 0}, {}, {"c": L3 - 0.45}, {"h": 0.4}),
    # The old c is 1. i: ln 3 + (-2 ln 3) * 1 gives 1/4; f: 0 + ln 3 * 1 gives 3/4; z = 4/5.
    # c = 4/5 * 1/4 + 1 * 3/4 = 0.95. o looks at the new c: ln 3 - 0.95 + 1 * 0.95 gives 3/4.
    # h = 3/4 * tanh(0.95) = 3/4 * 0.7397830512740042
    (
        "lstm-peephole",
        {"z": L3, "i": L3, "f": 0, "o": L3 - 0.95},
        {"p_i": -2 * L3, "p_f": L3, "p_o": 1},
        {"c": 1},
        {"c": 0.95, "h": 0.5548372884555032},
    ),
    # z = 4/5, f = 3/4: c = 4/5 + 3/4 = 1.55; o: 0 + 0 * c gives 1/2
    # h = 1/2 * tanh(1.55) = 1/2 * 0.9137854901178277
    (
        "lstm-nig",
        {"z": L3, "f": 0, "o": 0},
        {"p_f": L3, "p_o": 0},
        {"c": 1},
        {"c": 1.55, "h": 0.4568927450589139},
    ),
    # i = 1/4: c = 4/5 * 1/4 + 1 = 1.2
    ("lstm-nfg", {"z": L3, "i": L3, "o": 0}, {"p_i": -2 * L3, "p_o": 0}, {"c": 1}, {"c": 1.2}),
    # c = 4/5 * 1/4 + (ln 2 - 0.2) / (3/4) * 3/4 = ln 2; nothing gates it: h = 3/5
    (
        "lstm-nog",
        {"z": L3, "i": -L3, "f": L3},
        {"p_i": 0, "p_f": 0},
        {"c": (L2 - 0.2) / 0.75},
        {"h": 0.6},
    ),
    # z = 3 as it is; c = 3 * 1/4 + 1 * 1/2 = 1.25
    (
        "lstm-niaf",
        {"z": 3, "i": -L3, "f": 0, "o": 0},
        {"p_i": 0, "p_f": 0, "p_o": 0},
        {"c": 1},
        {"c": 1.25},
    ),
    # c = 4/5 * 1/4 + 3 * 1/2 = 1.7; h = 1.7 * 1/2
    (
        "lstm-noaf",
        {"z": L3, "i": -L3, "f": 0, "o": 0},
        {"p_i": 0, "p_f": 0, "p_o": 0},
        {"c": 3},
        {"c": 1.7, "h": 0.85},
    ),
    # i = 1/4, so f = 3/4: c = 4/5 * 1/4 + 1 * 3/4 = 0.95
    ("lstm-cifg", {"z": L3, "i": L3, "o": 0}, {"p_i": -2 * L3, "p_o": 0}, {"c": 1}, {"c": 0.95}),
    # c = 4/5 * 1/4 + 2 * 3/4 = 1.7
    ("lstm-np", {"z": L3, "i": -L3, "f": L3, "o": 0}, {}, {"c": 2}, {"c": 1.7}),
    # Gates of the step before: i = 1, f = 2, o = 4, each matrix from gate to gate is a number.
    # i: 0 + 1 * 1 + 2 * 3 + 4 * (ln 3 - 7) / 4 gives 3/4
    # f: 0 + 1 * 2 + 2 * (-1) + 4 * 0 gives 1/2
    # c = 4/5 * 3/4 + 0 * 1/2 = 0.6
    # o: 0 + 1 * 4 + 2 * (-4 - ln 3) / 2 + 4 * 0 gives 1/4
    # h = tanh(0.6) / 4 = 0.5370495669980353 / 4
    (
        "lstm-fgr",
        {"z": L3, "i": 0, "f": 0, "o": 0},
        {
            **{"p_i": 0, "p_f": 0, "p_o": 0},
            **{"i_i": 1, "f_i": 3, "o_i": (L3 - 7) / 4},
            **{"i_f": 2, "f_f": -1, "o_f": 0},
            **{"i_o": 4, "f_o": (-4 - L3) / 2, "o_o": 0},
        },
        {"c": 0, "i": 1, "f": 2, "o": 4},
        {"c": 0.6, "h": 0.13426239174950883, "i": 0.75, "f": 0.5, "o": 0.25},
    ),
    # r = 1/4, z = 3/4. Block n has W x + b_W = a + 1 + 3/4 and R h + b_R = -2 + 1/4 = -7/4, so
    # with a = ln 2 - 21/16 its logit is ln 2 - 21/16 + 7/4 - 1/4 * 7/4 = ln 2; n = 3/5.
    # h = 1/4 * 3/5 + 3/4 * 2 = 1.65
    ("gru", {"r": -L3, "z": L3, "n": L2 - 21 / 16}, {}, {}, {"h": 1.65}),
    # Here R (r * h) + b_R = -(1/4 * 2) + 1/4 = -1/4, so a = ln 2 - 3/2 gives
    # ln 2 - 3/2 + 7/4 - 1/4 = ln 2; n = 3/5 and h = 1.65 as before.
    ("gru-reset-before", {"r": -L3, "z": L3, "n": L2 - 3 / 2}, {}, {}, {"h": 1.65}),
]


@pytest.mark.parametrize(("name", "logits", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, logits, numbers, before, after):
    layer = layer_of(name, input_size=1, hidden_size=1)
    gates, _, more, _ = stated(name)
    recurrent = [-1.0] * len(gates) + [numbers[block] for block in more]
    values = {
        "weight_ih_l0": [[logits[gate] + 1.0] for gate in gates],
        "weight_hh_l0": [[value] for value in recurrent],
        "bias_ih_l0": [0.75] * len(gates),
        "bias_hh_l0": [0.25] * len(gates),
        **{f"{k}_l0": [v] for k, v in numbers.items() if k.startswith("p_")},
    }
    layer.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})
    before = {"h": 2, **before}
    state = tuple(
        torch.tensor([[[before[k]]]], dtype=torch.float64) for k in layer.cell.state_specs
    )
    x = torch.ones(1, 1, 1, dtype=torch.float64)
    output, last = layer(x, state if len(state) > 1 else state[0])
    last = (last,) if isinstance(last, torch.Tensor) else last
    got = {k: v.item() for k, v in zip(layer.cell.state_specs, last, strict=True)}
    assert {k: got[k] for k in after} == pytest.approx(after, abs=1e-14)
    assert output.item() == got["h"]


def test_every_cell_has_numbers_worked_out_by_hand():
    assert {name for name, *_ in BY_HAND} == set(STATED)


def test_a_linear_recurrence_multiplies_by_powers_of_its_eigenvalues():
    """With W = 0 and b = 0, h_t = R^t h_0: an eigenvector is scaled by its eigenvalue."""
    layer = layer_of("rnn-linear", bias=False, hidden_size=2)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.tensor([[2.0, 1.0], [0.0, 0.5]]))
    h0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    output, _ = layer(torch.zeros(4, I, dtype=torch.float64), h0)
    assert output[:, 0].tolist() == [2, 4, 8, 16]

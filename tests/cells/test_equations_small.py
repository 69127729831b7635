"""The cells smaller than an LSTM against their equations, stated a second time: in numpy.

Those of minimal.py, light.py, fast.py, update.py, bistable.py, typed.py and elementwise.py. What
is written here knows nothing of the package; a new cell goes into STATED and BY_HAND.
"""

from math import log

import numpy as np
import pytest
import torch

import throughtime as tt

T, B, I, H = 6, 3, 2, 4
FILES = ("minimal", "light", "fast", "update", "bistable", "typed", "elementwise")


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def relu(a):
    return np.maximum(a, 0)


def mix(share, a, b):
    return share * a + (1 - share) * b


def hard_sigmoid(a):
    return np.clip(a / 5 + 1 / 2, 0, 1)


class Blocks:
    """The weights of one layer by name; ``W`` and ``R`` take a block and a batch of rows."""

    def __init__(self, gates, recurrent, layer):
        self.p = {k.removesuffix("_l0"): v.detach().numpy() for k, v in layer.named_parameters()}
        biased = [name for name in recurrent if name in gates]
        named = {"weight_ih": gates, "weight_hh": recurrent, "bias_ih": gates, "bias_hh": biased}
        self.of = {}
        for what, names in named.items():
            rows = np.split(self.p.pop(what), len(names)) if what in self.p else [0.0] * len(names)
            self.of[what] = dict(zip(names, rows, strict=True))

    def W(self, name, v):
        return v @ self.of["weight_ih"][name].T + self.of["bias_ih"][name]

    def R(self, name, v):
        return v @ self.of["weight_hh"][name].T + self.of["bias_hh"].get(name, 0.0)

    def a(self, name, x, h):
        return self.W(name, x) + self.R(name, h)


def mgu(gate):
    def step(k, x, s):
        f = sigmoid(gate(k, x, s["h"]))
        n = np.tanh(k.W("n", x) + k.R("n", f * s["h"]))
        return {"h": mix(f, n, s["h"])}

    return step


def minimal_rnn(k, x, s):
    z = np.tanh(k.W("z", x))
    return {"h": mix(sigmoid(k.R("u", s["h"]) + k.R("z", z)), s["h"], z)}


def miru(gate):
    def step(k, x, s):
        n = np.tanh(k.W("n", x) + k.R("n", gate(k, x, s["h"]) * s["h"]))
        return {"h": mix(0.5, s["h"], n)}

    return step


def janet(k, x, s):
    a, g = k.a("f", x, s["h"]), np.tanh(k.a("g", x, s["h"]))
    return {"h": sigmoid(a) * s["h"] + (1 - sigmoid(a - 1)) * g}


def light_ru(k, x, s):
    return {"h": mix(sigmoid(k.a("f", x, s["h"])), np.tanh(k.W("n", x)), s["h"])}


def li_gru(k, x, s):
    return {"h": mix(sigmoid(k.a("z", x, s["h"])), s["h"], relu(k.a("n", x, s["h"])))}


def atr(k, x, s):
    p, q = k.W("p", x), k.R("p", s["h"])
    return {"h": sigmoid(p + q) * p + sigmoid(p - q) * s["h"]}


def ran(k, x, s):
    i, f = sigmoid(k.a("i", x, s["h"])), sigmoid(k.a("f", x, s["h"]))
    c = i * k.W("g", x) + f * s["c"]
    return {"h": np.tanh(c), "c": c}


def star(k, x, s):
    return {"h": np.tanh(mix(sigmoid(k.a("k", x, s["h"])), np.tanh(k.W("z", x)), s["h"]))}


def sgrn(k, x, s):
    return {"h": np.tanh(mix(sigmoid(k.a("f", x, s["h"])), s["h"], k.W("f", x)))}


def cfn(k, x, s):
    theta, eta = sigmoid(k.a("theta", x, s["h"])), sigmoid(k.a("eta", x, s["h"]))
    return {"h": theta * np.tanh(s["h"]) + eta * np.tanh(k.W("g", x))}


def fast_rnn(k, x, s):
    n = np.tanh(k.a("n", x, s["h"]))
    return {"h": sigmoid(k.p["alpha"]) * n + sigmoid(k.p["beta"]) * s["h"]}


def fast_grnn(k, x, s):
    a = k.a("n", x, s["h"])
    z = sigmoid(a + k.p["b_z"])
    weight = sigmoid(k.p["zeta"]) * (1 - z) + sigmoid(k.p["nu"])
    return {"h": weight * np.tanh(a) + z * s["h"]}


def ugrnn(k, x, s):
    return {"h": mix(sigmoid(k.a("g", x, s["h"])), s["h"], np.tanh(k.a("c", x, s["h"])))}


def intersection(k, x, s):
    u, c = relu(k.a("u", x, s["h"])), np.tanh(k.a("c", x, s["h"]))
    y = mix(sigmoid(k.a("k", x, s["h"])), k.W("y", x), u)
    return {"y": y, "h": mix(sigmoid(k.a("g", x, s["h"])), s["h"], c)}


def sgu(deep):
    def step(k, x, s):
        m = np.tanh(k.R("m", k.W("m", x) * s["h"])) * s["h"]
        o = sigmoid(k.R("o", m)) if deep else np.log1p(np.exp(m))
        return {"h": mix(hard_sigmoid(k.a("z", x, s["h"])), o, s["h"])}

    return step


def mut1(k, x, s):
    r = sigmoid(k.a("r", x, s["h"]))
    n = np.tanh(k.R("n", r * s["h"]) + np.tanh(k.W("n", x)))
    return {"h": mix(sigmoid(k.W("z", x)), n, s["h"])}


def mut(seen):
    def step(k, x, s):
        z = sigmoid(k.W("z", x) + k.R("z", seen(s["h"])))
        r = sigmoid(k.a("r", x, s["h"]))
        return {"h": mix(z, np.tanh(k.W("n", x) + k.R("n", r * s["h"])), s["h"])}

    return step


def bistable(of_state):
    def step(k, x, s):
        a = 1 + np.tanh(k.W("a", x) + of_state(k, "a", s["h"]))
        c = sigmoid(k.W("c", x) + of_state(k, "c", s["h"]))
        return {"h": mix(c, s["h"], np.tanh(k.W("h", x) + a * s["h"]))}

    return step


def t_rnn(k, x, s):
    return {"h": mix(sigmoid(k.W("f", x)), s["h"], k.W("z", x))}


def with_last_input(step, out=np.tanh, candidate=lambda a: a):
    """Gates of this input and the last one, whose products are kept."""

    def whole(k, x, s):
        z, f, o = (s[f"v{gate}"] + k.W(gate, x) for gate in "zfo")
        made = step(candidate(z), sigmoid(f), out(o), s)
        return {**made, **{f"v{gate}": k.W(f"v{gate}", x) for gate in "zfo"}}

    return whole


def pooled(z, f, o, s):
    c = mix(f, s["c"], z)
    return {"h": o * c, "c": c}


def ind_rnn(k, x, s):
    return {"h": relu(k.W("h", x) + k.p["u"] * s["h"])}


def sru(k, x, s):
    f, r = (sigmoid(k.W(gate, x) + k.p[f"v_{gate}"] * s["c"]) for gate in "fr")
    c = mix(f, s["c"], k.W("c", x))
    return {"h": mix(r, c, k.W("x", x)), "c": c}


def min_gru(k, x, s):
    return {"h": mix(sigmoid(k.W("z", x)), k.W("n", x), s["h"])}


def min_lstm(k, x, s):
    f, i = sigmoid(k.W("f", x)), sigmoid(k.W("i", x))
    return {"h": f / (f + i) * s["h"] + i / (f + i) * k.W("n", x)}


V = "z f o vz vf vo"
# Name: the gates, the recurrent blocks, the per-unit parameters, all in their order; the step.
STATED = {
    "mgu": ("f n", "f n", "", mgu(lambda k, x, h: k.a("f", x, h))),
    "mgu-1": ("n", "n f", "b_f", mgu(lambda k, x, h: k.R("f", h) + k.p["b_f"])),
    "mgu-2": ("n", "n f", "", mgu(lambda k, x, h: k.R("f", h))),
    "mgu-3": ("n", "n", "b_f", mgu(lambda k, x, h: k.p["b_f"])),
    "minimal-rnn": ("z", "z u", "", minimal_rnn),
    "miru-1": ("r n", "r n", "", miru(lambda k, x, h: sigmoid(k.a("r", x, h)))),
    "miru-2": ("n", "n", "", miru(lambda k, x, h: 0.5)),
    "janet": ("f g", "f g", "", janet),
    "light-ru": ("n f", "f", "", light_ru),
    "li-gru": ("z n", "z n", "", li_gru),
    "atr": ("p", "p", "", atr),
    "ran": ("g i f", "i f", "", ran),
    "star": ("z k", "k", "", star),
    "sgrn": ("f", "f", "", sgrn),
    "cfn": ("theta eta g", "theta eta", "", cfn),
    "fast-rnn": ("n", "n", "alpha beta", fast_rnn),
    "fast-grnn": ("n", "n", "b_z zeta nu", fast_grnn),
    "ugrnn": ("c g", "c g", "", ugrnn),
    "intersection-rnn": ("u c k g y", "u c k g", "", intersection),
    "sgu": ("m z", "m z", "", sgu(deep=False)),
    "dsgu": ("m z", "m z o", "", sgu(deep=True)),
    "mut-1": ("z r n", "r n", "", mut1),
    "mut-2": ("z r n", "z r n", "", mut(lambda h: h)),
    "mut-3": ("z r n", "z r n", "", mut(np.tanh)),
    "br": ("a c h", "", "w_a w_c", bistable(lambda k, gate, h: k.p[f"w_{gate}"] * h)),
    "nbr": ("a c h", "a c", "", bistable(lambda k, gate, h: k.R(gate, h))),
    "t-rnn": ("z f", "", "", t_rnn),
    "t-gru": (V, "", "", with_last_input(lambda z, f, o, s: {"h": f * s["h"] + z * o})),
    "t-lstm": (V, "", "", with_last_input(pooled)),
    "ind-rnn": ("h", "", "u", ind_rnn),
    "sru": ("c f r x", "", "v_f v_r", sru),
    "qrnn": (V, "", "", with_last_input(pooled, out=sigmoid, candidate=np.tanh)),
    "min-gru": ("z n", "", "", min_gru),
    "min-lstm": ("f i n", "", "", min_lstm),
}


def layer_of(name, bias=True, input_size=I, hidden_size=H):
    """A layer whose weights are large enough for every term to show."""
    layer = tt.Recurrent(name, input_size, hidden_size, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer


def run(layer, x, states):
    """The output, and the last states by name."""
    output, last = layer(x, tuple(states.values()) if len(states) > 1 else states["h"])
    return output, dict(zip(states, last if len(states) > 1 else (last,), strict=True))


def test_every_cell_of_these_files_is_stated_and_worked_out_by_hand():
    ours = {
        name
        for name in tt.cells.names()
        if type(tt.cells.get(name)).__module__.rsplit(".", 1)[1] in FILES
    }
    assert set(STATED) == ours
    assert {name for name, *_ in BY_HAND} == ours


@pytest.mark.parametrize("name", STATED)
def test_a_cell_has_the_blocks_of_its_equations_in_the_order_of_the_weights(name):
    gates, recurrent, parameters, _ = STATED[name]
    cell = tt.cells.get(name)
    assert cell.gates == tuple(gates.split())
    assert cell.recurrent_block_names == tuple(recurrent.split())
    assert list(cell.parameter_specs) == parameters.split()


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", STATED)
def test_a_cell_computes_its_equations(name, bias):
    gates, recurrent, _, step = STATED[name]
    layer = layer_of(name, bias)
    x = torch.randn(T, B, I, dtype=torch.float64)
    states = {k: torch.randn(1, B, H, dtype=torch.float64) for k in layer.cell.state_specs}
    output, last = run(layer, x, states)

    blocks = Blocks(gates.split(), recurrent.split(), layer)
    state = {k: v[0].numpy() for k, v in states.items()}
    for t in range(T):
        state = step(blocks, x[t].numpy(), state)
        expected = state[layer.cell.output_name]
        np.testing.assert_allclose(output[t].detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    assert set(state) == set(last)
    for k, value in last.items():
        np.testing.assert_allclose(value[0].detach().numpy(), state[k], rtol=1e-12, atol=1e-12)


# One unit, one step, worked out by hand. The input is 1, h before is 2 unless said, no biases.
#     sigmoid(0) = 1/2    sigmoid(ln 3) = 3/4    sigmoid(-ln 3) = 1/4
#     tanh(ln 2) = (2 - 1/2) / (2 + 1/2) = 3/5    tanh(ln 3) = (3 - 1/3) / (3 + 1/3) = 4/5
# W and R are numbers, in the order of the blocks: W = a - 2 and R = 1 make a of x = 1 and h = 2.
L2, L3 = log(2), log(3)
BY_HAND = [
    # f = 3/4; n = tanh(ln 2 - 3 + 2 * (3/4 * 2)) = 3/5; h = 1/4 * 2 + 3/4 * 3/5
    ("mgu", {"W": [L3 - 2, L2 - 3], "R": [1, 2]}, {}, {"h": 0.95}),
    # f = 3/4, the rest as before
    ("mgu-1", {"W": [L2 - 3], "R": [2, 1], "b_f": L3 - 2}, {}, {"h": 0.95}),
    ("mgu-2", {"W": [L2 - 3], "R": [2, L3 / 2]}, {}, {"h": 0.95}),
    ("mgu-3", {"W": [L2 - 3], "R": [2], "b_f": L3}, {}, {"h": 0.95}),
    # z = 3/5; u = sigmoid((ln 3 - 3) / 2 * 2 + 5 * 3/5) = 3/4; h = 3/4 * 2 + 1/4 * 3/5
    ("minimal-rnn", {"W": [L2], "R": [5, (L3 - 3) / 2]}, {}, {"h": 1.65}),
    # r = 3/4, n = 3/5: h = (2 + 3/5) / 2
    ("miru-1", {"W": [L3 - 2, L2 - 3], "R": [1, 2]}, {}, {"h": 1.3}),
    # n = tanh(ln 2 - 2 + 2 * (1/2 * 2)) = 3/5
    ("miru-2", {"W": [L2 - 2], "R": [2]}, {}, {"h": 1.3}),
    # s = -1 + 2 = 1: h = sigmoid(1) * 2 + (1 - sigmoid(0)) * 3/5 = 2 * 0.7310585786300049 + 0.3
    ("janet", {"W": [-1, L2 - 2], "R": [1, 1]}, {}, {"h": 1.7621171572600098}),
    # n = 3/5, f = 3/4: h = 1/4 * 2 + 3/4 * 3/5
    ("light-ru", {"W": [L2, L3 - 2], "R": [1]}, {}, {"h": 0.95}),
    # z = 3/4; n = max(0, -1 + 4) or max(0, -5 + 4): h = 3/4 * 2 + 1/4 * n
    ("li-gru", {"W": [L3 - 2, -1], "R": [1, 2]}, {}, {"h": 2.25}),
    ("li-gru", {"W": [L3 - 2, -5], "R": [1, 2]}, {}, {"h": 1.5}),
    # p = q = ln 3 / 2: i = 3/4, f = 1/2; h = 3/8 * ln 3 + 1/2 * 2, with ln 3 = 1.0986122886681098
    ("atr", {"W": [L3 / 2], "R": [L3 / 4]}, {}, {"h": 1.4119796082505411}),
    # i = 3/4, f = 1/2: c = 3/4 * 0.4 + 1/2 * 2 * (ln 2 - 0.3) = ln 2; h = 3/5
    (
        "ran",
        {"W": [0.4, L3 - 2, -2], "R": [1, 1]},
        {"c": 2 * (L2 - 0.3)},
        {"c": 0.6931471805599453, "h": 0.6},
    ),
    # z = 3/5, k = 3/4: tanh(1/4 * 2 + 3/4 * 3/5) = tanh(0.95)
    ("star", {"W": [L2, L3 - 2], "R": [1]}, {}, {"h": 0.7397830512740042}),
    # The candidate is W x = 1, and h before is (ln 2 - 1/4) * 4/3: f = sigmoid(1 + ln 3 - 1) = 3/4
    # tanh(1/4 * 1 + 3/4 * h) = tanh(ln 2)
    (
        "sgrn",
        {"W": [1], "R": [0.75 * (L3 - 1) / (L2 - 0.25)]},
        {"h": (L2 - 0.25) / 0.75},
        {"h": 0.6},
    ),
    # h before is ln 2: theta = 3/4, eta = sigmoid(-ln 3 - 2 ln 2 + 2 ln 2) = 1/4
    # h = 3/4 * 3/5 + 1/4 * 4/5
    ("cfn", {"W": [L3 - L2, -L3 - 2 * L2, L3], "R": [1, 2]}, {"h": L2}, {"h": 0.65}),
    # n = 3/5: h = 3/4 * 3/5 + 1/4 * 2
    ("fast-rnn", {"W": [L2 - 2], "R": [1], "alpha": L3, "beta": -L3}, {}, {"h": 0.95}),
    # a = ln 2, z = sigmoid(ln 3) = 3/4, n = 3/5: h = (1/2 * 1/4 + 1/4) * 3/5 + 3/4 * 2
    (
        "fast-grnn",
        {"W": [L2 - 2], "R": [1], "b_z": L3 - L2, "zeta": 0, "nu": -L3},
        {},
        {"h": 1.725},
    ),
    # c = 3/5, g = 3/4: h = 3/4 * 2 + 1/4 * 3/5
    ("ugrnn", {"W": [L2 - 2, L3 - 2], "R": [1, 1]}, {}, {"h": 1.65}),
    # u = max(0, -1 + 4) = 3, c = 3/5, k = 3/4, g = 1/4
    # y = 3/4 * 4 + 1/4 * 3; h = 1/4 * 2 + 3/4 * 3/5
    (
        "intersection-rnn",
        {"W": [-1, L2 - 2, L3 - 2, -L3 - 2, 4], "R": [2, 1, 1, 1]},
        {"y": 5},
        {"y": 3.75, "h": 0.95},
    ),
    # h before is ln 3 / 0.6 and W_m x * h is 1: m = tanh(ln 2) = 3/5, o = softplus(ln 3) = ln 4
    # z = 1/5 + 1/2: h = 0.3 * ln 3 / 0.6 + 0.7 * ln 4 = 0.5493061443340549 + 0.9704060527839234
    ("sgu", {"W": [0.6 / L3, 1], "R": [L2, 0]}, {"h": L3 / 0.6}, {"h": 1.5197121971179783}),
    # z = min(1, 9/5 + 1/2) = 1 and max(0, -9/5 + 1/2) = 0
    ("sgu", {"W": [0.6 / L3, 9], "R": [L2, 0]}, {"h": L3 / 0.6}, {"h": 1.3862943611198906}),
    ("sgu", {"W": [0.6 / L3, -9], "R": [L2, 0]}, {"h": L3 / 0.6}, {"h": 1.8310204811135165}),
    # m = 3/5, o = sigmoid(ln 3 / 1.2 * 3/5 * 2) = 3/4, z = (-1 + 2) / 5 + 1/2 = 7/10
    # h = 3/10 * 2 + 7/10 * 3/4
    ("dsgu", {"W": [0.5, -1], "R": [L2, 1, L3 / 1.2]}, {}, {"h": 1.125}),
    # z = 3/4, r = 3/4; n = tanh((ln 3 - 0.6) / 1.5 * (3/4 * 2) + tanh(ln 2)) = 4/5
    # h = 4/5 * 3/4 + 2 * 1/4
    ("mut-1", {"W": [L3, L3 - 2, L2], "R": [1, (L3 - 0.6) / 1.5]}, {}, {"h": 1.1}),
    # z = 3/4, r = 3/4; n = tanh(2 * (3/4 * 2) + ln 3 - 3) = 4/5
    ("mut-2", {"W": [L3 - 2, L3 - 2, L3 - 3], "R": [1, 1, 2]}, {}, {"h": 1.1}),
    # h before is ln 2: z = sigmoid(ln 3 - 3 + 5 * 3/5) = 3/4, r = 3/4, n = 4/5
    # h = 4/5 * 3/4 + 1/4 * 0.6931471805599453
    (
        "mut-3",
        {"W": [L3 - 3, L3 - L2, L3 - 0.75 * L2], "R": [5, 1, 1]},
        {"h": L2},
        {"h": 0.7732867951399863},
    ),
    # a = 1 + 3/5, c = 3/4: h = 3/4 * 2 + 1/4 * tanh(ln 3 - 3.2 + 1.6 * 2)
    ("br", {"W": [L2 - 2, L3 - 2, L3 - 3.2], "w_a": 1, "w_c": 1}, {}, {"h": 1.7}),
    ("nbr", {"W": [L2 - 2, L3 - 2, L3 - 3.2], "R": [1, 1]}, {}, {"h": 1.7}),
    # h = 3/4 * 2 + 1/4 * 4
    ("t-rnn", {"W": [4, L3]}, {}, {"h": 2.5}),
    # z = 1 + 3, f = 3/4, o = 3/5: h = 3/4 * 2 + 4 * 3/5
    (
        "t-gru",
        {"W": [3, L3 - 2, L2 - 3, 5, 6, 7]},
        {"vz": 1, "vf": 2, "vo": 3},
        {"h": 3.9, "vz": 5, "vf": 6, "vo": 7},
    ),
    # c = 3/4 * 2 + 1/4 * 4; h = 3/5 * 2.5
    (
        "t-lstm",
        {"W": [3, L3 - 2, L2 - 3, 5, 6, 7]},
        {"c": 2, "vz": 1, "vf": 2, "vo": 3},
        {"h": 1.5, "c": 2.5, "vz": 5, "vf": 6, "vo": 7},
    ),
    # max(0, -1 + 2 * 2) and max(0, -5 + 2 * 2)
    ("ind-rnn", {"W": [-1], "u": 2}, {}, {"h": 3}),
    ("ind-rnn", {"W": [-5], "u": 2}, {}, {"h": 0}),
    # f = 3/4, r = sigmoid(-ln 3 - 4 + 2 * 2) = 1/4: c = 3/4 * 2 + 1/4 * 4; h = 1/4 * c + 3/4 * 8
    ("sru", {"W": [4, L3 - 2, -L3 - 4, 8], "v_f": 1, "v_r": 2}, {"c": 2}, {"h": 6.625, "c": 2.5}),
    # z = 3/5, f = 3/4, o = 1/4: c = 3/4 * 2 + 1/4 * 3/5; h = 1/4 * 1.65
    (
        "qrnn",
        {"W": [L2 - 1, L3 - 2, -L3 - 3, 5, 6, 7]},
        {"c": 2, "vz": 1, "vf": 2, "vo": 3},
        {"h": 0.4125, "c": 1.65, "vz": 5, "vf": 6, "vo": 7},
    ),
    # z = 3/4: h = 1/4 * 2 + 3/4 * 4
    ("min-gru", {"W": [L3, 4]}, {}, {"h": 3.5}),
    # f = 1/2, i = 1/4, of their sum 2/3 and 1/3: h = 2/3 * 2 + 1/3 * 4
    ("min-lstm", {"W": [0, -L3, 4]}, {}, {"h": 8 / 3}),
]


@pytest.mark.parametrize(("name", "numbers", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, numbers, before, after):
    layer = layer_of(name, bias=False, input_size=1, hidden_size=1)
    values = {
        {"W": "weight_ih_l0", "R": "weight_hh_l0"}.get(k, f"{k}_l0"): (
            [[v] for v in value] if k in "WR" else [value]
        )
        for k, value in numbers.items()
    }
    layer.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})
    before = {"h": 2, **before}
    states = {
        k: torch.tensor([[[before.get(k, 9.0)]]], dtype=torch.float64)
        for k in layer.cell.state_specs
    }
    output, last = run(layer, torch.ones(1, 1, 1, dtype=torch.float64), states)
    got = {k: v.item() for k, v in last.items()}
    assert {k: got[k] for k in after} == pytest.approx(after, abs=1e-14)
    assert output.item() == got[layer.cell.output_name]


# What the papers claim.


def test_the_beta_of_janet_couples_both_gates_when_it_is_zero():
    coupled = tt.Recurrent(tt.cells.get("janet", beta=0.0), I, H, dtype=torch.float64)
    h = torch.ones(1, B, H, dtype=torch.float64)
    for parameter in coupled.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(coupled.bias_ih_l0[H:], 50.0)
    output, _ = coupled(torch.randn(T, B, I, dtype=torch.float64), h)
    torch.testing.assert_close(output, torch.ones_like(output))


def test_the_constants_of_miru_say_what_is_kept_and_what_is_shown():
    cell = tt.cells.get("miru-2", keep=0.25, show=0.0)
    layer = tt.Recurrent(cell, I, H, dtype=torch.float64)
    x, h = torch.randn(1, B, I, dtype=torch.float64), torch.randn(1, B, H, dtype=torch.float64)
    output, _ = layer(x, h)
    n = torch.tanh(x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0)
    torch.testing.assert_close(output, 0.25 * h + 0.75 * n)


def test_a_chaos_free_network_without_input_dies_away():
    layer = layer_of("cfn", bias=False)
    h = 5 * torch.randn(1, B, H, dtype=torch.float64)
    output, _ = layer(torch.zeros(200, B, I, dtype=torch.float64), h)
    assert (output[1:].abs() <= output[:-1].abs()).all()
    assert output[-1].abs().max() < 0.2


def test_a_bistable_unit_with_strong_feedback_keeps_its_sign_without_input():
    """With a = 2 and a large c, h = c h + (1 - c) tanh(2 h) has two stable points, +-0.9575."""
    layer = tt.Recurrent("br", 1, 1, dtype=torch.float64)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(layer.bias_ih_l0[:1], 20.0)
    h = torch.tensor([[[0.1], [-0.1]]], dtype=torch.float64)
    output, _ = layer(torch.zeros(100, 2, 1, dtype=torch.float64), h)
    assert output[-1].flatten().tolist() == pytest.approx([0.9575040240772687, -0.9575040240772687])


@pytest.mark.parametrize("name", ["t-gru", "t-lstm", "qrnn"])
def test_a_product_kept_for_one_step_is_that_of_the_last_input(name):
    """A sequence cut anywhere goes on from the kept products as if it were whole."""
    layer = layer_of(name)
    x = torch.randn(T, B, I, dtype=torch.float64)
    whole, _ = layer(x)
    first, states = layer(x[:2])
    second, _ = layer(x[2:], states)
    torch.testing.assert_close(torch.cat([first, second]), whole)

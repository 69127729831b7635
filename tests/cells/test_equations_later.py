"""The cells that are steps of a flow, deep within a step, or more than an LSTM, against numpy.

As in test_equations.py, nothing here knows the package: each step is stated a second time, from
its paper, and for one unit the numbers are worked out by hand.
"""

from math import log, tanh

import numpy as np
import pytest
import torch

import throughtime as tt

T, B, I, H = 5, 3, 2, 4


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


class Weights:
    """What a layer has learned, by the names of the blocks: W and R, with the biases of each."""

    def __init__(self, gates, blocks, learned):
        def parts(key, names):
            return dict(zip(names, np.split(learned[key], len(names)), strict=True))

        biased = [block for block in blocks if block in gates]
        self.W, self.R = parts("weight_ih", gates), parts("weight_hh", blocks) if blocks else {}
        self.b_W = parts("bias_ih", gates) if "bias_ih" in learned else {}
        self.b_R = parts("bias_hh", biased) if "bias_hh" in learned else {}
        self.p = learned

    def x(self, gate, x):
        return x @ self.W[gate].T + self.b_W.get(gate, 0.0)

    def r(self, block, h):
        return h @ self.R[block].T + self.b_R.get(block, 0.0)

    def a(self, gate, x, h):
        return self.x(gate, x) + self.r(gate, h)


def antisymmetric(k, x, s, epsilon=0.1, gamma=0.01):
    M = k.R["h"]
    A = M - M.T - gamma * np.eye(len(M))
    inside = s["h"] @ A.T + k.x("h", x) + k.b_R.get("h", 0.0)
    return {"h": s["h"] + epsilon * np.tanh(inside)}


def antisymmetric_gated(k, x, s, epsilon=0.1, gamma=0.01):
    M = k.R["a"]
    flow = s["h"] @ (M - M.T - gamma * np.eye(len(M))).T
    z = sigmoid(k.x("z", x) + flow)
    return {"h": s["h"] + epsilon * z * np.tanh(k.x("h", x) + flow)}


def lipschitz(k, x, s, epsilon=0.01, beta=0.8, gamma=0.01):
    def blend(M):
        return (1 - beta) * (M + M.T) + beta * (M - M.T) - gamma * np.eye(len(M))

    linear = s["h"] @ blend(k.R["a"]).T
    inside = s["h"] @ blend(k.R["h"]).T + k.b_R.get("h", 0.0) + k.x("h", x)
    return {"h": s["h"] + epsilon * linear + epsilon * np.tanh(inside)}


def co_rnn(k, x, s, dt=0.1, gamma=1.0, epsilon=1.0):
    u = np.tanh(k.r("y", s["y"]) + k.r("z", s["z"]) + k.x("a", x))
    z = s["z"] + dt * u - dt * gamma * s["y"] - dt * epsilon * s["z"]
    return {"y": s["y"] + dt * z, "z": z}


def unicornn(k, x, s, dt=0.1, alpha=1.0):
    c = dt * (0.5 + 0.5 * np.tanh(k.p["c"] / 2))
    z = s["z"] - c * (np.tanh(k.p["w"] * s["y"] + k.x("a", x)) + alpha * s["y"])
    return {"y": s["y"] + c * z, "z": z}


def lem(k, x, s, dt=1.0):
    step, step_bar = dt * sigmoid(k.a("dt", x, s["y"])), dt * sigmoid(k.a("dt_bar", x, s["y"]))
    z = (1 - step) * s["z"] + step * np.tanh(k.a("z", x, s["y"]))
    y = (1 - step_bar) * s["y"] + step_bar * np.tanh(k.a("y", x, z))
    return {"y": y, "z": z}


def tau_gru(k, x, s, delay=3):
    u, z = np.tanh(k.a("u", x, s["h"])), np.tanh(k.a("z", x, s[f"d{delay}"]))
    g, a = sigmoid(k.a("g", x, s["h"])), sigmoid(k.a("a", x, s["h"]))
    register = {f"d{j}": s[f"d{j - 1}"] for j in range(2, delay + 1)}
    return {"h": (1 - g) * s["h"] + g * (u + a * z), "d1": s["h"], **register}


def scrn(k, x, s, alpha=0.95):
    context = (1 - alpha) * k.x("s", x) + alpha * s["s"]
    h = sigmoid(context @ k.R["p"].T + k.a("h", x, s["h"]))
    return {"h": h, "s": context, "y": h @ k.R["u"].T + context @ k.R["v"].T}


def plrnn(k, x, s):
    off_diagonal = k.R["z"] * (1 - np.eye(len(k.R["z"])))
    others = np.maximum(0, s["z"] - k.p["theta"]) @ off_diagonal.T + k.b_R.get("z", 0.0)
    return {"z": k.p["a"] * s["z"] + others + k.x("z", x)}


def rhn(k, x, s, depth=3):
    y = s["y"]
    for layer in range(1, depth + 1):
        if layer == 1:
            h, t = np.tanh(k.a("h", x, y)), sigmoid(k.a("t", x, y))
        else:
            h = np.tanh(y @ k.R[f"h{layer}"].T + k.p[f"b_h{layer}"])
            t = sigmoid(y @ k.R[f"t{layer}"].T + k.p[f"b_t{layer}"])
        y = h * t + y * (1 - t)
    return {"y": y}


def nas(k, x, s):
    sums = [k.a(f"a{j}", x, s["h"]) for j in range(8)]
    product = k.x("a3", x) * k.r("a3", s["h"])
    first = np.tanh(np.tanh(sigmoid(sums[0]) * np.maximum(sums[1], 0)) + s["c"])
    c = first * np.tanh(sigmoid(sums[2]) + np.maximum(product, 0))
    third = np.tanh(np.tanh(sums[4]) * sigmoid(sums[5]))
    fourth = sigmoid(np.tanh(sums[6]) + sigmoid(sums[7]))
    return {"h": np.tanh(c * np.tanh(third + fourth)), "c": c}


def multiplicative(k, x, s):
    m = k.x("m", x) * k.r("m", s["h"])
    i, f, o = (sigmoid(k.a(gate, x, m)) for gate in "ifo")
    c = f * s["c"] + i * np.tanh(k.a("g", x, m))
    return {"h": o * np.tanh(c), "c": c}


def residual(k, x, s):
    i, f = (sigmoid(k.a(gate, x, s["h"]) + k.p[f"p_{gate}"] * s["c"]) for gate in "if")
    c = f * s["c"] + i * np.tanh(k.a("g", x, s["h"]))
    o = sigmoid(k.a("o", x, s["h"]) + k.p["p_o"] * c)
    return {"h": o * (k.r("s", np.tanh(c)) + k.x("s", x)), "c": c}


def working_memory(k, x, s):
    def gate(name, c):
        return sigmoid(k.a(name, x, s["h"]) + np.tanh(c @ k.R[f"c_{name}"].T))

    c = gate("f", s["c"]) * s["c"] + gate("i", s["c"]) * np.tanh(k.a("g", x, s["h"]))
    return {"h": gate("o", c) * np.tanh(c), "c": c}


def slstm(k, x, s):
    """Without the stabiliser, as the paper first writes it; m only scales c and n."""
    i, f = np.exp(k.a("i", x, s["h"])), sigmoid(k.a("f", x, s["h"]))
    z, o = np.tanh(k.a("z", x, s["h"])), sigmoid(k.a("o", x, s["h"]))
    c = f * s["c"] * np.exp(s["m"]) + i * z
    n = f * s["n"] * np.exp(s["m"]) + i
    m = np.maximum(np.log(f) + s["m"], np.log(i))
    return {"h": o * c / n, "c": c * np.exp(-m), "n": n * np.exp(-m), "m": m}


def norm(epsilon, *blocks):
    whole = np.concatenate(blocks, axis=1)
    deviation = whole - whole.mean(axis=1, keepdims=True)
    whole = deviation / np.sqrt((deviation**2).mean(axis=1, keepdims=True) + epsilon)
    return np.split(whole, len(blocks), axis=1)


def lstm_layer_norm(k, x, s, epsilon=1e-5):
    from_x = dict(zip("ifgo", norm(epsilon, *(k.x(g, x) for g in "ifgo")), strict=True))
    from_h = dict(zip("ifgo", norm(epsilon, *(k.r(g, s["h"]) for g in "ifgo")), strict=True))
    a = {
        g: k.p[f"gain_x_{g}"] * from_x[g] + k.p[f"gain_h_{g}"] * from_h[g] + k.p[f"shift_{g}"]
        for g in "ifgo"
    }
    c = sigmoid(a["f"]) * s["c"] + sigmoid(a["i"]) * np.tanh(a["g"])
    inside = k.p["gain_c"] * norm(epsilon, c)[0] + k.p["shift_c"]
    return {"h": sigmoid(a["o"]) * np.tanh(inside), "c": c}


def gru_layer_norm(k, x, s, epsilon=1e-5):
    from_x = norm(epsilon, k.x("r", x), k.x("z", x))
    from_h = norm(epsilon, k.r("r", s["h"]), k.r("z", s["h"]))
    r, z = (
        sigmoid(k.p[f"gain_x_{g}"] * u + k.p[f"gain_h_{g}"] * v + k.p[f"shift_{g}"])
        for g, u, v in zip("rz", from_x, from_h, strict=True)
    )
    below = k.p["gain_x_n"] * norm(epsilon, k.x("n", x))[0] + k.p["shift_n"]
    before = k.p["gain_h_n"] * norm(epsilon, k.r("n", s["h"]))[0] + k.p["shift_h_n"]
    return {"h": (1 - z) * s["h"] + z * np.tanh(below + r * before)}


GATES = [f"a{j}" for j in range(8)]
PEEPHOLES = ("p_i", "p_f", "p_o")
LEM = ("dt", "dt_bar", "z", "y")
KINDS = ("gain_x", "gain_h", "shift")
GAINS = [*(f"{kind}_{g}" for kind in KINDS for g in "ifgo"), "gain_c", "shift_c"]
GAINS_GRU = [*(f"{kind}_{g}" for kind in KINDS for g in "rzn"), "shift_h_n"]

# Name and constants: gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters, the step. The constants are the defaults, then others.
STATED = [
    ("antisymmetric", {}, "h", "h", "h", (), antisymmetric),
    ("antisymmetric", {"epsilon": 0.5, "gamma": 0.3}, "h", "h", "h", (), antisymmetric),
    ("antisymmetric-gated", {}, "zh", "a", "h", (), antisymmetric_gated),
    (
        "antisymmetric-gated",
        {"epsilon": 0.5, "gamma": 0.3},
        "zh",
        "a",
        "h",
        (),
        antisymmetric_gated,
    ),
    ("lipschitz", {}, "h", "ha", "h", (), lipschitz),
    ("lipschitz", {"epsilon": 0.5, "beta": 0.7, "gamma": 0.3}, "h", "ha", "h", (), lipschitz),
    ("co-rnn", {}, "a", "yz", "yz", (), co_rnn),
    ("co-rnn", {"dt": 0.3, "gamma": 2.0, "epsilon": 0.5}, "a", "yz", "yz", (), co_rnn),
    ("unicornn", {}, "a", "", "yz", "wc", unicornn),
    ("unicornn", {"dt": 0.3, "alpha": 3.0}, "a", "", "yz", "wc", unicornn),
    ("lem", {}, LEM, LEM, "yz", (), lem),
    ("lem", {"dt": 0.3}, LEM, LEM, "yz", (), lem),
    ("tau-gru", {}, "uzga", "uzga", ("h", "d1", "d2", "d3"), (), tau_gru),
    ("tau-gru", {"delay": 1}, "uzga", "uzga", ("h", "d1"), (), tau_gru),
    ("scrn", {}, "sh", "hpuv", "yhs", (), scrn),
    ("scrn", {"alpha": 0.3}, "sh", "hpuv", "yhs", (), scrn),
    ("plrnn", {}, "z", "z", "z", ("a", "theta"), plrnn),
    (
        *("rhn", {}, "ht", ("h", "t", "h2", "t2", "h3", "t3"), "y"),
        *(("b_h2", "b_t2", "b_h3", "b_t3"), rhn),
    ),
    ("rhn", {"depth": 1}, "ht", "ht", "y", (), rhn),
    ("nas", {}, GATES, GATES, "hc", (), nas),
    ("lstm-multiplicative", {}, "mifgo", "mifgo", "hc", (), multiplicative),
    ("lstm-residual", {}, "ifgos", "ifgos", "hc", PEEPHOLES, residual),
    ("lstm-working-memory", {}, "ifgo", (*"ifgo", "c_i", "c_f", "c_o"), "hc", (), working_memory),
    ("slstm", {}, "zifo", "zifo", "hcnm", (), slstm),
    ("lstm-layer-norm", {}, "ifgo", "ifgo", "hc", GAINS, lstm_layer_norm),
    ("lstm-layer-norm", {"epsilon": 0.3}, "ifgo", "ifgo", "hc", GAINS, lstm_layer_norm),
    ("gru-layer-norm", {}, "rzn", "rzn", "h", GAINS_GRU, gru_layer_norm),
    ("gru-layer-norm", {"epsilon": 0.3}, "rzn", "rzn", "h", GAINS_GRU, gru_layer_norm),
]
IDS = [" ".join([name, *map(str, constants.values())]) for name, constants, *_ in STATED]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize(
    ("name", "constants", "gates", "blocks", "states", "parameters", "step"), STATED, ids=IDS
)
def test_a_cell_has_the_blocks_of_its_equations_and_computes_them(
    name, constants, gates, blocks, states, parameters, step, backend, bias
):
    cell = tt.cells.get(name, **constants)
    assert cell.gates == tuple(gates)
    assert cell.recurrent_block_names == tuple(blocks)
    assert list(cell.state_specs) == list(states)
    assert list(cell.parameter_specs) == list(parameters)

    layer = tt.Recurrent(cell, I, H, bias=bias, backend=backend, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    x = torch.randn(T, B, I, dtype=torch.float64)
    initial = {k: torch.randn(1, B, H, dtype=torch.float64) for k in states}
    if name == "slstm":
        # A normaliser is a sum of positive terms.
        initial["n"] = 0.5 + initial["n"].abs()
    hx = tuple(initial.values())
    output, last = layer(x, hx if len(hx) > 1 else hx[0])

    learned = {k.removesuffix("_l0"): v.detach().numpy() for k, v in layer.named_parameters()}
    weights = Weights(tuple(gates), tuple(blocks), learned)
    state = {k: v[0].numpy() for k, v in initial.items()}
    for t in range(T):
        state = step(weights, x[t].numpy(), state, **constants)
        expected = state[cell.output_name]
        np.testing.assert_allclose(output[t].detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    for k, value in zip(states, last if isinstance(last, tuple) else (last,), strict=True):
        np.testing.assert_allclose(value[0].detach().numpy(), state[k], rtol=1e-12, atol=1e-12)


# One unit, one step, worked out by hand; the input is 1 and the biases are 0.
#     sigmoid(0) = 1/2    sigmoid(ln 3) = 3/4    sigmoid(-ln 3) = 1/4
#     tanh(ln 2) = 3/5    tanh(ln 3) = 4/5       tanh(ln(3) / 2) = 1/2
L2, L3 = log(2), log(3)
HALF_A_STEP = {"epsilon": 0.5, "gamma": 0.25}


def same(gates, value):
    return dict.fromkeys(gates, value)


BY_HAND = [
    # A matrix of one number less its transpose is 0: A h = -1/4 * 2; h = 2 + 1/2 * 3/5
    ("antisymmetric", HALF_A_STEP, {"h": L2 + 0.5}, {"h": 7}, {}, {"h": 2}, {"h": 2.3}),
    # h = 2 + 1/2 * 3/4 * 3/5
    (
        *("antisymmetric-gated", HALF_A_STEP),
        *({"z": L3 + 0.5, "h": L2 + 0.5}, {"a": 7}, {}, {"h": 2}, {"h": 2.225}),
    ),
    # S(M) = 1/4 * 2 M + 3/4 * 0 - 1/4: 1/2 of 3/2, and -1/2 of -1/2
    # h = 2 + 1/2 * (1/2 * 2 + tanh(ln 2 + 1 - 1/2 * 2))
    (
        *("lipschitz", HALF_A_STEP | {"beta": 0.75}),
        *({"h": L2 + 1}, {"a": 1.5, "h": -0.5}, {}, {"h": 2}, {"h": 2.8}),
    ),
    # z = 1/2 + 1/2 * (tanh(ln 2 + 2 * 1 - 4 * 1/2) - 2 * 1 - 1 * 1/2) = 1/2 - 1/2 * 1.9
    # y = 1 + 1/2 * (-0.45)
    (
        *("co-rnn", {"dt": 0.5, "gamma": 2.0, "epsilon": 1.0}),
        *({"a": L2}, {"y": 2, "z": -4}, {}, {"y": 1, "z": 0.5}, {"z": -0.45, "y": 0.775}),
    ),
    # The pace is 1/2 * 3/4: z = 1/2 - 3/8 * (tanh(ln 2 - 3 + 3 * 1) + 2 * 1); y = 1 - 3/8 * 0.475
    (
        *("unicornn", {"dt": 0.5, "alpha": 2.0}),
        *({"a": L2 - 3}, {}, {"w": 3, "c": L3}, {"y": 1, "z": 0.5}, {"z": -0.475, "y": 0.821875}),
    ),
    # The steps are 1/2 * 3/4 and 1/2 * 1/2: z = 5/8 * 1 + 3/8 * 3/5 = 0.85
    # y looks at this z: y = 3/4 * 2 + 1/4 * tanh(ln 3 - 1.7 + 2 * 0.85)
    (
        *("lem", {"dt": 0.5}, {"dt": L3 - 2, "dt_bar": 2, "z": L2 - 1, "y": L3 - 1.7}),
        {"dt": 1, "dt_bar": -1, "z": 0.5, "y": 2},
        *({}, {"y": 2, "z": 1}, {"z": 0.85, "y": 1.7}),
    ),
    # u = 3/5, z = tanh(ln 3 - 3 + 3 * 1), of d2; g = 3/4, a = 1/4
    # h = 1/4 * 2 + 3/4 * (3/5 + 1/4 * 4/5)
    (
        *("tau-gru", {"delay": 2}, {"u": L2 - 2, "z": L3 - 3, "g": L3 - 1, "a": 2 - L3}),
        {"u": 1, "z": 3, "g": 0.5, "a": -1},
        *({}, {"h": 2, "d1": 5, "d2": 1}, {"h": 1.1, "d1": 2, "d2": 5}),
    ),
    # s = 1/4 * 4 + 3/4 * 2 = 5/2; h = sigmoid(2 * 5/2 + ln 3 - 4 - 1/4 * 4); y = 4 * 3/4 - 5/2
    (
        *("scrn", {"alpha": 0.75}),
        *({"s": 4, "h": L3 - 4}, {"h": -0.25, "p": 2, "u": 4, "v": -1}),
        *({}, {"y": 9, "h": 4, "s": 2}, {"h": 0.75, "s": 2.5, "y": 0.5}),
    ),
    # The unit does not see itself: z = 1/2 * 2 + 3
    ("plrnn", {}, {"z": 3}, {"z": 7}, {"a": 0.5, "theta": 1.5}, {"z": 2}, {"z": 4}),
    # First layer: 3/5 * 3/4 + 2 * 1/4 = 0.95; second: tanh(ln 3 - 1.9 + 2 * 0.95) = 4/5 and
    # sigmoid(1.9 - 2 * 0.95) = 1/2: 4/5 * 1/2 + 0.95 * 1/2
    (
        *("rhn", {"depth": 2}),
        *({"h": L2 - 2, "t": L3 - 1}, {"h": 1, "t": 0.5, "h2": 2, "t2": -2}),
        *({"b_h2": L3 - 1.9, "b_t2": 1.9}, {"y": 2}, {"y": 0.875}),
    ),
    # u_0 = tanh(3/4 * ln(2) / (3/4)) = 3/5; u_1 = tanh(1/2 + (ln 3 - 1/2) * (1/2 * 2)) = 4/5
    # u_2 = tanh(0 * 1/2) = 0; u_3 = sigmoid(-1/2 + 1/2) = 1/2
    # c = tanh(3/5 + ln 3 - 3/5) * 4/5 = 0.64; h = tanh(0.64 * tanh(1/2))
    (
        *("nas", {}),
        {
            **{"a0": L3 - 1, "a1": L2 / 0.75 - 1, "a2": -1, "a3": L3 - 0.5},
            **{"a4": -1, "a5": -1, "a6": -L3 / 2 - 1, "a7": -1},
        },
        *(same(GATES, 0.5), {}, {"h": 2, "c": L3 - 0.6}),
        {"c": 0.64, "h": tanh(0.64 * tanh(0.5))},
    ),
    # m = 3/2 * (1 * 2) = 3; i = 3/4, f = 1/2, g = 3/5, o = 1/4
    # c = 1/2 * 0.1 + 3/4 * 3/5; h = 1/4 * tanh(1/2)
    (
        *("lstm-multiplicative", {}, {"m": 1.5, "i": L3 - 3, "f": -3, "g": L2 - 3, "o": -L3 - 3}),
        *(same("mifgo", 1), {}, {"h": 2, "c": 0.1}, {"c": 0.5, "h": 0.11552928931500244}),
    ),
    # i: ln 3 - 2 ln 3 * 1 gives 1/4; f: ln 3 * 1 gives 3/4; g = 4/5; c = 3/4 * 1 + 1/4 * 4/5
    # o: ln 3 - 0.95 + 0.95 gives 3/4; h = 3/4 * (2 * tanh(0.95) + 1/2)
    (
        *("lstm-residual", {}),
        {"i": L3 + 2, "f": 2, "g": L3 + 2, "o": L3 - 0.95 + 2, "s": 0.5},
        {**same("ifgo", -1), "s": 2},
        {"p_i": -2 * L3, "p_f": L3, "p_o": 1},
        *({"h": 2, "c": 1}, {"c": 0.95, "h": 1.4846745769110063}),
    ),
    # i: ln 3 - 3/5 + tanh(ln 2) gives 3/4; f: -4/5 + tanh(ln 3) gives 1/2; g = 3/5
    # c = 1/2 + 3/4 * 3/5; o: -ln 3 - 3/5 + tanh(ln(2) / 0.95 * 0.95) gives 1/4
    (
        *("lstm-working-memory", {}),
        {"i": L3 - 0.6 + 2, "f": -0.8 + 2, "g": L2 + 2, "o": -L3 - 0.6 + 2},
        {**same("ifgo", -1), "c_i": L2, "c_f": L3, "c_o": L2 / 0.95},
        *({}, {"h": 2, "c": 1}, {"c": 0.95, "h": 0.18494576281850105}),
    ),
    # z = 3/5, i~ = 0, o = 1/4; log f + m = ln(3/4 * 2) = ln(3/2) is the larger, so i = 2/3, f = 1
    # c = 0.2 + 2/3 * 3/5; n = 1/3 + 2/3; h = 1/4 * 0.6 / 1
    (
        *("slstm", {}, {"z": L2 + 2, "i": 2, "f": L3 + 2, "o": -L3 + 2}),
        *(same("zifo", -1), {}, {"h": 2, "c": 0.2, "n": 1 / 3, "m": L2}),
        {"m": log(1.5), "c": 0.6, "n": 1.0, "h": 0.15},
    ),
    # i~ = ln 3 is the larger: i = 1, f = 1/2 / 3; c = 0.6 / 6 + 3/5; n = 1.5 / 6 + 1
    # h = 1/4 * 0.7 / 1.25
    (
        *("slstm", {}, {"z": L2 + 2, "i": L3 + 2, "f": 2, "o": -L3 + 2}),
        *(same("zifo", -1), {}, {"h": 2, "c": 0.6, "n": 1.5, "m": 0}),
        {"m": L3, "c": 0.7, "n": 1.25, "h": 0.14},
    ),
    # Products 10.5, 9.5, 10.5, 9.5 and, of h = 2, 2.5, 2.5, 1.5, 1.5: each has the variance 1/4,
    # and the root of 1/4 + 3/4 is 1, so what is left is 1/2 or -1/2.
    # i: 1 - 1 + ln 3 gives 3/4; f: -2 + 2 gives 1/2; g: 1 - 2 + ln 2 + 1 gives 3/5
    # o: -1 + 1 - ln 3 gives 1/4; c = 0.05 + 0.45; alone, c is its own mean: h = 1/4 * tanh(ln 2)
    (
        *("lstm-layer-norm", {"epsilon": 0.75}, {"i": 10.5, "f": 9.5, "g": 10.5, "o": 9.5}),
        {"i": 1.25, "f": 1.25, "g": 0.75, "o": 0.75},
        {
            **{"gain_x_i": 2, "gain_h_i": -2, "shift_i": L3},
            **{"gain_x_f": 4, "gain_h_f": 4, "shift_f": 0},
            **{"gain_x_g": 2, "gain_h_g": 4, "shift_g": L2 + 1},
            **{"gain_x_o": 2, "gain_h_o": -2, "shift_o": -L3},
            **{"gain_c": 5, "shift_c": L2},
        },
        *({"h": 2, "c": 0.1}, {"c": 0.5, "h": 0.15}),
    ),
    # Likewise: r: 1 + 1 + ln 3 - 2 gives 3/4; z: -1 + 1 - ln 3 gives 1/4
    # n = tanh(ln 2 - 3 + 3/4 * 4); h = 3/4 * 2 + 1/4 * 3/5
    (
        *("gru-layer-norm", {"epsilon": 0.75}),
        *({"r": 3.5, "z": 2.5, "n": 9}, {"r": 1.25, "z": 0.75, "n": 8}),
        {
            **{"gain_x_r": 2, "gain_h_r": 2, "shift_r": L3 - 2},
            **{"gain_x_z": 2, "gain_h_z": -2, "shift_z": -L3},
            **{"gain_x_n": 5, "gain_h_n": 6, "shift_n": L2 - 3, "shift_h_n": 4},
        },
        *({"h": 2}, {"h": 1.65}),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    cell = tt.cells.get(name, **constants)
    layer = tt.Recurrent(cell, 1, 1, bias=False, dtype=torch.float64)
    values = {"weight_ih_l0": [[float(W[gate])] for gate in cell.gates]}
    if R:
        values["weight_hh_l0"] = [[float(R[block])] for block in cell.recurrent_block_names]
    values |= {f"{k}_l0": [float(v)] for k, v in p.items()}
    layer.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})
    hx = tuple(torch.tensor([[[float(before[k])]]], dtype=torch.float64) for k in cell.state_specs)
    output, last = layer(torch.ones(1, 1, 1, dtype=torch.float64), hx if len(hx) > 1 else hx[0])
    last = last if isinstance(last, tuple) else (last,)
    got = {k: v.item() for k, v in zip(cell.state_specs, last, strict=True)}
    got[cell.output_name] = output.item()
    assert {k: got[k] for k in after} == pytest.approx(after, abs=1e-14)


# What is done to a matrix shows from two units on.
TWO_UNITS = [
    # A = [[-1/4, 2], [-2, -1/4]], A h = (3/4, -17/8): h = (1 + 1/2 * 3/5, 1/2 + 1/2 * 4/5)
    (
        *("antisymmetric", HALF_A_STEP),
        *([L2 - 0.75, L3 + 2.125], [[5, 3], [1, -2]], {}, [1, 0.5], [1.3, 0.9]),
    ),
    # S([[1, 3], [1, 1]]) = 1/4 * [[2, 4], [4, 2]] + 3/4 * [[0, 2], [-2, 0]] - 1/4 I
    #                     = [[1/4, 5/2], [-1/2, 1/4]], which makes (21/4, 0) of h; S(0) = -1/4 I
    # h = (1 + 1/2 * (21/4 + 3/5), 2 + 1/2 * 4/5)
    (
        *("lipschitz", HALF_A_STEP | {"beta": 0.75}),
        *([L2 + 0.25, L3 + 0.5], [[0, 0], [0, 0], [1, 3], [1, 1]], {}, [1, 2], [3.925, 2.4]),
    ),
    # Only the first unit passes its threshold, by 1/2, and only the second sees it, threefold:
    # z = (1/2 * 2 + 4, 1/4 * 1 + 3 * 1/2 + 5)
    (
        *("plrnn", {}, [4, 5], [[7, 9], [3, 7]], {"a": [0.5, 0.25], "theta": [1.5, 3]}),
        *([2, 1], [5, 6.75]),
    ),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "p", "before", "after"), TWO_UNITS)
def test_two_units_give_the_numbers_worked_out_by_hand(name, constants, W, R, p, before, after):
    cell = tt.cells.get(name, **constants)
    layer = tt.Recurrent(cell, 1, 2, bias=False, dtype=torch.float64)
    values = {"weight_ih_l0": [[w] for w in W], "weight_hh_l0": R}
    values |= {f"{k}_l0": v for k, v in p.items()}
    layer.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})
    x = torch.ones(1, 1, 1, dtype=torch.float64)
    output, _ = layer(x, torch.tensor([[before]], dtype=torch.float64))
    assert output.flatten().tolist() == pytest.approx(after, abs=1e-14)


def test_every_cell_stated_here_has_numbers_worked_out_by_hand():
    assert {name for name, *_ in BY_HAND} == {name for name, *_ in STATED}


@pytest.mark.parametrize(("name", "constant"), [("rhn", "depth"), ("tau-gru", "delay")])
def test_a_depth_or_a_delay_below_one_is_refused(name, constant):
    with pytest.raises(ValueError, match=f"expected a {constant} of at least 1.*got 0"):
        tt.cells.get(name, **{constant: 0})


def test_the_first_step_of_slstm_holds_in_float32_where_the_input_gate_is_all_but_shut():
    """h_1 = o_1 z_1, however small exp(i~) is: the normaliser takes it out again."""
    layer = tt.Recurrent("slstm", 1, 1, bias=False)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor([[L2], [-200.0], [200.0], [0.0]]))
    output, _ = layer(torch.ones(1, 1, 1))
    assert output.item() == pytest.approx(0.3, rel=1e-6)

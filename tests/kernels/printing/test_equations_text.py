"""What `throughtime equations` prints is what autograd computes: the text itself is evaluated.

The printed equations become Python by a few substitutions of notation alone: ``W_i x_t`` a
product of a matrix and a vector, ``δi_t x_t^T`` an outer product, ``^`` a power, the index t - 1
and the prime part of a name. Nothing here knows what the equations should be.
"""

import re

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.printing.equations import describe

from ...further_inputs import bounded, drawn

T = 4


# From print to numbers.


def python(text):
    """Converts a printed expression to Python."""
    if text.startswith("Σ_t "):
        outside = text
        while "(" in outside:
            outside = re.sub(r"\([^()]*\)", "", outside)
        # A sum over time takes in a single term.
        assert not re.search(r" [+-] ", outside), text
    text = text.removeprefix("Σ_t ").replace("_{t-1}", "_before").replace("'", "_sent")
    return joined(text).replace("^", "**")


def joined(text):
    """Adds the operators of matrix products, which the printed text omits."""
    out = ""
    while product := re.search(r"\b([WR]_\w+)(\^T)? (?=[\w(])|\b(δ\w+) (?=[\w(])", text):
        out += text[: product.start()]
        operand = re.match(r"\w*", text[product.end() :])[0]
        end = product.end() + len(operand)
        if text[end : end + 1] == "(":
            depth, start = 0, end
            while depth or end == start:
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            operand += f"({joined(text[start + 1 : end - 1])})"
        if product[3]:
            assert text[end : end + 2] == "^T"
            end += 2
            out += f"outer({product[3]}, {operand})"
        else:
            out += f"({product[1]}{'.T' * bool(product[2])} @ {operand})"
        text = text[end:]
    return out + text


def softplus(a):
    return np.log1p(np.exp(a))


FUNCTIONS = {
    **{n: getattr(np, n) for n in ("tanh", "exp", "log", "sqrt", "sin", "cos", "where", "abs")},
    **{n: getattr(np, n) for n in ("sign", "floor", "ceil", "trunc", "outer")},
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "log_sigmoid": lambda a: -softplus(-a),
    "softplus": softplus,
    "relu": lambda a: np.maximum(a, 0),
    "erf": lambda a: torch.erf(torch.as_tensor(a)).numpy(),
    "stop": lambda a: a,
    "sum": np.sum,
    "max": lambda *a: np.maximum(*a) if len(a) == 2 else np.max(*a),
    "min": np.minimum,
    "remainder": np.mod,
}


def value(text, known):
    return eval(python(text), {"__builtins__": {}}, {**FUNCTIONS, **known})


def run(equations, cell, weights, x, entering, initial, above, last):
    """The values of all printed equations, by their printed names."""
    H = above.shape[1]
    states = list(cell.state_specs)
    steps, before = [], dict(zip(states, initial, strict=True))
    for t in range(T):
        known = {**weights, "H": H, "x2_t" if "x" in states else "x_t": x[t]}
        known |= {f"{name}_t": v[t] for name, v in entering.items()}
        known |= {f"{name}_before": v for name, v in before.items()}
        for name, text in equations.forward:
            known[name] = value(text, known)
        before = {name: known[f"{name}_t"] for name in states}
        steps.append(known)

    sums = {}
    sent = dict(zip(states, last, strict=True))
    for t in reversed(range(T)):
        known = {**steps[t], "Δ_t": above[t]}
        known |= {f"d{name}_sent_t": v for name, v in sent.items()}
        for name, text in equations.backward:
            name = name.replace("_{t-1}", "_before").replace("'", "_sent")
            known[name] = result = value(text, known)
            if name.startswith("δ"):
                known[name] = result + np.zeros(H)
            if name[1:] in weights:
                sums[name] = sums.get(name, 0) + result + np.zeros_like(weights[name[1:]])
        sent = {name: known[f"d{name}_sent_before"] for name in states}
        steps[t] = known
    return steps, sent, sums


def test_the_printed_equations_give_the_values_and_gradients_of_autograd(printed_cell):
    cell = printed_cell
    equations = describe(cell)
    H = I = 4  # x is used unit by unit in some
    layer = tt.Recurrent(cell, I, H, dtype=torch.float64, backend="reference")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_().mul_(0.7)
    bounded(layer)
    x = torch.randn(T, I, dtype=torch.float64, requires_grad=True)
    specs = cell.given_inputs
    entering = {k: drawn(k, T, v.size or H).requires_grad_() for k, v in specs.items()}
    num = len(cell.state_specs)
    initial = [torch.randn(1, H, dtype=torch.float64, requires_grad=True) for _ in range(num)]
    above = torch.randn(T, H, dtype=torch.float64)
    last = [torch.randn(1, H, dtype=torch.float64) for _ in range(num)]
    output, state = layer(x, tuple(initial) if num > 1 else initial[0], inputs=entering)
    state = state if num > 1 else (state,)
    (
        (output * above).sum() + sum((s * d).sum() for s, d in zip(state, last, strict=True))
    ).backward()

    own = {name.removesuffix("_l0"): p for name, p in layer.named_parameters()}
    blocks = blocks_of(cell, own)
    learned = {name: block for name, block in blocks.items() if name.startswith("R_")}
    used = cell.transform({name[2:]: block for name, block in learned.items()})
    weights = {**blocks, **{f"R_{name}": block for name, block in used.items()}}
    bias = {}
    for gate in cell.gates:
        # What is printed as b_i is the sum of the biases of the products that it stands with.
        if re.search(rf"\bb_{gate}\b", "\n".join(text for _, text in equations.forward)):
            there = [
                m for m in "WR" if any(f"{m}_{gate} " in text for _, text in equations.forward)
            ]
            bias[gate] = [f"b_{m}{gate}" for m in there if f"b_{m}{gate}" in blocks]
            weights[f"b_{gate}"] = sum(weights.pop(name) for name in bias[gate])
    weights = {name: weight.detach().numpy() for name, weight in weights.items()}
    steps, sent, sums = run(
        equations,
        cell,
        weights,
        x.detach().numpy(),
        {name: v.detach().numpy() for name, v in entering.items()},
        [v.detach().numpy()[0] for v in initial],
        above.numpy(),
        [d.numpy()[0] for d in last],
    )

    def check_close(ours, theirs):
        theirs = np.zeros(()) if theirs is None else theirs.detach().numpy()
        np.testing.assert_allclose(ours, theirs + np.zeros_like(ours), rtol=1e-9, atol=1e-10)

    dx = "dx2_t" if "x" in cell.state_specs else "dx_t"
    for t in range(T):
        check_close(steps[t][f"{cell.output_name}_t"], output[t])
        check_close(steps[t][dx], x.grad[t])
        for name, v in entering.items():
            check_close(steps[t][f"d{name}_t"], v.grad[t])
    for name, v, s in zip(cell.state_specs, initial, state, strict=True):
        check_close(steps[-1][f"{name}_t"], s[0])
        check_close(sent[name], None if v.grad is None else v.grad[0])
    assert {f"d{name}" for name in weights} >= set(sums)
    for gate, names in bias.items():
        sums |= {f"d{name}": sums[f"db_{gate}"] for name in names}
    if learned:
        # Through the transformation, if there is one, to what is learned.
        result = [used[name[2:]] for name in learned]
        printed = [torch.as_tensor(sums[f"d{name}"]) for name in learned]
        through = torch.autograd.grad(result, list(learned.values()), printed, allow_unused=True)
        sums |= {f"d{name}": d.numpy() for name, d in zip(learned, through, strict=True)}
    for name, grad in blocks_of(cell, {k: p.grad for k, p in own.items()}).items():
        # A bias that no equation shows has no gradient.
        check_close(
            sums[f"d{name}"] if not name.startswith("b_") else sums.get(f"d{name}", 0.0), grad
        )


def blocks_of(cell, weights):
    """The weights, or their gradients, by their printed names."""
    named = {name: weights[name] for name in cell.parameter_specs}
    for source, letter, names in (
        ("weight_ih", "W_", cell.gates),
        ("weight_hh", "R_", cell.recurrent_block_names),
        ("bias_ih", "b_W", cell.gates),
        ("bias_hh", "b_R", cell.recurrent_bias_names),
    ):
        whole = weights.get(source)
        parts = [None] * len(names) if whole is None else whole.chunk(len(names)) if names else ()
        named |= {f"{letter}{name}": part for name, part in zip(names, parts, strict=True)}
    return named


# The peephole LSTM as the lecture has it.

LECTURE = {
    "δo_t": "dh_t * tanh(c_t) * o_t * (1 - o_t)",
    "dc_t": "dc'_t + dh_t * o_t * (1 - tanh(c_t)^2) + p_o * δo_t",
    "δf_t": "dc_t * c_{t-1} * f_t * (1 - f_t)",
    "δi_t": "dc_t * z_t * i_t * (1 - i_t)",
    "δz_t": "dc_t * i_t * (1 - z_t^2)",
    "dx_t": "W_z^T δz_t + W_i^T δi_t + W_f^T δf_t + W_o^T δo_t",
    # Those two the lecture adds up one step later, in its delta y and delta c.
    "dh_t": "Δ_t + dh'_t",
    "dh'_{t-1}": "R_z^T δz_t + R_i^T δi_t + R_f^T δf_t + R_o^T δo_t",
    "dc'_{t-1}": "dc_t * f_t + p_f * δf_t + p_i * δi_t",
    **{f"dW_{gate}": f"Σ_t δ{gate}_t x_t^T" for gate in "zifo"},
    **{f"dR_{gate}": f"Σ_t δ{gate}_t h_{{t-1}}^T" for gate in "zifo"},
    **{f"db_{gate}": f"Σ_t δ{gate}_t" for gate in "zifo"},
    "dp_i": "Σ_t δi_t * c_{t-1}",
    "dp_f": "Σ_t δf_t * c_{t-1}",
    "dp_o": "Σ_t δo_t * c_t",
}


def test_the_peephole_lstm_has_the_deltas_of_the_lecture():
    equations = describe(tt.cells.get("lstm-peephole"))
    assert dict(equations.backward) == LECTURE
    assert equations.forward == [
        ("z_t", "tanh(W_z x_t + R_z h_{t-1} + b_z)"),
        ("i_t", "sigmoid(W_i x_t + R_i h_{t-1} + p_i * c_{t-1} + b_i)"),
        ("f_t", "sigmoid(W_f x_t + R_f h_{t-1} + p_f * c_{t-1} + b_f)"),
        ("c_t", "i_t * z_t + f_t * c_{t-1}"),
        ("o_t", "sigmoid(W_o x_t + R_o h_{t-1} + p_o * c_t + b_o)"),
        ("h_t", "o_t * tanh(c_t)"),
    ]


def test_the_reset_of_the_gru_has_the_product_that_it_hides():
    backward = dict(describe(tt.cells.get("gru")).backward)
    assert backward["δz_t"] == "dh_t * (h_{t-1} - n_t) * z_t * (1 - z_t)"
    assert backward["δr_t"] == "δn_t * Rn_t * r_t * (1 - r_t)"
    assert backward["db_Wn"] == "Σ_t δn_t"
    assert backward["db_Rn"] == "Σ_t δRn_t"


def test_equations_stand_in_an_order_in_which_they_can_be_computed(printed_cell):
    equations = describe(printed_cell)
    names = [name for name, _ in (*equations.forward, *equations.backward)]
    assert len(set(names)) == len(names)
    assert "?" not in equations.text()
    for number, name in enumerate(names):
        for _, text in (*equations.forward, *equations.backward)[:number]:
            assert not re.search(rf"(?<![\w'}}]){re.escape(name)}(?![\w'])", text), (name, text)


def test_long_equations_are_cut_before_a_sign():
    text = describe(tt.cells.get("lstm-fgr")).text(width=60)
    equations = describe(tt.cells.get("lstm-fgr"))
    whole = " ".join(text.split())
    for name, value in (*equations.forward, *equations.backward):
        assert f"{name} = {value}" in whole
    assert max(len(line) for line in text.splitlines() if "=" in line and "..." not in line) <= 60


# What cannot be described.


class Branching(tt.Cell):
    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x)) if s.h.sum() > 0 else s.h)


def test_a_cell_that_cannot_be_traced_gives_the_reason():
    with pytest.raises(Untraceable, match="a reduction has a kernel only over the units"):
        describe(Branching())

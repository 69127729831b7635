"""Backpropagation through time as the lecture prints it, equation by equation, against autograd.

Krawiec, "Recurrent Neural Networks" (2019/2020), section "Training: Backpropagation through
time". The equations are those of Greff et al. (2017), section II.B. A name that ends in ``_bar``
is a value before its nonlinearity; ``d`` stands for delta. In the first line the notes print
delta z, i, f, o without their bars, which can only mean the deltas with them.
"""

import numpy as np
import pytest
import torch

import throughtime as tt

T, M, N = 6, 3, 4


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def d_sigmoid(a):
    return sigmoid(a) * (1 - sigmoid(a))


def d_tanh(a):
    return 1 - np.tanh(a) ** 2


def printed(x, W, R, b, p, above):
    """The deltas of one sequence.

    Args:
        x: (T, M). W, R, b: the blocks z, i, f, o. p: i, f, o.
        above: Delta^t, (T, N), the deltas passed down from the layer above.
    """
    a = {k: np.zeros((T, N)) for k in "zifo"}
    z, i, f, o, c, y = (np.zeros((T, N)) for _ in range(6))
    zero = np.zeros(N)
    for t in range(T):
        y_old, c_old = (y[t - 1], c[t - 1]) if t > 0 else (zero, zero)
        for k in "zifo":
            a[k][t] = W[k] @ x[t] + R[k] @ y_old + b[k]
        a["i"][t] += p["i"] * c_old
        a["f"][t] += p["f"] * c_old
        z[t], i[t], f[t] = np.tanh(a["z"][t]), sigmoid(a["i"][t]), sigmoid(a["f"][t])
        c[t] = z[t] * i[t] + c_old * f[t]
        a["o"][t] += p["o"] * c[t]
        o[t] = sigmoid(a["o"][t])
        y[t] = np.tanh(c[t]) * o[t]

    # One more row of zeros: the deltas after the last step.
    d_bar = {k: np.zeros((T + 1, N)) for k in "zifo"}
    dc, f_next, dx = np.zeros((T + 1, N)), np.vstack([f, zero]), np.zeros((T, M))
    for t in reversed(range(T)):
        dy = (
            above[t]
            + R["z"].T @ d_bar["z"][t + 1]
            + R["i"].T @ d_bar["i"][t + 1]
            + R["f"].T @ d_bar["f"][t + 1]
            + R["o"].T @ d_bar["o"][t + 1]
        )
        d_bar["o"][t] = dy * np.tanh(c[t]) * d_sigmoid(a["o"][t])
        dc[t] = (
            dy * o[t] * d_tanh(c[t])
            + p["o"] * d_bar["o"][t]
            + p["i"] * d_bar["i"][t + 1]
            + p["f"] * d_bar["f"][t + 1]
            + dc[t + 1] * f_next[t + 1]
        )
        d_bar["f"][t] = dc[t] * (c[t - 1] if t > 0 else zero) * d_sigmoid(a["f"][t])
        d_bar["i"][t] = dc[t] * z[t] * d_sigmoid(a["i"][t])
        d_bar["z"][t] = dc[t] * i[t] * d_tanh(a["z"][t])
        dx[t] = sum(W[k].T @ d_bar[k][t] for k in "zifo")

    dW = {k: sum(np.outer(d_bar[k][t], x[t]) for t in range(T)) for k in "zifo"}
    dR = {k: sum(np.outer(d_bar[k][t + 1], y[t]) for t in range(T - 1)) for k in "zifo"}
    db = {k: sum(d_bar[k][t] for t in range(T)) for k in "zifo"}
    dp = {
        "i": sum(c[t] * d_bar["i"][t + 1] for t in range(T - 1)),
        "f": sum(c[t] * d_bar["f"][t + 1] for t in range(T - 1)),
        "o": sum(c[t] * d_bar["o"][t] for t in range(T)),
    }
    return y, dx, dW, dR, db, dp


@pytest.mark.parametrize("seed", [0, 1])
def test_the_bptt_that_the_lecture_prints_is_what_autograd_computes(seed):
    torch.manual_seed(seed)
    layer = tt.Recurrent("lstm-peephole", M, N, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    x = torch.randn(T, M, dtype=torch.float64, requires_grad=True)
    above = torch.randn(T, N, dtype=torch.float64)
    output, _ = layer(x)
    output.backward(above)

    weight = {k: v.detach().numpy() for k, v in layer.named_parameters()}
    blocks = {
        name: dict(zip("zifo", np.split(weight[f"{name}_l0"], 4), strict=True))
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    b = {k: blocks["bias_ih"][k] + blocks["bias_hh"][k] for k in "zifo"}
    p = {k: weight[f"p_{k}_l0"] for k in "ifo"}
    y, dx, dW, dR, db, dp = printed(
        x.detach().numpy(), blocks["weight_ih"], blocks["weight_hh"], b, p, above.numpy()
    )

    def assert_close(ours, theirs):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=1e-10)

    assert_close(output, y)
    assert_close(x.grad, dx)
    assert_close(layer.weight_ih_l0.grad, np.vstack([dW[k] for k in "zifo"]))
    assert_close(layer.weight_hh_l0.grad, np.vstack([dR[k] for k in "zifo"]))
    assert_close(layer.bias_ih_l0.grad, np.hstack([db[k] for k in "zifo"]))
    assert_close(layer.bias_hh_l0.grad, np.hstack([db[k] for k in "zifo"]))
    for k in "ifo":
        assert_close(layer.get_parameter(f"p_{k}_l0").grad, dp[k])

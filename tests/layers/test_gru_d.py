"""GRU-D against its equations in NumPy, with missing values and in pieces."""

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.layers import time_gaps

T, B, I, H = 8, 3, 2, 4
LENGTHS = [8, 3, 0]
NAN = float("nan")


def grud(**options):
    layer = tt.GRUD(I, H, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.8, 0.8)
        layer.x_mean.normal_()
    return layer


def observed(poison=NAN):
    """x with NaN where it is missing, the mask, and irregular times."""
    mask = torch.rand(T, B, I) < 0.4
    mask[:3, 0, 0] = False
    x = torch.where(mask, torch.randn(T, B, I, dtype=torch.float64), poison)
    return x, mask, torch.rand(T, B, dtype=torch.float64).cumsum(0)


def stated_gaps(times, mask):
    """Equation 2 of the paper, step by step."""
    gaps = np.zeros(mask.shape)
    for t in range(1, len(gaps)):
        step = (times[t] - times[t - 1])[:, None]
        gaps[t] = np.where(mask[t - 1], step, step + gaps[t - 1])
    return gaps


def stated(layer, x, mask, gaps):
    """The outputs by the equations of the paper."""
    p = {k: v.detach().numpy() for k, v in layer.state_dict().items()}

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    def parts(key):
        return np.split(p[f"recurrent.{key}_l0"], 3)

    W, R, b, c = (parts(k) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, last, outputs = np.zeros((x.shape[1], H)), np.tile(p["x_mean"], (x.shape[1], 1)), []
    for x_t, m_t, d_t in zip(x, mask, gaps, strict=True):
        gamma_x = np.exp(-np.maximum(0, p["decay_x_weight"] * d_t + p["decay_x_bias"]))
        gamma_h = np.exp(-np.maximum(0, d_t @ p["decay_h_weight"].T + p["decay_h_bias"]))
        last = np.where(m_t, x_t, last)
        filled = np.where(m_t, x_t, gamma_x * last + (1 - gamma_x) * p["x_mean"])
        v, h = np.concatenate([filled, m_t], -1), gamma_h * h
        r = sigmoid(v @ W[0].T + b[0] + h @ R[0].T + c[0])
        z = sigmoid(v @ W[1].T + b[1] + h @ R[1].T + c[1])
        n = np.tanh(v @ W[2].T + b[2] + (r * h) @ R[2].T + c[2])
        h = (1 - z) * h + z * n
        outputs.append(h)
    return np.stack(outputs)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)


def test_gaps_are_those_of_the_paper():
    _, mask, times = observed()
    gaps = time_gaps(times, mask)
    np.testing.assert_allclose(gaps, stated_gaps(times.numpy(), mask.numpy()), atol=1e-12)
    turned = time_gaps(times.T, mask.transpose(0, 1), batch_first=True)
    close(turned.transpose(0, 1), gaps)


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_the_layer_computes_the_equations_of_the_paper(backend):
    layer, (x, mask, times) = grud(backend=backend), observed()
    gaps = time_gaps(times, mask)
    output, (h, _, _) = layer(x, mask, gaps)
    expected = stated(layer, x.numpy(), mask.numpy(), gaps.numpy())
    np.testing.assert_allclose(output.detach(), expected, rtol=1e-11, atol=1e-12)
    close(h[0], output[-1])
    turned = grud(backend=backend, batch_first=True)
    turned.load_state_dict(layer.state_dict())
    rows, _ = turned(*(v.transpose(0, 1) for v in (x, mask, gaps)))
    close(rows.transpose(0, 1), output)


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_what_is_missing_or_past_the_end_of_a_row_reaches_neither_outputs_nor_gradients(backend):
    layer, (x, mask, times) = grud(backend=backend), observed(poison=0.0)
    gaps = time_gaps(times, mask)
    x.requires_grad_()
    results = []
    for poison in (0.0, NAN):
        values, d = torch.where(mask, x, poison), gaps.clone()
        for row, n in enumerate(LENGTHS):
            d[n:, row] = poison
        d.requires_grad_()
        output, state = layer(values, mask, d, lengths=LENGTHS)
        loss = output.square().sum() + sum(s.sum() for s in state)
        results.append([output, *state, *torch.autograd.grad(loss, [x, d, *layer.parameters()])])
    for a, b in zip(*results, strict=True):
        assert b.isfinite().all()
        close(a, b)
    assert not results[1][4][~mask].any()
    assert not results[1][4][3:, 1].any()
    assert results[1][0][3:, 1].eq(0).all()


def test_a_row_of_a_ragged_batch_is_the_row_alone():
    layer, (x, mask, times) = grud(backend="reference"), observed()
    gaps = time_gaps(times, mask)
    output, state = layer(x, mask, gaps, lengths=LENGTHS)
    for row, n in enumerate(LENGTHS[:2]):
        apart, end = layer(*(v[:n, row : row + 1] for v in (x, mask, gaps)))
        close(output[:n, row : row + 1], apart)
        for a, b in zip(state, end, strict=True):
            close(a[:, row : row + 1], b)
    # A row without steps keeps its initial state.
    h, last, elapsed = (s[0, 2] for s in state)
    assert not h.any()
    assert not elapsed.any()
    assert torch.equal(last, layer.x_mean)


@pytest.mark.parametrize("cuts", [[1] * T, [3, 5], [5, 2, 1]], ids=str)
def test_a_sequence_in_pieces_with_the_state_carried_is_the_sequence(cuts):
    layer, (x, mask, times) = grud(backend="reference"), observed()
    whole, last = layer(x, mask, time_gaps(times, mask))
    state, before, outputs = None, None, []
    for piece in zip(x.split(cuts), mask.split(cuts), times.split(cuts), strict=True):
        output, state = layer(*piece[:2], time_gaps(piece[2], piece[1], before), state)
        before = piece[2][-1]
        outputs.append(output)
    close(torch.cat(outputs), whole)
    for a, b in zip(state, last, strict=True):
        close(a, b)


def test_gradients_match_finite_differences():
    layer, (x, mask, times) = grud(backend="reference"), observed(poison=0.0)
    gaps = time_gaps(times, mask).requires_grad_()
    state = [torch.randn(1, B, n, dtype=torch.float64, requires_grad=True) for n in (H, I, I)]
    names = [name for name, _ in layer.named_parameters()]

    def function(x, gaps, h, last, elapsed, *weights):
        arguments = (x, mask, gaps, (h, last, elapsed))
        weights = dict(zip(names, weights, strict=True))
        output, state = torch.func.functional_call(layer, weights, arguments)
        return output, *state

    values = (x.requires_grad_(), gaps, *state, *layer.parameters())
    assert torch.autograd.gradcheck(function, values, fast_mode=True)


def test_the_mean_is_that_of_what_is_observed():
    layer, (x, mask, _) = grud(), observed()
    mask[..., 1] = False
    layer.set_mean(x, mask)
    assert layer.x_mean[0].item() == pytest.approx(x[..., 0][mask[..., 0]].mean().item())
    assert layer.x_mean[1] == 0
    assert "x_mean" in layer.state_dict()


def test_what_cannot_be_is_refused():
    layer, (x, mask, times) = grud(), observed()
    gaps = time_gaps(times, mask)
    with pytest.raises(ValueError, match=r"GRUD: expected mask of torch\.bool, got torch\.float64"):
        layer(x, mask.double(), gaps)
    with pytest.raises(ValueError, match=r"expected x of shape \(T, B, 2\) because input_size=2"):
        layer(x[..., :1], mask, gaps)
    with pytest.raises(ValueError, match=r"expected gaps of shape \(8, 3, 2\)"):
        layer(x, mask, gaps[:1])
    with pytest.raises(ValueError, match="expected hx as the three tensors of a state"):
        layer(x, mask, gaps, x.new_zeros(1, B, H))
    with pytest.raises(ValueError, match=r"the last values in hx of shape \(1, 3, 2\)"):
        layer(x, mask, gaps, (x.new_zeros(1, B, H), x.new_zeros(1, B, H), x.new_zeros(1, B, I)))
    with pytest.raises(ValueError, match=r"time_gaps: expected times of shape \(8, 3\)"):
        time_gaps(times[:2], mask)
    with pytest.raises(ValueError, match=r"GRUD\.set_mean: expected mask of shape"):
        layer.set_mean(x, mask[:2])
    with pytest.raises(ValueError, match="input_size=2"):
        layer.set_mean(x[..., :1], mask[..., :1])

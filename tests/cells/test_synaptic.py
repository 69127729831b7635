"""The cell of synaptic.py against its equations in NumPy, and what the layers make of it."""

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.cells import SynapticLTC

from .statements import I, sigmoid

T, B, H = 4, 3, 5


def layer_of(**options):
    layer = tt.Recurrent(SynapticLTC(), I, H, backend="reference", dtype=torch.float64, **options)
    with torch.no_grad():
        layer.mu_l0.normal_()
        layer.w_l0.normal_()
        layer.g_l0.normal_()
    return layer


def test_it_computes_its_equations():
    layer = layer_of()
    p = {k.removesuffix("_l0"): v.detach().numpy() for k, v in layer.named_parameters()}
    x, gap = torch.randn(T, B, I, dtype=torch.float64), 0.1 + torch.rand(T, B, dtype=torch.float64)
    output, _ = layer(x, inputs={"gap": gap})
    v = np.zeros((B, H))
    for t in range(T):
        s = x[t].numpy() @ p["weight_ih"].T + p["bias_ih"]
        for _ in range(6):
            new = np.zeros_like(v)
            for b in range(B):
                for j in range(H):
                    k = abs(p["c"][j]) * 6 / gap[t, b].item()
                    above, below = k * v[b, j] + abs(p["g"][j]) * p["e"][j], k + abs(p["g"][j])
                    for i in range(H):
                        a = abs(p["w"][j, i]) * sigmoid(
                            p["sigma"][j, i] * (v[b, i] - p["mu"][j, i])
                        )
                        of_x = s[b, i] - p["mu_in"][j, i]
                        a_in = abs(p["w_in"][j, i]) * sigmoid(p["sigma_in"][j, i] * of_x)
                        above += a * p["E"][j, i] + a_in * p["E_in"][j, i]
                        below += a + a_in
                    new[b, j] = above / (below + 1e-8)
            v = new
        np.testing.assert_allclose(output[t].detach().numpy(), v, rtol=1e-10, atol=1e-12)


def test_weights_start_as_in_ncps():
    torch.manual_seed(0)
    layer = tt.Recurrent(SynapticLTC(), 3, 40, num_layers=2)
    for suffix in ("_l0", "_l1"):
        for name, low, high in (
            *(("w", 0.001, 1), ("sigma", 3, 8), ("mu", 0.3, 0.8), ("w_in", 0.001, 1)),
            *(("c", 0.4, 0.6), ("g", 0.001, 1), ("e", -0.2, 0.2)),
        ):
            weight = getattr(layer, f"{name}{suffix}")
            assert weight.shape == ((40,) if name in "cge" else (40, 40))
            assert low <= weight.min() < weight.max() <= high
        for name in ("E", "E_in"):
            weight = getattr(layer, f"{name}{suffix}")
            assert set(weight.unique().tolist()) == {-1.0, 1.0}
            assert weight.mean().item() == pytest.approx(1 / 3, abs=0.1)


def test_gradients_are_those_of_finite_differences():
    layer = tt.Recurrent(SynapticLTC(unfolds=2), 2, 3, backend="reference", dtype=torch.float64)
    x = torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)
    h = torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True)
    gap = (0.5 + torch.rand(2, 2, dtype=torch.float64)).requires_grad_()
    values = [v.detach().requires_grad_() for v in layer.parameters()]
    names = [n for n, _ in layer.named_parameters()]

    def output(x, h, gap, *values):
        arguments = ((x, h), {"inputs": {"gap": gap}})
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), *arguments)

    assert torch.autograd.gradcheck(output, (x, h, gap, *values), fast_mode=True)


def test_it_says_why_it_has_no_kernel():
    layer = tt.Recurrent(SynapticLTC(), 2, 3)
    explained = layer.explain(torch.zeros(4, 1, 2))
    assert explained.backend == "reference"
    reason = "the matrix w_in is used in abs; matrices have a kernel in value @ matrix"
    assert reason in str(explained)
    with pytest.raises(ValueError, match=reason):
        tt.Recurrent(SynapticLTC(), 2, 3, backend="cpp")(torch.zeros(4, 1, 2))


def test_stepwise_is_the_sequence_and_padding_does_not_leak():
    layer = layer_of()
    x = torch.randn(T, B, I, dtype=torch.float64)
    output, last = layer(x, lengths=[T, 2, 1])
    stream = layer.stream()
    whole = torch.stack([stream.step(x_t) for x_t in x])
    torch.testing.assert_close(output[:2, 1], whole[:2, 1])
    torch.testing.assert_close(last[0, 2], whole[0, 2])
    assert not output[2:, 1].any()


def test_it_is_saved_and_read(tmp_path):
    layer = layer_of()
    tt.save_pretrained(layer, tmp_path)
    other = tt.from_pretrained(tmp_path, cells=[SynapticLTC])
    x = torch.randn(T, B, I, dtype=torch.float64)
    other.backend = "reference"
    assert torch.equal(other(x)[0], layer(x)[0])


@pytest.mark.parametrize(
    ("constants", "error", "message"),
    [
        ({"unfolds": 0}, ValueError, "unfolds of at least 1, got 0"),
        ({"unfolds": 2.5}, TypeError, "unfolds as a whole number, got 2.5"),
        ({"epsilon": -1.0}, ValueError, "epsilon of at least 0, got -1.0"),
    ],
)
def test_impossible_constants_are_refused(constants, error, message):
    with pytest.raises(error, match=message):
        SynapticLTC(**constants)

"""The loss in chunks is that of PyTorch: its value and all gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from throughtime.tasks import linear_cross_entropy as module
from throughtime.tasks.linear_cross_entropy import linear_cross_entropy


def drawn(N=70, H=5, V=11, bias=True):
    scores = nn.Linear(H, V, bias=bias).double()
    return torch.randn(N, H).double().requires_grad_(), scores, torch.randint(V, (N,))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("rows", [32, 69, 1000])
def test_it_is_that_of_pytorch(monkeypatch, rows, smoothing, bias):
    monkeypatch.setattr(module, "_FEWEST_ROWS", rows)
    monkeypatch.setattr(module, "_NUMBERS_OF_A_CHUNK", 1)
    h, scores, target = drawn(bias=bias)
    leaves = [h, *scores.parameters()]
    options = {"reduction": "sum", "label_smoothing": smoothing}
    expected = F.cross_entropy(scores(h), target, **options)
    got = linear_cross_entropy(h, scores, target, smoothing)
    torch.testing.assert_close(got, expected)
    for a, b in zip(
        torch.autograd.grad(got / 7, leaves), torch.autograd.grad(expected / 7, leaves), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_the_bias_alone_may_be_learned():
    h, scores, target = drawn()
    scores.weight.requires_grad_(False)
    h = h.detach()
    linear_cross_entropy(h, scores, target).backward()
    expected = F.cross_entropy(scores(h), target, reduction="sum")
    torch.testing.assert_close(scores.bias.grad, torch.autograd.grad(expected, [scores.bias])[0])


def test_large_scores_stay_finite():
    h, scores, target = drawn()
    with torch.no_grad():
        h.mul_(1e4)
    got = linear_cross_entropy(h, scores, target)
    torch.testing.assert_close(got, F.cross_entropy(scores(h), target, reduction="sum"))
    assert all(g.isfinite().all() for g in torch.autograd.grad(got, [h, scores.weight]))


def test_without_a_gradient_none_is_made(monkeypatch):
    h, scores, target = drawn()
    expected = F.cross_entropy(scores(h), target, reduction="sum")
    monkeypatch.setattr(torch.Tensor, "addmm_", None)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(h, scores, target), expected)
    assert not linear_cross_entropy(h.detach(), scores.requires_grad_(False), target).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_in_half_precision_the_sums_are_single(dtype):
    h, scores, target = drawn()
    h, scores = h.detach().to(dtype), scores.to(dtype)
    with torch.autocast("cpu", enabled=dtype is torch.float32):
        got = linear_cross_entropy(h, scores, target)
        expected = F.cross_entropy(scores(h).float(), target, reduction="sum")
    assert got.dtype is torch.float32
    torch.testing.assert_close(got, expected)


def test_transforms_and_forward_mode_are_those_of_plain_operations():
    h, scores, target = drawn()
    h, other = h.detach(), torch.randn_like(h)

    def ours(h):
        return linear_cross_entropy(h, scores, target)

    def theirs(h):
        return F.cross_entropy(scores(h), target, reduction="sum")

    for transformed in (
        lambda f: torch.func.jvp(f, (h,), (other,)),
        lambda f: torch.func.hessian(f)(h),
        lambda f: torch.vmap(torch.func.grad(f))(torch.stack([h, other])),
    ):
        torch.testing.assert_close(transformed(ours), transformed(theirs))


def test_a_second_derivative_is_refused():
    h, scores, target = drawn()
    loss, seed = linear_cross_entropy(h, scores, target), torch.tensor(1.0).double()
    (d,) = torch.autograd.grad(loss, [h], seed.requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        d.sum().backward()

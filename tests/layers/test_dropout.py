"""Dropout: the stated rate, the expectation of its input, and independent elements."""

import pytest
import torch
import torch.nn.functional as F

import throughtime as tt
from throughtime.layers.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.5, 0.75, 0.999])
def test_as_many_are_dropped_as_asked_and_the_rest_is_scaled(p):
    torch.manual_seed(0)
    n = 4_000_001
    y = dropout(torch.full((n,), 2.0), p)
    values = y.unique()
    assert len(values) == 2
    assert values[0] == 0
    assert values[1] == pytest.approx(2 / (1 - p), rel=1e-2 if p > 0.99 else 1e-4)
    # Five standard deviations.
    error = 5 * (p * (1 - p) / n) ** 0.5 + 1 / 65536
    assert (y == 0).double().mean().item() == pytest.approx(p, abs=error)
    assert y.double().mean().item() == pytest.approx(2, abs=2 * error / (1 - p))


def test_neighbours_are_dropped_without_regard_to_each_other():
    torch.manual_seed(0)
    is_kept = (dropout(torch.ones(1_000_000), 0.3) > 0).double() - 0.7
    for distance in (1, 2, 3, 4, 8):
        together = (is_kept[:-distance] * is_kept[distance:]).mean() / 0.21
        assert abs(together) < 5e-3


def test_the_gradient_is_the_mask():
    x = torch.randn(5, 7, 3, dtype=torch.float64, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x, y)
    assert set(x.grad.unique().tolist()) == {0.0, x.grad.max().item()}


def test_a_seed_means_the_same_numbers_and_each_call_others():
    x = torch.ones(1001)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5, 7)])
def test_shape_and_type_stay(shape, dtype):
    x = torch.ones(shape, dtype=dtype)
    assert (dropout(x, 0.5).shape, dropout(x, 0.5).dtype) == (x.shape, dtype)


def test_what_is_no_row_after_row_memory_is_dropped_too():
    x = torch.ones(200, 300).t()
    assert (dropout(x, 0.5) == 0).double().mean() == pytest.approx(0.5, abs=0.02)


def test_nothing_is_dropped_outside_of_training_and_all_with_probability_one():
    x = torch.randn(9)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(dropout(x, 0.0), x)
    assert not dropout(x, 1.0).any()
    assert repr(Dropout(0.5)) == "Dropout(p=0.5, inplace=False)"


def test_a_small_probability_is_pytorchs(monkeypatch):
    torch.manual_seed(0)
    ours = dropout(torch.ones(1000), 0.001)
    torch.manual_seed(0)
    assert torch.equal(ours, F.dropout(torch.ones(1000), 0.001))


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="dropout probability"):
        dropout(torch.ones(3), p)


def test_a_transform_drops_the_same_features():
    x = torch.randn(3, 7, dtype=torch.float64)

    def drawn(function):
        torch.manual_seed(5)
        return function(x)

    expected = drawn(lambda x: dropout(x, 0.4))
    value, tangent = drawn(lambda x: torch.func.jvp(lambda x: dropout(x, 0.4), (x,), (x,)))
    assert torch.equal(value, expected)
    assert torch.equal(tangent, expected)
    scale = drawn(torch.func.grad(lambda x: dropout(x, 0.4).sum()))
    torch.testing.assert_close(scale * x, expected)


def test_vmap_asks_how_samples_draw():
    x = torch.ones(2, 1001)

    def drawn(randomness):
        torch.manual_seed(5)
        return torch.vmap(lambda x: dropout(x, 0.5), randomness=randomness)(x)

    equal_draws, different = drawn("same"), drawn("different")
    assert torch.equal(equal_draws[0], equal_draws[1])
    torch.manual_seed(5)
    assert torch.equal(equal_draws[0], dropout(x[0], 0.5))
    assert (different[0] != different[1]).double().mean() == pytest.approx(0.5, abs=0.1)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        drawn("error")
    assert torch.equal(torch.vmap(Dropout(0.5).eval())(x), x)


def test_layers_of_a_cell_draw_these_numbers_and_those_named_as_in_torch_nn_draw_its_own():
    x = torch.ones(50, 4, 3)
    for layer, draw in (
        (tt.Recurrent("lstm", 3, 3, 2, dropout=0.5), dropout),
        (tt.LSTM(3, 3, 2, dropout=0.5), F.dropout),
    ):
        seen = []
        torch.manual_seed(4)
        between = draw(layer_output := torch.ones(50, 4, 3), 0.5)
        torch.manual_seed(4)
        layer._through_layers(x, lambda x, *_, seen=seen: (seen.append(x) or layer_output, ()))
        assert torch.equal(seen[1], between)

"""Attention: the weights of each kind, padding, and refusals."""

import math

import pytest
import torch

from throughtime.layers import Attention
from throughtime.layers.attention import KINDS


def attention(kind, **sizes):
    return Attention(kind, sizes.get("Q", 4), sizes.get("M", 4)).double()


def some(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_the_weights_of_dot_are_those_worked_out_by_hand():
    # q · k is log 1, log 2 and log 5, so the weights are 1, 2 and 5 eighths.
    query = torch.tensor([[[1.0, 0.0]]])
    values = torch.tensor([[[0.0, 8.0], [math.log(2), 16.0], [math.log(5), 0.0]]])
    look = Attention("dot", 2, 2)
    context, weights = look(query, look.prepare(values))
    torch.testing.assert_close(weights[0, 0], torch.tensor([1.0, 2.0, 5.0]) / 8)
    torch.testing.assert_close(context[0, 0, 1], torch.tensor((8 + 2 * 16) / 8))


def test_general_puts_its_matrix_between_query_and_key():
    look, query, values = attention("general", M=6), some(2, 3, 4), some(2, 5, 6)
    _, weights = look(query, look.prepare(values))
    energies = torch.einsum("btq,qm,bsm->bts", query, look.key.weight, values)
    torch.testing.assert_close(weights, energies.softmax(-1))


def test_additive_compares_in_a_hidden_layer():
    look, query, values = attention("additive", M=6), some(2, 3, 4), some(2, 5, 6)
    _, weights = look(query, look.prepare(values))
    for b, t in ((0, 0), (1, 2)):
        hidden = look.query.weight @ query[b, t] + values[b] @ look.key.weight.T + look.key.bias
        energies = hidden.tanh() @ look.energy.weight[0]
        torch.testing.assert_close(weights[b, t], energies.softmax(-1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_is_the_mean_that_the_weights_say(kind):
    look, query, values = attention(kind), some(2, 3, 4), some(2, 5, 4)
    context, weights = look(query, look.prepare(values, [5, 2]))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    torch.testing.assert_close(context, weights @ values)
    assert not weights[1, :, 2:].any()


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_never_leaks_into_results_or_gradients(kind, garbage):
    look, query = attention(kind), some(2, 3, 4).requires_grad_()
    clean = some(2, 5, 4)
    spoilt = clean.clone()
    spoilt[1, 2:] = garbage

    def outcome(values):
        values = values.clone().requires_grad_()
        context, weights = look(query, look.prepare(values, [5, 2]))
        loss = (context * torch.arange(4)).sum() + weights[..., 0].square().sum()
        return context, weights, *torch.autograd.grad(loss, [query, values, *look.parameters()])

    for a, b in zip(outcome(clean), outcome(spoilt), strict=True):
        assert torch.equal(a, b)
    assert not outcome(spoilt)[3][1, 2:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_finds_what_it_finds_in_a_batch(kind):
    look, query, values = attention(kind), some(3, 2, 4), some(3, 5, 4)
    lengths = [4, 1, 5]
    together, _ = look(query, look.prepare(values, lengths))
    for b, S in enumerate(lengths):
        alone, _ = look(query[b : b + 1], look.prepare(values[b : b + 1, :S]))
        torch.testing.assert_close(together[b], alone[0])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_memory_are_the_memory_of_those_rows(kind):
    look, query, values = attention(kind), some(3, 2, 4), some(3, 5, 4)
    index = torch.tensor([2, 0, 2])
    of_rows = look.prepare(values, [4, 1, 5]).rows(index)
    expected = look.prepare(values[index], [5, 4, 5])
    for got, wanted in zip(look(query, of_rows), look(query, expected), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradients_are_those_of_finite_differences(kind):
    look = attention(kind)

    def run(query, values):
        return look(query, look.prepare(values, [4, 2]))

    inputs = some(2, 2, 4).requires_grad_(), some(2, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Attention("aditive", 4, 4),
            'unknown attention "aditive"; did you mean "additive"',
        ),
        (lambda: Attention("dot", 4, 8), "as wide as the query.*query_size=4 and memory_size=8"),
        (lambda: Attention("general", 4, 4, 3), "hidden_size=3 would have no effect"),
        (
            lambda: attention("dot").prepare(some(2, 5, 3)),
            r"values of shape \(B, S, 4\).*\(2, 5, 3\)",
        ),
        (lambda: attention("dot").prepare(some(2, 0, 4)), "at least one step to look at"),
        (lambda: attention("dot").prepare(some(2, 5, 4), [3, 0]), "got length 0 in row 1"),
        (lambda: attention("dot").prepare(some(2, 5, 4), [3, 6]), "lengths from 0 to 5"),
        (
            lambda: attention("dot")(some(3, 2, 4), attention("dot").prepare(some(2, 5, 4))),
            r"query of shape \(2, T, 4\).*got \(3, 2, 4\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

"""vmap over the arguments of a layer, and the other transforms of torch.func."""

import pytest
import torch
from torch.func import functionalize, grad, jvp, linearize, vmap

from throughtime.kernels.cpp.build import missing

from .operator_layers import B, I, T, close, flat, layer_of, loss, sequence, weights_of

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


@pytest.fixture(params=["lstm", "gru", "Peephole", "Centred"])
def cell(request):
    return request.param


def test_gradients_of_each_ragged_sample_equal_a_loop(cell):
    """The rows of all samples are sorted by length together; kept arrays must not be mixed."""
    layer, x = layer_of(cell), sequence(3)
    lengths, resets = torch.tensor([[4, 1, 2], [0, 3, 4], [2, 2, 1]]), torch.rand(3, T, B) < 0.3
    weights = weights_of(layer)

    def gradients(weights, x, lengths, resets):
        arguments = {"lengths": lengths, "resets": resets}
        return grad(lambda *a: loss(layer, *a, arguments), (0, 1))(weights, x)

    of_weights, of_x = vmap(gradients, (None, 0, 0, 0))(weights, x, lengths, resets)
    for i in range(3):
        expected, d_x = gradients(weights, x[i], lengths[i], resets[i])
        close([*(g[i] for g in of_weights.values()), of_x[i]], [*expected.values(), d_x])
    shared = vmap(gradients, (None, 0, None, None))(weights, x, lengths[1], resets[1])
    expected = gradients(weights, x[2], lengths[1], resets[1])
    close([*(g[2] for g in shared[0].values()), shared[1][2]], [*expected[0].values(), expected[1]])


def test_vmap_over_lengths_and_resets_equals_a_loop(ran, cell):
    layer, x = layer_of(cell, bidirectional=True), sequence(2)
    lengths, resets = torch.tensor([[4, 1, 2], [0, 3, 4]]), torch.rand(2, T, B) < 0.3

    def apply(x, lengths, resets):
        return flat(layer(x, lengths=lengths, resets=resets))

    def looped(*batched):
        rows = [apply(*values) for values in zip(*batched, strict=True)]
        return [torch.stack(v) for v in zip(*rows, strict=True)]

    with torch.no_grad():
        expected = looped(x, lengths, resets)
        ran.clear()
        close(vmap(apply)(x, lengths, resets), expected)
        assert ran == ["forward"] * 2
        last = vmap(apply, in_dims=(0, -1, 1), out_dims=1)(x, lengths.T, resets.movedim(0, 1))
        close([v.movedim(1, 0) for v in last], expected)
        shared = looped(x[:1].expand_as(x), lengths, resets[:1].expand_as(resets))
        close(vmap(lambda n: apply(x[0], n, resets[0]))(lengths), shared)
        both = vmap(vmap(apply, (None, 0, None)), (0, None, 0))(x, lengths, resets)
        for i in range(2):
            rows = looped(x[i].expand_as(x), lengths, resets[i].expand_as(resets))
            close([v[i] for v in both], rows)


def test_lengths_are_checked_in_every_sample():
    layer, x = layer_of(), sequence()
    with pytest.raises(ValueError, match=r"lengths from 0 to 4, .*, got 1 to 5"):
        vmap(lambda n: layer(x, lengths=n)[0])(torch.tensor([[4, 4, 1], [2, 5, 3]]))
    with pytest.raises(ValueError, match=r"lengths of shape \(3\) because x has 3 rows"):
        vmap(lambda n: layer(x, lengths=n)[0])(torch.tensor([[4, 4], [2, 3]]))


@pytest.mark.parametrize(
    "options",
    [
        {"zoneout": 0.5},
        {"recurrent_dropout": 0.5},
        {"weight_drop": 0.5},
        {"num_layers": 2, "dropout": 0.5},
        {"num_layers": 2, "dropout": 0.5, "locked_dropout": True},
    ],
    ids=str,
)
def test_vmap_asks_how_samples_draw(options):
    layer, x = layer_of("lstm", **options), sequence().expand(3, T, B, I)

    def run(randomness):
        torch.manual_seed(1)
        return vmap(lambda x: layer(x)[0], randomness=randomness)(x)

    with pytest.raises(RuntimeError, match="randomness"):
        run("error")
    equal, different = run("same"), run("different")
    assert torch.equal(equal[0], equal[2])
    assert not torch.equal(different[0], different[2])
    assert torch.equal(different, run("different"))
    close([layer.eval()(x[0])[0]], [run("error")[1]])


def test_linearize_and_functionalize_take_the_reference():
    layer, x, v = layer_of("lstm", backend="auto"), sequence(), sequence()
    expected = jvp(lambda x: layer(x)[0], (x,), (v,))[1]
    # PyTorch warns of constants that it folds.
    with pytest.warns(UserWarning, match="get_attr Node"):
        _, push = linearize(lambda x: layer(x)[0], x)
    close([push(v)], [expected])
    close([functionalize(lambda x: layer(x)[0])(x)], [layer(x)[0]])
    of_loss = grad(lambda x: layer(x)[0].square().sum())
    close([functionalize(of_loss)(x)], [of_loss(x)])

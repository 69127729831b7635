"""Packing and unpacking against PyTorch's functions, and under transforms."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import throughtime as tt
from throughtime.layers import MatrixLSTM
from throughtime.layers.packed import packed_like, padded

I, H = 3, 4
LENGTHS = {"in any order": [2, 6, 1, 6], "sorted": [6, 6, 2, 1], "of one step": [1, 1]}


@pytest.fixture(params=LENGTHS)
def lengths(request):
    return torch.tensor(LENGTHS[request.param])


def packed_of(lengths, *features, dtype=torch.float64):
    x = torch.randn(int(lengths.max()), len(lengths), *features, dtype=dtype)
    is_sorted = bool((lengths.diff() <= 0).all())
    return pack_padded_sequence(x, lengths, enforce_sorted=is_sorted)


@pytest.mark.parametrize("features", [(), (3,), (2, 3)])
def test_it_is_what_pytorch_makes_of_it(lengths, features):
    packed = packed_of(lengths, *features)
    sequence, ends = padded(packed)
    expected, expected_ends = pad_packed_sequence(packed)
    assert torch.equal(sequence, expected)
    assert torch.equal(ends, expected_ends)
    again = packed_like(sequence * 2, packed)
    assert torch.equal(again.data, packed.data * 2)
    for ours, theirs in zip(again[1:], packed[1:], strict=True):
        assert ours is theirs


def test_gradients_go_to_the_steps_that_they_came_from(lengths):
    packed = packed_of(lengths, I)
    data = packed.data.clone().requires_grad_()
    weights = torch.randn(int(lengths.max()), len(lengths), I).double()
    (padded(PackedSequence(data, *packed[1:]))[0] * weights).sum().backward()
    assert torch.equal(data.grad, packed_like(weights, packed).data)
    leaf = padded(packed)[0].requires_grad_()
    packed_like(leaf, packed).data.backward(packed.data)
    assert torch.equal(leaf.grad, padded(packed)[0])


@pytest.mark.parametrize("make", [tt.LSTM, MatrixLSTM])
def test_transforms_of_packed_sequences_are_those_of_padded_ones(make, lengths):
    layer = make(I, H, dtype=torch.float64)
    packed = packed_of(lengths, I)
    x, other = padded(packed)[0], torch.randn_like(packed.data)
    weights = {k: torch.stack([p.detach(), 2 * p.detach()]) for k, p in layer.named_parameters()}

    def of_packed(data, weights=None):
        args = (PackedSequence(data, *packed[1:]),)
        output, last = functional_call(layer, weights or {}, args)
        return output.data, last

    def of_padded(data, weights=None):
        x = padded(PackedSequence(data, *packed[1:]))[0]
        output, last = functional_call(layer, weights or {}, (x,), {"lengths": lengths})
        return packed_like(output, packed).data, last

    def loss(f):
        return lambda data: f(data)[0].square().sum()

    assert x.shape[1] == len(lengths)
    for transformed in (
        lambda f: jvp(f, (packed.data,), (other,)),
        lambda f: vmap(f)(torch.stack([packed.data, other])),
        lambda f: vmap(lambda w: f(packed.data, w))(weights),
        lambda f: vmap(grad(loss(f)))(torch.stack([packed.data, other])),
        lambda f: jacrev(lambda data: f(data)[0])(packed.data),
        lambda f: hessian(loss(f))(packed.data),
    ):
        torch.testing.assert_close(transformed(of_packed), transformed(of_padded))


def test_forward_mode_and_batched_gradients_equal_torch_nn(lengths):
    theirs = torch.nn.LSTM(I, H, 2, bidirectional=True).double()
    ours = tt.LSTM(I, H, 2, bidirectional=True, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    packed, results = packed_of(lengths, I), []
    tangent = torch.randn_like(packed.data)
    d_output = torch.randn(3, len(packed.data), 2 * H).double()
    for layer in (ours, theirs):
        with forward_ad.dual_level():
            data = forward_ad.make_dual(packed.data, tangent)
            output, last = layer(PackedSequence(data, *packed[1:]))
            values = [forward_ad.unpack_dual(v).tangent for v in (output.data, *last)]
        data = packed.data.clone().requires_grad_()
        output, _ = layer(PackedSequence(data, *packed[1:]))
        values += torch.autograd.grad(
            output.data, [data, *layer.parameters()], d_output, is_grads_batched=True
        )
        results.append(values)
    torch.testing.assert_close(*results)

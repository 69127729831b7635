"""Every layer takes every layout of sequences, and returns results in it."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import throughtime as tt
from throughtime.checks import ShapeError
from throughtime.layers import time_gaps
from throughtime.layers.sequence import enter

T, B, I, H = 7, 4, 3, 4
LENGTHS = [5, 7, 1, 4]
LAYERS = {
    "Recurrent": lambda **o: tt.Recurrent("lstm-peephole", I, H, num_layers=2, **o),
    "GRUD": lambda **o: tt.GRUD(I, H, **o),
    "MatrixLSTM": lambda **o: tt.MatrixLSTM(I, H, 2, chunk_length=3, **o),
}
ROWS_OF_STATES = {"Recurrent": 1, "GRUD": 1, "MatrixLSTM": 0}
"""The dimension of a layer's states that indexes the rows of the batch."""

every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(name, **options):
    torch.manual_seed(1)
    layer = LAYERS[name](dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.8, 0.8)
    return layer


def sequences(name, resets=None):
    """The inputs of the layer, each (T, B, I): x, and for GRU-D the mask and the gaps."""
    x = torch.randn(T, B, I, dtype=torch.float64)
    if name != "GRUD":
        return [x]
    mask, times = torch.rand(T, B, I) < 0.4, torch.rand(T, B, dtype=torch.float64).cumsum(0)
    return [x, mask, time_gaps(times, mask, resets=resets)]


def initial(name, layer):
    """A state of the layer that differs from its default initial state."""
    return tuple(s.detach() for s in layer(*sequences(name))[1])


def close(got, expected):
    if isinstance(got, Tensor):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)
    elif isinstance(got, PackedSequence):
        for a, b in zip(got, expected, strict=True):
            assert a is b or torch.allclose(a, b, rtol=1e-11, atol=1e-12)
    else:
        for a, b in zip(got, expected, strict=True):
            close(a, b)


def row(name, state, b):
    return tuple(s.select(ROWS_OF_STATES[name], b) for s in state)


@every_layer
def test_batch_first_and_time_first_are_the_same_numbers(name):
    layer, turned = make(name), make(name, batch_first=True)
    arguments, hx = sequences(name), initial(name, layer)
    resets = torch.rand(T, B) < 0.3
    output, last = layer(*arguments, hx, lengths=LENGTHS, resets=resets)
    flipped = [v.transpose(0, 1) for v in arguments]
    got, end = turned(*flipped, hx, lengths=LENGTHS, resets=resets.T)
    close(got.transpose(0, 1), output)
    close(end, last)


@every_layer
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_alone_is_a_batch_of_one(name, batch_first):
    layer = make(name, batch_first=batch_first)
    arguments, hx = sequences(name), initial(name, make(name))
    resets = torch.rand(T, B) < 0.3
    output, last = make(name)(*arguments, hx, resets=resets)
    for b in range(B):
        apart, end = layer(*(v[:, b] for v in arguments), row(name, hx, b), resets=resets[:, b])
        close(apart, output[:, b])
        close(end, row(name, last, b))
    begun, _ = layer(*(v[:, 0] for v in arguments))
    close(begun, make(name)(*arguments)[0][:, 0])


@every_layer
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_packed_sequences_are_lengths_in_another_word(name, batch_first, is_sorted):
    layer, plain = make(name, batch_first=batch_first), make(name)
    lengths = sorted(LENGTHS, reverse=True) if is_sorted else LENGTHS
    arguments, hx = sequences(name), initial(name, plain)
    for v in arguments:
        if v.is_floating_point():
            v.requires_grad_()
    output, last = plain(*arguments, hx, lengths=lengths)
    packed = [pack_padded_sequence(v, lengths, enforce_sorted=is_sorted) for v in arguments]
    got, end = layer(*packed, hx)
    close(got, pack_padded_sequence(output, lengths, enforce_sorted=is_sorted))
    close(end, last)
    padded, ends = pad_packed_sequence(got)
    assert ends.tolist() == lengths
    upstream = torch.randn_like(padded)
    of_packed, of_lengths = (
        torch.autograd.grad((y * upstream).sum() + sum(s.sum() for s in state), leaves)
        for (y, state), leaves in zip(
            ((padded, end), (output, last)),
            [[arguments[0], *layer.parameters()], [arguments[0], *plain.parameters()]],
            strict=True,
        )
    )
    close(of_packed, of_lengths)


@every_layer
def test_resets_run_the_segments_apart(name):
    layer = make(name)
    resets = torch.zeros(T, B, dtype=torch.bool)
    resets[2, 0] = resets[3, 0] = resets[1, 1] = resets[6, 1] = resets[0, 3] = True
    # Past the end of its row.
    resets[3, 2] = True
    arguments, hx = sequences(name, resets), initial(name, layer)
    output, last = layer(*arguments, hx, lengths=LENGTHS, resets=resets)
    for b, length in enumerate(LENGTHS):
        begins = [0, *(t for t in range(1, length) if resets[t, b]), length]
        for start, stop in pairwise(begins):
            part = [v[start:stop, b] for v in arguments]
            apart, end = layer(*part, row(name, hx, b))
            close(output[start:stop, b], apart)
        close(row(name, last, b), end)


def test_gaps_begin_anew_where_a_row_does():
    mask = torch.rand(T, B, I) < 0.4
    times, before = torch.rand(T, B).double().cumsum(0) + 1, torch.rand(B).double()
    resets = torch.rand(T, B) < 0.4
    gaps = time_gaps(times, mask, before, resets=resets)
    turned = time_gaps(times.T, mask.transpose(0, 1), before, batch_first=True, resets=resets.T)
    close(turned.transpose(0, 1), gaps)
    assert resets[1:].any()
    for b in range(B):
        begins = [0, *(t for t in range(T) if resets[t, b]), T]
        for start, stop in pairwise(begins):
            if start < stop:
                first = None if resets[start, b] else before[b]
                part = slice(start, stop)
                close(gaps[part, b], time_gaps(times[part, b], mask[part, b], first))


@every_layer
@pytest.mark.parametrize("batch_first", [False, True])
def test_what_does_not_fit_is_refused_in_the_same_words(name, batch_first):
    layer = make(name, batch_first=batch_first)
    entering = [v.transpose(0, 1) if batch_first else v for v in sequences(name)]
    x, *beside = entering
    letters, shape = ("B, T", "4, 7") if batch_first else ("T, B", "7, 4")
    resets = torch.zeros(x.shape[:2], dtype=torch.bool)
    for arguments, options, error, message in [
        ((None,), {}, TypeError, "expected x as a tensor, got None"),
        ((x[..., :2],), {}, ShapeError, rf"x of shape \({letters}, 3\) because input_size=3, got"),
        ((x[0, ..., :2],), {}, ShapeError, r"expected x of shape \(T, 3\)"),
        ((x.float(),), {}, ValueError, r"x of torch\.float64 as the weights are, got torch\.float"),
        ((x,), {"resets": resets.int()}, ValueError, r"resets of torch\.bool, got torch\.int32"),
        ((x,), {"resets": resets.T}, ShapeError, rf"resets of shape \({shape}\)"),
        ((x,), {"resets": [True]}, TypeError, r"expected resets as a tensor, got \[True\]"),
        ((x,), {"lengths": [1, 2]}, ShapeError, r"lengths of shape \(4\)"),
        ((x,), {"lengths": [1, 2, 3, 8]}, ValueError, "expected lengths from 0 to 7"),
        ((x.narrow(int(batch_first), 0, 0),), {}, ShapeError, "expected at least one time step"),
    ]:
        with pytest.raises(error, match=rf"^{name}\S*: .*{message}"):
            layer(*arguments, *beside, **options)
    packed = [pack_padded_sequence(v, LENGTHS, batch_first, False) for v in entering]
    for option in ({"lengths": LENGTHS}, {"resets": resets}):
        words = rf"^{name}\S*: a PackedSequence brings its own lengths; lengths.* and \w+ go with a"
        with pytest.raises(ValueError, match=words):
            layer(*packed, **option)


def test_what_is_packed_beside_x_is_packed_as_x_is():
    layer, (x, mask, gaps) = make("GRUD"), sequences("GRUD")

    def packed(value, lengths=LENGTHS, is_sorted=False):
        return pack_padded_sequence(value, lengths, enforce_sorted=is_sorted)

    with pytest.raises(TypeError, match="GRUD: expected mask as a PackedSequence, as x is, got te"):
        layer(packed(x), mask, packed(gaps))
    with pytest.raises(TypeError, match="GRUD: expected gaps as a Tensor, as x is, got PackedSeq"):
        layer(x, mask, packed(gaps))
    for lengths in ([5, 7, 1, 3], [7, 5, 1, 4]):
        with pytest.raises(
            ShapeError, match="GRUD: expected gaps packed as x is, with the same le"
        ):
            layer(packed(x), packed(mask), packed(gaps, lengths))
    with pytest.raises(ShapeError, match=r"GRUD: expected mask of shape \(7, 4, 3\)"):
        layer(packed(x), packed(mask[..., :2]), packed(gaps))
    with pytest.raises(ValueError, match=r"GRUD: expected mask of torch\.bool"):
        layer(packed(x), packed(gaps), packed(gaps))


def test_steps_say_which_are_valid():
    def steps(lengths=None):
        options = dict(input_size=I, dtype=torch.float32, batch_first=True)
        return enter("here", torch.zeros(2, 3, I), lengths=lengths, **options)

    assert steps().valid() is None
    expected = [[True, False], [True, False], [False, False]]
    assert steps([2, 0]).valid().tolist() == expected

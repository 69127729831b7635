"""Transcriber: shorter times, padding without influence, and streams equal to the whole."""

import pytest
import torch

from throughtime.models.transcriber import Transcriber, joined, num_steps


def model_of(**options):
    torch.manual_seed(0)
    return Transcriber(5, 3, hidden_size=6, **options).double()


SHORTENED = [
    {},
    {"stack": 3},
    {"num_layers": 2, "pyramid": 1},
    {"num_layers": 3, "pyramid": 2, "stack": 2},
    {"num_layers": 3, "pyramid": 1},
]


def test_joined_steps_by_hand():
    x = torch.arange(10.0).reshape(1, 5, 2)
    assert joined(x, 2).tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]]
    assert num_steps(5, 2, 0) == 3
    assert num_steps(torch.tensor([1, 8, 9]), 2, 1).tolist() == [1, 2, 3]


@pytest.mark.parametrize("options", SHORTENED)
@pytest.mark.parametrize("is_both", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "mgu"])
def test_padding_and_neighbours_have_no_influence(options, is_both, cell):
    model = model_of(cell=cell, bidirectional=is_both, **options)
    lengths = torch.tensor([17, 1, 6, 12])
    x = torch.randn(4, 17, 3, dtype=torch.float64)
    x *= (torch.arange(17) < lengths[:, None])[..., None]
    together = model(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(x[row : row + 1, :length], torch.tensor([length]))[0]
        assert len(alone) == model.num_steps(length)
        torch.testing.assert_close(together[row, : len(alone)], alone)


@pytest.mark.parametrize("options", SHORTENED)
@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_a_stream_in_pieces_equals_the_whole(options, size):
    model = model_of(**options)
    for T in (1, 4, 23):
        x = torch.randn(T, 3, dtype=torch.float64)
        stream = model.stream()
        pieces = [stream.read(piece) for piece in x.split(size)]
        pieces.append(stream.read(x[:0], is_end=True))
        whole = model(x[None], torch.tensor([T]))[0]
        torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-10)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="expected pyramid from 0 to 1, because num_layers=2"):
        model_of(num_layers=2, pyramid=2)
    with pytest.raises(ValueError, match="stack"):
        model_of(stack=0)
    with pytest.raises(ValueError, match="bidirectional=True reads a sequence from its end"):
        model_of(bidirectional=True).stream()

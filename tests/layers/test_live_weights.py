"""Streams whose plans hold smaller weights: bfloat16 and int8."""

import copy

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp.build import missing
from throughtime.layers.stream import Stream
from throughtime.models import LanguageModel

from .streams import is_planned, stepped

# Without a compiler there are no kernels to test.
pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


@pytest.mark.parametrize(("weights", "tolerance"), [("bfloat16", 6e-3), ("int8", 2e-2)])
@pytest.mark.parametrize("cell", ["lstm-peephole", "gru-reset-before"])
def test_smaller_weights_lose_little(cell, weights, tolerance):
    layer = tt.Recurrent(cell, 5, 37, 2)
    x = torch.randn(12, 2, 5)
    stream = layer.stream(weights=weights)
    y = stepped(stream, x)
    whole = layer(x)[0]
    error = (y - whole).norm() / whole.norm()
    assert 1e-6 < error < tolerance
    assert is_planned(stream, x[0])
    fork = stream.fork()
    assert torch.equal(fork.step(x[0]), stream.step(x[0]))


def test_int8_weights_are_those_that_rounding_gives():
    layer = tt.Recurrent("lstm-fgr", 3, 20, 2)
    x = torch.randn(6, 1, 3)
    rounded = copy.deepcopy(layer)
    blocks = len(layer.cell.recurrent_block_names)
    with torch.no_grad():
        for name, weight in rounded.named_parameters():
            if not name.startswith("weight"):
                continue
            rows = weight.abs().amax(1)
            if name.startswith("weight_hh"):
                # All blocks that add to one gate share a scale: z, i, f, o and their like.
                rows = scales_of_sums(layer.cell, rows.view(blocks, 20)).view(-1)
            scale = (rows / 127).unsqueeze(1)
            weight.copy_((weight / scale).round() * scale)
    y = stepped(layer.stream(weights="int8"), x)
    torch.testing.assert_close(y, rounded(x)[0], rtol=1e-4, atol=1e-5)


def scales_of_sums(cell, largest):
    """The largest weight of each unit in all blocks that add to one slot of the program."""
    from throughtime.kernels.graph.program import program

    names, result = cell.recurrent_block_names, largest.clone()
    for slot in program(cell).slots:
        places = [names.index(block) for _, block in slot.pairs]
        result[places] = largest[places].amax(0)
    return result


def test_smaller_weights_follow_changes_and_keep_nan():
    layer, x = tt.LSTM(4, 32), torch.randn(2, 4)
    stream = layer.stream(weights="int8")
    stream.step(x)
    with torch.no_grad():
        layer.weight_hh_l0[3, 5] = float("nan")
        layer.weight_ih_l0[0] = 0
    assert stream.step(x).isnan().any()


def test_long_pieces_and_large_batches_keep_the_smaller_weights():
    layer = tt.GRU(4, 32)
    for T, B in ((150, 1), (2, 40)):
        x = torch.randn(T, B, 4)
        whole = layer.stream(weights="int8").read(x)
        torch.testing.assert_close(whole, stepped(layer.stream(weights="int8"), x))
        assert not torch.allclose(whole, layer(x)[0], atol=1e-6)


def test_smaller_weights_are_refused_where_no_plan_runs():
    with pytest.raises(ValueError, match=r"unknown weights .*int4.*int8"):
        tt.GRU(4, 8).stream(weights="int4")
    with pytest.raises(ValueError, match=r"needs a compiled plan, and a MatrixLSTM has none"):
        Stream(tt.layers.MatrixLSTM(4, 8), False, None, "int8")
    with pytest.raises(ValueError, match=r'weights="int8" needs a layer of float32'):
        tt.GRU(4, 8, dtype=torch.float64).stream(weights="int8").step(torch.randn(1, 4).double())
    stream = tt.GRU(4, 8).stream(weights="int8")
    with pytest.raises(
        ValueError, match=r'weights="int8" cannot run this: x has the shape \(2, 5\)'
    ):
        stream.step(torch.randn(2, 5))
    with pytest.raises(ValueError, match="a token has no embedding"):
        LanguageModel(11, hidden_size=9).stream(weights="int8").step(torch.tensor([11]))


def test_a_language_model_with_int8_weights():
    model, tokens = LanguageModel(11, hidden_size=33).eval(), torch.randint(11, (2, 6))
    scores = model.stream(weights="int8").read(tokens)
    torch.testing.assert_close(scores, model(tokens)[0], rtol=0.1, atol=0.02)

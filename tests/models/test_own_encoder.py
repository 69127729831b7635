"""Encoders and decoders with different settings, and a user's encoder."""

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime import cells
from throughtime.models import EncoderDecoder, beam_search


class Patches(nn.Module):
    """Reads pictures (B, C, W) by a convolution over their columns, which halves their number."""

    output_size = 6

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(3, 6, 2, stride=2)

    def forward(self, source, lengths):
        values = self.convolution(source).transpose(1, 2)
        return values, None if lengths is None else torch.as_tensor(lengths) // 2


@pytest.mark.parametrize("attention", ["none", "general", "additive"])
@pytest.mark.parametrize("cell", ["lstm", "slstm"])
def test_any_module_is_an_encoder(attention, cell):
    model = EncoderDecoder(
        None, 9, encoder=Patches(), cell=cell, hidden_size=8, num_layers=2, attention=attention
    )
    pictures, target_in = torch.randn(2, 3, 10), torch.randint(3, 9, (2, 4))
    scores = model(pictures, [10, 6], target_in)
    assert scores.shape == (2, 4, 9)
    scores.sum().backward()
    assert all(p.grad is not None for p in model.encoder.parameters())
    # Neither attention nor the mean reads past the end of a picture.
    changed = pictures.clone()
    changed[1, :, 6:] = 99.0
    torch.testing.assert_close(model(changed, [10, 6], target_in)[1], scores[1])
    ((best,), _) = beam_search(model, pictures, [10, 6], width=2, max_length=5)
    assert len(best.tokens) <= 5


@pytest.mark.parametrize("layers", [(1, 3), (3, 1), (2, 2)])
def test_both_sides_may_differ_in_cell_depth_and_width(layers, tmp_path):
    model = EncoderDecoder(
        11,
        9,
        hidden_size=8,
        encoder_options={
            "cell": cells.get(
                "lem",
            ),
            "num_layers": layers[0],
            "hidden_size": 5,
        },
        decoder_options={"cell": "lstm", "num_layers": layers[1], "zoneout": 0.1},
    )
    assert model.encoder.cell.name == "lem"
    assert (model.encoder.num_layers, model.decoder.recurrent.num_layers) == layers
    assert model.decoder.recurrent.zoneout == 0.1
    source, target_in = torch.randint(3, 11, (2, 5)), torch.randint(3, 9, (2, 4))
    assert model.eval()(source, [5, 3], target_in).shape == (2, 4, 9)
    tt.save_pretrained(model, tmp_path)
    again = tt.from_pretrained(tmp_path)
    torch.testing.assert_close(again(source, [5, 3], target_in), model(source, [5, 3], target_in))


def test_options_reach_both_sides_and_those_of_one_direction_the_encoder():
    model = EncoderDecoder(
        11, 9, hidden_size=8, num_layers=2, residual=True, learned_state=True, proj_size=4,
        attention="none", cell="lstm",
    )  # fmt: skip
    assert model.encoder.residual
    assert model.decoder.recurrent.residual
    assert model.encoder.learned_state
    assert not model.decoder.recurrent.learned_state
    assert model.decoder.scores.in_features == 4
    with pytest.raises(ValueError, match="bidirectional=True would have no effect"):
        EncoderDecoder(11, 9, decoder_options={"bidirectional": True})
    with pytest.raises(ValueError, match="no effect on an encoder of your own"):
        EncoderDecoder(None, 9, encoder=Patches(), encoder_options={"num_layers": 2})
    with pytest.raises(ValueError, match="expected source_size"):
        EncoderDecoder(None, 9)

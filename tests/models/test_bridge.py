"""The bridge: the initial states of the decoder, for every pair of cells."""

import pytest
import torch

from throughtime.layers import Recurrent
from throughtime.models.bridge import Bridge

from ..further_inputs import WITHOUT
from .translators import LENGTHS, sentences, small_model, step_by_step


def test_states_that_agree_cross_the_bridge_as_they_are():
    model = small_model(cell="lstm", bidirectional=False, num_layers=2)
    source, _ = sentences()
    _, last = model.encoder(model.embedding(source), lengths=LENGTHS)
    for got, expected in zip(model.encode(source, LENGTHS).state.recurrent, last, strict=True):
        assert torch.equal(got, expected)
    assert not list(model.bridge.parameters())


def test_two_directions_cross_the_bridge_layer_by_layer_and_state_by_state():
    model = small_model(cell="lstm", num_layers=2)
    source, _ = sentences()
    _, last = model.encoder(model.embedding(source), lengths=LENGTHS)
    first = model.encode(source, LENGTHS).state.recurrent
    for name, got, s in zip(("h_0", "c_0"), first, last, strict=True):
        for layer in range(2):
            ends = torch.cat([s[2 * layer], s[2 * layer + 1]], -1)
            expected = model.bridge.maps[name][layer](ends).tanh()
            torch.testing.assert_close(got[layer], expected)


@pytest.mark.parametrize(("encoder", "decoder"), [("gru", "lstm"), ("lstm", "gru"), ("lem", "gru")])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_cells_with_other_states_meet_at_the_bridge(encoder, decoder, bidirectional):
    options = {"cell": decoder, "encoder_cell": encoder, "bidirectional": bidirectional}
    model, (source, target_in) = small_model(**options), sentences()
    scores = model(source, LENGTHS, target_in)
    scores.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.bridge.parameters())
    torch.testing.assert_close(step_by_step(model, source, LENGTHS, target_in), scores)


def test_states_that_belong_together_are_not_pressed_through_tanh():
    encoder = Recurrent("slstm", 3, 4, bidirectional=True)
    bridge = Bridge(encoder, Recurrent("slstm", 3, 4))
    _, last = encoder(torch.randn(5, 2, 3))
    h, c, n, m = bridge(last)
    assert h.any()
    assert not c.any()
    assert not n.any()
    assert (m == -1e4).all()


# Embedded words provide no times, masses or gaps for further inputs.
@pytest.mark.parametrize("cell", WITHOUT)
def test_every_cell_of_words_encodes_and_decodes(cell):
    # The reference, because other tests compare it with kernels, which would have to be compiled.
    model = small_model("additive", True, cell=cell, num_layers=2, backend="reference")
    source, target_in = sentences()
    scores = model(source, LENGTHS, target_in)
    scores.square().sum().backward()
    assert scores.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.embedding.weight.grad.any()

"""The tagger: a token for each token."""

import pytest
import torch

from throughtime.models import Tagger


@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm-peephole"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_row_has_the_scores_that_it_has_alone(cell, bidirectional):
    model = Tagger(
        9, 5, cell=cell, hidden_size=6, num_layers=2, bidirectional=bidirectional
    ).double()
    tokens, lengths = torch.randint(0, 9, (3, 7)), [7, 2, 5]
    scores = model(tokens, lengths)
    assert scores.shape == (3, 7, 5)
    for row, length in enumerate(lengths):
        alone = model(tokens[row : row + 1, :length])
        torch.testing.assert_close(scores[row, :length], alone[0])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_place_knows_what_came_before_or_all(bidirectional):
    model = Tagger(9, 5, hidden_size=6, bidirectional=bidirectional).double()
    tokens = torch.zeros(1, 7, dtype=torch.int64)
    other = tokens.clone()
    other[0, 4] = 3
    differs = (model(tokens) != model(other)).any(-1)[0].tolist()
    assert differs == [bidirectional] * 4 + [True] * 3


def test_it_learns_the_parity_of_what_it_has_read():
    torch.manual_seed(0)
    model = Tagger(2, 2, hidden_size=16, embedding_size=4)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(300):
        bits = torch.randint(0, 2, (32, 8))
        parity = bits.cumsum(1) % 2
        loss = torch.nn.functional.cross_entropy(model(bits).flatten(0, 1), parity.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bits = torch.randint(0, 2, (100, 8))
    assert (model(bits).argmax(-1) == bits.cumsum(1) % 2).float().mean() > 0.99


def test_dropout_is_of_the_training_alone():
    model = Tagger(9, 5, hidden_size=6, num_layers=2, dropout=0.5)
    tokens = torch.randint(0, 9, (2, 4))
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    torch.testing.assert_close(model(tokens), model(tokens))


def test_tokens_must_be_rows():
    with pytest.raises(ValueError, match="tokens"):
        Tagger(9, 5)(torch.zeros(4, dtype=torch.int64))

"""A classifier: poolings by hand, padding, directions."""

import pytest
import torch

from throughtime.models.classifier import POOLINGS, Classifier


@pytest.fixture
def tokens():
    return torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]]), torch.tensor([4, 2])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_changes_nothing_and_every_weight_learns(pooling, bidirectional, tokens):
    torch.manual_seed(0)
    options = {"vocab_size": 10, "hidden_size": 5, "num_layers": 2}
    model = Classifier(3, **options, pooling=pooling, bidirectional=bidirectional).double()
    rows, lengths = tokens
    scores = model(rows, lengths)
    alone = model(rows[1:, :2], lengths[1:])
    torch.testing.assert_close(scores[1:], alone)
    scores.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_poolings_by_hand(tokens):
    torch.manual_seed(0)
    rows, lengths = tokens
    options = {"vocab_size": 10, "hidden_size": 3, "bidirectional": True}
    models = {p: Classifier(2, **options, pooling=p).double() for p in POOLINGS}
    for model in models.values():
        model.load_state_dict(models["last"].state_dict(), strict=False)
    h, _ = models["last"].recurrent(models["last"].embedding(rows), lengths=lengths)
    pooled = {p: model.pooled(rows, lengths)[1] for p, model in models.items()}
    torch.testing.assert_close(pooled["last"], torch.cat([h[1, 1, :3], h[1, 0, 3:]]))
    torch.testing.assert_close(pooled["mean"], (h[1, 0] + h[1, 1]) / 2)
    torch.testing.assert_close(pooled["max"], torch.maximum(h[1, 0], h[1, 1]))
    weights = models["attention"].attention(h[1, :2]).softmax(0)
    torch.testing.assert_close(pooled["attention"], (weights * h[1, :2]).sum(0))


def test_words_are_dropped_in_the_training_only(tokens):
    torch.manual_seed(0)
    rows, lengths = tokens
    model = Classifier(2, vocab_size=10, hidden_size=3, word_dropout=0.999)
    unknown = model.eval()(torch.where(rows > 0, 3, 0), lengths)
    known = model(rows, lengths)
    torch.testing.assert_close(model.train()(rows, lengths), unknown)
    assert not torch.allclose(known, unknown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected either vocab_size, for tokens, or input_size"),
        ({"vocab_size": 5, "input_size": 2}, "expected either vocab_size"),
        ({"vocab_size": 5, "pooling": "lst"}, 'did you mean "last"'),
    ],
)
def test_arguments_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Classifier(2, **options)

"""OneNetwork: it reads the source, and writes the target at the blanks behind it."""

import pytest
import torch

from throughtime.models import OneNetwork, beam_search, greedy_search

V, W, BOS = 9, 7, 1
LENGTHS = [6, 2, 4]


def pair():
    source, target_in = torch.randint(3, V, (3, 6)), torch.randint(3, W, (3, 5))
    target_in[:, 0] = BOS
    return source, target_in


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", ["lstm", "gru", "lstm-peephole"])
def test_it_is_one_mapping_of_a_sequence_padded_behind(cell, num_layers):
    model = OneNetwork(V, W, cell=cell, hidden_size=6, num_layers=num_layers).double()
    source, target_in = pair()
    scores = model(source, LENGTHS, target_in)
    for row, length in enumerate(LENGTHS):
        reads = torch.cat([source[row, :length], torch.full((5,), BOS)]).unsqueeze(0)
        h, _ = model.recurrent(model.embedding(reads))
        torch.testing.assert_close(scores[row], model.scores(h)[0, length:])


def test_what_it_said_it_does_not_read():
    model = OneNetwork(V, W, hidden_size=6).double()
    source, target_in = pair()
    other = torch.randint(3, W, target_in.shape)
    assert torch.equal(model(source, LENGTHS, target_in), model(source, LENGTHS, other))


def test_steps_are_the_whole():
    model = OneNetwork(V, W, cell="gru", hidden_size=6).double()
    source, target_in = pair()
    memory = model.encode(source, LENGTHS)
    state = memory.state
    for t, scores in enumerate(model(source, LENGTHS, target_in).unbind(1)):
        one, state = model.step(target_in[:, t], state, memory)
        torch.testing.assert_close(one, scores)


def test_both_searches_find_the_likeliest_token_of_each_place():
    model = OneNetwork(V, W, hidden_size=6).double()
    with torch.no_grad():
        # The search ends at the largest length.
        model.scores.bias[model.eos] = -50.0
    source, _ = pair()
    hypotheses = greedy_search(model, source, LENGTHS, max_length=4)
    logs = model(source, LENGTHS, torch.zeros(3, 4, dtype=torch.int64)).log_softmax(-1)
    best, tokens = model.writable(logs).max(-1)
    for row, (one,) in enumerate(hypotheses):
        assert one.tokens == tokens[row].tolist()
        assert one.score == pytest.approx(best[row].sum().item())
        assert one.attention is None
    beams = beam_search(model, source, LENGTHS, width=3, n_best=2, max_length=4)
    assert [best[0].tokens for best in beams] == tokens.tolist()


def test_gradients_reach_both_halves():
    model = OneNetwork(V, W, hidden_size=6)
    source, target_in = pair()
    model(source, LENGTHS, target_in)[0, -1].sum().backward()
    read = model.embedding.weight.grad.abs().sum(1) > 0
    assert read[source[0]].all()
    assert read[BOS]


@pytest.mark.parametrize(
    ("source", "lengths", "message"),
    [
        (torch.zeros(2, 3), None, "expected source as a tensor of torch.int64"),
        (torch.full((2, 3), V), None, f"expected tokens from 0 to {V - 1} in source"),
        (torch.zeros(2, 3, dtype=torch.int64), [3, 0], "OneNetwork"),
        (torch.zeros(2, 3, dtype=torch.int64), [3, 4], "OneNetwork"),
    ],
)
def test_what_is_no_source_is_refused(source, lengths, message):
    with pytest.raises(ValueError, match=message):
        OneNetwork(V, W, hidden_size=6).encode(source, lengths)


@pytest.mark.parametrize(
    ("target_in", "message"),
    [
        (torch.full((2, 3), BOS), "expected target_in of 3 row"),
        (torch.zeros(3, 3), "expected target_in as a tensor of torch.int64"),
        (torch.zeros(3, 0, dtype=torch.int64), "target_in of shape .* at least one step"),
    ],
)
def test_what_is_no_target_is_refused(target_in, message):
    with pytest.raises(ValueError, match=message):
        OneNetwork(V, W, hidden_size=6)(pair()[0], LENGTHS, target_in, [2, 3, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bos": 0}, "expected pad, bos and eos as three different tokens of the 7"),
        ({"eos": W}, "expected pad, bos and eos as three different tokens of the 7"),
        ({"source_size": 1}, "expected bos below source_size=1"),
    ],
)
def test_tokens_that_there_are_not_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        OneNetwork(**{"source_size": V, "target_size": W, "hidden_size": 6} | options)


def test_forget_bias_and_dropout_are_those_of_the_layers():
    model = OneNetwork(V, W, hidden_size=6, num_layers=2, forget_bias=3.0, dropout=0.25)
    assert (model.recurrent.forget_bias, model.recurrent.dropout) == (3.0, 0.25)
    assert model.dropout.p == 0.25

"""The cloze model: the prediction of a word reads all words except itself."""

import pytest
import torch

from throughtime.layers.recurrent import Recurrent
from throughtime.models.cloze import Cloze

V, T = 20, 9


def reached(model, lengths=None, rows=2):
    """Which word (last index) affects the context of which (first index), in the first row."""
    tokens = torch.randint(4, V, (rows, T))
    embedded = {}

    def keep(module, inputs, x):
        x.retain_grad()
        embedded["x"] = x

    model.embedding.register_forward_hook(keep)
    contexts = model.contexts(tokens, lengths)
    table = torch.zeros(T, T, dtype=torch.bool)
    for t in range(T):
        embedded["x"].grad = None
        contexts[0, t].sum().backward(retain_graph=True)
        # The begin token precedes the words.
        table[t] = embedded["x"].grad[0, 1 : T + 1].abs().sum(-1) > 0
    return table


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_from_both_sides_a_word_depends_on_all_others_and_not_on_itself(cell, num_layers):
    model = Cloze(V, cell=cell, hidden_size=6, num_layers=num_layers).double()
    assert reached(model).equal(~torch.eye(T, dtype=torch.bool))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_forward_a_word_depends_on_those_before_it_alone(num_layers):
    model = Cloze(V, bidirectional=False, hidden_size=6, num_layers=num_layers).double()
    assert reached(model).equal(torch.ones(T, T, dtype=torch.bool).tril(-1))


def test_directions_merged_between_the_layers_would_leak_and_the_test_sees_it():
    model = Cloze(V, hidden_size=6, num_layers=2).double()
    model.recurrent = Recurrent(
        "lstm", 6, 6, 2, batch_first=True, bidirectional=True, dtype=torch.float64
    )
    assert reached(model).diagonal().all()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_another_word_in_the_gap_changes_no_score_there(bidirectional, tied):
    model = Cloze(V, bidirectional=bidirectional, hidden_size=8, num_layers=2, tied=tied)
    tokens = torch.randint(4, V, (3, T))
    lengths = torch.tensor([T, 5, 1])
    scores = model(tokens, lengths)
    for b, length in enumerate(lengths.tolist()):
        for t in range(length):
            other = tokens.clone()
            other[b, t] = 4 + (tokens[b, t] - 3) % (V - 4)
            changed = model(other, lengths)
            torch.testing.assert_close(changed[b, t], scores[b, t], rtol=0, atol=0)
            # Forward, no prediction reads the last word.
            if t + 1 < length or (bidirectional and length > 1):
                assert not torch.equal(changed[b, :length], scores[b, :length])


def test_a_sentence_in_a_batch_has_the_scores_that_it_has_alone():
    model = Cloze(V, hidden_size=8, num_layers=2).double()
    tokens = torch.randint(4, V, (3, T))
    together = model(tokens, torch.tensor([T, 5, 1]))
    for b, length in enumerate([T, 5, 1]):
        alone = model(tokens[b : b + 1, :length])
        torch.testing.assert_close(together[b, :length], alone[0])
    tokens[1, 5:] = 0
    torch.testing.assert_close(model(tokens, [T, 5, 1])[1, :5], together[1, :5])


def test_the_contexts_are_those_of_two_networks_that_read_towards_the_gap():
    model = Cloze(V, hidden_size=5).double()
    tokens = torch.randint(4, V, (1, T))
    contexts = model.contexts(tokens)[0]
    forward, backward = (Recurrent("lstm", 5, 5, batch_first=True).double() for _ in range(2))
    weights = model.recurrent.state_dict()
    forward.load_state_dict({k: v for k, v in weights.items() if not k.endswith("_reverse")})
    backward.load_state_dict(
        {k.removesuffix("_reverse"): v for k, v in weights.items() if k.endswith("_reverse")}
    )
    for t in range(T):
        before = torch.tensor([[1, *tokens[0, :t].tolist()]])
        after = torch.tensor([[2, *reversed(tokens[0, t + 1 :].tolist())]])
        f = forward(model.embedding(before))[0][0, -1]
        b = backward(model.embedding(after))[0][0, -1]
        torch.testing.assert_close(contexts[t], torch.cat([f, b]))


def test_tied_scores_use_the_embedding_itself():
    model = Cloze(V, hidden_size=8, embedding_size=6, tied=True)
    assert model.scores.weight is model.embedding.weight
    assert model.projection.weight.shape == (6, 16)


@pytest.mark.parametrize(
    ("tokens", "lengths", "message"),
    [
        (torch.zeros(4, dtype=torch.long), None, "expected tokens of shape"),
        (torch.zeros(2, 4, dtype=torch.long), [4], "lengths"),
        (torch.zeros(2, 4, dtype=torch.long), [4, 5], "expected lengths from 0 to 4"),
    ],
)
def test_wrong_shapes_and_lengths_are_refused(tokens, lengths, message):
    with pytest.raises(ValueError, match=message):
        Cloze(V, hidden_size=4)(tokens, lengths)

"""The language model, and drawing of characters from it."""

import pytest
import torch
import torch.nn.functional as F

from throughtime.models import LanguageModel
from throughtime.models.decoding import Sampling, draw, generate


def small_model(**options):
    return LanguageModel(5, hidden_size=8, num_layers=2, **options).eval()


def test_scores_have_one_column_a_token():
    scores, (h, c) = small_model()(torch.zeros(3, 7, dtype=torch.long))
    assert scores.shape == (3, 7, 5)
    assert h.shape == c.shape == (2, 3, 8)


def test_a_text_read_in_two_parts_scores_as_in_one():
    model, tokens = small_model(), torch.randint(5, (2, 9))
    whole, _ = model(tokens)
    first, state = model(tokens[:, :4])
    second, _ = model(tokens[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


def test_no_score_depends_on_a_later_token():
    model, tokens = small_model(), torch.randint(5, (1, 9))
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 5
    torch.testing.assert_close(model(tokens)[0][:, :5], model(changed)[0][:, :5])


def test_tied_weights_are_one_tensor_and_learn_as_one():
    model = small_model(tied=True)
    assert model.scores.weight is model.embedding.weight
    names = [name for name, _ in model.named_parameters()]
    assert "scores.weight" not in names
    with pytest.raises(ValueError, match="embedding_size=8 like hidden_size, got 3"):
        small_model(tied=True, embedding_size=3)


def test_the_untied_model_has_the_parameters_that_are_counted_by_hand():
    # embedding 65*64; layer 0: 4*256*(64+256+2); layer 1: 4*256*(256+256+2); scores 65*257
    model = LanguageModel(65, hidden_size=256, num_layers=2)
    by_hand = 65 * 64 + 1024 * 322 + 1024 * 514 + 65 * 257
    assert sum(p.numel() for p in model.parameters()) == by_hand == 876_929


def test_it_learns_a_text_by_heart():
    tokens = torch.tensor([[0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 2, 4]])
    model = LanguageModel(5, cell="gru", hidden_size=16, num_layers=1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(200):
        scores, _ = model(tokens[:, :-1])
        loss = F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drawn = list(generate(model, tokens[0, :2], 10, Sampling(temperature=0)))
    assert drawn == tokens[0, 2:].tolist()


# Drawing a token. The probabilities of the scores are 0.5, 0.3, 0.15 and 0.05.

SCORES = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()


def frequencies(sampling, num=4000):
    generator = torch.Generator().manual_seed(1)
    drawn = draw(SCORES.expand(num, -1), sampling, generator)
    return drawn.bincount(minlength=4) / num


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1.0), [0.5, 0.3, 0.15, 0.05]),
        (Sampling(temperature=0), [1, 0, 0, 0]),
        # Their squares, divided by the sum: 0.25, 0.09, 0.0225 and 0.0025 of 0.365.
        (Sampling(temperature=0.5), [0.685, 0.247, 0.062, 0.007]),
        (Sampling(temperature=1.0, top_k=2), [0.625, 0.375, 0, 0]),
        (Sampling(temperature=1.0, top_k=99), [0.5, 0.3, 0.15, 0.05]),
        (Sampling(temperature=1.0, top_p=0.79), [0.625, 0.375, 0, 0]),
        (Sampling(temperature=1.0, top_p=0.81), [0.526, 0.316, 0.158, 0]),
        (Sampling(temperature=1.0, top_p=0.01), [1, 0, 0, 0]),
        (Sampling(temperature=1.0, top_k=3, top_p=0.8), [0.625, 0.375, 0, 0]),
    ],
    ids=repr,
)
def test_tokens_are_drawn_as_often_as_they_should(sampling, expected):
    got = frequencies(sampling)
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32), atol=0.025, rtol=0)
    assert all(g == 0 for g, e in zip(got, expected, strict=True) if e == 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature of 0 or more, got -0.1"),
        ({"temperature": float("nan")}, "temperature of 0 or more, got nan"),
        ({"top_k": 0}, "top_k of at least 1, got 0"),
        ({"top_p": 0.0}, "top_p above 0 and at most 1, got 0.0"),
        ({"top_p": 1.1}, "top_p above 0 and at most 1, got 1.1"),
        ({"temperature": 0, "top_k": 3}, "top_k and top_p mean nothing"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


def test_the_same_seed_draws_the_same_text_and_another_seed_another():
    model, prime = small_model(), torch.tensor([0])
    first, again, other = (
        list(generate(model, prime, 40, Sampling(1.0), seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_generating_carries_the_state_instead_of_reading_again(monkeypatch):
    model, lengths = small_model(), []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda t, s=None: lengths.append(t.shape[1]) or forward(t, s)
    )
    list(generate(model, torch.tensor([0, 1, 2]), 5, Sampling(), seed=0))
    assert lengths == [3, 1, 1, 1, 1, 1]


def test_a_long_prime_is_read_in_pieces(monkeypatch):
    model, lengths = small_model(), []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda t, s=None: lengths.append(t.shape[1]) or forward(t, s)
    )
    prime = torch.randint(5, (1300,))
    drawn = list(generate(model, prime, 3, Sampling(temperature=0)))
    assert lengths == [512, 512, 276, 1, 1, 1]
    read = torch.cat([prime, torch.tensor(drawn)])
    assert forward(read.unsqueeze(0))[0][0, 1299:-1].argmax(-1).tolist() == drawn


def test_generated_text_has_the_likelihood_of_the_model_run_at_once():
    model, prime = small_model(), torch.tensor([0, 3])
    drawn = list(generate(model, prime, 12, Sampling(temperature=0)))
    read = torch.cat([prime, torch.tensor(drawn)])
    scores, _ = model(read.unsqueeze(0))
    assert scores[0, 1:-1].argmax(-1).tolist() == drawn


def test_generating_leaves_the_mode_and_the_random_numbers_alone():
    model = small_model().train()
    before = torch.get_rng_state()
    list(generate(model, torch.tensor([0]), 3, Sampling(), seed=0))
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_generating_leaves_a_frozen_part_in_evaluation_mode():
    model = small_model().train()
    model.embedding.eval()
    assert len(list(generate(model, torch.tensor([0]), 3, Sampling(), seed=0))) == 3
    assert model.training
    assert model.recurrent.training
    assert not model.embedding.training


def test_the_mode_between_two_generated_tokens_is_the_callers():
    model = LanguageModel(9, hidden_size=8, num_layers=2, dropout=0.5).train()
    greedy = Sampling(temperature=0)
    alone = list(generate(model, torch.tensor([0]), 8, greedy))
    # Two generators at a time, and one that is never finished.
    first, second = (generate(model, torch.tensor([0]), 8, greedy) for _ in range(2))
    assert next(second) == alone[0]
    assert model.training
    assert list(first) == alone
    assert list(second) == alone[1:]
    assert model.training


def test_a_very_low_temperature_takes_the_likeliest():
    assert draw(torch.tensor([[1.0, 3.0, 2.0]]), Sampling(temperature=1e-60)).tolist() == [1]


def test_text_is_the_same_by_a_plan_and_by_calls_of_the_model():
    torch.manual_seed(0)
    model, prime = small_model(dropout=0.2).double(), torch.tensor([3, 1, 4])
    slow = small_model(dropout=0.2, backend="reference").double()
    slow.load_state_dict(model.state_dict())
    for sampling in (Sampling(), Sampling(1.2, top_k=3), Sampling(0.7, top_p=0.6), Sampling(0)):
        texts = [list(generate(m, prime, 60, sampling, seed=5)) for m in (model, slow)]
        assert texts[0] == texts[1]

"""Greedy search, sampling and beam search: hypotheses, scores and termination."""

import itertools

import pytest
import torch

from throughtime.models import EncoderDecoder, beam_search, greedy_search, sample_search
from throughtime.models.decoding import Sampling

PAD, BOS, EOS = 0, 1, 2
LENGTHS = [4, 1, 3, 4]
WAYS = [("none", False), ("general", False), ("dot", True), ("additive", True)]


def some_model(V=6, ends=0.0, seed=0, attention="general", input_feeding=False, **options):
    """A network of random weights, so large that sources differ, with a high probability of eos."""
    torch.manual_seed(seed)
    model = EncoderDecoder(
        *(7, V),
        **({"hidden_size": 8, "attention": attention, "input_feeding": input_feeding} | options),
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)
        model.decoder.scores.bias[EOS] += ends
    return model.eval().requires_grad_(False)


def some_sources():
    return torch.randint(3, 7, (4, 4), generator=torch.Generator().manual_seed(1))


def log_probability(model, source, target):
    """The score of a target by teacher forcing: the sum over its tokens."""
    target_in = torch.tensor([[BOS, *target[:-1]]])
    logs = model(source.unsqueeze(0), None, target_in).log_softmax(-1)[0]
    return sum(float(logs[t, y]) for t, y in enumerate(target))


def plain_beam(model, source, K, limit, power):
    """Beam search for one source, without states, batches or an early end."""
    beam, ended = [([], 0.0)], []
    for _ in range(limit):
        longer = []
        for tokens, score in beam:
            target_in = torch.tensor([[BOS, *tokens]])
            logs = model(source.unsqueeze(0), None, target_in).log_softmax(-1)[0, -1]
            longer += [([*tokens, y], score + float(logs[y])) for y in range(EOS, len(logs))]
        longer = sorted(longer, key=lambda h: -h[1])[: K - len(ended)]
        ended += [h for h in longer if h[0][-1] == EOS]
        beam = [h for h in longer if h[0][-1] != EOS]
    ranked = sorted(ended, key=lambda h: -h[1] / len(h[0]) ** power)
    return ranked + sorted(beam, key=lambda h: -h[1] / len(h[0]) ** power)


def with_end(hypothesis):
    return [*hypothesis.tokens, *([EOS] if hypothesis.is_finished else [])]


# Beam search.


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("K", "n_best"), [(1, 1), (3, 1), (3, 3), (5, 2)])
@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_it_finds_what_a_plain_search_finds_one_by_one(seed, K, n_best, power):
    model, sources = some_model(ends=1.0, seed=seed), some_sources()
    options = {"width": K, "n_best": n_best, "length_power": power, "max_length": 6}
    results = beam_search(model, sources, LENGTHS, **options)
    for source, S, hypotheses in zip(sources, LENGTHS, results, strict=True):
        expected = plain_beam(model, source[:S], K, 6, power)[:n_best]
        assert [with_end(h) for h in hypotheses] == [tokens for tokens, _ in expected]
        scores = torch.tensor([h.score for h in hypotheses])
        torch.testing.assert_close(scores, torch.tensor([score for _, score in expected]))


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_beam_as_wide_as_the_space_finds_the_best_there_is(power):
    model, sources = some_model(V=6, ends=0.5), some_sources()
    letters, limit = range(3, 6), 5
    space = [
        [*tokens, EOS] for n in range(limit) for tokens in itertools.product(letters, repeat=n)
    ]
    options = {"width": 3**limit, "n_best": 3, "length_power": power, "max_length": limit}
    results = beam_search(model, sources, LENGTHS, **options)
    for source, S, hypotheses in zip(sources, LENGTHS, results, strict=True):
        worth = {tuple(t): log_probability(model, source[:S], t) / len(t) ** power for t in space}
        best = sorted(worth, key=lambda t: -worth[t])[:3]
        assert [tuple(with_end(h)) for h in hypotheses] == best


def test_it_stops_when_nothing_that_is_left_could_be_better(monkeypatch):
    model, steps = some_model(ends=50.0), []
    step = model.step
    monkeypatch.setattr(model, "step", lambda *a: steps.append(len(a[0])) or step(*a))
    beam_search(model, some_sources(), LENGTHS, width=3, max_length=9)
    assert steps == [4 * 3]
    # The second-best hypothesis ends at the second step.
    beam_search(model, some_sources(), LENGTHS, width=3, n_best=2, max_length=9)
    assert len(steps) == 3


@pytest.mark.parametrize(("attention", "input_feeding"), WAYS)
@pytest.mark.parametrize("ends", [-4.0, 0.0, 2.0])
def test_a_beam_of_one_is_greedy_search(attention, input_feeding, ends):
    model = some_model(20, ends, attention=attention, input_feeding=input_feeding)
    beam = beam_search(model, some_sources(), LENGTHS, width=1)
    greedy = greedy_search(model, some_sources(), LENGTHS)
    for (a,), (b,) in zip(beam, greedy, strict=True):
        assert (a.tokens, a.is_finished) == (b.tokens, b.is_finished)
        assert a.score == pytest.approx(b.score)


@pytest.mark.parametrize(("attention", "input_feeding"), WAYS)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_scores_are_those_of_teacher_forcing(attention, input_feeding, cell):
    options = {"attention": attention, "input_feeding": input_feeding, "cell": cell}
    model, sources = some_model(9, ends=1.0, num_layers=2, **options), some_sources()
    for search in SEARCHES.values():
        for source, S, hypotheses in zip(sources, LENGTHS, search(model, sources), strict=True):
            for h in hypotheses:
                recomputed = log_probability(model, source[:S], with_end(h))
                assert h.score == pytest.approx(recomputed, abs=1e-9)


SEARCHES = {
    "greedy": lambda model, source, lengths=LENGTHS, **o: greedy_search(
        model, source, lengths, **o
    ),
    "sample": lambda model, source, lengths=LENGTHS, **o: sample_search(
        model, source, lengths, num=3, seed=0, **o
    ),
    "beam": lambda model, source, lengths=LENGTHS, **o: beam_search(
        model, source, lengths, width=4, n_best=4, **o
    ),
}
every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)


@every_search
@pytest.mark.parametrize("ends", [-50.0, 0.0, 50.0])
def test_it_always_stops_and_goes_on_past_no_end(search, ends):
    model = some_model(8, ends)
    for options, limits in (({}, [18, 12, 16, 18]), ({"max_length": 3}, [3] * 4)):
        results = search(model, some_sources(), **options)
        for limit, hypotheses in zip(limits, results, strict=True):
            for h in hypotheses:
                assert not {PAD, BOS, EOS} & set(h.tokens)
                assert len(with_end(h)) <= limit
                assert h.is_finished or len(h.tokens) == limit
    first = [hypotheses[0] for hypotheses in results]
    if ends < 0:
        assert not any(h.is_finished for h in first)
    if ends > 0:
        assert all(h.is_finished and h.tokens == [] for h in first)


@every_search
@pytest.mark.parametrize(("attention", "input_feeding"), WAYS)
def test_attention_is_that_of_teacher_forcing(search, attention, input_feeding):
    model = some_model(8, 1.0, attention=attention, input_feeding=input_feeding)
    sources = some_sources()
    for source, S, hypotheses in zip(sources, LENGTHS, search(model, sources), strict=True):
        for h in hypotheses:
            if attention == "none":
                assert h.attention is None
                continue
            assert h.attention.shape == (len(h.tokens), S)
            target_in = torch.tensor([[BOS, *h.tokens]])
            expected = model.attention_weights(source[:S].unsqueeze(0), None, target_in)
            torch.testing.assert_close(h.attention, expected[0, : len(h.tokens)])


@every_search
def test_attention_that_is_not_kept_changes_nothing_else(search):
    model, sources = some_model(8, 1.0, attention="general"), some_sources()
    # Hypotheses are compared without their attention.
    dropped = search(model, sources, keep_attention=False)
    assert dropped == search(model, sources)
    assert all(h.attention is None for hypotheses in dropped for h in hypotheses)


@pytest.mark.parametrize("search", [SEARCHES["greedy"], SEARCHES["beam"]], ids=["greedy", "beam"])
@pytest.mark.parametrize(("attention", "input_feeding"), WAYS)
def test_a_batch_is_searched_as_its_sentences_one_by_one(search, attention, input_feeding):
    sources, written = some_sources(), set()
    for seed in range(4):
        model = some_model(8, 1.0, seed, attention=attention, input_feeding=input_feeding)
        together = search(model, sources)
        written |= {len(h[0].tokens) for h in together}
        for source, S, results in zip(sources, LENGTHS, together, strict=True):
            (alone,) = search(model, source[:S].unsqueeze(0), None)
            assert [h.tokens for h in results] == [h.tokens for h in alone]
            assert [h.score for h in results] == pytest.approx([h.score for h in alone])
    # Sources end at different steps, so that batches shrink on the way.
    assert len(written) > 2


@every_search
def test_searching_leaves_the_mode_alone_and_drops_nothing(search):
    model = some_model(8, dropout=0.5).train()
    model.encoder.eval()
    before = torch.get_rng_state()
    assert search(model, some_sources()) == search(model, some_sources())
    assert model.training
    assert model.decoder.training
    assert not model.encoder.training
    assert torch.equal(torch.get_rng_state(), before)


@every_search
def test_what_fills_up_the_sources_does_not_matter(search):
    model, sources = some_model(8), some_sources()
    other = sources.clone()
    for row, S in zip(other, LENGTHS, strict=True):
        row[S:] = PAD
    assert search(model, sources) == search(model, other)


# Sampling.


def test_targets_are_drawn_as_often_as_they_are_likely():
    model, source = some_model(5, ends=1.0, seed=2), some_sources()[:1]
    (drawn,) = sample_search(model, source, sampling=Sampling(1.0), num=4000, seed=0, max_length=2)
    # With two letters: an immediate end, a letter and the end, or two letters (cut off).
    writable = model.writable(model(source, None, torch.tensor([[BOS]])))[0, 0].softmax(-1)
    for y in (3, 4):
        share = sum(h.tokens[:1] == [y] for h in drawn) / 4000
        assert share == pytest.approx(float(writable[y]), abs=0.03)
    assert sum(not h.tokens for h in drawn) / 4000 == pytest.approx(float(writable[EOS]), abs=0.03)
    assert [h.score for h in drawn] == sorted((h.score for h in drawn), reverse=True)


def test_a_seed_draws_the_same_again_and_no_seed_does_not():
    model, sources = some_model(8, seed=1), some_sources()
    first, again, other = (sample_search(model, sources, num=4, seed=s) for s in (5, 5, 6))
    assert first == again != other
    assert sample_search(model, sources, num=4) != sample_search(model, sources, num=4)


def test_a_temperature_of_zero_is_greedy_search():
    model, sources = some_model(8), some_sources()
    drawn = sample_search(model, sources, LENGTHS, sampling=Sampling(temperature=0))
    assert drawn == greedy_search(model, sources, LENGTHS)


# Refusals.


@pytest.mark.parametrize(
    ("search", "options", "message"),
    [
        (beam_search, {"width": 0}, "width as a whole number of at least 1, got 0"),
        (beam_search, {"width": 2.5}, "width as a whole number of at least 1, got 2.5"),
        (beam_search, {"width": 2, "n_best": 3}, "n_best of at most width=2, got 3"),
        (beam_search, {"n_best": 0}, "n_best as a whole number"),
        (beam_search, {"length_power": -1.0}, "length_power of 0 or more, got -1.0"),
        (beam_search, {"max_length": 0}, "max_length as a whole number of at least 1, got 0"),
        (sample_search, {"num": 0}, "num as a whole number of at least 1, got 0"),
        (greedy_search, {"source_lengths": [4, 0, 3, 4]}, "got length 0 in row 1"),
    ],
)
def test_what_makes_no_sense_is_refused(search, options, message):
    with pytest.raises(ValueError, match=message):
        search(some_model(8), some_sources(), **options)

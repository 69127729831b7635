"""Searches that end where an output only repeats itself, and leave all others as they are."""

import pytest
import torch

from throughtime.models import beam_search, greedy_search, sample_search
from throughtime.models.decoding import Sampling
from throughtime.models.repetition import NUM_PERIODS, Repetition, longest_repeats

from .test_search import LENGTHS, some_model, some_sources

NONE = [10**6] * NUM_PERIODS


def counts(tokens, period):
    """For each token, how many in a row up to it equal the token a period before."""
    run, out = 0, []
    for t, token in enumerate(tokens):
        run = run + 1 if t >= period and tokens[t - period] == token else 0
        out.append(run)
    return out


def cut(tokens, limits):
    """The tokens up to the first one that repeats too much."""
    for t in range(len(tokens)):
        if any(counts(tokens, p)[t] > limit for p, limit in enumerate(limits, 1)):
            return tokens[: t + 1]
    return tokens


def test_the_longest_repetitions_are_those_of_a_plain_count():
    generator = torch.Generator().manual_seed(0)
    targets = [
        torch.randint(4, 7, (int(n),), generator=generator).tolist()
        for n in torch.randint(0, 40, (30,), generator=generator)
    ]
    expected = [
        max(max(counts(y, p), default=0) for y in targets) for p in range(1, NUM_PERIODS + 1)
    ]
    assert longest_repeats(targets) == expected
    # Equal targets do not repeat each other.
    assert longest_repeats([[5, 6, 7]] * 4) == [0] * NUM_PERIODS
    assert longest_repeats([]) == longest_repeats([[]]) == [0] * NUM_PERIODS


@pytest.mark.parametrize("seed", range(4))
def test_an_output_that_repeats_itself_is_cut_there(seed):
    model, limits = some_model(ends=-1.0, seed=seed), [3, 4, 6, *[8] * (NUM_PERIODS - 3)]
    options = {"max_length": 40}
    free = greedy_search(model, some_sources(), LENGTHS, **options)
    ended = greedy_search(model, some_sources(), LENGTHS, max_repeats=limits, **options)
    for (long,), (short,) in zip(free, ended, strict=True):
        assert short.tokens == cut(long.tokens, limits)
        is_cut = len(short.tokens) < len(long.tokens) or not long.is_finished
        assert short.is_finished is not is_cut
        assert short.attention.shape[0] == len(short.tokens)
    lengths = [len(h.tokens) for (h,) in ended]
    assert max(lengths) < 40 or all(h.is_finished for (h,) in free)
    # A beam of one is the greedy search.
    beams = beam_search(model, some_sources(), LENGTHS, width=1, max_repeats=limits, **options)
    assert [h.tokens for (h,) in beams] == [h.tokens for (h,) in ended]


def test_samples_are_cut_one_by_one():
    model, limits = some_model(ends=-2.0), [2] * NUM_PERIODS
    options = {"sampling": Sampling(0.7), "num": 5, "seed": 3, "max_length": 30}
    drawn = sample_search(model, some_sources(), LENGTHS, max_repeats=limits, **options)
    hypotheses = [h for of_source in drawn for h in of_source]
    assert all(cut(h.tokens, limits) == h.tokens for h in hypotheses)
    assert any(not h.is_finished and len(h.tokens) < 30 for h in hypotheses)


@pytest.mark.parametrize("width", [1, 3])
def test_limits_that_are_not_reached_change_nothing(width):
    model, options = some_model(ends=1.0), {"max_length": 12, "width": width}
    free = beam_search(model, some_sources(), LENGTHS, **options)
    assert beam_search(model, some_sources(), LENGTHS, max_repeats=NONE, **options) == free


def test_a_beam_ends_where_its_likeliest_hypothesis_repeats_itself():
    model = some_model(ends=-30.0)
    options = {"width": 3, "n_best": 3, "max_length": 60}
    limits = [4] * NUM_PERIODS
    for hypotheses in beam_search(model, some_sources(), LENGTHS, max_repeats=limits, **options):
        assert len(hypotheses) == 3
        assert len({len(h.tokens) for h in hypotheses}) == 1
        assert any(cut(h.tokens, limits) == h.tokens for h in hypotheses)
        assert len(hypotheses[0].tokens) < 60


def test_limits_of_another_number_are_refused():
    with pytest.raises(ValueError, match="expected a limit for each period of 1 to 16, got 2"):
        Repetition([1, 2], 3, torch.device("cpu"))

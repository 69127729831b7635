"""CTC: decoding and alignment equal the search of all alignments, and the loss of torch."""

import itertools
import math
from collections import defaultdict

import pytest
import torch
import torch.nn.functional as F

from throughtime.models.ctc import (
    BLANK,
    aligned,
    best_path,
    num_steps_needed,
    prefix_search,
)


def collapsed(alignment):
    """The transcript of an alignment: without repetitions, then without blanks."""
    return tuple(k for k, _ in itertools.groupby(alignment) if k != BLANK)


def by_brute_force(log_probs):
    """The probability of every transcript, and its likeliest alignment."""
    T, C = log_probs.shape
    totals, best = defaultdict(float), {}
    for alignment in itertools.product(range(C), repeat=T):
        p = math.exp(sum(float(log_probs[t, k]) for t, k in enumerate(alignment)))
        symbols = collapsed(alignment)
        totals[symbols] += p
        if p > best.get(symbols, (0.0, ()))[0]:
            best[symbols] = (p, alignment)
    return totals, best


def drawn(T, C, seed):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(T, C, generator=generator, dtype=torch.float64)).log_softmax(-1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("T", "C"), [(1, 2), (2, 4), (4, 3), (6, 3)])
def test_a_wide_beam_finds_the_probability_of_every_transcript(T, C, seed):
    log_probs = drawn(T, C, seed)
    totals, _ = by_brute_force(log_probs)
    hypotheses = prefix_search(log_probs, 5000)
    assert {h.symbols: math.exp(h.log_probability) for h in hypotheses} == pytest.approx(totals)
    assert hypotheses[0].symbols == max(totals, key=lambda symbols: totals[symbols])
    scores = [h.log_probability for h in hypotheses]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_the_probabilities_are_those_of_the_loss_of_torch(seed):
    log_probs = drawn(5, 3, seed)
    for hypothesis in prefix_search(log_probs, 5000)[:20]:
        loss = F.ctc_loss(
            log_probs[:, None],
            torch.tensor([hypothesis.symbols], dtype=torch.int64).reshape(1, -1),
            torch.tensor([5]),
            torch.tensor([len(hypothesis.symbols)]),
            reduction="sum",
        )
        assert -float(loss) == pytest.approx(hypothesis.log_probability)


@pytest.mark.parametrize("seed", range(6))
def test_a_narrow_beam_follows_a_part_of_the_alignments(seed):
    log_probs = drawn(7, 4, seed)
    exact = {h.symbols: h.log_probability for h in prefix_search(log_probs, 20_000)}
    narrow = prefix_search(log_probs, 8)
    assert len(narrow) == 8
    for hypothesis in narrow:
        assert hypothesis.log_probability <= exact[hypothesis.symbols] + 1e-9


class Bigrams:
    """Scores a symbol by the one before it, as a language model with a bonus would."""

    def __init__(self, C, seed, weight=1.0, bonus=0.0):
        self.table = weight * drawn(C, C, seed) + bonus
        self.ends = weight * drawn(1, C, seed + 1)[0]

    def scores(self, symbols):
        return self.table[symbols[-1] if symbols else 0].tolist()

    def end(self, symbols):
        return float(self.ends[symbols[-1] if symbols else 0])

    def of(self, symbols):
        pairs = zip((0, *symbols), symbols, strict=False)
        return sum(float(self.table[a, b]) for a, b in pairs) + self.end(symbols)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("weight", "bonus"), [(1.0, 0.0), (0.5, 1.5), (3.0, -1.0), (0.0, 0.0)])
def test_a_wide_beam_with_a_scorer_finds_the_best_sum_of_all(seed, weight, bonus):
    log_probs = drawn(5, 3, seed)
    totals, _ = by_brute_force(log_probs)
    scorer = Bigrams(3, seed + 10, weight, bonus)
    expected = {k: math.log(p) + scorer.of(k) for k, p in totals.items()}
    hypotheses = prefix_search(log_probs, 5000, scorer)
    assert {h.symbols: h.score for h in hypotheses} == pytest.approx(expected)
    assert hypotheses[0].symbols == max(expected, key=lambda symbols: expected[symbols])
    assert {h.symbols: math.exp(h.log_probability) for h in hypotheses} == pytest.approx(totals)


def test_a_scorer_keeps_what_is_unlikely_by_itself():
    # The class 3 is the least likely one at each step, and the scorer wants it.
    log_probs = torch.tensor([[0.3, 0.3, 0.25, 0.15]]).expand(3, 4).log()

    class Only:
        def scores(self, symbols):
            return [0.0, -9.0, -9.0, 5.0]

        def end(self, symbols):
            return 0.0

    assert set(prefix_search(log_probs, 1)[0].symbols) <= {1, 2}
    assert set(prefix_search(log_probs, 1, Only())[0].symbols) == {3}


def test_the_best_path_is_not_always_the_likeliest_transcript():
    # Two blanks are the likeliest alignment, of probability 0.36; the symbol has three of 0.64.
    log_probs = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    assert best_path(log_probs) == ([], [])
    assert prefix_search(log_probs, 4)[0].symbols == (1,)


def test_a_best_path_by_hand():
    path = [0, 2, 2, 0, 2, 1, 1, 0]
    log_probs = F.one_hot(torch.tensor(path), 3).double().mul(5).log_softmax(-1)
    assert best_path(log_probs) == ([2, 2, 1], [1, 4, 5])


@pytest.mark.parametrize("seed", range(4))
def test_alignments_are_those_of_the_search_of_all(seed):
    log_probs = drawn(5, 3, seed)
    _, best = by_brute_force(log_probs)
    assert len(best) > 20
    for symbols, (_, alignment) in best.items():
        assert tuple(aligned(log_probs, symbols)) == alignment


@pytest.mark.parametrize("symbols", [[], [1], [1, 2], [1, 1], [1, 1, 1], [1, 2, 2, 1]])
def test_the_steps_that_a_transcript_needs(symbols):
    needed = num_steps_needed(symbols)
    if needed:
        log_probs = drawn(needed, 3, 0)
        assert collapsed(aligned(log_probs, symbols)) == tuple(symbols)
    if needed > 1:
        with pytest.raises(ValueError, match=f"expected at least {needed} steps"):
            aligned(drawn(needed - 1, 3, 0), symbols)
        lengths = torch.tensor([needed - 1]), torch.tensor([len(symbols)])
        loss = F.ctc_loss(drawn(needed - 1, 3, 0)[:, None], torch.tensor([symbols]), *lengths)
        assert loss.isinf()

"""From sources to hypotheses, and what they are worth."""

import pytest
import torch

from throughtime.data import Pair
from throughtime.models import EncoderDecoder
from throughtime.models.repetition import NUM_PERIODS
from throughtime.tasks import rewriting
from throughtime.tasks.rewriting import Usual, _limits, character_error_rate, hypotheses


@pytest.fixture
def model():
    return EncoderDecoder(12, 9, hidden_size=8).double().eval()


def test_each_source_has_its_hypotheses_and_an_empty_one_has_none(model):
    sources = [[4, 5, 6], [], [7], list(range(4, 12)) * 5]
    found = hypotheses(model, sources, longest_target=4, beam_width=3, n_best=2)
    assert [len(best) for best in found] == [2, 0, 2, 2]
    for ids, best in zip(sources, found, strict=True):
        for h in best:
            assert h.attention is not None
            assert h.attention.shape == (len(h.tokens), len(ids))


@pytest.mark.parametrize("options", [{}, {"beam_width": 3, "n_best": 2, "length_power": 0.5}])
def test_what_stands_beside_a_source_does_not_matter(model, options):
    sources = [[4, 5, 6], [7] * 20, [8, 9], [10] * 60]
    together = hypotheses(model, sources, longest_target=4, **options)
    for ids, best in zip(sources, together, strict=True):
        (alone,) = hypotheses(model, [ids], longest_target=4, **options)
        assert [h.tokens for h in alone] == [h.tokens for h in best]
        for a, b in zip(alone, best, strict=True):
            assert a.score == pytest.approx(b.score, abs=1e-9)
            torch.testing.assert_close(a.attention, b.attention)


@pytest.mark.parametrize("options", [{}, {"beam_width": 3, "n_best": 2}])
def test_a_source_far_beyond_the_training_is_cut_and_its_output_bounded(
    model, options, monkeypatch
):
    monkeypatch.setattr(rewriting, "num_read", lambda longest: max(10 * longest, 40))
    torch.nn.init.constant_(model.head.bias[model.eos : model.eos + 1], -50.0)
    long = torch.randint(4, 12, (5000,)).tolist()
    options |= {"longest_target": 4, "longest_source": 3}
    found = hypotheses(model, [[5], long], **options)[1]
    expected = hypotheses(model, [long[:40]], **options)[0]
    assert [(h.tokens, h.score) for h in found] == [(h.tokens, h.score) for h in expected]
    assert found[0].attention.shape == (106, 40)
    # Ten times the longest of the training, where that is more.
    options["longest_source"] = 8
    kept = hypotheses(model, [long], **options, keep_attention=False)[0]
    assert [h.tokens for h in kept] != [h.tokens for h in found]
    assert all(h.attention is None and len(h.tokens) == 170 for h in kept)


def test_the_power_of_the_length_decides_between_short_and_long(model):
    lengths = {}
    for power in (0.0, 5.0):
        (best, *_), = hypotheses(model, [[4, 5]], longest_target=4, beam_width=40,
                                 length_power=power)  # fmt: skip
        lengths[power] = len(best.tokens)
    assert lengths[0.0] < lengths[5.0]


def test_the_rate_counts_what_must_be_changed():
    assert character_error_rate([Pair("a", "abcd")], ["abcd"]) == 0
    assert character_error_rate([Pair("a", "abcd")], [""]) == 1
    assert character_error_rate([Pair("a", "ab")], ["abxxxx"]) == 2
    # One letter too few moves the others, which is one error only.
    assert character_error_rate([Pair("a", "abcd"), Pair("b", "x")], ["bcd", "x"]) == 1 / 5
    assert character_error_rate([Pair("a", "")], [""]) == 0


def test_the_nearest_of_the_targets_counts():
    pairs = [Pair("read", "red"), Pair("read", "reed")]
    assert character_error_rate(pairs, ["reed", "red"]) == 0
    assert character_error_rate(pairs, ["rod", "reed"]) == pytest.approx(1 / 7)


def test_outputs_end_by_what_the_training_knew():
    usual = Usual(longest_target=10, mean_target=4.5, longest_repeats=[2] * NUM_PERIODS)
    # Without anything known of the training it is twice the source, and 10 more.
    assert _limits(40, 10, None, None) == (106, None)
    # Sources as long as those of the training: one and a half times the longest target.
    assert _limits(40, 10, 40, usual) == (25, tuple(5 + 2 * p + 4 for p in range(1, 17)))
    assert _limits(3, 10, 40, usual)[0] == 25
    # Twice as long a source may have twice as long an output, and as many more repetitions.
    assert _limits(96, 10, 40, usual) == (40, tuple(9 + 2 * p + 4 for p in range(1, 17)))
    # It is never longer than before, and as long as the task expects.
    assert _limits(16, 40, 16, usual)[0] == 50
    assert _limits(16, 40, 16, usual)[1][0] == 4 * 4.5 + 2 + 4

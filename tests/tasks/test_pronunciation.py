"""Pronunciation: from letters to phonemes, with variants and without stress."""

import pytest

from throughtime import tasks
from throughtime.data import PAIR_SETS, Pair
from throughtime.data.pair_sets import Content
from throughtime.tasks.pronunciation import (
    Pronunciation,
    PronunciationConfig,
    pronunciation_figures,
)

from ..data.mirror import reading_data
from .learning import learned

WORDS = [
    ("HELLO", "HH AH0 L OW1"),
    ("HELLO", "HH EH0 L OW1"),
    ("CAT", "K AE1 T"),
    ("CATS", "K AE1 T S"),
    ("RECORD", "R AH0 K AO1 R D"),
    ("RECORD", "R EH1 K ER0 D"),
    ("A", "AH0"),
    ("A", "AH1"),
]


@pytest.fixture
def words(monkeypatch):
    content = Content({"train": WORDS, "valid": WORDS[:4]}, ("characters", "symbols"))
    monkeypatch.setitem(PAIR_SETS, "cmudict", lambda: content)


def task(**options):
    small = {"hidden_size": 24, "embedding_size": 12, "batch_size": 8}
    return Pronunciation(PronunciationConfig(**small | options))


@pytest.mark.parametrize("stress", [False, True])
def test_eight_pronunciations_are_learned_by_heart(words, stress):
    assert tasks.get("pronunciation") is Pronunciation
    pronunciation = task(stress=stress)
    pronunciation.check()
    figures = pronunciation.evaluate(learned(pronunciation, 150), "train").figures
    assert figures["word_error_rate"] == figures["phoneme_error_rate"] == 0.0
    assert set(figures) == {"loss", *pronunciation.figures}


def test_without_stress_variants_that_differ_in_it_alone_become_one(words):
    pairs = task().split("train")
    assert Pair("HELLO", "HH AH L OW") in pairs
    assert pairs.count(Pair("A", "AH")) == 1
    assert len(pairs) == 7
    assert len(task(stress=True).split("train")) == 8
    assert task().pairs.name != task(stress=True).pairs.name


def test_a_word_counts_once_and_is_right_by_any_of_its_variants():
    pairs = [Pair("read", "R IY D"), Pair("read", "R EH D"), Pair("cat", "K AE T")]
    assert pronunciation_figures(pairs, ["R EH D"] * 2 + ["K AE T"]) == {
        "word_error_rate": 0.0,
        "phoneme_error_rate": 0.0,
    }
    # One deletion of three phonemes, and three of three: four of six.
    assert pronunciation_figures(pairs, ["R D"] * 2 + [""]) == {
        "word_error_rate": 1.0,
        "phoneme_error_rate": pytest.approx(4 / 6),
    }


def test_phonemes_are_compared_and_not_their_letters():
    assert pronunciation_figures([Pair("oh", "OW")], ["AO"])["phoneme_error_rate"] == 1.0


def test_no_word_of_the_test_is_in_the_training():
    pronunciation = task()
    with reading_data():
        parts = {k: {p.source for p in part} for k, part in pronunciation.pairs.splits.items()}
    assert not parts["train"] & (parts["valid"] | parts["test"])
    assert not parts["valid"] & parts["test"]
    words = set().union(*parts.values())
    assert all(pronunciation.read(pronunciation.shown(word)) == word for word in words)
    # The vowels and consonants of the dictionary, and the four ids that are no phonemes.
    assert len(pronunciation.tokenisers[1]) == 39 + 4


def test_a_word_that_is_no_truth_value_is_refused(capsys):
    from throughtime.cli.main import main

    with pytest.raises(SystemExit):
        main(["train", "pronunciation", "--stress", "perhaps"])
    assert "unknown option perhaps" in capsys.readouterr().err


def test_a_person_writes_small_letters(words):
    pronunciation = task()
    model = learned(pronunciation, 150)
    assert pronunciation.rewrite(model, [pronunciation.read("cats")]) == ["K AE T S"]
    assert "cat → K AE T" in pronunciation.show(model)[0].text


def test_a_word_without_letters_that_are_known_is_said_somehow(words):
    pronunciation = task()
    assert pronunciation.rewrite(pronunciation.model(), ["", "ÿ"])[0] == ""

"""Inflection: from lemma and tags to the form, and how its figures count."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from throughtime import tasks
from throughtime.data import PAIR_SETS, Pair
from throughtime.data.pair_sets import Content
from throughtime.tasks.edit_distance import edit_distance
from throughtime.tasks.inflection import Inflection, InflectionConfig, inflection_figures

from ..data.mirror import reading_data
from .learning import learned

FORMS = [
    ("walk<V><PST>", "walked"),
    ("walk<V><V.PTCP><PRS>", "walking"),
    ("go<V><PST>", "went"),
    ("go<V><3><SG><PRS>", "goes"),
    ("cut<V><PST>", "cut"),
    ("cut<V><V.PTCP><PRS>", "cutting"),
    ("be<V><PST>", "was"),
    ("sing<V><PST>", "sang"),
]


@pytest.fixture
def task(monkeypatch):
    content = Content({"train": FORMS, "valid": FORMS[:3]}, ("tagged", "characters"))
    monkeypatch.setitem(PAIR_SETS, "sigmorphon2017-english-low", lambda: content)
    return Inflection(InflectionConfig(size="low", hidden_size=24, embedding_size=12, batch_size=8))


def test_eight_forms_are_learned_by_heart(task):
    assert tasks.get("inflection") is Inflection
    task.check()
    figures = task.evaluate(learned(task, 150), "train").figures
    assert figures["exact_match"] == 1.0
    assert figures["edit_distance"] == 0.0
    assert set(figures) == {"loss", *task.figures}


def test_a_tag_is_one_token_and_a_letter_is_one(task):
    source, target = task.tokenisers
    assert len(source.encode("go<V><V.PTCP><PRS>")) == 5
    assert target.decode(target.encode("went")) == "went"


def test_a_person_writes_the_tags_as_the_files_have_them(task):
    assert task.shown("look up<V><V.PTCP><PRS>") == "look up V;V.PTCP;PRS"
    assert task.read("look up V;V.PTCP;PRS") == "look up<V><V.PTCP><PRS>"
    assert task.read("go<V><PST>") == "go<V><PST>"
    assert task.read("go") == "go"
    model = learned(task, 1)
    assert task.show(model)[0].text.startswith("walk V;PST → ")


@pytest.mark.parametrize("language", ["english", "german", "spanish", "finnish", "turkish"])
def test_what_is_shown_is_read_as_the_same(language):
    task = Inflection(InflectionConfig(language=language, size="medium"))
    with reading_data():
        pairs = [pair for part in task.pairs.splits.values() for pair in part]
    assert all(task.read(task.shown(pair.source)) == pair.source for pair in pairs)


def test_the_figures_by_hand():
    pairs = [Pair("dream<PST>", "dreamed"), Pair("dream<PST>", "dreamt"), Pair("go<PST>", "went")]
    # The second is right by the first form; "goed" needs three: go -> we, e -> n, d -> t.
    figures = inflection_figures(pairs, ["dreamed", "dreamed", "goed"])
    assert figures == {"exact_match": 2 / 3, "edit_distance": 4 / 3}
    assert inflection_figures([Pair("a<PL>", "as")], [""])["edit_distance"] == 2.0


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("goed", "went", 4), ("abcd", "acbd", 2)],
)
def test_the_edit_distance_by_hand(a, b, distance):
    assert edit_distance(a, b) == edit_distance(b, a) == distance


@given(st.text("abc", max_size=70), st.text("abc", max_size=70))
def test_the_edit_distance_is_that_of_the_table(a, b):
    table = [list(range(len(b) + 1))]
    for i, x in enumerate(a):
        table.append([i + 1])
        for j, y in enumerate(b):
            table[-1].append(min(table[i][j + 1] + 1, table[-1][j] + 1, table[i][j] + (x != y)))
    assert edit_distance(a, b) == edit_distance(list(a), list(b)) == table[-1][-1]


def test_the_edit_distance_of_long_lines_takes_no_minutes():
    a, b = "abcde" * 4000, "abcfe" * 4000
    began = time.perf_counter()
    assert edit_distance(a, b) == 4000
    # The table has 400 million places.
    assert time.perf_counter() - began < 20


def test_every_language_and_size_is_a_set_of_pairs():
    names = {"english", "german", "spanish", "finnish", "turkish"}
    for language in names:
        for size in ("low", "medium", "high"):
            assert f"sigmorphon2017-{language}-{size}" in PAIR_SETS


def test_the_medium_training_has_a_thousand_forms():
    task = Inflection(InflectionConfig(language="finnish", size="medium"))
    with reading_data():
        sizes = {split: len(pairs) for split, pairs in task.pairs.splits.items()}
    assert sizes == {"train": 1000, "valid": 1000, "test": 1000}


def test_an_unknown_language_is_answered_with_the_known_ones(capsys):
    from throughtime.cli.main import main

    with pytest.raises(SystemExit):
        main(["train", "inflection", "--language", "germn"])
    assert 'did you mean "german"' in capsys.readouterr().err
    with pytest.raises(ValueError, match="sigmorphon2017-english-huge"):
        Inflection(InflectionConfig(size="huge")).check()

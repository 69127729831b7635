"""Sets of words with labels: the named ones have their published sizes, own files are read."""

import pytest

from throughtime.data.label_schemes import spans_of
from throughtime.data.tagged import load_tagged

from .mirror import needs_files

# Sentences, words and spans of train, valid and test.
SIZES = {
    "conll2003": [(14041, 203621, 23499), (3250, 51362, 5942), (3453, 46435, 5648)],
    "conll2000": [(8042, 190717, 96549), (894, 21010, 10429), (2012, 47377, 23852)],
    "conll2002-es": [(8323, 264715, 18798), (1915, 52923, 4352), (1517, 51533, 3559)],
    "wnut17": [(3394, 62730, 1975), (1009, 15733, 836), (1287, 23394, 1079)],
    "ewt-upos": [(12544, 204577, 0), (2001, 25147, 0), (2077, 25094, 0)],
    "atis": [(4478, 50497, 14851), (500, 5703, 1709), (893, 9164, 2837)],
}


@pytest.mark.parametrize(
    "name",
    [
        "conll2003",
        "atis",
        *(pytest.param(n, marks=pytest.mark.slow) for n in SIZES if n not in ("conll2003", "atis")),
    ],
)
def test_a_named_set_has_its_published_sizes(name):
    needs_files({"ewt-upos": "ud-english-ewt", "conll2002-es": "conll2002"}.get(name, name))
    data = load_tagged(name)
    sizes = [
        (
            len(rows),
            sum(len(row.words) for row in rows),
            sum(len(spans_of(row.labels)) for row in rows) if data.has_spans else 0,
        )
        for rows in data.splits.values()
    ]
    assert sizes == SIZES[name]
    assert data.has_intents == (name == "atis")
    assert data.has_spans == (name != "ewt-upos")


def sentence(word, label, times=1):
    return f"{word} X {label}\n\n" * times


def test_the_schemes_of_own_files_become_iob2(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a I-A\nb I-A\nc B-A\n\n" * 5 + "a B-A\nb E-A\nc S-A\n\n" * 5)
    data = load_tagged(str(path), valid_fraction=0.5)
    assert data.has_spans
    assert data.name == "a.txt"
    for rows in data.splits.values():
        assert {row.labels for row in rows} == {("B-A", "I-A", "B-A")}


def test_a_folder_has_a_file_for_each_split_with_any_ending(tmp_path):
    for name, word in (("train.txt", "a"), ("dev.iob", "b"), ("test.conll", "c"), ("notes", "d")):
        (tmp_path / name).write_text(sentence(word, "NOUN", 3))
    data = load_tagged(str(tmp_path))
    assert {s: rows[0].words for s, rows in data.splits.items()} == {
        "train": ("a",),
        "valid": ("b",),
        "test": ("c",),
    }
    assert not data.has_spans
    assert data.fingerprint() != load_tagged(str(tmp_path), label_column=2).fingerprint()
    (tmp_path / "dev.iob").rename(tmp_path / "other")
    (tmp_path / "train.txt").write_text("".join(sentence(str(i), "NOUN") for i in range(10)))
    data = load_tagged(str(tmp_path), valid_fraction=0.2)
    assert {s: len(rows) for s, rows in data.splits.items()} == {"train": 8, "valid": 2, "test": 3}
    (tmp_path / "other").rename(tmp_path / "dev.iob")
    (tmp_path / "valid.txt").write_text(sentence("b", "NOUN"))
    with pytest.raises(ValueError, match=r"one file for valid, got dev.iob and valid.txt"):
        load_tagged(str(tmp_path))


def test_a_file_is_cut_in_order_in_blocks_or_at_random(tmp_path):
    path = tmp_path / "a.txt"
    # Each sentence twice; blocks of ten.
    path.write_text("".join(sentence(f"w{i // 2}", "NOUN") for i in range(100)))
    words = {}
    for cut in ("order", "blocks", "random"):
        data = load_tagged(str(path), cut=cut, valid_fraction=0.2)
        assert data.cut == cut
        assert len(data.splits["valid"]) == 20
        words[cut] = {split: [r.words[0] for r in rows] for split, rows in data.splits.items()}
    assert words["order"]["valid"] == [f"w{i // 2}" for i in range(80, 100)]
    assert words["blocks"]["valid"] == [f"w{i // 2}" for i in range(100) if i % 10 >= 8]
    assert set(words["random"]["train"]).isdisjoint(words["random"]["valid"])
    assert words["random"]["train"] != sorted(words["random"]["train"])
    folder = tmp_path / "folder"
    folder.mkdir()
    path.rename(folder / "train.txt")
    (folder / "test.txt").write_text(sentence("t", "NOUN"))
    assert load_tagged(str(folder), cut="blocks").splits["test"][0].words == ("t",)
    with pytest.raises(ValueError, match=r"comes in splits of its own, got .*test_fraction=0.1"):
        load_tagged(str(folder), test_fraction=0.1)
    (folder / "test.txt").rename(folder / "dev.txt")
    assert load_tagged(str(folder)).cut is None
    with pytest.raises(ValueError, match=r"splits of its own, got random. Leave --split out"):
        load_tagged(str(folder), cut="random")


def test_columns_are_chosen_from_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("w lemma TAG O\n\n" * 10)
    row = load_tagged(str(path), word_column=2, label_column=3).splits["train"][0]
    assert row == (("lemma",), ("TAG",), "")
    path = path.rename(tmp_path / "a.conllu")
    path.write_text("1\tword\tlemma\tNOUN\tNN\t_\t0\troot\t_\t_\n\n" * 10)
    assert load_tagged(str(path)).splits["train"][0][:2] == (("word",), ("NOUN",))
    assert load_tagged(str(path), label_column=5).splits["train"][0].labels == ("NN",)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            sentence("a", "B-A", 9) + sentence("b", "PER"),
            {},
            r"line 19: expected O, or B.*'PER' in column 3",
        ),
        (sentence("a", "A", 9), {"labels": "spans"}, "line 1: expected O, or B"),
        (sentence("a", "O", 9), {"label_column": 4}, "expected --label_column from 1 to 3.*got 4"),
        ("a O\n\nb\n", {}, "line 3: expected 2 columns"),
        (sentence("a", "O", 9), {"valid_fraction": 2.0}, "fractions"),
    ],
)
def test_what_does_not_fit_is_answered_with_the_place(text, options, message, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_tagged(str(tmp_path / "a.txt"), **options)


def test_labels_that_look_like_spans_may_be_tags(tmp_path):
    (tmp_path / "a.txt").write_text(sentence("a", "B-A", 9) + sentence("b", "PER"))
    data = load_tagged(str(tmp_path / "a.txt"), labels="tags")
    assert data.splits["valid"][0].labels == ("PER",)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("conll03", {}, 'unknown data set "conll03"; did you mean "conll2003"'),
        ("nowhere/a.txt", {}, "no such file or folder"),
        ("atis", {"valid_fraction": 0.2}, 'no valid_fraction because "atis" comes with its own'),
        ("atis", {"word_column": 2}, 'no word_column because "atis"'),
        ("atis", {"encoding": "latin-1"}, 'no encoding because "atis"'),
        ("atis", {"labels": "tags"}, 'no labels because "atis"'),
        ("atis", {"cut": "blocks"}, 'no split because "atis".*got blocks. Leave --split out'),
    ],
)
def test_names_and_options_that_do_not_fit_are_refused(data, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_tagged(data, **options)

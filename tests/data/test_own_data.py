"""A user's own data: how they are cut, what lies in one folder, and what is warned of."""

import logging
import random

import pytest

from throughtime.data import Pair, WordTokeniser, load, load_pairs, read_text, suspicions
from throughtime.data.sentences import load_sentences, read_sentences
from throughtime.data.split_files import split_files
from throughtime.data.splits import cut_items, cut_text
from throughtime.data.tokenisation import kind_for_targets, round_trip

# How data are cut.


def test_at_random_every_item_is_in_one_split_and_equal_ones_are_together():
    items = [f"item {random.Random(k).randrange(120)}" for k in range(300)]
    parts = cut_items("items", items, 0.2, 0.1, "items", "random")
    assert sorted(x for part in parts.values() for x in part) == sorted(items)
    assert not set(parts["train"]) & set(parts["valid"])
    assert not set(parts["test"]) & {*parts["train"], *parts["valid"]}
    # The sizes are off by less than a group of equal ones.
    assert 55 <= len(parts["valid"]) <= 65
    assert 25 <= len(parts["test"]) <= 35
    # It is always the same, and not the order of the data.
    assert cut_items("items", items, 0.2, 0.1, "items", "random") == parts
    assert parts["train"] != [x for x in items if x in set(parts["train"])]


def test_blocks_validate_on_ten_parts_of_the_data():
    parts = cut_items("numbers", list(range(200)), 0.1, 0.05, "numbers", "blocks")
    assert parts["valid"] == [20 * k + 17 + j for k in range(10) for j in range(2)]
    assert parts["test"] == [20 * k + 19 for k in range(10)]
    assert sorted(x for part in parts.values() for x in part) == list(range(200))
    # Few items make fewer blocks.
    assert cut_items("n", list(range(25)), 0.2, 0, "n", "blocks")["valid"] == [
        9,
        10,
        11,
        22,
        23,
        24,
    ]


def test_a_text_is_cut_between_its_lines_unless_in_order():
    text = "".join(f"name{k:02}\n" for k in range(40))
    for how in ("random", "blocks"):
        parts = cut_text("names", text, 0.25, None, how)
        assert sorted("".join(parts.values()).split()) == text.split()
        assert all(part.endswith("\n") for part in parts.values())
        # Each block of ten lines gives whole lines.
        assert len(parts["valid"].split()) == {"random": 10, "blocks": 12}[how]
    # A last line without an end becomes one with an end, and empty lines are no items.
    assert sorted("".join(cut_text("x", "b\n\na\n\nc", 0.3, 0, "random").values())) == [
        *("\n", "\n", "\n", "a", "b", "c")
    ]
    assert cut_text("x", "abcdefghij", 0.2, 0, "order") == {"train": "abcdefgh", "valid": "ij"}


@pytest.mark.parametrize("how", ["random", "blocks"])
def test_a_split_that_would_be_empty_is_refused(how):
    with pytest.raises(ValueError, match='leaves "train" empty'):
        cut_items("few", [1], 0.1, 0, "items", how)
    with pytest.raises(ValueError, match="Make their sum less than 1"):
        cut_items("few", [1, 2], 0.6, 0.6, "items", how)


def test_an_unknown_way_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match='did you mean "random"'):
        cut_items("few", [1, 2], 0.1, 0, "items", "randon")


def test_items_that_are_all_equal_cannot_be_split_at_random():
    with pytest.raises(ValueError, match='leaves "valid" empty'):
        cut_items("few", ["a"] * 20, 0.1, 0, "items", "random")


# A folder of the splits.


@pytest.fixture
def folder(tmp_path):
    for split, number in {"train": 30, "dev": 4, "test": 3}.items():
        lines = [f"{split} {k}\tziel {k}" for k in range(number)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n")
        # The last line has no end.
        (tmp_path / f"{split}.txt").write_text(
            "\n".join(f"{split} line {k}" for k in range(number))
        )
    (tmp_path / "notes.txt").write_text("mine\n")
    return tmp_path


def test_a_folder_holds_pairs_for_training_validation_and_test(folder):
    pairs = load_pairs(str(folder))
    assert {split: len(p) for split, p in pairs.splits.items()} == {
        "train": 30,
        "valid": 4,
        "test": 3,
    }
    assert pairs.splits["valid"][0] == Pair("dev 0", "ziel 0")
    assert pairs.cut is None
    with pytest.raises(ValueError, match=r"splits of its own.*Leave --split out"):
        load_pairs(str(folder), cut="random")
    with pytest.raises(ValueError, match="expected no fractions"):
        load_pairs(str(folder), valid_fraction=0.2)


def test_without_a_validation_the_training_is_cut(folder):
    (folder / "dev.tsv").unlink()
    (folder / "dev.txt").unlink()
    pairs = load_pairs(str(folder), valid_fraction=0.2, cut="blocks")
    assert {split: len(p) for split, p in pairs.splits.items()} == {
        "test": 3,
        "train": 24,
        "valid": 6,
    }
    assert (
        load(str(folder), valid_fraction=0.3, cut="random").splits["test"].startswith("test line")
    )
    with pytest.raises(ValueError, match="expected no fractions"):
        load_pairs(str(folder), test_fraction=0.2)


def test_a_folder_holds_texts_too_and_no_line_crosses_a_split(folder, caplog):
    corpus = load(str(folder))
    assert corpus.splits["train"].endswith("train line 29\n")
    assert corpus.splits["valid"].startswith("dev line 0\n")
    assert "only dev.txt, test.txt, train.txt are read, and not notes.txt" in caplog.text
    sentences = load_sentences(str(folder)).splits
    assert sentences["train"][-1] == "train line 29"
    assert sentences["valid"] == [f"dev line {k}" for k in range(4)]
    assert read_text(str(folder)) == corpus.splits
    assert read_sentences(str(folder)) == sentences


def test_a_folder_without_a_training_text_is_one_text(folder):
    (folder / "train.txt").unlink()
    assert "mine" in "".join(load(str(folder)).splits.values())
    assert split_files(folder, ".txt") == {}


def test_two_files_for_one_split_are_refused(folder):
    (folder / "valid.tsv").write_text("a\tb\n")
    with pytest.raises(
        ValueError, match=r'one file for the split "valid", got dev.tsv and valid\.tsv'
    ):
        load_pairs(str(folder))


def test_a_folder_without_pairs_says_which_files_are_expected(tmp_path):
    (tmp_path / "own.tsv").write_text("a\tb\n")
    with pytest.raises(ValueError, match=r"Give --languages.*or name files.*train.tsv"):
        load_pairs(str(tmp_path))


# What is suspicious.


def names(number):
    return [f"{a}{b}{c}" for a in "abcdefgh" for b in "eiou" for c in "lnrst"][:number]


def test_sorted_items_are_warned_of_unless_they_are_drawn_at_random():
    items = names(160)
    parts = cut_items("names.txt", items, None, None, "lines")
    (warning,) = suspicions("names.txt", parts, "order")
    assert warning.startswith("names.txt: the lines are sorted")
    assert "Use --split random" in warning
    # Against the alphabet, and two sorted lists one after the other.
    for other in (items[::-1], items[::2] + items[1::2]):
        assert suspicions("n", cut_items("n", other, None, None, "lines"), "order")
    for how in ("random", "blocks"):
        assert suspicions("n", cut_items("n", items, None, None, "lines", how), how) == []
    shuffled = random.Random(1).sample(items, len(items))
    assert suspicions("n", cut_items("n", shuffled, None, None, "lines"), "order") == []
    # Splits of the user's own may be sorted, each for itself.
    assert suspicions("n", parts, None) == []


def test_copies_between_training_and_validation_are_warned_of():
    items = random.Random(1).sample(names(160), 160)
    parts = {"train": items[:120], "valid": [*items[120:157], *items[:3]]}
    (warning,) = suspicions("names.txt", parts, "order")
    assert "3 of 40 lines of the validation are in the training" in warning
    assert "--split random" in warning
    assert "Remove them" in suspicions("names.txt", parts, None)[0]
    # One of forty is no reason.
    assert suspicions("n", {"train": items[:120], "valid": [*items[120:159], items[0]]}, None) == []


def test_a_play_with_its_speakers_is_not_suspicious():
    lines = [
        line for k in range(200) for line in ("ROMEO:", f"what light is this, number {k * k}?", "")
    ]
    assert suspicions("play", cut_items("play", lines, None, None, "lines"), "order") == []
    # A text that is there twice is.
    twice = lines * 2
    assert (
        "are in the training"
        in suspicions("play", cut_items("play", twice, 0.4, None, "lines"), "order")[0]
    )


# The round trip of the targets.


def test_words_are_right_for_prose_and_characters_for_code():
    prose = ["A man's dog sleeps, here.", "Two women (in red) run."] * 10
    code = ["self, x[0] == None", "return x", "a, b"] * 10
    assert round_trip(WordTokeniser(()), prose) == (1.0, None)
    share, (text, back) = round_trip(WordTokeniser(()), code)
    assert share == pytest.approx(2 / 3)
    assert (text, back) == ("self, x[0] == None", "self, x [0] = = None")
    assert kind_for_targets(prose) == "words"
    assert kind_for_targets(code) == "characters"


def test_subwords_are_learned_from_many_targets_only():
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    code = [f"x[{k}] == None" for k in range(5000)]
    assert kind_for_targets(code) == "subwords"
    assert kind_for_targets(code[:4999]) == "characters"


def test_the_run_says_what_it_chose(tmp_path, caplog):
    from throughtime.tasks.translation import Translation, TranslationConfig

    lines = [f"take item {k} of x\tx[{k}] == None" for k in range(40)]
    (tmp_path / "code.tsv").write_text("\n".join(lines))
    task = Translation(TranslationConfig(str(tmp_path / "code.tsv")))
    source, target = task.tokenisers
    assert (source.kind, target.kind) == ("words", "characters")
    assert "words reproduce 0 % of the targets exactly ('x[0] == None' comes back as" in caplog.text
    # Who asks for words gets them, and hears of it when the training begins.
    caplog.clear()
    task = Translation(TranslationConfig(str(tmp_path / "code.tsv"), tokenisation="words"))
    with caplog.at_level(logging.WARNING):
        task.check()
    assert task.tokenisers[1].kind == "words"
    assert "words reproduce only 0 % of the targets exactly" in caplog.text

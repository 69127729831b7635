import gzip
import logging
from pathlib import Path

import pytest

from throughtime.data.download import ChecksumError
from throughtime.data.pairs import Pair, PairSet, load_pairs, num_read, warn_of_long_sources


def written(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def lines(num: int, word: str = "line") -> str:
    return "".join(f"{word} {n}\n" for n in range(num))


@pytest.fixture
def two(tmp_path):
    """Two files of twenty lines."""
    return written(tmp_path / "t.de", lines(20, "Satz")), written(tmp_path / "t.en", lines(20))


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


# Where pairs come from


def test_two_files_belong_together_line_by_line_and_are_split_in_order(two):
    pairs = load_pairs(list(two), valid_fraction=0.1, test_fraction=0.2)
    assert {split: len(part) for split, part in pairs.splits.items()} == {
        "train": 14,
        "valid": 2,
        "test": 4,
    }
    assert pairs.splits["train"][0] == Pair("Satz 0", "line 0")
    assert pairs.splits["test"][-1] == Pair("Satz 19", "line 19")
    assert load_pairs(",".join(two)).splits["valid"][0] == Pair("Satz 18", "line 18")


def test_a_prefix_and_languages_name_two_files(two, tmp_path):
    given = load_pairs(str(tmp_path / "t"), languages="de-en")
    assert given.splits == load_pairs(two).splits
    turned = load_pairs(str(tmp_path / "t"), languages="en-de")
    assert turned.splits["train"][0] == Pair("line 0", "Satz 0")


def test_a_folder_brings_its_own_splits_packed_or_not(tmp_path):
    for stem, num in (("train", 5), ("val", 3), ("flickr", 2)):
        written(tmp_path / f"{stem}.de", lines(num, stem))
        written(tmp_path / f"{stem}.en.gz", gzip.compress(lines(num).encode()))
    pairs = load_pairs(str(tmp_path), languages="de-en")
    assert {split: len(part) for split, part in pairs.splits.items()} == {
        "train": 5,
        "valid": 3,
        "flickr": 2,
    }
    assert pairs.splits["flickr"][1] == Pair("flickr 1", "line 1")
    with pytest.raises(ValueError, match="comes in splits of its own"):
        load_pairs(str(tmp_path), languages="de-en", valid_fraction=0.2)
    with pytest.raises(ValueError, match=r"is a folder; which files.*Give --languages"):
        load_pairs(str(tmp_path))
    (tmp_path / "val.de").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected valid\.de and valid\.en in this folder"):
        load_pairs(str(tmp_path), languages="de-en")


def test_a_file_with_tabs_is_source_and_target(tmp_path, said):
    path = written(tmp_path / "fra.txt", "Go.\tVa !\tCC-BY\nRun.\tCours !\tCC-BY\n" * 5)
    pairs = load_pairs(path)
    assert pairs.splits["train"][0] == Pair("Go.", "Va !")
    assert len(pairs.splits["train"]) == 9
    assert said() == [
        f"{path} has 3 columns: the first is the source, the second the target, the others are "
        "not read."
    ]


def test_lines_end_with_line_feeds_or_in_an_old_file_with_returns(tmp_path):
    odd = "a\u2028b\x0bc\x85d"
    source = written(tmp_path / "s", f"\ufeff{odd}\r\nx\ry")
    target = written(tmp_path / "t", "1\r2\r")
    pairs = load_pairs([source, target], valid_fraction=0)
    assert pairs.splits["train"] == [Pair(odd, "1"), Pair("x\ry", "2")]


# What is wrong with them


def test_unequal_numbers_of_lines_name_the_files_and_the_numbers(tmp_path):
    source, target = written(tmp_path / "s", lines(1001)), written(tmp_path / "t", lines(1000))
    with pytest.raises(ValueError, match="expected as many in both") as error:
        load_pairs([source, target])
    assert f"{source} has 1,001 lines and {target} 1,000" in str(error.value)
    assert "a line that is missing, or broken in two" in str(error.value)


def test_an_empty_line_is_left_out_of_the_training_and_kept_elsewhere(tmp_path, said):
    sources = ["a"] * 30
    targets = ["b"] * 30
    sources[4] = sources[28] = ""
    targets[9] = "  "
    source = written(tmp_path / "s", "\n".join(sources) + "\n")
    target = written(tmp_path / "t", "\n".join(targets) + "\n")
    pairs = load_pairs([source, target])
    assert (len(pairs.splits["train"]), pairs.num_left_out) == (25, 2)
    assert pairs.splits["valid"] == [Pair("a", "b"), Pair("", "b"), Pair("a", "b")]
    assert said() == [
        "s,t: 2 of 27 pairs of the training have an empty side and are left out (line 5, 10)."
    ]


def test_a_training_of_empty_lines_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected pairs to learn from, got 3 with empty sides"):
        load_pairs(written(tmp_path / "p", "a\t\n\tb\n\n"), valid_fraction=0)


def test_bytes_that_are_no_utf8_name_file_offset_and_line(tmp_path, two):
    bad = written(tmp_path / "bad", b"eins\nzw\xf6lf\n" + b"x\n" * 18)
    with pytest.raises(ValueError, match="expected text in utf-8") as error:
        load_pairs([bad, two[1]])
    for words in (bad, "byte 0xf6 at byte offset 7, line 2", "--encoding cp1252"):
        assert words in str(error.value)
    assert load_pairs([bad, two[1]], encoding="cp1252").splits["train"][1].source == "zwölf"


def test_a_missing_tab_names_the_line(tmp_path):
    path = written(tmp_path / "p.tsv", "a\tb\n\nc\td\nno tab here\n")
    with pytest.raises(ValueError, match=r"p\.tsv, line 4: expected .*got no tab: 'no tab here'"):
        load_pairs(path)


@pytest.mark.parametrize("keep", [5, 30, -8])
def test_a_truncated_gzip_file_says_so(tmp_path, two, keep):
    packed = gzip.compress(lines(20).encode())
    path = written(tmp_path / "t.gz", packed[:keep])
    with pytest.raises(ValueError, match=r"t\.gz: expected a gzip file, got a damaged one"):
        load_pairs([two[0], path])


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path, two):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*no such file"):
        load_pairs([two[0], str(tmp_path / "nowhere")])
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load_pairs(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="expected lines of text, got an empty file"):
        load_pairs([two[0], written(tmp_path / "empty", "")])


def test_a_name_nearly_right_is_answered_with_the_right_one():
    with pytest.raises(ValueError, match='did you mean "multi30k-de-en"'):
        load_pairs("multi30k-deen")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_fraction": 0.2}, "expected no valid_fraction because"),
        ({"languages": "de-en"}, "Leave --languages out"),
        ({"encoding": "latin-1"}, "expected no encoding"),
    ],
)
def test_a_named_set_takes_no_options(options, message):
    with pytest.raises(ValueError, match=message):
        load_pairs("scan-simple", **options)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("a,b,c", {}, "expected two files, source and target, got 3"),
        (["a"], {}, "expected two files, source and target, got 1"),
        (["a", "b"], {"languages": "de-en"}, "expected no languages because two files"),
        ("a", {"languages": "deen"}, "expected languages as de-en"),
    ],
)
def test_other_forms_are_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        load_pairs(data, **options)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"valid_fraction": 1.0}, "Make their sum less than 1"),
        ({"valid_fraction": -0.1}, "expected fractions from 0"),
        ({"valid_fraction": 0.99}, 'leaves "train" empty'),
    ],
)
def test_fractions_that_do_not_fit_are_refused(two, fractions, message):
    with pytest.raises(ValueError, match=message):
        load_pairs(two, **fractions)


def test_a_damaged_file_of_a_named_set_is_refused(tmp_path, monkeypatch):
    (tmp_path / "scan").mkdir()
    written(tmp_path / "scan" / "tasks_train_simple.txt", "IN: jump OUT: I_JUMP\n")
    monkeypatch.setenv("THROUGHTIME_DATA", str(tmp_path))
    with pytest.raises(ChecksumError, match=r"tasks_train_simple\.txt: expected content of sha256"):
        load_pairs("scan-simple")


# The set itself


def test_the_fingerprint_tells_every_change():
    def fingerprint(*pairs: tuple[str, str]) -> str:
        return PairSet("a", {"train": [Pair(*pair) for pair in pairs]}).fingerprint()

    one = fingerprint(("ab", "c"), ("d", "e"))
    assert one == fingerprint(("ab", "c"), ("d", "e"))
    others = [(("a", "bc"), ("d", "e")), (("ab", "c"),), (("d", "e"), ("ab", "c"))]
    assert one not in {fingerprint(*other) for other in others}


def test_sources_far_longer_than_any_of_the_training_are_warned_of(said):
    assert warn_of_long_sources([3, 20, 21, 400], longest=10, unit="words") == [2, 3]
    assert said()[1] == (
        "line 4: the source has 400 words, the longest of the training 10: "
        "what is made of it may be poor. Cut it into shorter ones."
    )
    warn_of_long_sources([9] * 8, longest=2)
    assert said()[-1] == "3 more sources are as long."


@pytest.mark.parametrize(("longest", "most"), [(1, 1000), (100, 1000), (101, 1010)])
def test_sources_that_are_cut_are_told(said, longest, most):
    assert num_read(longest) == most
    warn_of_long_sources([most, most + 1], longest, "words")
    kept, cut = said()
    assert kept.endswith(": what is made of it may be poor. Cut it into shorter ones.")
    assert cut == (
        f"line 2: the source has {most + 1} words, the longest of the training {longest}: "
        f"only its first {most} are read. Cut it into shorter ones."
    )
    warn_of_long_sources([*[most] * 5, most + 1, most + 2], longest, "words")
    assert said()[-2:] == [
        "2 more sources are as long.",
        f"Of 2 sources only the first {most} words are read.",
    ]

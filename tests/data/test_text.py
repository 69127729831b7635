from pathlib import Path

import platformdirs
import pooch
import pytest

from throughtime.data import text as text_module
from throughtime.data.download import DownloadError
from throughtime.data.text import TEXT_SETS, Corpus, fingerprint, load

from .mirror import needs_files


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", fail)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)


def load_set(name: str, **options) -> Corpus:
    """A named set from the local mirror; the test is skipped where it is not there."""
    needs_files(name)
    return load(name, **options)


def written(folder: Path, content: str | bytes, name: str = "text.txt") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def num_characters(corpus: Corpus) -> dict[str, int]:
    return {split: len(text) for split, text in corpus.splits.items()}


# The standard library


def test_without_data_the_text_is_the_source_of_the_standard_library():
    corpus = load(None)
    text = "".join(corpus.splits.values())
    assert text.isascii()
    assert len(text) > 2_000_000
    assert "\r" not in text
    # By name argparse is among the first files, zipimport the last.
    assert "class ArgumentParser" in corpus.splits["train"]
    assert "class zipimporter" in corpus.splits["valid"]
    assert set(corpus.splits) == {"train", "valid"}


def test_an_interpreter_without_sources_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"expected the \*\.py files .* --data"):
        load(None)


# Named sets


def test_tinyshakespeare_is_read_as_it_is():
    corpus = load_set("tinyshakespeare")
    # The split of 90 to 10 that is usual elsewhere.
    assert num_characters(corpus) == {"train": 1_003_854, "valid": 111_540}
    assert len(set("".join(corpus.splits.values()))) == 65
    assert corpus.splits["train"].startswith("First Citizen:\nBefore we proceed")


def test_warpeace_has_neither_a_byte_order_mark_nor_carriage_returns():
    corpus = load_set("warpeace", valid_fraction=0.1, test_fraction=0.1)
    text = "".join(corpus.splits.values())
    # The 3,196,215 characters of 83 types in the file, less the byte-order mark.
    assert len(text) == 3_196_214
    assert len(set(text)) == 82
    assert text.count("\n") == 62_016
    assert text.startswith('"Well, Prince, so Genoa and Lucca are now just family estates of the\n')


def test_ptb_char_has_the_published_number_of_symbols():
    corpus = load_set("ptb-char")
    assert num_characters(corpus) == {"train": 5_017_482, "valid": 393_042, "test": 442_423}
    assert all(len(set(text)) <= 50 for text in corpus.splits.values())
    assert corpus.splits["train"].startswith("aer banknote berlitz calloway")
    assert corpus.splits["valid"].startswith("consumers may want to move their telephones")


@pytest.mark.parametrize("option", ["valid_fraction", "test_fraction"])
def test_ptb_char_refuses_fractions_because_it_has_splits(option):
    with pytest.raises(ValueError, match=f"comes in splits of its own.*{option}=0.0"):
        load_set("ptb-char", **{option: 0.0})


def test_ptb_char_does_without_the_test_that_nobody_can_download(monkeypatch, caplog):
    def fetch(file):
        if file.url is None:
            raise DownloadError("nowhere to download it from")
        return b"n o _ i t _ w a s \n "

    monkeypatch.setattr("throughtime.data.text.fetch", fetch)
    assert load("ptb-char").splits == dict.fromkeys(["train", "valid"], "no it was\n")
    assert "ptb-char is used without its test split. nowhere" in caplog.text


@pytest.mark.parametrize("name", TEXT_SETS)
def test_a_set_that_cannot_be_had_is_an_error(name, monkeypatch):
    monkeypatch.delenv("THROUGHTIME_DATA", raising=False)
    with pytest.raises(DownloadError, match=f'data set "{name}".*no route to host'):
        load(name)


@pytest.mark.parametrize("data", [None, "tinyshakespeare"])
def test_an_encoding_without_effect_is_refused(data):
    with pytest.raises(ValueError, match=r"expected no encoding .*latin-1"):
        load(data, encoding="latin-1")


# The user's own files


def test_a_file_is_split_in_order(tmp_path):
    corpus = load(written(tmp_path, "abcdefghij"), valid_fraction=0.2, test_fraction=0.3)
    assert corpus == Corpus("text.txt", {"train": "abcde", "valid": "fg", "test": "hij"})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"train": 9, "valid": 1}),
        ({"valid_fraction": 0.0}, {"train": 10}),
        ({"valid_fraction": 0.9}, {"train": 1, "valid": 9}),
        ({"test_fraction": 0.2}, {"train": 7, "valid": 1, "test": 2}),
        ({"valid_fraction": 0.0, "test_fraction": 0.5}, {"train": 5, "test": 5}),
    ],
)
def test_a_split_of_no_fraction_is_absent(tmp_path, options, expected):
    path = written(tmp_path, "abcdefghij")
    assert num_characters(load(path, **options)) == expected


@pytest.mark.parametrize("num", [10, 11, 19, 20, 101])
@pytest.mark.parametrize("fraction", [0.1, 0.3, 1 / 3])
def test_the_splits_are_the_text_in_order(tmp_path, num, fraction):
    text = "".join(chr(ord("0") + i) for i in range(num))
    corpus = load(written(tmp_path, text), valid_fraction=fraction, test_fraction=fraction)
    assert "".join(corpus.splits[split] for split in ("train", "valid", "test")) == text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("a\r\nb\n\r\n", "a\nb\n\n", id="newlines"),
        pytest.param("a\r\nb\rc\n\r\n", "a\nb\rc\n\n", id="a stray return"),
        pytest.param("a\rb\r", "a\nb\n", id="returns alone"),
        pytest.param("\ufeffa", "a", id="byte-order mark"),
        pytest.param("a\ufeff", "a\ufeff", id="mark elsewhere is kept"),
        pytest.param("a\0b\0", "a\0b\0", id="NUL"),
        pytest.param("é😀", "é😀", id="not ASCII"),
    ],
)
def test_the_text_of_a_file_is_decoded(tmp_path, content, expected):
    assert load(written(tmp_path, content), valid_fraction=0).splits == {"train": expected}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "UTF8"])
def test_the_encoding_is_respected(tmp_path, encoding):
    path = written(tmp_path, "naïve\r\ncafé".encode(encoding))
    corpus = load(path, encoding=encoding, valid_fraction=0)
    assert corpus.splits == {"train": "naïve\ncafé"}


def test_a_folder_is_its_text_and_python_files_by_name(tmp_path):
    for name in ("b.txt", "a.py", "c.md", "d.txt"):
        written(tmp_path, name.upper(), name)
    (tmp_path / "folder.txt").mkdir()
    corpus = load(str(tmp_path), valid_fraction=0)
    assert corpus == Corpus(tmp_path.name, {"train": "A.PY\nB.TXT\nD.TXT"})


def test_a_name_wins_over_a_path_which_can_be_written_out(tmp_path, monkeypatch):
    written(tmp_path, "mine", "warpeace")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(text_module, "_read_set", lambda name: {"all": f"of {name}"})
    assert load("warpeace", valid_fraction=0).splits == {"train": "of warpeace"}
    assert load("./warpeace", valid_fraction=0).splits == {"train": "mine"}


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    written(tmp_path, "mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load("~/text.txt", valid_fraction=0).splits == {"train": "mine"}


def test_a_misspelt_set_names_the_nearest_and_says_that_there_is_no_such_file():
    with pytest.raises(ValueError, match=r'did you mean "tinyshakespeare".*Nor is there a file'):
        load("tinyshakespere")


@pytest.mark.parametrize("data", ["missing/text.txt", "./warpeace", "warpeace/"])
def test_a_path_that_is_missing_is_named(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"{data}: no such file or folder.*warpeace"):
        load(data, encoding="latin-1")


def test_no_name_at_all_is_not_the_current_folder(tmp_path, monkeypatch):
    written(tmp_path, "mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='unknown data set ""'):
        load("")


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"text\.txt: expected a text, got no characters"):
        load(written(tmp_path, ""))


def test_a_folder_without_text_is_refused(tmp_path):
    written(tmp_path, "notes", "notes.md")
    with pytest.raises(FileNotFoundError, match=r"expected \*\.txt or \*\.py files .* got none"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "encoding", "where", "likely"),
    [
        ("one\r\ntwo\ncafé".encode("cp1252"), "utf-8", "0xe9 at byte offset 12, line 3", "cp1252"),
        ("one\r\ntwo\rcafé".encode("cp1252"), "utf-8", "0xe9 at byte offset 12, line 2", "cp1252"),
        ("one\rtwo\rcafé".encode("cp1252"), "utf-8", "0xe9 at byte offset 11, line 3", "cp1252"),
        (b"\x81\x8d", "cp1252", "0x81 at byte offset 0, line 1", "latin-1"),
        ("é".encode(), "ascii", "0xc3 at byte offset 0, line 1", "utf-8"),
        ("é\n".encode("utf-16"), "utf-8", "0x.. at byte offset 0, line 1", "utf-16"),
    ],
)
def test_bytes_of_another_encoding_are_located(tmp_path, content, encoding, where, likely):
    path = written(tmp_path, content)
    expected = f"text.txt: expected text in {encoding}, got byte {where}.*--encoding {likely}"
    with pytest.raises(ValueError, match=expected):
        load(path, encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "hint"), [("latin-2000", "latin-1"), ("uft-8", "utf-8"), ("hex", "Known: utf-8")]
)
def test_an_unknown_encoding_names_the_nearest(tmp_path, encoding, hint):
    with pytest.raises(ValueError, match=f'unknown encoding "{encoding}".*{hint}'):
        load(written(tmp_path, "a"), encoding=encoding)


@pytest.mark.parametrize(
    ("valid", "test"), [(-0.1, 0.0), (0.0, -0.1), (0.5, 0.5), (1.5, 0.0), (float("nan"), 0.0)]
)
def test_fractions_out_of_range_are_refused(tmp_path, valid, test):
    with pytest.raises(ValueError, match=f"valid_fraction={valid}, test_fraction={test}"):
        load(written(tmp_path, "a" * 100), valid_fraction=valid, test_fraction=test)


@pytest.mark.parametrize(
    ("text", "options", "split"),
    [("a", {}, "train"), ("abcdefghij", {"valid_fraction": 0.0, "test_fraction": 0.95}, "train")],
)
def test_a_text_too_short_for_its_splits_is_refused(tmp_path, text, options, split):
    with pytest.raises(ValueError, match=f'got {len(text)}, which leaves "{split}" empty'):
        load(written(tmp_path, text), **options)


# Fingerprints


def test_the_fingerprint_depends_on_the_splits_and_on_nothing_else():
    fingerprints = [
        fingerprint(Corpus("a", splits))
        for splits in (
            {"train": "ab", "valid": "c"},
            {"train": "a", "valid": "bc"},
            {"train": "ab", "test": "c"},
            {"test": "ab", "valid": "c"},
            {"train": "abvalid\nc"},
            {"train": "abc"},
            {"train": "ab\ud800"},
            {},
        )
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert fingerprint(Corpus("b", {"valid": "c", "train": "ab"})) == fingerprints[0]


def test_a_corpus_is_shown_without_its_text():
    assert repr(Corpus("a", {"train": "x" * 1000})) == "Corpus(name='a')"

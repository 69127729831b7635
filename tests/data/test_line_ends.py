"""The lines of a text are the same for all readers: of pairs, of sentences, and of the input."""

import io
import random

import pytest

from throughtime.cli.lines import read_lines
from throughtime.data import Pair, lines, load, load_pairs, one_line, with_line_feeds
from throughtime.data.sentences import load_sentences

NEVER_A_LINE_END = "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"

CASES = [
    ("", []),
    ("\n", [""]),
    ("a", ["a"]),
    ("a\n", ["a"]),
    ("a\n\n", ["a", ""]),
    ("a\r\nb\r\n", ["a", "b"]),
    ("a\r\nb\nc", ["a", "b", "c"]),
    # A stray return is a character of its line,
    ("a\rb\nc\n", ["a\rb", "c"]),
    ("a\nb\rc", ["a", "b\rc"]),
    ("a\r\nb\rc\r\n", ["a", "b\rc"]),
    ("a\r\r\nb\n", ["a\r", "b"]),
    ("a\nb\r", ["a", "b\r"]),
    ("\r\n\ra\n", ["", "\ra"]),
    # but where there is no line feed at all, it ends a line.
    ("a\rb", ["a", "b"]),
    ("a\r\rb\r", ["a", "", "b"]),
    ("\r", [""]),
    (NEVER_A_LINE_END, [NEVER_A_LINE_END]),
    (f"{NEVER_A_LINE_END}\r\n{NEVER_A_LINE_END}", [NEVER_A_LINE_END] * 2),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_the_lines_of_a_text(text, expected):
    assert lines(text) == expected
    if text:
        assert with_line_feeds(text).removesuffix("\n").split("\n") == expected


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_the_input_is_read_by_the_same_rule(text, expected):
    batches = read_lines(io.BytesIO(text.encode()), 2)
    assert [line for batch in batches for line in batch] == expected


class Chunks(io.RawIOBase):
    """A stream that comes in pieces of any size."""

    def __init__(self, content, size):
        self.content, self.size = content, size

    def read1(self, size):
        piece, self.content = self.content[: self.size], self.content[self.size :]
        return piece


def test_texts_of_any_line_ends_in_any_pieces():
    draw = random.Random(0)
    for _ in range(500):
        text = "".join(draw.choices("\r\nab\u2028", k=draw.randrange(12)))
        stream = Chunks(text.encode(), draw.choice([1, 2, 5]))
        read = [line for batch in read_lines(stream, 3) for line in batch]
        assert read == lines(text), repr(text)


def written(path, text):
    path.write_bytes(text.encode())
    return str(path)


def test_stray_returns_in_different_lines_of_two_files_do_not_shift_the_pairs(tmp_path):
    source = written(tmp_path / "s", "a1\ra2\nb\nc\n")
    target = written(tmp_path / "t", "A\nB\nC1\rC2\n")
    pairs = load_pairs([source, target], valid_fraction=0).splits["train"]
    assert pairs == [Pair("a1\ra2", "A"), Pair("b", "B"), Pair("c", "C1\rC2")]


def test_a_stray_return_that_makes_up_for_a_missing_line_is_no_line(tmp_path):
    source = written(tmp_path / "s", "a1\ra2\nb\n")
    target = written(tmp_path / "t", "A\nB\nC\n")
    with pytest.raises(ValueError, match=r"has 2 lines and .* 3"):
        load_pairs([source, target])


def test_a_stray_return_in_columns(tmp_path):
    data = written(tmp_path / "x.tsv", "a\rb\tA\nc\tC\r\n")
    pairs = load_pairs(data, valid_fraction=0).splits["train"]
    assert pairs == [Pair("a\rb", "A"), Pair("c", "C")]


def test_a_text_and_its_sentences(tmp_path):
    mixed = written(tmp_path / "mixed", "a b\rc d\r\ne f\x0cg\n")
    assert load(mixed, valid_fraction=0).splits == {"train": "a b\rc d\ne f\x0cg\n"}
    sentences = load_sentences(mixed, valid_fraction=0).splits["train"]
    assert sentences == ["a b\rc d", "e f\x0cg"]
    # A part of a text is cut by the rule for the whole, though it has returns alone.
    cut = written(tmp_path / "cut", "a b\n" * 5 + "c\rd e\rf")
    splits = load_sentences(cut, valid_fraction=0.2).splits
    assert splits == {"train": ["a b"] * 5, "valid": ["c\rd e\rf"]}
    old = written(tmp_path / "old", "a b\rc d\r")
    assert load(old, valid_fraction=0).splits == {"train": "a b\nc d\n"}
    assert load_sentences(old, valid_fraction=0).splits["train"] == ["a b", "c d"]


def test_one_line():
    assert one_line("") == one_line("\n") == one_line("\r\n") == ""
    assert one_line(f"{NEVER_A_LINE_END}\n") == NEVER_A_LINE_END
    for several in ("a\nb", "a\n\n", "a\r\nb", "a\rb"):
        with pytest.raises(ValueError, match="expected one line, got 2"):
            one_line(several)

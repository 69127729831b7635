"""Word vectors: each format is recognised, only what is needed is kept, damage is answered."""

import gzip
import struct

import numpy as np
import pytest

from throughtime.data.word_vectors import read_word_vectors

VECTORS = {"the": [0.5, -1.0, 2.0], "New York": [1.0, 2.0, 3.0], "über": [0.25, 0.0, -4.0]}
LINES = "".join(f"{word} {' '.join(map(str, v))}\n" for word, v in VECTORS.items())


def binary(end=b"\n"):
    entries = [w.encode() + b" " + struct.pack("<3f", *v) for w, v in VECTORS.items()]
    return b"3 3\n" + b"".join(entry + end for entry in entries)


CONTENTS = {
    "glove": LINES.encode(),
    "word2vec": b"3 3\n" + LINES.encode(),
    "vec with spaces at the ends": b"3 3\n" + LINES.replace("\n", " \n").encode(),
}


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("name", CONTENTS)
def test_texts(name, is_packed, tmp_path):
    path = tmp_path / ("vectors.gz" if is_packed else "vectors")
    path.write_bytes(gzip.compress(CONTENTS[name]) if is_packed else CONTENTS[name])
    vectors = read_word_vectors(path, ["the", "über", "New York", "absent"])
    assert {word: list(v) for word, v in vectors.items()} == VECTORS
    assert list(read_word_vectors(path, ["über"])) == ["über"]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_binary(end, tmp_path):
    content = binary(end)
    # A word with a space cannot be told from its vector there.
    content = content.replace(b"New York", b"New_York")
    (tmp_path / "a.bin").write_bytes(content)
    vectors = read_word_vectors(tmp_path / "a.bin", {"New_York", "über"})
    assert list(vectors["New_York"]) == VECTORS["New York"]
    assert list(vectors["über"]) == VECTORS["über"]
    assert vectors["über"].dtype == np.float32


def test_a_binary_of_many_pieces(tmp_path):
    values = np.random.default_rng(0).normal(size=(3000, 200)).astype("<f4")
    entries = (f"w{i} ".encode() + row.tobytes() + b"\n" for i, row in enumerate(values))
    (tmp_path / "a.bin").write_bytes(b"3000 200\n" + b"".join(entries))
    vectors = read_word_vectors(tmp_path / "a.bin", [f"w{i}" for i in range(0, 3000, 7)])
    assert len(vectors) == 429
    assert all((vectors[f"w{i}"] == values[i]).all() for i in range(0, 3000, 7))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 1 2 3\ncat 1 2\n", r"v, line 2: expected a word and 3 numbers .*, got 3 parts"),
        (b"the 1 2 3\ncat 1 2 x\n", r"v, line 2: expected numbers"),
        (b"the 1 2 3\ncat 1 2 nan\n", r"line 2: expected 3 finite numbers, got one that is not"),
        (b"the cat sat\n", r"v, line 1: expected a word and its numbers"),
        (b"dog 1 2 3\n", "expected vectors of at least one of the 2 words of the data, got none"),
        (
            binary()[:-6].replace(b"New York", b"cat"),
            "word 3 of 3: expected a word, a space and 12",
        ),
    ],
)
def test_a_damaged_file_is_answered_with_the_place(content, message, tmp_path):
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_word_vectors(tmp_path / "v", ["cat", "the" if b"dog" not in content else "x"])


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file\. Give --vectors"):
        read_word_vectors(tmp_path / "none", ["a"])

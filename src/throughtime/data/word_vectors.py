"""Reads pretrained word vectors: the texts of GloVe, word2vec and fastText, and word2vec's binary.

A file of vectors may be much larger than the memory, so it is read as a stream, and only the
vectors of the words that are asked for are kept.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

__all__ = ["read_word_vectors"]

_MOST_BYTES_OF_A_WORD = 10_000


def read_word_vectors(path: str | Path, words: Collection[str]) -> dict[str, np.ndarray]:
    """The vectors of those words that the file has, each (D,) of float32.

    Formats, which are recognised by the first two lines: a word and D numbers on each line,
    separated by spaces (GloVe); the same after a line with the number of words and D (word2vec,
    fastText ``.vec``); or, after such a line, each word, a space, and D numbers of four bytes
    (word2vec binary). Files whose names end with ``.gz`` are decompressed.

    Args:
        path: the file.
        words: the words whose vectors are needed. Of a word that occurs twice in the file the first
            vector is taken.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a malformed line, with its number; or if the file has none of the words.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Give --vectors a file of word vectors.")
    needed = words if isinstance(words, (set, frozenset, dict)) else set(words)
    vectors: dict[str, np.ndarray] = {}
    opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    with opened as file:
        try:
            for word, vector in _entries(cast(BinaryIO, file), path):
                if word in needed and word not in vectors:
                    vectors[word] = vector()
        except (gzip.BadGzipFile, EOFError) as error:
            raise ValueError(f"{path}: expected a whole gzip file, got {error}.") from error
    if not vectors:
        raise ValueError(
            f"{path}: expected vectors of at least one of the {len(needed):,} words of the data, "
            "got none. Take vectors of the language of the data."
        )
    return vectors


class _Numbers:
    """The numbers of a vector, which are converted only if the word is needed."""

    def __init__(self, place: str, content: bytes, size: int, is_binary: bool) -> None:
        self._place, self._content = place, content
        self._size, self._is_binary = size, is_binary

    def __call__(self) -> np.ndarray:
        if self._is_binary:
            vector = np.frombuffer(self._content, "<f4").astype(np.float32)
        else:
            try:
                vector = np.array(self._content.split(), dtype=np.float32)
            except ValueError as error:
                raise ValueError(f"{self._place}: expected numbers, {error}.") from error
        if len(vector) != self._size or not np.isfinite(vector).all():
            raise ValueError(
                f"{self._place}: expected {self._size} finite numbers, got "
                f"{len(vector) if len(vector) != self._size else 'one that is not finite'}."
            )
        return vector


def _entries(file: BinaryIO, path: Path) -> Iterator[tuple[str, _Numbers]]:
    """Yields each word of the file with its vector, in any of the formats."""
    first = file.readline()
    header = first.split()
    if len(header) == 2 and all(part.isdigit() for part in header):
        size = int(header[1])
        if size < 1:
            raise ValueError(f"{path}, line 1: expected a positive number of columns, got {size}.")
        begin = file.readline(_MOST_BYTES_OF_A_WORD + 40 * size)
        if not _is_text(begin, size):
            yield from _binary_entries(file, begin, path, int(header[0]), size)
            return
        yield _text_entry(begin, size, f"{path}, line 2")
        number = 3
    else:
        size, number = len(header) - 1, 2
        if size < 1 or not _is_text(first, size):
            raise ValueError(
                f"{path}, line 1: expected a word and its numbers, or the number of words and of "
                f"their columns, got {first[:60]!r}."
            )
        yield _text_entry(first, size, f"{path}, line 1")
    for line in file:
        if line.strip():
            yield _text_entry(line, size, f"{path}, line {number}")
        number += 1


def _is_text(line: bytes, size: int) -> bool:
    """Whether a line ends with that many numbers in text."""
    try:
        numbers = [float(part) for part in line.split()[-size:]]
    except ValueError:
        return False
    return len(numbers) == size


def _text_entry(line: bytes, size: int, place: str) -> tuple[str, _Numbers]:
    # Some files have words with spaces, so the numbers are counted from the end.
    parts = line.rstrip().rsplit(b" ", size)
    if len(parts) != size + 1:
        parts = line.rsplit(None, size)
    if len(parts) != size + 1:
        raise ValueError(
            f"{place}: expected a word and {size} numbers separated by spaces, got "
            f"{len(parts)} parts."
        )
    word = parts[0].strip().decode("utf-8", "replace")
    return word, _Numbers(place, b" ".join(parts[1:]), size, is_binary=False)


def _binary_entries(
    file: BinaryIO, begin: bytes, path: Path, count: int, size: int
) -> Iterator[tuple[str, _Numbers]]:
    """The entries of word2vec's binary format.

    Args:
        file: the file, of which ``begin`` has been read after the header.
        count: the number of words that the header states.
        size: D.
    """
    buffer, offset, num_bytes = begin, 0, 4 * size
    for number in range(1, count + 1):
        place = f"{path}, word {number} of {count}"
        while True:
            space = buffer.find(b" ", offset)
            if space >= 0 and len(buffer) > space + num_bytes:
                break
            if space < 0 and len(buffer) - offset > _MOST_BYTES_OF_A_WORD:
                raise ValueError(f"{place}: expected a word and a space, got none.")
            piece = file.read(1 << 20)
            if not piece:
                raise ValueError(
                    f"{place}: expected a word, a space and {num_bytes} bytes, got the end of the "
                    "file. Copy the file again."
                )
            buffer, offset = buffer[offset:] + piece, 0
        # Some writers put a line end after each vector.
        word = buffer[offset:space].lstrip(b"\n").decode("utf-8", "replace")
        offset = space + 1 + num_bytes
        yield word, _Numbers(place, buffer[space + 1 : offset], size, is_binary=True)

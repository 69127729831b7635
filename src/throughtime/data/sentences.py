"""Reads sentences: those of the Penn Treebank, or the lines of any text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from throughtime.checks import unknown
from throughtime.data.download import FILES, fetch
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.splits import Cut
from throughtime.data.text import TEXT_SETS, load, read_text

__all__ = ["SENTENCE_SETS", "Sentences", "load_sentences", "read_sentences"]

SENTENCE_SETS = ("ptb", *(name for name in TEXT_SETS if name != "ptb-char"))
"""The names of the data sets that consist of sentences."""


@dataclass(frozen=True)
class Sentences:
    """The sentences of a text in splits for training, validation and test.

    Args:
        name: the name of the data set, file or folder.
        splits: the sentences of "train", "valid" and "test"; a split without any is absent.
        kind: the name of the tokeniser that suits them; see `throughtime.data.TOKENISERS`.
        cut: how a single text was cut into the splits; None if it comes in splits.
    """

    name: str
    splits: dict[str, list[str]] = field(repr=False)
    kind: str = "words"
    cut: Cut | None = field(default=None, repr=False, compare=False)

    def fingerprint(self) -> str:
        """The sha256 of all splits; two runs with equal fingerprints have the same text."""
        digest = hashlib.sha256()
        for split, lines in sorted(self.splits.items()):
            digest.update(f"{split} {len(lines)}\n".encode())
            digest.update("\n".join(lines).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def load_sentences(
    data: str,
    *,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut = "order",
) -> Sentences:
    """Reads the sentences of a text, one on each line; empty lines are left out.

    Args:
        data: ``ptb``; or the ``data`` of `throughtime.data.load`. A line at the boundary of two
            splits belongs to the later one.
        encoding, valid_fraction, test_fraction, cut: see `throughtime.data.load`.

    Raises:
        FileNotFoundError, ValueError, DownloadError, ChecksumError: see `throughtime.data.load`.

    >>> load_sentences("ptb").splits["valid"][0]  # doctest: +SKIP
    'consumers may want to move their telephones a little closer to the tv set'
    """
    if data == "ptb":
        options: dict[str, str | float | None] = {
            "encoding": None if encoding == "utf-8" else encoding,
            "valid_fraction": valid_fraction,
            "test_fraction": test_fraction,
            "split": None if cut == "order" else cut,
        }
        for option, value in options.items():
            if value is not None:
                raise ValueError(
                    f'load_sentences: expected no {option} because "ptb" comes with its own, got '
                    f"{value}. Leave --{option} out."
                )
        texts = {
            part: with_line_feeds(fetch(file).decode("utf-8"))
            for part, file in FILES["ptb"].items()
        }
        return Sentences("ptb", {part: _lines(text) for part, text in texts.items()}, "symbols")
    if data not in SENTENCE_SETS and data == Path(data).name and not Path(data).exists():
        raise ValueError(
            f"{unknown('data set', data, SENTENCE_SETS)} Nor is there a file or folder of that "
            "name here."
        )
    corpus = load(
        data,
        encoding=encoding,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
        cut=cut,
    )
    splits = {split: _lines(text) for split, text in _between_lines(corpus.splits).items()}
    for split, lines in splits.items():
        if not lines:
            raise ValueError(
                f'{corpus.name}: expected lines of words for every split, got none for "{split}". '
                "Give more text, with a sentence on each line."
            )
    return Sentences(corpus.name, splits, cut=corpus.cut)


def read_sentences(data: str, encoding: str = "utf-8") -> dict[str, list[str]]:
    """Reads the sentences of a text without cutting it: its splits, or the single split "all".

    Args:
        data, encoding: see :func:`load_sentences`.
    """
    if data == "ptb":
        return load_sentences(data, encoding=encoding).splits
    return {split: _lines(text) for split, text in read_text(data, encoding).items()}


def _between_lines(splits: dict[str, str]) -> dict[str, str]:
    """Moves the boundaries of splits to the line end before them."""
    moved, rest = {}, ""
    names = list(splits)
    for name in names:
        text = rest + splits[name]
        whole_lines, line_end, rest = text.rpartition("\n")
        moved[name] = text if name == names[-1] else whole_lines + line_end
    return moved


def _lines(text: str) -> list[str]:
    """The lines of a text that are not empty; they must end with line feeds."""
    return [line.strip() for line in text.split("\n") if line.strip()]

"""Readers of the named data sets of words with labels, which also define their splits."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from throughtime.data.columns import Row, read_columns, read_conllu
from throughtime.data.download import FILES, fetch
from throughtime.data.line_ends import lines

__all__ = ["TAGGED_SETS", "Sentence"]


class Sentence(NamedTuple):
    """A sentence with a label for each word.

    Args:
        words: the words.
        labels: the label of each word.
        intent: the label of the whole sentence; empty if there is none.
    """

    words: tuple[str, ...]
    labels: tuple[str, ...]
    intent: str = ""


Splits = dict[str, list[Sentence]]


def _of_columns(rows: Sequence[Sequence[Row]], word: int, label: int) -> list[Sentence]:
    return [
        Sentence(tuple(r.cells[word] for r in row), tuple(r.cells[label] for r in row))
        for row in rows
    ]


def _text(name: str, part: str) -> str:
    return fetch(FILES[name][part]).decode("utf-8")


def _members(name: str, paths: Sequence[str]) -> list[str]:
    """Files of the zip archive that is the only file of a data set."""
    with zipfile.ZipFile(io.BytesIO(fetch(FILES[name]["all"]))) as archive:
        return [archive.read(f"{name}/{path}").decode("utf-8") for path in paths]


def _conll2003() -> Splits:
    """English news with persons, places, organisations and others: 14,041 sentences to learn."""
    return {
        split: _of_columns(read_columns(_text("conll2003", split), split), 0, -1)
        for split in FILES["conll2003"]
    }


def _conll2000() -> Splits:
    """English news with phrases (chunks).

    There is no validation part: the last tenth of the 8,936 training sentences is taken for it.
    """
    train, test = (
        _of_columns(read_columns(text, "conll2000"), 0, -1)
        for text in _members("conll2000", ["train.txt", "test.txt"])
    )
    first = len(train) * 9 // 10
    return {"train": train[:first], "valid": train[first:], "test": test}


def _conll2002(language: str) -> Splits:
    """News in Spanish (esp) or Dutch (ned), with the names of CoNLL-2003."""
    parts = {"train": "train", "valid": "testa", "test": "testb"}
    texts = _members("conll2002", [f"{language}.{part}" for part in parts.values()])
    return {
        split: _of_columns(read_columns(text, split), 0, -1)
        for split, text in zip(parts, texts, strict=True)
    }


def _wnut17() -> Splits:
    """Posts with new and rare names of six types."""
    return {
        split: _of_columns(read_columns(_text("wnut17", split), split), 0, -1)
        for split in FILES["wnut17"]
    }


def _ewt(column: int) -> Splits:
    """English web texts of Universal Dependencies, with the labels of a column of CoNLL-U."""
    return {
        split: _of_columns(read_conllu(_text("ud-english-ewt", split), split), 1, column)
        for split in FILES["ud-english-ewt"]
    }


def _atis() -> Splits:
    """Questions about flights with slots, and the intent of each question.

    A line has the words from BOS to EOS, a tab, and the labels; that of EOS is the intent.
    """

    def sentences(part: str) -> list[Sentence]:
        rows = [line.split("\t") for line in lines(_text("atis", part))]
        pairs = [(words.split(), labels.split()) for words, labels in rows]
        return [
            Sentence(tuple(words[1:-1]), tuple(labels[1:-1]), labels[-1]) for words, labels in pairs
        ]

    return {split: sentences(split) for split in FILES["atis"]}


TAGGED_SETS: dict[str, Callable[[], Splits]] = {
    "conll2003": _conll2003,
    "conll2000": _conll2000,
    "conll2002-es": partial(_conll2002, "esp"),
    "conll2002-nl": partial(_conll2002, "ned"),
    "wnut17": _wnut17,
    "ewt-upos": partial(_ewt, 3),
    "ewt-xpos": partial(_ewt, 4),
    "atis": _atis,
}
"""The reader of each data set of words with labels, by name."""

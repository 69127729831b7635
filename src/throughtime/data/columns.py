"""Reads sentences in columns: CoNLL files with a word on each line, and CoNLL-U."""

from __future__ import annotations

import re
from typing import NamedTuple

from throughtime.data.line_ends import lines

__all__ = ["Row", "read_columns", "read_conllu"]

_DOCUMENT = "-DOCSTART-"
_WORD_ID = re.compile(r"[1-9][0-9]*")
_RANGE_OR_EMPTY = re.compile(r"[1-9][0-9]*-[1-9][0-9]*|[0-9]+\.[1-9][0-9]*")


class Row(NamedTuple):
    """A word with its columns.

    Args:
        line: the number of its line in the file, from 1.
        cells: its columns.
    """

    line: int
    cells: tuple[str, ...]


def read_columns(text: str, where: str, least: int = 2) -> list[list[Row]]:
    """The sentences of a file with a word on each line and an empty line after each sentence.

    Columns are separated by tabs if the first line that is not empty has a tab, and by spaces
    otherwise. A line of spaces and tabs only is empty. Lines that begin with ``-DOCSTART-``, which
    mark the beginning of a document, are left out and end a sentence.

    Args:
        text: the content of the file.
        where: the name of the file, for error messages.
        least: the smallest number of columns.

    Raises:
        ValueError: with the number of the line, for a line with another number of columns than the
            first, or an empty column; if the file has no sentence.

    >>> read_columns("EU NNP B-ORG\\n\\nPeter NNP B-PER\\n", "a.txt")[1]
    [Row(line=3, cells=('Peter', 'NNP', 'B-PER'))]
    """
    sentences: list[list[Row]] = [[]]
    has_tabs, first = False, None
    for number, line in enumerate(lines(text), 1):
        if not line.strip():
            sentences.append([])
            continue
        # A mark has other columns than the words in some files.
        if line.startswith(_DOCUMENT):
            sentences.append([])
            continue
        if first is None:
            has_tabs = "\t" in line
        cells = [cell.strip() for cell in line.split("\t")] if has_tabs else line.split()
        if first is None:
            first = Row(number, tuple(cells))
            if len(cells) < least:
                raise ValueError(
                    f"{where}, line {number}: expected at least {least} columns, a word and its "
                    f"label, separated by tabs or spaces, got {len(cells)}: {_shown(line)}."
                )
        if len(cells) != len(first.cells):
            raise ValueError(
                f"{where}, line {number}: expected {len(first.cells)} columns separated by "
                f"{'tabs' if has_tabs else 'spaces'} as in line {first.line}, got {len(cells)}: "
                f"{_shown(line)}."
            )
        if not all(cells):
            raise ValueError(
                f"{where}, line {number}: expected text in every column, got an empty column "
                f"{cells.index('') + 1}: {_shown(line)}."
            )
        sentences[-1].append(Row(number, tuple(cells)))
    return _with_words(sentences, where)


def read_conllu(text: str, where: str) -> list[list[Row]]:
    """The sentences of a CoNLL-U file, whose lines have ten columns separated by tabs.

    Comments, the lines of multiword tokens (``1-2``), whose words follow, and empty nodes
    (``8.1``), which are no words of the text, are left out.

    Args:
        text, where: see :func:`read_columns`.

    Raises:
        ValueError: with the number of the line, for a line without ten columns, an empty column, or
            a word out of order; if the file has no sentence.

    Source: https://universaldependencies.org/format.html.
    """
    sentences: list[list[Row]] = [[]]
    for number, line in enumerate(lines(text), 1):
        if not line.strip():
            sentences.append([])
            continue
        if line.startswith("#"):
            continue
        cells = tuple(line.split("\t"))
        if len(cells) != 10 or not all(cells):
            got = f"{len(cells)}" if len(cells) != 10 else f"an empty column {cells.index('') + 1}"
            raise ValueError(
                f"{where}, line {number}: expected 10 columns of CoNLL-U separated by tabs, each "
                f"with text, got {got}: {_shown(line)}."
            )
        if _RANGE_OR_EMPTY.fullmatch(cells[0]):
            continue
        expected = len(sentences[-1]) + 1
        if not _WORD_ID.fullmatch(cells[0]) or int(cells[0]) != expected:
            raise ValueError(
                f"{where}, line {number}: expected the word {expected} of its sentence, a range "
                f"such as 1-2, or an empty node such as 8.1, got {cells[0]!r} in column 1."
            )
        sentences[-1].append(Row(number, cells))
    return _with_words(sentences, where)


def _with_words(sentences: list[list[Row]], where: str) -> list[list[Row]]:
    """The sentences that have words; raises a ValueError if there are none."""
    kept = [sentence for sentence in sentences if sentence]
    if not kept:
        raise ValueError(f"{where}: expected sentences with a word on each line, got no words.")
    return kept


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}…")

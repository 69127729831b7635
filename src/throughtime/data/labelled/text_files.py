"""Files of labelled texts: TSV and CSV, treebanks of sentiment, and lists by class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from throughtime.data.csv_rows import csv_rows
from throughtime.data.labelled.example import Example

__all__ = ["csv_texts", "phrases", "tsv_texts", "with_label_first"]


def tsv_texts(text: str, where: str) -> list[Example]:
    """One example on each line: the label, a tab, and the text. Empty lines are left out.

    Raises:
        ValueError: for a line without a tab, or with an empty label or text, with its number.
    """
    examples = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        label, tab, content = line.partition("\t")
        if not tab or not label.strip() or not content.strip():
            what = "no tab" if not tab else "an empty label" if not label.strip() else "no text"
            raise ValueError(
                f"{where}, line {number}: expected a label, a tab and a text, got {what}: "
                f"{line[:60]!r}."
            )
        examples.append(Example(label.strip(), content.strip()))
    return examples


def csv_texts(text: str, where: str) -> list[Example]:
    """One example on each row of a CSV file whose header names the columns label and text.

    Raises:
        ValueError: for a header without these columns, and a row of another number of columns.
    """
    rows = csv_rows(text, where)
    header = [name.strip().lower() for name in next(rows, ("", []))[1]]
    if not {"label", "text"} <= set(header):
        raise ValueError(
            f"{where}, line 1: expected a header with the columns label and text, got "
            f"{', '.join(header)[:80]!r}."
        )
    at_label, at_text = header.index("label"), header.index("text")
    examples = []
    for place, row in rows:
        if len(row) != len(header):
            raise ValueError(f"{place}: expected {len(header)} columns, got {len(row)}.")
        if not row[at_label].strip() or not row[at_text].strip():
            raise ValueError(f"{place}: expected a label and a text, got an empty cell.")
        content = " ".join(row[at_text].split())
        examples.append(Example(row[at_label].strip(), content))
    return examples


def with_label_first(lines: Iterable[str]) -> list[Example]:
    """One example on each line: the label, a space, and the text."""
    parts = (line.strip().partition(" ") for line in lines if line.strip())
    return [Example(label, content) for label, _, content in parts]


def phrases(trees: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The label and the text of each phrase of trees such as ``(3 (2 a) (4 joy))``, inner first."""
    for tree in trees:
        # The words of each open bracket, with its label; closing it gives them to the one outside.
        open_brackets: list[tuple[str, list[str]]] = []
        for token in re.findall(r"\(|\)|[^\s()]+", tree):
            if token == "(":
                open_brackets.append(("", []))
            elif token == ")":
                label, words = open_brackets.pop()
                yield label, " ".join(words)
                if open_brackets:
                    open_brackets[-1][1].extend(words)
            elif not open_brackets[-1][0]:
                open_brackets[-1] = (token, [])
            else:
                word = token.replace("\\/", "/").replace("-LRB-", "(").replace("-RRB-", ")")
                open_brackets[-1][1].append(word)

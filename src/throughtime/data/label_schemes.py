"""Labels that mark spans of words: the schemes IOB1, IOB2 and IOBES, and the spans they mean.

A label is ``O``, for a word outside of all spans, or a mark and a type, ``B-PER``.

- IOB1: ``I`` is a word in a span, ``B`` the first word of a span that follows another of its type.
- IOB2: ``B`` is the first word of a span, ``I`` each further word.
- IOBES: as IOB2, but ``E`` is the last word of a longer span, and ``S`` a span of one word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "OUTSIDE",
    "SCHEMES",
    "Scheme",
    "Span",
    "allowed_labels",
    "label_parts",
    "mark_spans",
    "spans_of",
    "strict_spans_of",
    "to_labels",
]

OUTSIDE = "O"
Scheme = Literal["iob1", "iob2", "iobes"]
SCHEMES: dict[str, str] = {"iob1": "BI", "iob2": "BI", "iobes": "BIES"}
"""The marks of each scheme."""


class Span(NamedTuple):
    """Some neighbouring words of one type.

    Args:
        begin: the index of its first word.
        end: the index after its last word.
        type: what it is ("PER").
    """

    begin: int
    end: int
    type: str


def label_parts(label: str) -> tuple[str, str]:
    """The mark and the type of a label; both are empty where there is no span.

    Raises:
        ValueError: for a label that is neither ``O`` nor a mark, a hyphen and a type.

    >>> label_parts("B-fare-amount"), label_parts("O")
    (('B', 'fare-amount'), ('', ''))
    """
    if label == OUTSIDE:
        return "", ""
    mark, hyphen, kind = label.partition("-")
    if mark not in ("B", "I", "E", "S") or not hyphen or not kind:
        raise ValueError(f"expected O, or B, I, E or S with a hyphen and a type, got {label!r}")
    return mark, kind


def mark_spans(labels: Iterable[str]) -> bool:
    """Whether labels mark spans: whether at least one of them has a mark and a type.

    >>> mark_spans(["O", "I-PER"]), mark_spans(["NOUN", "O"])
    (True, False)
    """
    return any(label[:2] in ("B-", "I-", "E-", "S-") and label[2:] for label in labels)


def spans_of(labels: Sequence[str]) -> list[Span]:
    """The spans of labels of any scheme, as the scorer of CoNLL reads them.

    A span begins with ``B`` or ``S``, after ``E`` or ``S``, and wherever the type changes; it ends
    before the next begins, before ``O``, and after ``E`` or ``S``. So no label is an error: an
    ``I`` at the beginning of a span begins one.

    >>> spans_of(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
    [Span(begin=0, end=2, type='PER'), Span(begin=3, end=4, type='LOC'), Span(begin=4, end=5, \
type='LOC')]
    """
    spans: list[Span] = []
    begin, open_type, previous = 0, "", ""
    for i, label in enumerate([*labels, OUTSIDE]):
        mark, kind = label_parts(label)
        begins = bool(mark) and (mark in "BS" or previous in ("E", "S") or kind != open_type)
        if open_type and (begins or not mark or previous in ("E", "S")):
            spans.append(Span(begin, i, open_type))
            open_type = ""
        if begins:
            begin, open_type = i, kind
        previous = mark
    return spans


def strict_spans_of(labels: Sequence[str], scheme: Scheme) -> list[Span]:
    """The spans that are written exactly as IOB2 or IOBES demand; all others are left out.

    >>> strict_spans_of(["I-PER", "O", "B-LOC", "I-LOC"], "iob2")
    [Span(begin=2, end=4, type='LOC')]
    """
    return [
        span
        for span in spans_of(labels)
        if list(labels[span.begin : span.end]) == _written(span, scheme)
    ]


def to_labels(spans: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """The labels of a row of words with these spans, which must not overlap.

    >>> to_labels([Span(0, 2, "PER"), Span(2, 3, "PER")], 4, "iob1")
    ['I-PER', 'I-PER', 'B-PER', 'O']
    """
    labels = [OUTSIDE] * length
    previous = None
    for span in sorted(spans):
        labels[span.begin : span.end] = _written(span, scheme)
        follows = previous is not None and previous.end == span.begin
        if scheme == "iob1" and follows and previous is not None and previous.type == span.type:
            labels[span.begin] = f"B-{span.type}"
        previous = span
    return labels


def allowed_labels(
    labels: Sequence[str], scheme: Literal["iob2", "iobes"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Which labels may be first (K), follow each other (K, K), from row to column, and be last (K).

    >>> first, follow, last = allowed_labels(["O", "B-X", "I-X"], "iob2")
    >>> first.tolist(), follow[0].tolist(), last.tolist()
    ([True, True, False], [True, True, False], [True, True, True])
    """
    parts = [label_parts(label) for label in labels]

    def may_follow(before: tuple[str, str], after: tuple[str, str]) -> bool:
        is_open = before[0] in ("B", "I") if scheme == "iobes" else bool(before[0])
        if after[0] in ("I", "E"):
            return is_open and before[1] == after[1]
        return scheme != "iobes" or not is_open

    outside = ("", "")
    return (
        torch.tensor([may_follow(outside, part) for part in parts]),
        torch.tensor([[may_follow(before, after) for after in parts] for before in parts]),
        torch.tensor([may_follow(part, outside) for part in parts]),
    )


def _written(span: Span, scheme: Scheme) -> list[str]:
    """The labels of one span; in IOB1 those of a span that follows none of its type."""
    size = span.end - span.begin
    if scheme == "iob1":
        marks = "I" * size
    elif scheme == "iob2":
        marks = "B" + "I" * (size - 1)
    else:
        marks = "S" if size == 1 else "B" + "I" * (size - 2) + "E"
    return [f"{mark}-{span.type}" for mark in marks]

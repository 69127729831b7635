"""Schemes of labels: each is read and written, and spans are those of the scorer of CoNLL."""

import itertools
import random

import pytest

from throughtime.data.label_schemes import (
    Span,
    allowed_labels,
    label_parts,
    mark_spans,
    spans_of,
    strict_spans_of,
    to_labels,
)

SPANS = [Span(0, 2, "A"), Span(2, 3, "A"), Span(3, 4, "B"), Span(5, 8, "A")]
WRITTEN = {
    "iob1": "I-A I-A B-A I-B O I-A I-A I-A",
    "iob2": "B-A I-A B-A B-B O B-A I-A I-A",
    "iobes": "B-A E-A S-A S-B O B-A I-A E-A",
}


@pytest.mark.parametrize("scheme", WRITTEN)
def test_each_scheme_is_written_and_read(scheme):
    labels = WRITTEN[scheme].split()
    assert to_labels(SPANS, 8, scheme) == labels
    assert spans_of(labels) == SPANS


@pytest.mark.parametrize("scheme", WRITTEN)
def test_random_spans_come_back(scheme):
    draw = random.Random(0)
    for _ in range(200):
        cuts = sorted(draw.sample(range(20), draw.randint(0, 8) // 2 * 2))
        spans = [Span(a, b, draw.choice("AB")) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]
        assert spans_of(to_labels(spans, 20, scheme)) == spans


# By the rules of the scorer: a B, an S, another type, or what follows an E or S begins a span.
@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ("I-A I-B", [(0, 1, "A"), (1, 2, "B")]),
        ("B-A I-B I-B", [(0, 1, "A"), (1, 3, "B")]),
        ("E-A I-A", [(0, 1, "A"), (1, 2, "A")]),
        ("S-A S-A", [(0, 1, "A"), (1, 2, "A")]),
        ("B-A E-A E-A", [(0, 2, "A"), (2, 3, "A")]),
        ("O I-A O", [(1, 2, "A")]),
        ("B-A-x I-A-x", [(0, 2, "A-x")]),
        ("", []),
    ],
)
def test_labels_in_no_scheme_mean_what_the_scorer_reads(labels, spans):
    assert spans_of(labels.split()) == [Span(*span) for span in spans]


def test_the_spans_are_those_of_seqeval():
    seqeval = pytest.importorskip(
        "seqeval.metrics.sequence_labeling", reason="seqeval is not installed"
    )
    draw, known = random.Random(1), ["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B"]
    for _ in range(2000):
        labels = draw.choices(known, k=draw.randint(1, 8))
        theirs = [Span(begin, end + 1, kind) for kind, begin, end in seqeval.get_entities(labels)]
        assert spans_of(labels) == theirs, labels


def test_strict_spans_are_written_as_the_scheme_demands():
    assert strict_spans_of("I-A I-A O B-A I-B".split(), "iob2") == [Span(3, 4, "A")]
    assert strict_spans_of("B-A I-A O B-A E-A".split(), "iobes") == [Span(3, 5, "A")]


@pytest.mark.parametrize(("scheme", "marks"), [("iob2", "BI"), ("iobes", "BIES")])
def test_what_is_allowed_is_what_is_written_strictly(scheme, marks):
    known = ["O", *(f"{mark}-{kind}" for kind in "AB" for mark in marks)]
    first, follow, last = allowed_labels(known, scheme)
    for y in itertools.product(range(len(known)), repeat=3):
        labels = [known[i] for i in y]
        is_allowed = bool(first[y[0]] and follow[y[0], y[1]] and follow[y[1], y[2]] and last[y[2]])
        assert is_allowed == (to_labels(spans_of(labels), 3, scheme) == labels), labels


@pytest.mark.parametrize("label", ["PER", "B", "B-", "X-PER", "", "b-PER"])
def test_what_is_no_label_of_a_span_is_refused(label):
    with pytest.raises(ValueError, match="expected O, or B, I, E or S with a hyphen and a type"):
        label_parts(label)
    assert not mark_spans([label, "O"])

"""Wrong requests of the page are answered in words."""

import pytest

from throughtime.inspection.page import patterns

WRONG = [
    ("language", "red", {}, 'unknown request "red"; did you mean "read"'),
    ("language", "read", {"run": 1, "text": "a"}, "run: expected an index below 1, got 1"),
    ("language", "read", {"run": 0}, 'expected either "text" or "example", got neither'),
    ("language", "read", {"run": 0, "text": "a", "example": 0}, "got both"),
    ("language", "read", {"run": 0, "text": ""}, "at least one character, got an empty text"),
    ("language", "read", {"run": 0, "text": "the cät"}, "'ä'; the first in line 1, column 6"),
    ("language", "read", {"run": 0, "text": "a" * 10_001}, "has 10,001 characters; .*10,000"),
    ("language", "read", {"run": 0, "text": 5}, "text: expected a text, got 5"),
    ("language", "read", {"run": 0, "text": "a", "know": 5}, 'did you mean "known"'),
    ("language", "read", {"run": 0, "text": "a", "known": -5}, "known: expected a whole number"),
    ("language", "read", {"run": 0, "text": "a", "values": ["recurrent.k_l0"]}, "unknown value"),
    ("language", "read", {"run": 0, "text": "a", "values": ["x" * 10**6]}, "expected a name"),
    ("language", "read", {"run": 0, "example": 99}, "example: expected a number below"),
    ("tagging", "read", {"run": 0, "text": " "}, "at least one word"),
    ("series", "read", {"run": 0, "text": "a b"}, "a"),
    ("pairs", "read", {"run": 0, "text": ""}, "at least one token"),
    ("language", "fires", {"run": 0, "name": "recurrent.h_l0", "unit": 8}, "below 8, got 8"),
    ("language", "fires", {"run": 0, "name": "recurrent.h_l7", "unit": 0}, "unknown value"),
    ("pairs", "fires", {"run": 0, "name": "decoder.attention.weights", "unit": 0}, "unknown value"),
    ("language", "fires", {"run": 0, "name": "h", "unit": 0, "most": 10**9}, "from 1 to 100"),
    (
        "language",
        "match",
        {"run": 0, "text": "cat", "name": "recurrent.h_l0", "from": 2, "to": 9, "threshold": 0},
        "to of at most 3",
    ),
    (
        "language",
        "match",
        {"run": 0, "text": "cat", "name": "recurrent.h_l0", "from": 2, "to": 2, "threshold": 0},
        "expected from < to",
    ),
    ("language", "follow", {"run": 0, "property": "line lenght so far"}, 'mean "line length so'),
    ("language", "follow", {"run": 0, "pattern": "(a"}, "pattern: expected a regular expression"),
    ("language", "follow", {"run": 0, "pattern": "a" * 1001}, "at most 1,000 characters"),
    ("language", "follow", {"run": 0, "pattern": "%"}, "never changes"),
    ("language", "write", {"run": 0, "text": "cat", "at": 4, "length": 3}, "at most 3, the number"),
    ("language", "write", {"run": 0, "text": "a", "at": 1, "length": 10**6}, "from 0 to 2,000"),
    (
        "language",
        "write",
        {"run": 0, "text": "a", "at": 1, "length": 1, "temperature": -1},
        "temperature of 0 or more",
    ),
    ("tagging", "write", {"run": 0, "text": "a", "at": 1, "length": 3}, "does not write token by"),
    ("language", "compare", {"runs": [], "text": "a"}, "at least one run"),
    ("tagging", "compare", {"runs": [0], "text": "a"}, "does not write token by token"),
    ("language", "beam", {"run": 0, "text": "a", "width": 3}, "does not write by a beam search"),
    ("pairs", "beam", {"run": 0, "text": "a", "width": 1000}, "from 1 to 20"),
    ("pairs", "beam", {"run": 0, "text": "", "width": 2}, "at least one token"),
    ("language", "project", {"run": 0, "embedding": "x", "method": "pca"}, "unknown embedding"),
    (
        "language",
        "project",
        {"run": 0, "embedding": "embedding", "method": "umap"},
        "'pca', 'tsne'",
    ),
]


@pytest.mark.parametrize(("kind", "name", "request_", "words"), WRONG)
def test_wrong_requests_are_answered_in_words(sessions, kind, name, request_, words):
    with pytest.raises(ValueError, match=words):
        sessions[kind].answer(name, request_)


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ({"name": "recurrent.h_l0", "unit": 8, "value": 0}, "from 0 to 7, got 8"),
        ({"name": "recurrent.i_l0", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "recurrent.h_l2", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "recurrent.h_l0_reverse", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "h", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "embedding.h_l0", "unit": 0, "value": 0}, "unknown state"),
        ({"name": "recurrent.h_l0", "unit": 0, "value": float("inf")}, "value: expected a number"),
    ],
)
def test_wrong_units_are_not_held(sessions, unit, words):
    request = {"run": 0, "text": "the", "at": 3, "length": 3, "set": [unit]}
    with pytest.raises(ValueError, match=words):
        sessions["language"].answer("write", request)


def test_a_slow_regular_expression_is_ended(sessions, monkeypatch):
    monkeypatch.setattr(patterns, "_MOST_SECONDS", 0.3)
    with pytest.raises(ValueError, match=r"takes more than 0\.3 seconds"):
        sessions["language"].answer("follow", {"run": 0, "pattern": r"(\w|\s|.)+%"})

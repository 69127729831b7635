"""Grammars as JSON: they are restored, and what is no grammar is refused with its place."""

import json

import pytest
import torch

from throughtime.models import Grammar, Trees

TREES = [([4, 5, 6], [-1, 0, 0]), ([5], [-1]), ([4, 5, 5, 6], [-1, 0, 0, 0])]


def test_a_grammar_is_restored_from_json():
    grammar = Grammar.observed(8, [Trees.of(TREES)])
    restored = Grammar.from_json(json.loads(json.dumps(grammar.to_json())))
    parents, positions = (each.flatten() for each in torch.meshgrid(
        torch.arange(9), torch.arange(5), indexing="ij"
    ))  # fmt: skip
    assert torch.equal(grammar.labels(parents, positions), restored.labels(parents, positions))
    for rule in ("may_have", "may_have_more"):
        ours, theirs = (getattr(each, rule) for each in (grammar, restored))
        labels, counts = torch.arange(8).unsqueeze(1), torch.arange(6)
        assert torch.equal(ours(labels, counts), theirs(labels, counts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_labels": 0}, "num_labels: expected a whole number of at least 1"),
        ({"arities": [[0]]}, r"arities\[0\]: expected a label and its rule, got \[0\]"),
        ({"arities": [[0, 2]]}, r"arities\[0\]: expected a list, got 2"),
        ({"arities": [[None, [2]]]}, r"arities\[0\]: expected a whole number"),
        ({"arities": [[7, [2]]]}, "expected labels from 0 to 2 in arities, got 7"),
        ({"children": [[0, [["x"]]]]}, r"children\[0\].*expected a whole number"),
        ({"children": [[0, []]]}, "expected for the children of 0 at least one collection"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_grammar_is_refused(change, message):
    value = Grammar(3, {0: [2]}, {None: [[0]]}).to_json()
    with pytest.raises(ValueError, match=message):
        Grammar.from_json(value | change)

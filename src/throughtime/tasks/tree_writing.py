"""Computes the trees that a trained model writes, and measures how many of them are right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from throughtime.counted import counted
from throughtime.data import UNK
from throughtime.data.trees import (
    NOTATIONS,
    ProgramExample,
    Tree,
    TreeError,
    TreeExample,
    equal_trees,
    passes,
    write_sexpr,
)
from throughtime.models import EncoderTreeDecoder, Grammar, TreeHypothesis, tree_search
from throughtime.tasks.tree_sources import EncodedSource, collate_sources, for_model

__all__ = [
    "Bounds",
    "any_known_label",
    "has_tests",
    "moved",
    "share_of",
    "text_of",
    "tree_figures",
    "trees_of",
]

_ENTRIES_PER_BATCH = 32_768


class Bounds(NamedTuple):
    """What limits the trees that are written; see :func:`throughtime.models.tree_search`.

    Args:
        max_nodes, max_depth: the limits for sources of at most ``longest_source``; they are
            multiplied for longer ones.
        grammar: the trees that are allowed.
        longest_source: the length of the longest source of the training.
    """

    max_nodes: int
    max_depth: int
    grammar: Grammar
    longest_source: int

    def growth(self, length: int) -> int:
        """By how much the limits are multiplied for a source of this length.

        The longest source counts as a multiple of 16, so that one word more changes nothing in a
        training on short texts.
        """
        longest = -(-self.longest_source // 16) * 16
        return max(1, -(-length // longest))


def any_known_label(num_labels: int) -> Grammar:
    """The grammar that allows all trees of labels, unknown ones included, but no special ids.

    >>> import torch
    >>> any_known_label(6).labels(torch.tensor([6, 4]), torch.tensor([0, 2])).int().tolist()
    [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]]
    """
    labels = frozenset(range(UNK, num_labels))
    return Grammar(num_labels, None, {parent: [labels] for parent in (None, *range(num_labels))})


def trees_of(
    model: nn.Module,
    sources: Sequence[EncodedSource],
    bounds: Bounds,
    beam_width: int = 1,
    keep_attention: bool = False,
) -> list[TreeHypothesis]:
    """The likeliest tree of each source that the search finds.

    The result for a source does not depend on the other sources of the call.

    Args:
        model: the model.
        sources: the sources, each of at least one token or node.
        bounds: what limits the trees.
        beam_width: the width of the beam; 1 is greedy search.
        keep_attention: whether the results hold their attention weights.
    """
    assert isinstance(model, EncoderTreeDecoder)
    device = next(model.parameters()).device
    best: dict[int, TreeHypothesis] = {}
    for indices in counted("writing", list(_batched(sources, bounds, beam_width))):
        growth = bounds.growth(len(sources[indices[0]]))
        source, lengths = moved(collate_sources([sources[i] for i in indices]), device)
        results = tree_search(
            model,
            for_model(source),
            lengths,
            width=beam_width,
            max_nodes=growth * bounds.max_nodes,
            max_depth=growth * bounds.max_depth,
            grammar=bounds.grammar,
            keep_attention=keep_attention,
        )
        best |= zip(indices, (hypotheses[0] for hypotheses in results), strict=True)
    return [best[i] for i in range(len(sources))]


def _batched(
    sources: Sequence[EncodedSource], bounds: Bounds, beam_width: int
) -> Iterator[list[int]]:
    """The indices of the sources of each batch, whose lengths are similar and limits equal."""
    batch: list[int] = []
    for i in sorted(range(len(sources)), key=lambda i: len(sources[i])):
        growth = bounds.growth(len(sources[i]))
        per_row = max(len(sources[i]), growth * bounds.max_nodes) * beam_width
        is_full = (len(batch) + 1) * per_row > _ENTRIES_PER_BATCH
        if batch and (is_full or growth > bounds.growth(len(sources[batch[0]]))):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def moved(batch: Any, device: torch.device) -> Any:
    """A pytree with its tensors on a device."""
    return tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch)


def text_of(tree: Tree, notation: str) -> tuple[str, str]:
    """A tree on one line, and why it is not in its notation; the reason is empty if it is.

    A model may write a tree that the notation cannot hold, such as one that is no syntax tree of
    Python. It is written as an s-expression, which holds any tree.

    >>> text_of(Tree(("+", "a"), (-1, 0)), "s-expression")
    ('(+ a)', '')
    """
    try:
        return NOTATIONS[notation].write(tree), ""
    except TreeError as error:
        return write_sexpr(tree), str(error)


def has_tests(example: TreeExample) -> bool:
    """Whether an example has tests that a program must pass."""
    return isinstance(example, ProgramExample) and example.tests_json != "[]"


def tree_figures(
    examples: Sequence[TreeExample],
    trees: Sequence[Tree | None],
    commutative: Collection[str] = (),
) -> dict[str, float]:
    """The fractions of trees that are right.

    Args:
        examples: the examples.
        trees: the tree that is written for each; None if there is none.
        commutative: the labels of the nodes whose children may be in any order.

    Returns:
        ``exact_match``: the fraction of trees that are equal to that of their example.
        ``exact_match_seen`` and ``exact_match_unseen``: the same for those examples that are marked
        to have a skeleton that occurs in the training, or none, if there are any. ``passes``: the
        fraction of programs that pass all tests, of those examples that have tests, if there are
        any.
    """
    written = list(zip(examples, trees, strict=True))
    right = [
        tree is not None and equal_trees(tree, example.tree, commutative)
        for example, tree in written
    ]
    figures = {"exact_match": share_of(right)}
    marks = [getattr(example, "is_seen", None) for example in examples]
    for name, is_seen in (("exact_match_seen", True), ("exact_match_unseen", False)):
        chosen = [is_right for is_right, mark in zip(right, marks, strict=True) if mark is is_seen]
        if chosen:
            figures[name] = share_of(chosen)
    passed = [
        tree is not None and passes(example, tree)
        for example, tree in counted("running", written)
        if isinstance(example, ProgramExample) and has_tests(example)
    ]
    return figures | ({"passes": share_of(passed)} if passed else {})


def share_of(values: Sequence[bool]) -> float:
    """The fraction of values that are true."""
    return sum(values) / len(values)

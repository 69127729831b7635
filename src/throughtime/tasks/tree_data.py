"""What all tasks whose examples are texts and their trees need to know of their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from throughtime.data.trees import NOTATIONS, TreeExample, TreeSet, load_trees
from throughtime.reading import Each
from throughtime.tasks.task import Figure
from throughtime.tasks.tree_settings import TreeTextsConfig
from throughtime.tasks.tree_writing import has_tests

__all__ = ["TREE_FACTS", "facts_of", "figures_of", "trees_of_config"]

TREE_FACTS: Mapping[str, Any] = {
    "notation": Literal[tuple(NOTATIONS)],
    "commutative": Each(str),
    "has_tests": bool,
    "has_skeletons": bool,
}
"""The kinds of the assets that :func:`facts_of` computes."""


def trees_of_config(config: TreeTextsConfig) -> TreeSet:
    """The texts and trees that the settings name; see :func:`throughtime.data.trees.load_trees`."""
    return load_trees(
        config.data,
        notation=config.notation,
        encoding=config.encoding,
        valid_fraction=config.valid_fraction,
        test_fraction=config.test_fraction,
        cut=config.split,
    )


def facts_of(data: TreeSet, valid: Sequence[TreeExample]) -> dict[str, Any]:
    """What a trained model needs to know of its data to write trees and to be judged, as JSON.

    Args:
        data: the texts and trees.
        valid: the examples of the validation split, which say what the data have.

    Returns:
        ``notation`` and ``commutative`` are those of the data. ``has_tests``: whether there are
        programs with tests. ``has_skeletons``: whether examples are marked by whether their
        skeleton occurs in the training.
    """
    return {
        "notation": data.notation,
        "commutative": sorted(data.commutative),
        "has_tests": any(has_tests(example) for example in valid),
        "has_skeletons": {True, False} <= {getattr(each, "is_seen", None) for each in valid},
    }


def figures_of(assets: Mapping[str, Any]) -> dict[str, Figure]:
    """The figures of :func:`throughtime.tasks.tree_writing.tree_figures` that the data allow.

    Args:
        assets: the assets of a task, with those of :func:`facts_of`.
    """
    names = ["exact_match"]
    names += ["exact_match_seen", "exact_match_unseen"] if assets["has_skeletons"] else []
    names += ["passes"] if assets["has_tests"] else []
    return {name: Figure(better="higher") for name in names}

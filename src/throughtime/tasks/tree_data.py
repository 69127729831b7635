"""The settings of texts and trees, and what a trained model needs to know of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from throughtime.checks import unknown
from throughtime.data.splits import Cut
from throughtime.data.trees import NOTATIONS, TREE_SETS, TreeExample, TreeSet, load_trees
from throughtime.reading import Each
from throughtime.tasks.run_data import absolute_files
from throughtime.tasks.task import Figure
from throughtime.tasks.tree_writing import has_tests

__all__ = ["TREE_FACTS", "TreeDataConfig", "facts_of", "figures_of"]


@dataclass
class TreeDataConfig:
    """The texts and trees; the settings of a task have this class as a base beside others.

    Args:
        data: name of a data set (algolisp, geoquery, atis-logic, django, nl2bash, sst-trees,
            synthetic-trees); a file with a text, a tab and a tree on each line; a folder with such
            files for train, valid and test; SOURCE,TARGET, two files with corresponding lines; or
            a folder with the published files of AlgoLisp.
        notation: notation of the trees in your own files, source trees included: s-expression,
            json, treebank, python or shell (default: s-expression).
        encoding: encoding of the files of --data, as Python names it.
        valid_fraction: fraction of the examples that is kept for validation, if the data have no
            splits (default: 0.1).
        test_fraction: fraction of the examples that is kept for the test (default: 0).
        split: how one file is cut into training, validation and test: order, one after the other;
            random, single examples (those of equal texts together); blocks, parts of ten blocks of
            consecutive examples.
    """

    data: str = "geoquery"
    notation: str | None = None
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    split: Cut = "order"

    def check_data(self) -> None:
        """Makes the path of the user's own data absolute, and checks the name of the notation.

        A subclass calls it in its ``__post_init__``.
        """
        self.data = absolute_files(self.data, TREE_SETS)
        if self.notation is not None and self.notation not in NOTATIONS:
            raise ValueError(f"--notation: {unknown('notation', self.notation, NOTATIONS)}")

    def trees(self, **options: Any) -> TreeSet:
        """Reads the texts and trees.

        Args:
            options: further options of :func:`throughtime.data.trees.load_trees`.
        """
        return load_trees(
            self.data,
            notation=self.notation,
            encoding=self.encoding,
            valid_fraction=self.valid_fraction,
            test_fraction=self.test_fraction,
            cut=self.split,
            **options,
        )


TREE_FACTS: Mapping[str, Any] = {
    "notation": Literal[tuple(NOTATIONS)],
    "commutative": Each(str),
    "has_tests": bool,
    "has_skeletons": bool,
}
"""The kinds of the assets that :func:`facts_of` computes."""


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
    """The figures of all tasks that write trees, as far as the data allow.

    They are those of :func:`throughtime.tasks.tree_writing.tree_figures` and of
    :func:`throughtime.tasks.tree_overlap.overlap_figures`.

    Args:
        assets: the assets of a task, with those of :func:`facts_of`.
    """
    names = ["exact_match", "node_f1", "edge_f1"]
    names += ["exact_match_seen", "exact_match_unseen"] if assets["has_skeletons"] else []
    names += ["passes"] if assets["has_tests"] else []
    return {name: Figure(better="higher") for name in names}

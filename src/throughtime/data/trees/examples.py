"""Texts with their trees, and sets of them in splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from throughtime.data.splits import Cut
from throughtime.data.trees.tree import Tree

__all__ = ["TreeExample", "TreeSet"]


@dataclass(frozen=True)
class TreeExample:
    """A text and its tree.

    Args:
        source: the words of the text, separated by spaces.
        tree: what the text means.
        source_tree: the text as a tree, if it is one; None otherwise.
    """

    source: str
    tree: Tree
    source_tree: Tree | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class TreeSet:
    """Texts with their trees, in splits for training, validation and test.

    Args:
        name: the name of the data set, file or folder.
        splits: the examples of "train", "valid" and the tests, by name.
        notation: the name of the notation in which its trees are written, in
            `throughtime.data.trees.NOTATIONS`.
        commutative: the labels of nodes whose children may be in any order.
        left_out: the number of lines of the file, by split, that are no tree and were left out.
        cut: how the examples were cut into splits; None if they came in splits.
    """

    name: str
    splits: Mapping[str, Sequence[TreeExample]] = field(repr=False)
    notation: str
    commutative: frozenset[str] = frozenset()
    left_out: Mapping[str, int] = field(default_factory=dict)
    cut: Cut | None = None

    def fingerprint(self) -> str:
        """The sha256 of all splits; two runs with equal fingerprints have the same examples."""
        digest = hashlib.sha256()
        for split, examples in sorted(self.splits.items()):
            digest.update(f"{split} {len(examples)}\n".encode())
            for example in examples:
                parts = (example.source, *example.tree.labels, str(example.tree.parents))
                for part in parts:
                    digest.update(f"{len(part)} ".encode())
                    digest.update(part.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

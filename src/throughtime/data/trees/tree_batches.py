"""The labels that a model knows, and batches of trees as padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from throughtime.data.ragged_batches import pad_rows
from throughtime.data.tokeniser import UNK, TokenListTokeniser
from throughtime.data.trees.tree import Tree

__all__ = ["TreeBatch", "TreeLabels", "collate_trees", "pad_trees"]


class TreeLabels(TokenListTokeniser):
    """The labels of trees and their ids; the ids 0 to 3 are those of every tokeniser.

    A label may be any text that is not empty. ``fit`` takes the labels of all nodes.

    >>> tree = Tree(("+", "a", "+", "a", "2"), (-1, 0, 0, 2, 2))
    >>> labels = TreeLabels.fit(tree.labels)
    >>> labels.encode_tree(tree), labels.tokens[4:]
    ([4, 5, 4, 5, 6], ('+', 'a', '2'))
    """

    kind: ClassVar[str] = "labels"
    unit: ClassVar[str] = "labels"

    def split(self, text: str) -> list[str]:
        return [text]

    def join(self, parts: Sequence[str]) -> str:
        return " ".join(parts)

    def encode_tree(self, tree: Tree) -> list[int]:
        """The id of the label of each node; unknown labels have the id 3."""
        return [self._ids.get(label, UNK) for label in tree.labels]

    def decode_tree(self, ids: Sequence[int], parents: Sequence[int]) -> Tree:
        """The tree of these ids and parents; an unknown label becomes ``<unk>``.

        Raises:
            ValueError: for an id that is no label.
            TreeError: if the parents are not those of a tree.
        """
        for value in ids:
            if not UNK <= value < len(self):
                raise ValueError(
                    f"TreeLabels.decode_tree: expected ids from {UNK} to {len(self) - 1}, got "
                    f"{value}. Use the labels that they come from."
                )
        return Tree(tuple(self.tokens[value] for value in ids), tuple(parents))


class TreeBatch(NamedTuple):
    """Trees in prefix order, padded to the largest of them.

    Args:
        labels: (B, N) int64, the ids of the labels; 0 after the last node.
        parents: (B, N) int64, the index of each parent; -1 for the root and after the last node.
        sizes: (B) int64, the number of nodes of each tree.
    """

    labels: Tensor
    parents: Tensor
    sizes: Tensor


def collate_trees(trees: Sequence[Tree], labels: TreeLabels) -> TreeBatch:
    """Pads trees to a batch.

    >>> trees = [Tree(("+", "a", "2"), (-1, 0, 0)), Tree(("a",), (-1,))]
    >>> batch = collate_trees(trees, TreeLabels(["+", "a", "2"]))
    >>> batch.labels.tolist(), batch.parents.tolist(), batch.sizes.tolist()
    ([[4, 5, 6], [5, 0, 0]], [[-1, 0, 0], [-1, -1, -1]], [3, 1])
    """
    ids = [labels.encode_tree(tree) for tree in trees]
    return pad_trees(ids, [tree.parents for tree in trees])


def pad_trees(labels: Sequence[Sequence[int]], parents: Sequence[Sequence[int]]) -> TreeBatch:
    """Pads trees to a batch.

    Args:
        labels: the ids of the labels of each tree, in prefix order.
        parents: the index of the parent of each of its nodes; -1 for the root.
    """
    ids, sizes = pad_rows(labels)  # (B, N)
    # Padding is 0, so the parents are padded as indices from 1.
    padded, _ = pad_rows([[parent + 1 for parent in row] for row in parents])  # (B, N)
    return TreeBatch(ids, padded - 1, sizes)

"""Trees: their type, notations, data sets, and the programs of AlgoLisp."""

from throughtime.data.trees.tree import Tree, TreeError, equal_trees
from throughtime.data.trees.tree_batches import TreeBatch, TreeLabels, collate_trees

__all__ = ["Tree", "TreeBatch", "TreeError", "TreeLabels", "collate_trees", "equal_trees"]

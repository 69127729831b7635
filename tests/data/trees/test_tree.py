"""The type of trees, and trees in batches."""

import pytest
import torch
from hypothesis import given, settings

from throughtime.data.trees import (
    Tree,
    TreeError,
    TreeLabels,
    collate_trees,
    equal_trees,
    from_lists,
)

from .drawn_trees import trees


@settings(max_examples=60, deadline=None)
@given(trees())
def test_depths_positions_children_and_subtrees_agree(tree):
    for node, parent in enumerate(tree.parents):
        assert tree.arities[node] == len(tree.children[node])
        if node:
            assert tree.children[parent][tree.positions[node]] == node
            assert tree.depths[node] == tree.depths[parent] + 1
        below = tree.subtree(node)
        assert below.labels[0] == tree.labels[node]
        assert len(below) == 1 + sum(len(tree.subtree(child)) for child in tree.children[node])
    assert Tree.from_arities(tree.labels, tree.arities) == tree


@pytest.mark.parametrize(
    ("labels", "parents", "message"),
    [
        ((), (), "got 0 labels and 0 parents"),
        (("a", "b"), (-1,), "got 2 labels and 1 parents"),
        (("a", ""), (-1, 0), "node 1: expected a label of at least one character"),
        (("a", "b"), (-1, -1), "node 1: expected -1 as the parent of the root"),
        (("a", "b"), (0, 0), "node 0: .* got 0"),
        # Node 3 is below node 1, whose subtree ended with node 2.
        (("a", "b", "c", "d"), (-1, 0, 0, 1), "node 3: .* got 1. Sort"),
        (("a", "b"), (-1, 1), "node 1: .* got 1"),
    ],
)
def test_what_is_no_tree_in_prefix_order_is_refused_with_its_node(labels, parents, message):
    with pytest.raises(TreeError, match=message):
        Tree(labels, parents)


@pytest.mark.parametrize(
    ("arities", "message"),
    [
        ([2, 0], "node 0: expected 2 children, got 1 fewer"),
        ([0, 0], "node 1: expected the tree to be complete with 1 nodes, got 2"),
        ([-1, 0], "node 0: expected an arity of at least 0, got -1"),
    ],
)
def test_arities_of_no_tree_are_refused(arities, message):
    with pytest.raises(TreeError, match=message):
        Tree.from_arities(["a", "b"], arities)


def test_equality_up_to_the_order_of_commutative_arguments():
    one = from_lists(["+", ["*", "a", ["-", "b", "c"]], ["*", "a", "a"]])
    other = from_lists(["+", ["*", "a", "a"], ["*", ["-", "b", "c"], "a"]])
    assert equal_trees(one, other, {"+", "*"})
    assert not equal_trees(one, other, {"+"})
    assert not equal_trees(one, other)
    swapped = from_lists(["+", ["*", "a", "a"], ["*", ["-", "c", "b"], "a"]])
    assert not equal_trees(one, swapped, {"+", "*"})
    # Children count as often as they occur.
    assert not equal_trees(
        from_lists(["+", "a", "a", "b"]), from_lists(["+", "a", "b", "b"]), {"+"}
    )


def test_a_tree_of_any_depth_is_compared_and_taken_apart():
    N = 10_000
    one = from_lists("x")
    # A comb: each node has a leaf and the rest of the tree as children, in either order.
    for is_left in (True, False):
        arities = ([2] * N + [0] * (N + 1)) if is_left else ([2, 0] * N + [0])
        labels = ["+" if arity else "x" for arity in arities]
        one, other = Tree.from_arities(labels, arities), one
    assert (one.depth, other.depth) == (N, N)
    assert equal_trees(one, other, {"+"})
    assert not equal_trees(one, other)
    assert other.subtree(N - 1).labels == ("+", "x", "x")


def test_a_batch_holds_ids_parents_and_sizes():
    small, large = from_lists("a"), from_lists(["+", "a", ["len", "b"]])
    labels = TreeLabels.fit([label for tree in (small, large) for label in tree.labels])
    batch = collate_trees([small, large], labels)
    assert batch.sizes.tolist() == [1, 4]
    assert batch.parents.tolist() == [[-1, -1, -1, -1], [-1, 0, 0, 2]]
    assert batch.labels.dtype == torch.int64
    assert batch.labels[0].tolist() == [labels.encode_tree(small)[0], 0, 0, 0]
    assert labels.decode_tree(batch.labels[1].tolist(), batch.parents[1].tolist()) == large
    assert TreeLabels.from_json(labels.to_json()).tokens == labels.tokens
    assert labels.encode_tree(from_lists("new")) == [3]
    with pytest.raises(ValueError, match=r"expected ids from 3 to 7, got 0"):
        labels.decode_tree([0], [-1])

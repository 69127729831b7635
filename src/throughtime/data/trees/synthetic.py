"""Random trees of letters, with which encoders and decoders of trees are tried."""

from __future__ import annotations

import random
import string

from throughtime.data.trees.examples import TreeExample, TreeSet
from throughtime.data.trees.tree import Tree

__all__ = ["ARITIES", "synthetic_trees"]

# The mean is below 1, so that a random tree ends.
ARITIES: dict[str, int] = dict(zip(string.ascii_uppercase, [0, 1, 0, 2, 0, 3] * 5, strict=False))
"""The number of children of each letter."""

_FEWEST_NODES = 3


def synthetic_trees(
    num_train: int = 4_000,
    num_valid: int = 500,
    num_test: int = 500,
    *,
    most_nodes: int = 30,
    seed: int = 0,
) -> TreeSet:
    """Generates different random trees of the letters A to Z.

    Each letter always has the same number of children (see :data:`ARITIES`), so the letters in
    prefix order, which are the text of an example, determine the tree. It is the source tree of
    its example as well, for autoencoders.

    Args:
        num_train, num_valid, num_test: the numbers of trees.
        most_nodes: the largest number of nodes of a tree; the smallest is 3.
        seed: the seed of the random generator; the same on every machine.

    Raises:
        ValueError: if a number is out of range, or there are too few different trees.

    Source: Alvarez-Melis and Jaakkola, ICLR 2017, have 4,000 / 500 / 500 trees of 26 letters.
        Differs: the rule by which a tree is drawn.

    >>> synthetic_trees(1, 1, 1).splits["train"][0].source
    'N B I'
    """
    least = {"num_train": 1, "num_valid": 1, "num_test": 1, "most_nodes": _FEWEST_NODES}
    numbers = (num_train, num_valid, num_test, most_nodes)
    for (name, smallest), number in zip(least.items(), numbers, strict=True):
        if number < smallest:
            raise ValueError(
                f"synthetic_trees: expected {name} of at least {smallest}, got {number}."
            )
    draw = random.Random(seed)
    wanted = num_train + num_valid + num_test
    examples: dict[str, TreeExample] = {}
    num_draws = 0
    while len(examples) < wanted:
        num_draws += 1
        if num_draws > 1000 + 200 * wanted:
            raise ValueError(
                f"synthetic_trees: expected {wanted} different trees of at most {most_nodes} "
                f"nodes, found {len(examples)}. Take fewer, or larger ones."
            )
        letters = _letters(draw, most_nodes)
        if len(letters) >= _FEWEST_NODES:
            tree = Tree.from_arities(letters, [ARITIES[letter] for letter in letters])
            text = " ".join(letters)
            examples.setdefault(text, TreeExample(text, tree, source_tree=tree))
    all_examples = list(examples.values())
    start_test = num_train + num_valid
    splits = {
        "train": all_examples[:num_train],
        "valid": all_examples[num_train:start_test],
        "test": all_examples[start_test:],
    }
    return TreeSet("synthetic-trees", splits, "s-expression")


def _letters(draw: random.Random, most: int) -> list[str]:
    """The letters of a tree in prefix order; none if it is too large."""
    letters: list[str] = []
    num_missing = 1
    while num_missing:
        letters.append(draw.choice(string.ascii_uppercase))
        num_missing += ARITIES[letters[-1]] - 1
        if len(letters) + num_missing > most:
            return []
    return letters

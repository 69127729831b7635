"""The expressions that the tasks on prefix arithmetic share, and their depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from throughtime.data import PairSet, prefix_expressions
from throughtime.tasks.network import check_range

__all__ = ["ExpressionSettings", "by_depth", "depth_of"]


@dataclass
class ExpressionSettings:
    """The expressions, for settings that also have a ``data_seed``.

    Args:
        answer: target of an expression: value, the number that it evaluates to; simplified, for
            expressions with an unknown x, the expression with all known parts evaluated.
        depth: largest depth of nested brackets in an expression of the training.
        deeper: number of depths above that on which the test is evaluated as well.
        num_pairs: number of expressions for training and validation together; a tenth is for
            validation.
        num_test: number of expressions for the test, and for each of its greater depths.
    """

    answer: Literal["value", "simplified"] = "value"
    depth: int = 2
    deeper: int = 2
    num_pairs: int = 50_000
    num_test: int = 1_000

    def check_expressions(self) -> None:
        """Raises a ValueError for a setting that is out of its range."""
        if self.deeper < 0:
            raise ValueError(f"--deeper: expected 0 or more, got {self.deeper}.")
        # The expressions grow faster than any power of their depth.
        check_range(self, ("depth", "deeper"), least=0, most=30)
        check_range(self, ("num_pairs", "num_test"), least=0, most=10**8)

    @property
    def greater_depths(self) -> range:
        """The depths of the further tests."""
        return range(self.depth + 1, self.depth + 1 + self.deeper)

    def expressions(self, seed: int) -> PairSet:
        """The expressions with their answers; a greater depth d is the split "depthd"."""
        return prefix_expressions(
            self.answer,
            depth=self.depth,
            test_depths=self.greater_depths,
            num_pairs=self.num_pairs,
            num_test=self.num_test,
            seed=seed,
        )


def by_depth(items: Sequence[Any], expressions: Sequence[str]) -> dict[int, list[Any]]:
    """The items that belong to the expressions of each depth, in their order.

    >>> by_depth(["one", "other"], ["(+ (* 2 7) 1)", "(+ 1 1)"])
    {1: ['other'], 2: ['one']}
    """
    sorted_items: dict[int, list[Any]] = {}
    for item, expression in zip(items, expressions, strict=True):
        sorted_items.setdefault(depth_of(expression), []).append(item)
    return dict(sorted(sorted_items.items()))


def depth_of(expression: str) -> int:
    """The largest number of brackets that are open at once.

    >>> depth_of("(+ (* 2 7) (- 3 x))"), depth_of("x")
    (2, 0)
    """
    depth = deepest = 0
    for character in expression:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest

"""prefix-trees: evaluates or simplifies an arithmetic expression, and writes a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import nn

from throughtime.data.trees import Tree, TreeExample, TreeSet, expression_trees
from throughtime.tasks.expressions import ExpressionSettings, by_depth
from throughtime.tasks.source_to_tree import SourceToTree
from throughtime.tasks.task import Evaluation, Figure
from throughtime.tasks.tree_settings import SourceToTreeConfig, TreesToJudge
from throughtime.tasks.tree_writing import tree_figures

__all__ = ["PrefixTrees", "PrefixTreesConfig"]


@dataclass
class PrefixTreesConfig(ExpressionSettings, SourceToTreeConfig):
    """The expressions, and the settings of all tasks that write trees."""

    hidden_size: int = 128
    embedding_size: int | None = 64
    source: Literal["sequence", "child-sum", "n-ary"] = "n-ary"
    batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_expressions()


class PrefixTrees(SourceToTree):
    """The value of an expression as a tree, from ``(+ (* 2 7) (- 3 1))`` to ``(# 1 6)``.

    The expressions are those of the task ``prefix``, which reads and writes them as sequences of
    characters. Here the target is a tree, and so is the source, unless ``--source sequence`` is
    set. A number in a target is a node ``#`` whose children are its sign and its digits.

    Figures, beside those of all tasks that write trees: ``exact_match_depth_1`` and so on, the
    fraction of the expressions of one depth whose tree is right. The split "test" is also evaluated
    at greater depths than those of training and validation.
    """

    name = "prefix-trees"
    Config = PrefixTreesConfig

    @cached_property
    def figures(self) -> Mapping[str, Figure]:  # pyright: ignore[reportIncompatibleVariableOverride]
        depths = (f"exact_match_depth_{d + 1}" for d in range(self.config.depth))
        return {**super().figures, **{name: Figure(better="higher") for name in depths}}

    def read_trees(self) -> TreeSet:
        return expression_trees(self.config.expressions(self.config.data_seed))

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: TreesToJudge | None = None
    ) -> Evaluation:
        evaluation = super().evaluate(model, split, options)
        for d in self.config.greater_depths if split == "test" else ():
            # No warning about long sources here: their length is what the test is about.
            trees = self.written(model, self._sources(f"depth{d}"), evaluation.about["beam_width"])
            figures = self.judge(self.examples(f"depth{d}"), trees)
            name = f"exact_match_depth_{d}"
            evaluation.figures[name] = figures[name]
        return evaluation

    def judge(
        self, examples: Sequence[TreeExample], trees: Sequence[Tree | None]
    ) -> dict[str, float]:
        figures = super().judge(examples, trees)
        sources = [example.source for example in examples]
        for depth, pairs in by_depth(list(zip(examples, trees, strict=True)), sources).items():
            matches = tree_figures([example for example, _ in pairs], [tree for _, tree in pairs])
            figures[f"exact_match_depth_{depth}"] = matches["exact_match"]
        return figures

"""prefix: evaluates or simplifies an arithmetic expression in prefix notation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from throughtime.data import Pair, PairSet, prefix_expressions
from throughtime.tasks.network import check_range
from throughtime.tasks.rewriting import match_figures
from throughtime.tasks.sequence_to_sequence import (
    JudgingOptions,
    SequenceToSequence,
    SequenceToSequenceConfig,
)
from throughtime.tasks.task import Evaluation, Figure

__all__ = ["Prefix", "PrefixConfig", "depth_of"]


@dataclass
class PrefixConfig(SequenceToSequenceConfig):
    """The expressions, and the settings of all sequence-to-sequence tasks.

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
    hidden_size: int = 128
    embedding_size: int | None = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deeper < 0:
            raise ValueError(f"--deeper: expected 0 or more, got {self.deeper}.")
        # The expressions grow faster than any power of their depth.
        check_range(self, ("depth", "deeper"), least=0, most=30)
        check_range(self, ("num_pairs", "num_test"), least=0, most=10**8)


class Prefix(SequenceToSequence):
    """The value of an expression, from ``(+ (* 2 7) (- 3 1))`` to ``16``.

    An expression is a tree written as a sequence, so the task measures how well a recurrent network
    follows nested brackets.

    Metrics: ``exact_match``, the fraction of expressions whose target is right, from 0 to 1;
    ``exact_match_depth_1`` and so on, the same fraction for the expressions of one depth. The split
    "test" is also evaluated at greater depths than those of training and validation. There are
    only 300 different expressions of depth 1 without x, so a test holds only a handful of them.

    Source: the notation is from the lecture notes, trees as sequences.
    """

    name = "prefix"
    Config = PrefixConfig

    def __init__(self, config: PrefixConfig, assets: dict[str, Any] | None = None) -> None:
        names = ("exact_match", *(f"exact_match_depth_{d + 1}" for d in range(config.depth)))
        self.judged = {name: Figure(better="higher") for name in names}
        super().__init__(config, assets)

    def read_pairs(self) -> PairSet:
        c = self.config
        return prefix_expressions(
            c.answer,
            depth=c.depth,
            test_depths=range(c.depth + 1, c.depth + 1 + c.deeper),
            num_pairs=c.num_pairs,
            num_test=c.num_test,
            seed=c.data_seed,
        )

    @property
    def title(self) -> str:
        return f"{super().title}-{self.config.attention}"

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: JudgingOptions | None = None
    ) -> Evaluation:
        evaluation = super().evaluate(model, split, options)
        deeper = range(self.config.depth + 1, self.config.depth + 1 + self.config.deeper)
        for d in deeper if split == "test" else ():
            # No warning about long sources here: their length is what the test is about.
            outputs = self.outputs(model, f"depth{d}", evaluation.about["beam_width"])
            figures = self.judge(self.split(f"depth{d}"), outputs)
            evaluation.figures[f"exact_match_depth_{d}"] = figures["exact_match"]
        return evaluation

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        figures = {"exact_match": match_figures(pairs, outputs)["exact_match"]}
        by_depth: dict[int, list[tuple[Pair, str]]] = {}
        for pair, output in zip(pairs, outputs, strict=True):
            by_depth.setdefault(depth_of(pair.source), []).append((pair, output))
        for depth, examples in sorted(by_depth.items()):
            matches = match_figures([pair for pair, _ in examples], [out for _, out in examples])
            figures[f"exact_match_depth_{depth}"] = matches["exact_match"]
        return figures


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

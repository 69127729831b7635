"""prefix: from an expression in prefix notation to its value, or to its simplest form."""

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
    """The expressions, and the settings of all tasks from one sequence to another.

    Args:
        answer: what is made of an expression: value, a number; simplified, where there is also
            an unknown x, an expression without what can be worked out.
        depth: brackets within brackets that an expression of the training has at most.
        deeper: how many greater depths the test has, too.
        num_pairs: expressions of training and validation together; a tenth is for validation.
        num_test: expressions for the test, and for that of each greater depth.
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
    """Expressions worked out: ``(+ (* 2 7) (- 3 1))`` to ``16``.

    A tree as a sequence: how far a recurrent network can follow brackets within brackets.

    Metrics: ``exact_match``, the part of the expressions of a split that are right, from 0 to 1;
    ``exact_match_depth_1`` and so on, of those of that depth alone. The split "test" is judged
    at the greater depths, too, which no training and no validation has seen. Of depth 1 there are
    few expressions at all, 300 without x, and a handful of them in a test.

    Source: of the notation, the lecture notes: trees as sequences.
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
            # That they are longer than those of the training is the question.
            outputs = self.outputs(model, f"depth{d}", evaluation.about["beam_width"])
            figures = self.judge(self.split(f"depth{d}"), outputs)
            evaluation.figures[f"exact_match_depth_{d}"] = figures["exact_match"]
        return evaluation

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        figures = {"exact_match": match_figures(pairs, outputs)["exact_match"]}
        of_depth: dict[int, list[Any]] = {}
        for both in zip(pairs, outputs, strict=True):
            of_depth.setdefault(depth_of(both[0].source), []).append(both)
        for depth, some in sorted(of_depth.items()):
            found = match_figures([pair for pair, _ in some], [output for _, output in some])
            figures[f"exact_match_depth_{depth}"] = found["exact_match"]
        return figures


def depth_of(expression: str) -> int:
    """How many brackets are open at once, at most.

    >>> depth_of("(+ (* 2 7) (- 3 x))"), depth_of("x")
    (2, 0)
    """
    depth = most = 0
    for character in expression:
        depth += (character == "(") - (character == ")")
        most = max(most, depth)
    return most

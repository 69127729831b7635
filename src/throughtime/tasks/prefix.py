"""prefix: evaluates or simplifies an arithmetic expression in prefix notation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from throughtime.data import Pair, PairSet
from throughtime.tasks.expressions import ExpressionSettings, by_depth
from throughtime.tasks.rewriting import match_figures
from throughtime.tasks.sequence_to_sequence import (
    JudgingOptions,
    SequenceToSequence,
    SequenceToSequenceConfig,
)
from throughtime.tasks.task import Evaluation, Figure

__all__ = ["Prefix", "PrefixConfig"]


@dataclass
class PrefixConfig(ExpressionSettings, SequenceToSequenceConfig):
    """The expressions, and the settings of all sequence-to-sequence tasks."""

    hidden_size: int = 128
    embedding_size: int | None = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_expressions()


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
        return self.config.expressions(self.config.data_seed)

    @property
    def title(self) -> str:
        return f"{super().title}-{self.config.attention}"

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: JudgingOptions | None = None
    ) -> Evaluation:
        evaluation = super().evaluate(model, split, options)
        for d in self.config.greater_depths if split == "test" else ():
            # No warning about long sources here: their length is what the test is about.
            outputs = self.outputs(model, f"depth{d}", evaluation.about["beam_width"])
            figures = self.judge(self.split(f"depth{d}"), outputs)
            evaluation.figures[f"exact_match_depth_{d}"] = figures["exact_match"]
        return evaluation

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        figures = {"exact_match": match_figures(pairs, outputs)["exact_match"]}
        sources = [pair.source for pair in pairs]
        for depth, examples in by_depth(list(zip(pairs, outputs, strict=True)), sources).items():
            matches = match_figures([pair for pair, _ in examples], [out for _, out in examples])
            figures[f"exact_match_depth_{depth}"] = matches["exact_match"]
        return figures

"""addition: read a sum as text, and write its result, digit by digit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from throughtime.data import Pair, PairSet, addition
from throughtime.tasks.rewriting import match_figures
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig

__all__ = ["Addition", "AdditionConfig"]


@dataclass
class AdditionConfig(SequenceToSequenceConfig):
    """The sums, and the settings of all tasks from one sequence to another.

    Args:
        digits: that a number has at most.
        num_pairs: sums of training and validation together; a tenth is for validation.
        num_test: sums for the test.
        reverse: read the sum from its end.
        padded: fill sums and results with spaces, so that all are of one length.
    """

    digits: int = 3
    num_pairs: int = 50_000
    num_test: int = 5_000
    reverse: bool = True
    padded: bool = True


class Addition(SequenceToSequence):
    """Sums of two numbers, ``535+61`` to ``596``.

    The accuracy of the characters is that of all places of the padded result, each written by the
    model after what it wrote before.

    Source: Keras, examples/nlp/addition_rnn.py; Zaremba and Sutskever, arXiv 1410.4615.
    """

    name = "addition"
    Config = AdditionConfig
    figures = ("character_accuracy", "exact_match")

    def read_pairs(self) -> PairSet:
        c = self.config
        return addition(
            c.digits,
            c.num_pairs,
            c.num_test,
            is_reversed=c.reverse,
            is_padded=c.padded,
            seed=c.data_seed,
        )

    def shown(self, source: str) -> str:
        return source[::-1] if self.config.reverse else source

    def read(self, text: str) -> str:
        c = self.config
        text = "".join(text.split())
        text = text.ljust(2 * c.digits + 1) if text and c.padded else text
        return text[::-1] if c.reverse else text

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        return match_figures(pairs, outputs)

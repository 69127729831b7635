"""scan: translates a command into the sequence of actions that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from throughtime.data import Pair, PairSet, load_pairs
from throughtime.tasks.rewriting import match_figures
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from throughtime.tasks.task import Figure

__all__ = ["Scan", "ScanConfig"]

# The longest commands of the grammar need this many, for example `jump around left thrice and run
# around right thrice`.
_MOST_ACTIONS = 48


@dataclass
class ScanConfig(SequenceToSequenceConfig):
    """The split into training and test, and the settings of all sequence-to-sequence tasks.

    Args:
        data_split: commands of the test: simple, a random sample of all commands; length, those
            with more actions (24 to 48) than any in the training (22 at most); jump, those in
            which "jump" is part of a longer command (the training has it as a command of its own
            only).
    """

    data_split: Literal["simple", "length", "jump"] = "simple"
    hidden_size: int = 128
    embedding_size: int | None = 64
    batch_size: int = 64


class Scan(SequenceToSequence):
    """The actions of a command: ``jump left twice`` to ``I_TURN_LEFT I_JUMP I_TURN_LEFT I_JUMP``.

    The validation split is a tenth of the training data. For length and jump its commands differ
    in kind from those of the test, so its figures do not predict those of the test.

    Metrics: ``exact_match``, the fraction of commands for which all actions are right, from 0 to 1.
    An output may be as long as the longest target of the test, even if the training has only
    shorter ones.

    Source: Lake and Baroni, arXiv 1711.00350.
    """

    name = "scan"
    Config = ScanConfig
    judged: Mapping[str, Figure] = {"exact_match": Figure(better="higher")}

    def read_pairs(self) -> PairSet:
        return load_pairs(f"scan-{self.config.data_split}")

    @property
    def longest_target(self) -> int:
        return max(_MOST_ACTIONS, super().longest_target)

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        return {"exact_match": match_figures(pairs, outputs)["exact_match"]}

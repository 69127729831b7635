"""scan: from a command to the actions that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from throughtime.data import Pair, PairSet, load_pairs
from throughtime.tasks.rewriting import match_figures
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from throughtime.tasks.task import Figure

__all__ = ["Scan", "ScanConfig"]

# Of all commands there are: `jump around left thrice and run around right thrice`, say.
_MOST_ACTIONS = 48


@dataclass
class ScanConfig(SequenceToSequenceConfig):
    """What the test holds that the training does not, and the settings of sequence to sequence.

    Args:
        data_split: simple, other commands of the same kind; length, those that ask for more
            actions (24 to 48, where the training has 22 at most); jump, those in which "jump" is
            part of a longer command, where the training has it alone.
    """

    data_split: Literal["simple", "length", "jump"] = "simple"
    hidden_size: int = 128
    embedding_size: int | None = 64
    batch_size: int = 64


class Scan(SequenceToSequence):
    """Commands carried out: ``jump left twice`` to ``I_TURN_LEFT I_JUMP I_TURN_LEFT I_JUMP``.

    The validation is a tenth of the training, and so of its kind: for length and jump it says
    nothing of the test.

    Metrics: ``exact_match``, the part of the commands of which all actions are right, from 0
    to 1. An output may be as long as the longest of the test, whatever the training has.

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

"""addition: reads a sum as text and writes its result, digit by digit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from throughtime.data import Pair, PairSet, addition
from throughtime.models import OneNetwork, Writer
from throughtime.tasks.network import check_range
from throughtime.tasks.rewriting import match_figures
from throughtime.tasks.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from throughtime.tasks.task import Figure

__all__ = ["Addition", "AdditionConfig"]

_OF_TWO_NETWORKS = (
    *("bidirectional", "merge", "independent", "encoder", "decoder"),
    *("attention", "input_feeding", "tied", "feed", "forcing"),
)


@dataclass
class AdditionConfig(SequenceToSequenceConfig):
    """The sums, and the settings of all sequence-to-sequence tasks.

    Args:
        network: one, a single network that reads the sum and then writes the result in place of
            the blanks after it; two, an encoder that reads and a decoder that writes.
        digits: largest number of digits of a summand.
        num_pairs: number of sums for training and validation together; a tenth is for validation.
        num_test: number of sums for the test.
        reverse: let the network read the sum from its end.
        padded: pad sums and results with spaces, so that all have the same length.
    """

    network: Literal["one", "two"] = "one"
    digits: int = 3
    num_pairs: int = 50_000
    num_test: int = 5_000
    reverse: bool = True
    padded: bool = True
    bidirectional: bool = False
    attention: Literal["none", "dot", "general", "additive"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, ("digits",), least=0, most=1000)
        check_range(self, ("num_pairs", "num_test"), least=0, most=10**8)
        defaults = {field.name: field.default for field in fields(self)}
        for name in _OF_TWO_NETWORKS if self.network == "one" else ():
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"--{name} {getattr(self, name)}: is for encoder and decoder, and would have "
                    f"no effect on one network. Use --network two, or leave it out."
                )


class Addition(SequenceToSequence):
    """The sum of two numbers, from ``535+61`` to ``596``.

    With ``network="one"`` a single recurrent network reads the sum and then, while it reads blanks,
    writes the result (:class:`throughtime.models.OneNetwork`). With ``network="two"`` an encoder
    reads the sum and a decoder writes the result, reading its own previous token at each step.

    Metrics: ``exact_match``, the fraction of results that are right; ``character_accuracy``, the
    fraction of right characters at all positions of the padded result.

    Source: the lecture notes; Keras, examples/nlp/addition_rnn.py; Zaremba and Sutskever,
        arXiv 1410.4615.
    """

    name = "addition"
    Config = AdditionConfig
    judged: Mapping[str, Figure] = {
        "character_accuracy": Figure(better="higher"),
        "exact_match": Figure(better="higher"),
    }

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

    @property
    def title(self) -> str:
        return f"{super().title}-{self.config.network}"

    def shown(self, source: str) -> str:
        return source[::-1] if self.config.reverse else source

    def read(self, text: str) -> str:
        c = self.config
        text = "".join(text.split())
        text = text.ljust(2 * c.digits + 1) if text and c.padded else text
        return text[::-1] if c.reverse else text

    def read_target(self, text: str) -> str:
        c = self.config
        text = text.strip()
        return text.ljust(c.digits + 1) if text and c.padded else text

    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        return match_figures(pairs, outputs)

    def model(self) -> Writer:
        c = self.config
        if c.network == "two":
            return super().model()
        source, target = self.tokenisers
        return OneNetwork(
            len(source), len(target), embedding_size=c.embedding_size, **c.recurrent()
        )

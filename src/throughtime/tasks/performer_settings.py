"""The settings of the task performers, and how its models write music."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal

from throughtime.data.music import PART_SETS
from throughtime.data.splits import Cut
from throughtime.tasks.audible import OutputOptions
from throughtime.tasks.network import (
    MAY_BE_MISSING,
    NetworkConfig,
    check_range,
    forwards_only,
    free,
)
from throughtime.tasks.next_token import SamplingOptions
from throughtime.tasks.run_data import absolute

__all__ = ["MOST_SYMBOLS", "EnsembleOptions", "PerformersConfig"]

MOST_SYMBOLS = 2**16
"""The largest vocabulary of the coding product, unless the settings say more."""


@dataclass
class PerformersConfig(NetworkConfig):
    """The pieces, the model, and the batches.

    Args:
        data: name of a data set (jsb-voices, Bach's chorales in quarter notes; jsb-voices-16th, in
            sixteenth notes), path of a MIDI file, or path of a folder of MIDI files, with the
            folders train, valid and test or without. Each channel of each track is a performer.
        step_seconds: duration of a step of MIDI files (default: 0.25).
        valid_fraction: fraction of the pieces that is kept for validation, if the data has no
            splits (default: 0.1).
        test_fraction: fraction of the pieces that is kept for the test (default: 0).
        split: how the pieces of data without splits are cut into them: order, one after the other;
            random; or blocks, parts of ten blocks.
        performers: numbers of the performers that are learned, from 0 (default: all).
        coding: how a step is read and predicted: product, one symbol for each combination of the
            performers' values; independent, a head for each performer; ordered, heads that know the
            performers before their own; any-order, heads that learn all orders, so that any
            performers can be fixed when music is written.
        most_symbols: largest number of symbols of the coding product (default: 65,536).
        head_size: number of hidden units of the codings ordered and any-order (default: 100).
        embedding_size: width of the vector by which a step is read.
        hidden_size: number of units of each recurrent layer.
        dropout: probability to drop a unit of the inputs of each layer but the first, and of what
            the coding predicts from.
        input_dropout: probability to drop a unit of the vector by which a step is read.
        transpose: semitones up or down by which each excerpt is moved at random during the
            training, as far as each performer's range allows.
        excerpt: largest number of steps of a piece that are trained together; a longer piece is
            cut into excerpts.
        batch_steps: steps of a batch, summed over all processes.
        data_seed: seed of the order of the pieces.
        sample_length: steps of the samples that are written during the training.
    """

    REFUSED: ClassVar = forwards_only("steps")

    data: str = "jsb-voices"
    step_seconds: float | None = None
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    split: Cut = field(default="order", metadata=MAY_BE_MISSING)
    performers: list[int] | None = None
    coding: Literal["product", "independent", "ordered", "any-order"] = "ordered"
    most_symbols: int | None = None
    head_size: int | None = None
    embedding_size: int = 64
    hidden_size: int = 200
    input_dropout: float = 0.0
    transpose: int = 0
    excerpt: int = 200
    batch_steps: int = 500
    data_seed: int = 0
    sample_length: int = free(64)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, PART_SETS)
        check_range(self, ("head_size", "excerpt", "batch_steps", "most_symbols"), most=10**7)
        check_range(self, ("sample_length",), most=10**6)
        check_range(self, ("transpose",), least=0, most=127)
        check_range(self, ("data_seed",), least=0, most=2**32 - 1)
        if not 0 <= self.input_dropout < 1:
            raise ValueError(f"--input_dropout: expected 0 to below 1, got {self.input_dropout}.")
        if self.step_seconds is not None and not 1e-3 <= self.step_seconds <= 60:
            raise ValueError(
                f"--step_seconds: expected 0.001 to 60 seconds, got {self.step_seconds}."
            )
        if self.performers is not None:
            _check_numbers("--performers", self.performers)
        for name, codings in (
            ("most_symbols", ("product",)),
            ("head_size", ("ordered", "any-order")),
        ):
            if getattr(self, name) is not None and self.coding not in codings:
                raise ValueError(
                    f"--{name} {getattr(self, name)}: it would have no effect with --coding "
                    f"{self.coding}. Leave it out, or use --coding {codings[0]}."
                )


def _check_numbers(name: str, numbers: Sequence[int]) -> None:
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise ValueError(
            f"{name}: expected different numbers of performers, from 0, got {list(numbers)}."
        )


@dataclass
class EnsembleOptions(SamplingOptions, OutputOptions):
    """How music is written.

    Args:
        length: number of steps (default: 128; with --fixed_from, the length of that music).
        fixed_from: MIDI file from which some performers play; the model writes the others.
        fixed: numbers of these performers, from 0. The file has either all performers or these
            only, each in a track or channel of its own.
        seed: seed of the random generator (default: a different piece each time).
        temperature: divisor of the scores: below 1 favours likely values, above 1 unlikely ones; 0
            always takes the likeliest.
        top_k: number of likeliest values to draw from (default: all).
        top_p: probability of the smallest set of likeliest values to draw from (default: all).
    """

    length: int | None = None
    fixed_from: str | None = None
    fixed: list[int] | None = None
    seed: int | None = None
    _: KW_ONLY
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, ("length",), most=10**6)
        check_range(self, ("seed",), least=0, most=2**32 - 1)
        SamplingOptions.__post_init__(self)
        OutputOptions.__post_init__(self)
        if (self.fixed is None) != (self.fixed_from is None):
            raise ValueError(
                "--fixed and --fixed_from: expected both, the numbers of the performers and the "
                "MIDI file with their notes, or none."
            )
        if self.fixed is not None:
            _check_numbers("--fixed", self.fixed)
            if self.length is not None:
                raise ValueError(
                    f"--length {self.length}: the music is as long as that of --fixed_from. Leave "
                    "it out."
                )

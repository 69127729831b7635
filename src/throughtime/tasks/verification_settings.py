"""The settings of the task verification, and the options of its commands."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from throughtime.data.persons import PERSON_SETS
from throughtime.tasks.drawing_options import DrawingOptions
from throughtime.tasks.network import NetworkConfig, check_range
from throughtime.tasks.pen_features import PenConfig
from throughtime.tasks.run_data import absolute
from throughtime.tasks.sound_features import SoundConfig

__all__ = ["VerificationConfig", "VerifyingOptions"]


@dataclass
class VerificationConfig(PenConfig, SoundConfig, NetworkConfig):
    """The examples of persons, the model, and the batches.

    Args:
        data: signatures (ways of a pen), fsdd (sounds), japanese-vowels (series); a file .ts or
            .csv of series whose labels are persons; or a folder with a folder of files for each
            person, sounds or ways of a pen, or with such folders train, valid and test.
        encoding: encoding of the file at that path, as Python names it.
        valid_fraction: fraction of the persons that is kept for validation, if the data has no
            such split (default: 0.1).
        test_fraction: fraction of the persons of a single file or folder that is kept for the test
            (default: 0).
        fold: the fold of fsdd or japanese-vowels (0 to 2), which says what speakers are the test.
        longest: largest number of steps that are read; the rest is cut off.
        normalise: subtract the mean of each feature in the training split and divide by its
            standard deviation.
        input_noise: standard deviation of normal noise that is added to each value in training,
            after the normalisation.
        pooling: how the states become one vector: last, mean, max, attention.
        vector_size: number of entries of the vectors whose distance is measured.
        scale: factor of the cosines in the loss.
        margin: by how much the cosine with the right person must exceed the others.
        dropout: probability to drop a unit between layers, and before the vector.
        batch_size: examples of a batch, summed over all processes.
        data_seed: seed of the order of the examples, and of their changes in training.
    """

    # Series of persons have no missing values and no column of times.
    missing: ClassVar[None] = None
    times: ClassVar[None] = None

    data: str = "signatures"
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    fold: int = 0
    longest: int = 2000
    normalise: bool = True
    input_noise: float = 0.0
    pooling: Literal["last", "mean", "max", "attention"] = "last"
    bidirectional: bool = True
    hidden_size: int = 64
    vector_size: int = 64
    scale: float = 20.0
    margin: float = 0.2
    batch_size: int = 32
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, PERSON_SETS)
        check_range(self, ("longest", "batch_size", "vector_size"), most=2**31 - 1)
        check_range(self, ("fold",), least=0, most=9)
        self.check_sound()
        self.check_pen()
        if not 0 <= self.input_noise < math.inf:
            raise ValueError(f"--input_noise: expected 0 or more, got {self.input_noise}.")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"--scale: expected more than 0, got {self.scale}.")
        if not 0 <= self.margin < 2:
            raise ValueError(f"--margin: expected at least 0 and less than 2, got {self.margin}.")
        if self.pooling == "last" and self.bidirectional and self.merge != "concat":
            raise ValueError(
                f"--pooling last: needs both directions side by side, got --merge {self.merge}."
            )


@dataclass
class VerifyingOptions(DrawingOptions):
    """What is written beside the decisions."""

    def __post_init__(self) -> None:
        self.check_drawing()

"""The settings of the task transcription, and the options of its commands."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from throughtime.data.audio.transcribed import TRANSCRIBED_SETS
from throughtime.data.splits import Cut
from throughtime.tasks.network import NetworkConfig, check_range
from throughtime.tasks.run_data import absolute
from throughtime.tasks.sound_features import SoundConfig

__all__ = ["JudgingTranscripts", "TranscribingOptions", "TranscriptionConfig"]


@dataclass
class TranscriptionConfig(SoundConfig, NetworkConfig):
    """The recordings, the model, and the batches.

    Args:
        data: yesno, fsdd-strings; a file .tsv with the path of a recording, a tab and its
            transcript on each line; or a folder with such files train, valid and test.
        encoding: encoding of the files at that path, as Python names it.
        valid_fraction: fraction of the recordings that is kept for validation, if the data has no
            such split (default: 0.1).
        test_fraction: fraction of the recordings of a single file that is kept for the test
            (default: 0).
        split: how a single file is cut into training, validation and test: random (the default),
            order, or blocks.
        tokenisation: the symbols of a transcript: characters, words, or symbols with spaces
            between them; auto is symbols for transcripts that are tokenised already, and
            characters for others.
        lower_case: convert words to lower case.
        min_count: how often a symbol must occur in the training split to be known.
        vocab_size: largest number of symbols, with four special ones (default: no limit).
        normalise: subtract the mean of each feature in the training split and divide by its
            standard deviation.
        stack: number of consecutive frames that are joined to one step of the network.
        pyramid: number of layers that each halve the number of steps; less than num_layers.
        dropout: probability to drop a unit between layers and before the scores.
        batch_size: recordings of a batch, summed over all processes.
        data_seed: seed of the order of the recordings, and of their changes in training.
    """

    data: str = "fsdd-strings"
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    split: Cut | None = None
    tokenisation: Literal["auto", "characters", "words", "symbols"] = "auto"
    lower_case: bool = False
    min_count: int = 1
    vocab_size: int | None = None
    normalise: bool = True
    stack: int = 1
    pyramid: int = 0
    bidirectional: bool = True
    hidden_size: int = 128
    batch_size: int = 16
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, TRANSCRIBED_SETS)
        self.check_sound()
        check_range(self, ("batch_size", "min_count", "vocab_size"), most=2**31 - 1)
        check_range(self, ("stack",), most=100)
        if not 0 <= self.pyramid < self.num_layers:
            raise ValueError(
                f"--pyramid {self.pyramid}: expected 0 to {self.num_layers - 1}, less than "
                "--num_layers. Add layers, or halve the time less often."
            )


@dataclass
class JudgingTranscripts:
    """What is judged, and how.

    Args:
        data: a file .tsv with recordings and transcripts, instead of a split of the run's data.
        encoding: encoding of that file (default: utf-8).
        beam_width: number of beginnings that the search keeps; 1 takes the best symbol of each
            step.
    """

    data: str | None = None
    encoding: str | None = None
    beam_width: int = 1

    def __post_init__(self) -> None:
        check_range(self, ("beam_width",), most=10_000)
        if self.encoding is not None and self.data is None:
            raise ValueError("--encoding is that of the file at --data, which is missing")


@dataclass
class TranscribingOptions:
    """How a sound is transcribed.

    Args:
        beam_width: number of beginnings that the search keeps; 1 takes the best symbol of each
            step.
        stream: read a sound from the standard input, and write its symbols as they are heard.
        raw_rate: the standard input has raw samples (16 bits, signed, little-endian, one channel)
            at this number per second (default: it is a WAV file).
    """

    beam_width: int = 1
    stream: bool = False
    raw_rate: int | None = None

    def __post_init__(self) -> None:
        check_range(self, ("beam_width",), most=10_000)
        check_range(self, ("raw_rate",), least=1000, most=768_000)
        if self.raw_rate is not None and not self.stream:
            raise ValueError("--raw_rate is of --stream, which is missing")
        if self.stream and self.beam_width > 1:
            raise ValueError("--beam_width: --stream writes the best symbol of each step at once")

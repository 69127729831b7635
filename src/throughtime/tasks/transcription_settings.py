"""The settings of the task transcription, and the options of its commands."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Literal

from throughtime.data.splits import Cut
from throughtime.data.transcribed import TRANSCRIBED_SETS
from throughtime.layers.spec import default_of
from throughtime.tasks.drawing_options import DrawingOptions
from throughtime.tasks.fused_language import FusionOptions
from throughtime.tasks.network import MAY_BE_MISSING, NetworkConfig, check_range
from throughtime.tasks.pen_features import PenConfig
from throughtime.tasks.readouts import READOUTS
from throughtime.tasks.robustness import RobustnessOptions
from throughtime.tasks.run_data import absolute
from throughtime.tasks.signals import Signals
from throughtime.tasks.sound_features import SoundConfig

__all__ = ["JudgingTranscripts", "TranscribingOptions", "TranscriptionConfig"]

_CORPUS_OPTIONS = ("phones", "transcripts")


@dataclass
class TranscriptionConfig(PenConfig, SoundConfig, NetworkConfig):
    """The recordings, the model, and the batches.

    Args:
        data: yesno, fsdd-strings (sounds), pen-lines (the ways of a pen); the folder of TIMIT or
            IAM-OnDB; a file .tsv with the path of a recording, a tab and its transcript on each
            line; or a folder with such files train, valid and test.
        encoding: encoding of the files at that path, as Python names it.
        valid_fraction: fraction of the recordings that is kept for validation, if the data has no
            such split (default: 0.1).
        test_fraction: fraction of the recordings of a single file that is kept for the test
            (default: 0).
        split: how a single file is cut into training, validation and test: random (the default),
            order, or blocks.
        phones: how many phones of TIMIT the network tells apart: 61, 48 or 39 (default: 48). The
            phoneme error rate is always that of the 39 classes.
        transcripts: what of TIMIT is transcribed: phones (the default), or words.
        tokenisation: the symbols of a transcript: characters, words, or symbols with spaces
            between them; auto is symbols for transcripts that are tokenised already, and
            characters for others.
        lower_case: convert words to lower case.
        min_count: how often a symbol must occur in the training split to be known.
        vocab_size: largest number of symbols, with four special ones (default: no limit).
        normalise: subtract the mean of each feature in the training split and divide by its
            standard deviation.
        normalise_by: whose mean and deviation these are: all, those of the training split; speaker,
            those of all recordings of a speaker in a split; or recording, its own. A recording
            whose speaker is not known is a speaker of its own.
        readout: how the outputs become symbols: ctc, which finds the alignment itself; frames,
            which learns the class of each frame and needs to know where each symbol is; or
            attention, a decoder that attends to the outputs and writes symbol by symbol.
        attention: how the decoder scores the steps; with none it sees only their mean.
        input_feeding: feed the result of the attention back into the decoder as an input.
        embedding_size: width of the embeddings of the decoder (default: hidden_size).
        label_smoothing: share of the target probability that the loss of the decoder spreads evenly
            over all symbols.
        decoder: settings of the decoder that differ from those of the layers, for example
            --decoder.num_layers 1.
        stack: number of consecutive frames that are joined to one step of the network.
        pyramid: number of layers that each halve the number of steps; less than num_layers.
        reset_rate: in training, the probability of each step that the state of the layers is set
            back before it, so that the network does not learn which symbols come first.
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
    phones: Literal[61, 48, 39] | None = field(default=None, metadata=MAY_BE_MISSING)
    transcripts: Literal["phones", "words"] | None = field(default=None, metadata=MAY_BE_MISSING)
    tokenisation: Literal["auto", "characters", "words", "symbols"] = "auto"
    lower_case: bool = False
    min_count: int = 1
    vocab_size: int | None = None
    normalise: bool = True
    normalise_by: Literal["all", "speaker", "recording"] = field(
        default="all", metadata=MAY_BE_MISSING
    )
    readout: Literal["ctc", "frames", "attention"] = field(default="ctc", metadata=MAY_BE_MISSING)
    attention: Literal["none", "dot", "general", "additive"] = field(
        default="additive", metadata=MAY_BE_MISSING
    )
    input_feeding: bool = field(default=False, metadata=MAY_BE_MISSING)
    embedding_size: int | None = field(default=None, metadata=MAY_BE_MISSING)
    label_smoothing: float = field(default=0.0, metadata=MAY_BE_MISSING)
    decoder: dict[str, Any] | None = field(default=None, metadata=MAY_BE_MISSING)
    stack: int = 1
    pyramid: int = 0
    reset_rate: float = field(default=0.0, metadata=MAY_BE_MISSING)
    bidirectional: bool = True
    hidden_size: int = 128
    batch_size: int = 16
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, TRANSCRIBED_SETS)
        self.check_sound()
        self.check_pen()
        check_range(self, ("batch_size", "min_count", "vocab_size"), most=2**31 - 1)
        check_range(self, ("stack",), most=100)
        if not 0 <= self.pyramid < self.num_layers:
            raise ValueError(
                f"--pyramid {self.pyramid}: expected 0 to {self.num_layers - 1}, less than "
                "--num_layers. Add layers, or halve the time less often."
            )
        if not 0 <= self.reset_rate < 1:
            raise ValueError(f"--reset_rate: expected 0 to less than 1, got {self.reset_rate}.")
        if not self.normalise and self.normalise_by != "all":
            raise ValueError(
                f"--normalise_by {self.normalise_by}: would have no effect with --normalise false. "
                "Leave one of them out."
            )
        self._check_readout()

    def _check_readout(self) -> None:
        """Raises a ValueError for a setting that is wrong for the read-out, or has no effect."""
        for name, readout in READOUTS.items():
            if name == self.readout:
                continue
            for option in fields(self):
                value = getattr(self, option.name)
                if option.name in readout.settings and value != default_of(option):
                    raise ValueError(
                        f"--{option.name} {value}: is of --readout {name}, and would have no "
                        f"effect with --readout {self.readout}. Leave it out."
                    )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"--label_smoothing: expected 0 to less than 1, got {self.label_smoothing}."
            )
        if self.input_feeding and self.attention == "none":
            raise ValueError(
                "--input_feeding: would have no effect with --attention none. Leave it out."
            )
        decoder = self.override("decoder", self.decoder)
        if self.readout == "attention" and self.attention == "dot":
            width = decoder.get("hidden_size", self.hidden_size)
            is_double = self.bidirectional and self.merge == "concat"
            if width != self.hidden_size * (1 + is_double):
                raise ValueError(
                    "--attention dot: needs outputs of the layers that are as wide as the decoder, "
                    f"got {self.hidden_size * (1 + is_double)} and {width} units. Use --attention "
                    f"general{', or --merge sum' if is_double else ''}."
                )

    @property
    def corpus_options(self) -> dict[str, Any]:
        """The options of a published corpus that were set, by name."""
        options = {name: getattr(self, name) for name in _CORPUS_OPTIONS}
        return {name: value for name, value in options.items() if value is not None}

    def check_effects(self, kind: type[Signals], kinds: dict[str, type[Signals]]) -> None:
        """Raises a ValueError for a setting without effect on signals of a kind.

        Args:
            kind: the kind of the signals of the data.
            kinds: all kinds, by name.
        """
        for option in fields(self):
            value = getattr(self, option.name)
            owners = [name for name, one in kinds.items() if option.name in one.settings]
            if owners and option.name not in kind.settings and value != default_of(option):
                raise ValueError(
                    f"--{option.name} {value}: is of {' and '.join(owners)}, so it would have no "
                    "effect on these data. Leave it out."
                )
        if READOUTS[self.readout].needs_segments:
            for name in kind.times_change:
                if getattr(self, name):
                    raise ValueError(
                        f"--{name} {getattr(self, name)}: moves the frames, and --readout "
                        f"{self.readout} needs to know where each symbol is. Leave it out."
                    )


@dataclass
class JudgingTranscripts(RobustnessOptions, FusionOptions):
    """What is judged, and how.

    Args:
        data: a file .tsv with recordings and transcripts, instead of a split of the run's data.
        encoding: encoding of that file (default: utf-8).
    """

    data: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, ("beam_width",), most=10_000)
        self.check_fusion()
        if self.encoding is not None and self.data is None:
            raise ValueError("--encoding is that of the file at --data, which is missing")


@dataclass
class TranscribingOptions(DrawingOptions, FusionOptions):
    """How a signal is transcribed.

    Args:
        stream: read a sound from the standard input, and write its symbols as they are heard.
        raw_rate: the standard input has raw samples of one channel at this number per second
            (default: it is a WAV file).
        raw_format: how a raw sample is written: s16 (16 bits, signed, little-endian; the default),
            u8 (8 bits, unsigned), f32 (floating point, little-endian), mu-law or a-law (8 bits).
    """

    stream: bool = False
    raw_rate: int | None = None
    raw_format: Literal["s16", "u8", "f32", "mu-law", "a-law"] | None = None

    def __post_init__(self) -> None:
        check_range(self, ("beam_width",), most=10_000)
        check_range(self, ("raw_rate",), least=1000, most=768_000)
        self.check_fusion()
        self.check_drawing()
        if self.raw_rate is not None and not self.stream:
            raise ValueError("--raw_rate is of --stream, which is missing")
        if self.raw_format is not None and self.raw_rate is None:
            raise ValueError("--raw_format is that of raw samples; say their rate: --raw_rate")
        if self.stream and (self.width > 1 or self.lm is not None):
            name = "--beam_width" if self.lm is None else "--lm"
            raise ValueError(f"{name}: --stream writes the best symbol of each step at once")

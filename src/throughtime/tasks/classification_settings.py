"""The settings of the task classification, and the options of its commands."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, ClassVar, Literal

from throughtime.cells import get, names
from throughtime.data.labelled import LABELLED_SETS
from throughtime.data.splits import Cut
from throughtime.layers.spec import OPTIONS, default_of
from throughtime.tasks.network import MAY_BE_MISSING, NetworkConfig, check_range
from throughtime.tasks.pen_features import PenConfig
from throughtime.tasks.robustness import RobustnessOptions
from throughtime.tasks.run_data import absolute
from throughtime.tasks.sound_features import SoundConfig

__all__ = ["OF_WINDOW", "ClassificationConfig", "JudgingOptions", "LabellingOptions", "check_kind"]

_OF_TEXTS = {
    *("tokenisation", "lower_case", "min_count", "vocab_size"),
    *("embedding_size", "word_dropout"),
}
_OF_NUMBERS = {"normalise", "input_noise"}
_WITH_EFFECT = {
    "text": _OF_TEXTS,
    "series": _OF_NUMBERS | {"missing", "times"},
    "audio": _OF_NUMBERS | {option.name for option in fields(SoundConfig)},
    "pen": _OF_NUMBERS | {option.name for option in fields(PenConfig)},
}
"""The settings that have an effect on some kinds of data only."""
_PLURALS = {"text": "texts", "series": "series", "audio": "sounds", "pen": "ways of a pen"}
OF_WINDOW = ("hidden_size", "num_layers", "dropout")
"""The settings of a recurrent network that the feed-forward network has, too."""
_OF_GRU_D = {
    *("input_size", "hidden_size", "num_layers", "batch_first", "dropout"),
    *("bias", "backend", "save", "strict", "zoneout", "recurrent_dropout"),
}


@dataclass
class ClassificationConfig(PenConfig, SoundConfig, NetworkConfig):
    """The examples, the model, and the batches.

    Args:
        data: sst2, sst5, mr, trec, trec-50 (texts); japanese-vowels, pendigits, articulary-words,
            handwriting, mnist, permuted-mnist (series); fsdd, fsdd-speakers, fsdd-unheard (sounds);
            a file: .tsv (label, tab, text), .csv with the columns label and text, .ts or .csv of
            series; a folder with files train, valid and test; or a folder with a folder for each
            class, with files of sounds or of ways of a pen.
        encoding: encoding of the files at that path, as Python names it.
        valid_fraction: fraction of the examples that is kept for validation, if the data has no
            such split (default: 0.1).
        test_fraction: fraction of the examples of a single file that is kept for the test
            (default: 0).
        split: how a single file is cut into training, validation and test: random (the default),
            single examples, equal ones together; order, one after the other; blocks, parts of ten
            blocks.
        fold: the fold of mr (0 to 9) or the speaker of fsdd-unheard (0 to 5) that is the test.
        parts: train on the labelled phrases of the training sentences, too (sst2, sst5).
        tokenisation: how a text is split; symbols splits at spaces only; auto is symbols for texts
            that are tokenised already, and words for others.
        lower_case: convert words to lower case.
        min_count: how often a word must occur in the training split to be in the vocabulary.
        vocab_size: largest size of the vocabulary, with its four special tokens (default: no
            limit).
        longest: largest number of tokens or steps that are read; the rest is cut off.
        missing: what to do about missing values of a series: error; carry, the last value before
            (0 if there is none), and for each feature a further one that is 1 where it is observed;
            or decay, from the last value to the mean (default: decay for the cell gru-d, which is
            the only one that has it, and error for others).
        times: number of the feature, from 1, that is the time of each step; only for the cell gru-d
            and cells that read the time between steps, such as cfc and ltc (default: all steps are
            one unit apart).
        normalise: subtract the mean of each feature in the training split and divide by its
            standard deviation.
        input_noise: standard deviation of normal noise that is added to each value of a series in
            training, after the normalisation.
        train_on_valid: train on the validation split, too, with settings that were found without
            it; its figures then say nothing, and the test split judges.
        network: recurrent; or window, a feed-forward network that reads the last steps only.
        window: steps that the network called window reads.
        pooling: how the states become one vector: last, mean, max, attention.
        embedding_size: width of the embeddings (default: hidden_size).
        dropout: probability to drop a unit of embeddings, between layers, and before the scores.
        word_dropout: probability to replace a word by the unknown word during the training.
        class_weights: weight of each class in the loss: none; or balanced, inversely proportional
            to its number of training examples, with a mean of 1 over the examples.
        label_smoothing: probability that the target gives to all classes alike.
        batch_size: examples of a batch, summed over all processes.
        data_seed: seed of the order of the examples.
    """

    STEP_INPUTS: ClassVar[tuple[str, ...]] = ("decay",)

    data: str = "sst2"
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    split: Cut | None = None
    fold: int = 0
    parts: bool = False
    tokenisation: Literal["auto", "words", "symbols", "characters"] = "auto"
    lower_case: bool = False
    min_count: int = 1
    vocab_size: int | None = None
    longest: int = 2000
    missing: Literal["error", "carry", "decay"] | None = None
    times: int | None = field(default=None, metadata=MAY_BE_MISSING)
    normalise: bool = True
    input_noise: float = field(default=0.0, metadata=MAY_BE_MISSING)
    train_on_valid: bool = field(default=False, metadata=MAY_BE_MISSING)
    network: Literal["recurrent", "window"] = field(default="recurrent", metadata=MAY_BE_MISSING)
    window: int = field(default=10, metadata=MAY_BE_MISSING)
    pooling: Literal["last", "mean", "max", "attention"] = "max"
    bidirectional: bool = True
    hidden_size: int = 128
    embedding_size: int | None = None
    word_dropout: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0
    batch_size: int = 32
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, LABELLED_SETS)
        check_range(self, ("longest", "batch_size", "min_count", "vocab_size"), most=2**31 - 1)
        check_range(self, ("window",), most=10**6)
        check_range(self, ("fold",), least=0, most=9)
        check_range(self, ("times",), most=2**31 - 1)
        self.check_sound()
        self.check_pen()
        for name in ("word_dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"--{name}: expected at least 0 and less than 1, got {getattr(self, name)}."
                )
        if not 0 <= self.input_noise < math.inf:
            raise ValueError(f"--input_noise: expected 0 or more, got {self.input_noise}.")
        if self.network == "window":
            self._check_window()
        elif self.window != ClassificationConfig.window:
            raise ValueError(
                f"--window {self.window}: is of --network window, and --network is recurrent. "
                "Leave it out."
            )
        if self.pooling == "last" and self.bidirectional and self.merge != "concat":
            raise ValueError(
                f"--pooling last: needs both directions side by side, got --merge {self.merge}."
            )

        if self.cell == "gru-d":
            self._check_gru_d()
        else:
            if self.missing == "decay":
                raise ValueError(
                    f"--missing decay: only the cell gru-d has decays and time gaps, got --cell "
                    f"{self.cell}. Use --cell gru-d, or leave it out."
                )
            if self.times is not None:
                self._check_gaps()

    def _check_window(self) -> None:
        """Raises a ValueError for a setting that the feed-forward network does not have."""
        # The network reads in one direction, and true is the default of the task.
        without_effect = {"times", *(option.name for option in fields(NetworkConfig))}
        without_effect -= {"bidirectional", *OF_WINDOW}
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name in without_effect and value != default_of(option):
                raise ValueError(
                    f"--{option.name} {value}: is of recurrent layers, and --network window has "
                    "none. Leave it out."
                )

    def _check_gaps(self) -> None:
        """Raises a ValueError unless the network can read the time between steps."""
        if "gap" not in get(self.cell).given_inputs:
            able = ", ".join(name for name in names() if "gap" in get(name).given_inputs)
            raise ValueError(
                f"--times {self.times}: only the cell gru-d and cells with the input gap ({able}) "
                f"read times, got --cell {self.cell}. Use one of these, or leave it out."
            )
        if self.bidirectional:
            raise ValueError(
                f"--times {self.times}: a gap is the time since the step before, so the network "
                "reads in one direction. Add --bidirectional false."
            )

    def _check_gru_d(self) -> None:
        """Raises a ValueError for a setting that the layer GRU-D does not have."""
        if self.bidirectional:
            raise ValueError("--cell gru-d: reads in one direction. Add --bidirectional false.")
        if self.num_layers != 1:
            raise ValueError(f"--num_layers {self.num_layers}: gru-d is one layer. Leave it out.")
        if self.missing in ("error", "carry"):
            raise ValueError(
                f"--missing {self.missing}: with --cell gru-d missing values decay. Leave it out."
            )
        if not self.normalise:
            raise ValueError(
                "--normalise false: with --cell gru-d missing values decay to the mean, which is 0 "
                "only for normalised features. Leave it out."
            )
        for name in sorted(OPTIONS.keys() - _OF_GRU_D):
            if hasattr(self, name) and getattr(self, name) != default_of(OPTIONS[name]):
                raise ValueError(
                    f"--{name} {getattr(self, name)}: the layer of --cell gru-d has no such "
                    "option. Leave it out."
                )

    def check_effects(self, kind: str) -> None:
        """Raises a ValueError for a setting without effect on data of a kind.

        Args:
            kind: "text", "series", "audio" or "pen".
        """
        if kind != "series" and self.cell == "gru-d":
            raise ValueError(
                f"--cell gru-d: models missing values of series, and the data are {_PLURALS[kind]}."
            )
        check_kind(self, kind)


def check_kind(config: Any, kind: str) -> None:
    """Raises a ValueError for a setting that has an effect on other kinds of data only.

    Args:
        config: a dataclass of settings.
        kind: "text", "series", "audio" or "pen".
    """
    for option in fields(config):
        kinds = [_PLURALS[k] for k, names in _WITH_EFFECT.items() if option.name in names]
        has_effect = not kinds or _PLURALS[kind] in kinds
        if not has_effect and getattr(config, option.name) != default_of(option):
            raise ValueError(
                f"--{option.name} {getattr(config, option.name)}: is of {' and '.join(kinds)}, "
                "so it would have no effect on these data. Leave it out."
            )


@dataclass
class JudgingOptions(RobustnessOptions):
    """What is judged, if it is not a split of the run's own data, and how it is distorted.

    Args:
        data: a file, or a folder of sounds, with labelled examples of the same classes.
        encoding: encoding of that file (default: utf-8).
    """

    data: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoding is not None and self.data is None:
            raise ValueError("--encoding is that of the file at --data, which is missing")


@dataclass
class LabellingOptions:
    """How a label is written.

    Args:
        words: write the label after each word or step, instead of the label of the whole.
    """

    words: bool = False

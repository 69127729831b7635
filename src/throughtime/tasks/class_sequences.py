"""How each kind of labelled sequences is read: texts, series, sounds, and ways of a pen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from throughtime.data import UNK, Tokeniser, tokeniser_from_json
from throughtime.data.distortion import Distortion
from throughtime.data.labelled import Example, Labelled, read_class_folders, read_labelled
from throughtime.tasks.class_checks import check_missing, check_series, warn_of_unknown
from throughtime.tasks.classification_settings import ClassificationConfig
from throughtime.tasks.pen_features import PenFeatures, moments_of_pens
from throughtime.tasks.rows import Rows
from throughtime.tasks.series_features import SeriesFeatures, mean_time_step, moments
from throughtime.tasks.sound_features import SoundFeatures, moments_of_sounds
from throughtime.tasks.text_tokenisers import tokeniser_of_texts

__all__ = ["KINDS", "Sequences"]


class Sequences(ABC):
    """How sequences of one kind are read.

    Args:
        config: the settings of the task.
        assets: what :meth:`fit` has computed from the training split.
    """

    # The few series of a validation are soon all right, and then only their loss differs.
    monitor = "loss"
    """The figure by which the best model is kept."""
    reads_files = False
    """Whether a line of the input is the path of a file; see :class:`ReadsFiles`."""
    step = "step"
    """What ``predict --words`` calls a step in its records."""
    unit: str
    """The plural of what a length counts."""

    def __init__(self, config: ClassificationConfig, assets: Mapping[str, Any]) -> None:
        self.config, self.assets = config, assets

    @staticmethod
    @abstractmethod
    def fit(
        config: ClassificationConfig, data: Labelled, examples: Sequence[Example]
    ) -> dict[str, Any]:
        """The assets that are computed from the examples of the training.

        Args:
            config: the settings of the task.
            data: the data set.
            examples: those of the training.
        """

    @property
    def tokeniser(self) -> Tokeniser | None:
        """What turns a text into tokens; None for numbers."""
        return None

    @property
    @abstractmethod
    def model_options(self) -> dict[str, Any]:
        """The arguments of the model that depend on what it reads."""

    @abstractmethod
    def row(self, content: Any) -> Tensor:
        """What the model reads of a sequence: (T) token ids, or (T, I) features."""

    @abstractmethod
    def rows(self, examples: Sequence[Example], seed: int | None) -> Rows:
        """What the model reads of examples.

        Args:
            examples: the examples.
            seed: the seed of the random changes of sounds; None changes nothing.
        """

    @abstractmethod
    def length(self, content: Any) -> int:
        """The number of steps of a sequence, with those that ``--longest`` cuts off."""

    @abstractmethod
    def parse(self, line: str, number: int) -> str | np.ndarray:
        """The sequence of a line that is not empty.

        Args:
            line: the line.
            number: its number, for the message.

        Raises:
            ValueError: for a line that is no sequence of this kind.
            OSError: for a file that cannot be read.
        """

    @abstractmethod
    def step_names(self, row: Tensor) -> list[str]:
        """The names of the steps of a row: the words of a text, or the numbers from 1."""

    @property
    def feature_names(self) -> Sequence[str]:
        """The names of the features that the model reads; empty for tokens."""
        return ()

    def noisy(self, inputs: Tensor) -> Tensor:
        """The inputs of a training batch, with noise if the settings ask for it."""
        return inputs

    def distorted(
        self, example: Example, distortion: Distortion, amount: float, draw: np.random.Generator
    ) -> Example:
        """An example whose sequence is distorted by an amount.

        Raises:
            ValueError: if sequences of this kind have no distortions.
        """
        raise ValueError(
            f"--robustness {distortion.name}: distorts sounds and series, and the data are texts. "
            "Leave it out."
        )

    def read(self, path: Path, encoding: str) -> tuple[str, list[Example]]:
        """The kind and the examples of a file, or of a folder if the kind has folders."""
        return read_labelled(path, encoding)

    def check(self, examples: Sequence[Example], where: str) -> None:
        """Raises a ValueError for an example that cannot be read; ``where`` names the examples."""
        return

    def check_data(self, data: Labelled) -> None:
        """Raises a ValueError for a setting that has no effect on the data; warns of doubts."""
        return


class Texts(Sequences):
    """Texts, which are read as tokens."""

    step = "word"

    def __init__(self, config: ClassificationConfig, assets: Mapping[str, Any]) -> None:
        super().__init__(config, assets)
        self._tokeniser = tokeniser_from_json(assets["tokeniser"])
        self.unit = self.tokeniser.unit
        # Examples that are learned are all right long before the end.
        self.monitor = "loss" if config.train_on_valid else "accuracy"

    @staticmethod
    def fit(
        config: ClassificationConfig, data: Labelled, examples: Sequence[Example]
    ) -> dict[str, Any]:
        usual = "symbols" if data.is_tokenised else "words"
        texts = (str(example.content) for example in examples)
        tokeniser = tokeniser_of_texts(config, usual, texts, config.min_count)
        return {"tokeniser": tokeniser.to_json()}

    @property
    def tokeniser(self) -> Tokeniser:
        return self._tokeniser

    @property
    def model_options(self) -> dict[str, Any]:
        return {"vocab_size": len(self.tokeniser)}

    def row(self, content: str) -> Tensor:
        # A text without any word is read as one unknown word.
        return torch.tensor(self.tokeniser.encode(content)[: self.config.longest] or [UNK])

    def rows(self, examples: Sequence[Example], seed: int | None) -> Rows:
        rows = [self.row(str(example.content)) for example in examples]
        return Rows([len(row) for row in rows], lambda epoch, i: rows[i])

    def length(self, content: str) -> int:
        """The number of tokens; for a text that ``--longest`` cannot cut, of characters."""
        # A text has at most as many tokens as characters, so most texts need not be split.
        is_short = len(content) <= self.config.longest
        return len(content) if is_short else len(self.tokeniser.encode(content))

    def parse(self, line: str, number: int) -> str:
        return line

    def step_names(self, row: Tensor) -> list[str]:
        return [self.tokeniser.decode([i]) for i in row.tolist()]

    def check_data(self, data: Labelled) -> None:
        warn_of_unknown(data, self.tokeniser)


Features = TypeVar("Features", SeriesFeatures, SoundFeatures, PenFeatures)


class _Numbers(Sequences, Generic[Features]):
    """Sequences that are read as features, one vector for each step."""

    features: Features

    @property
    def model_options(self) -> dict[str, Any]:
        return {"input_size": self.features.size, "has_gaps": self.features.has_gaps}

    @property
    def feature_names(self) -> Sequence[str]:
        return self.features.names

    def row(self, content: np.ndarray) -> Tensor:
        return self.features.of_series(content)[: self.config.longest]

    def rows(self, examples: Sequence[Example], seed: int | None) -> Rows:
        whole = [self.length(np.asarray(content)) for _, content in examples]
        lengths = [min(self.config.longest, length) for length in whole]
        # Examples are converted when they are needed: the features of 55,000 images take 170 MB.
        return Rows(lengths, lambda epoch, i: self.row(np.asarray(examples[i].content)))

    def length(self, content: np.ndarray) -> int:
        return self.features.length(content)

    def step_names(self, row: Tensor) -> list[str]:
        return [str(t) for t in range(1, len(row) + 1)]

    def read_folder(self, path: Path, encoding: str, rate: int | None) -> tuple[str, list[Example]]:
        """The kind and the examples of a folder with a folder for each class, or of a file."""
        if not path.is_dir():
            return super().read(path, encoding)
        kind, _, parts = read_class_folders(path, rate)
        return kind, [example for part in parts.values() for example in part]

    def noisy(self, inputs: Tensor) -> Tensor:
        deviation = self.config.input_noise
        return self.features.noisy(inputs, deviation) if deviation > 0 else inputs

    def distorted(
        self, example: Example, distortion: Distortion, amount: float, draw: np.random.Generator
    ) -> Example:
        changed = self.features.distorted(np.asarray(example.content), distortion, amount, draw)
        return example._replace(content=changed)

    def check(self, examples: Sequence[Example], where: str) -> None:
        check_series(self.features, examples, where)


class Series(_Numbers[SeriesFeatures]):
    """Series of numbers."""

    unit = "steps"

    def __init__(self, config: ClassificationConfig, assets: Mapping[str, Any]) -> None:
        super().__init__(config, assets)
        mean, deviation = assets["mean"], assets["deviation"]
        missing = "decay" if config.cell == "gru-d" else config.missing or "error"
        times = _time_feature(config, len(mean))
        time_step = assets.get("time_step", 1.0)
        self.features = SeriesFeatures(mean, deviation, missing, times, time_step)

    @staticmethod
    def fit(
        config: ClassificationConfig, data: Labelled, examples: Sequence[Example]
    ) -> dict[str, Any]:
        series = [np.asarray(example.content) for example in examples]
        mean, deviation = moments(data.name, series, config.normalise)
        time_step = mean_time_step(series, _time_feature(config, len(mean)))
        return {"mean": mean, "deviation": deviation, "time_step": time_step}

    def parse(self, line: str, number: int) -> np.ndarray:
        try:
            return self.features.parse(line)
        except ValueError as error:
            raise ValueError(f"line {number}, {error}") from error

    def check_data(self, data: Labelled) -> None:
        if self.config.cell == "gru-d":
            check_missing(data, "--cell gru-d")
        elif self.config.missing == "carry":
            check_missing(data, "--missing carry")


class Sounds(_Numbers[SoundFeatures]):
    """Sounds, which are read as the features of their frames."""

    unit = "frames"
    reads_files = True

    def __init__(self, config: ClassificationConfig, assets: Mapping[str, Any]) -> None:
        super().__init__(config, assets)
        spectral = config.spectral(assets["rate"])
        mean, deviation = assets["mean"], assets["deviation"]
        self.features = SoundFeatures(spectral, mean, deviation, config.augmentation)

    @staticmethod
    def fit(
        config: ClassificationConfig, data: Labelled, examples: Sequence[Example]
    ) -> dict[str, Any]:
        assert data.rate is not None  # Sounds have a rate.
        sounds = [np.asarray(example.content) for example in examples]
        spectral = config.spectral(data.rate)
        mean, deviation = moments_of_sounds(data.name, spectral, sounds, config.normalise)
        return {"mean": mean, "deviation": deviation, "rate": data.rate}

    def rows(self, examples: Sequence[Example], seed: int | None) -> Rows:
        plain = super().rows(examples, seed)
        if seed is None:
            return plain

        def changed(epoch: int, i: int) -> Tensor:
            samples = np.asarray(examples[i].content)
            return self.features.changed(samples, (seed, epoch, i))[: self.config.longest]

        return Rows(plain.lengths, changed)

    def parse(self, line: str, number: int) -> np.ndarray:
        # The messages name the path, which is the whole line.
        return self.features.parse(line)

    def read(self, path: Path, encoding: str) -> tuple[str, list[Example]]:
        return self.read_folder(path, encoding, self.assets["rate"])


class Pens(_Numbers[PenFeatures]):
    """Ways of a pen, which are read point by point."""

    unit = "points"
    reads_files = True

    def __init__(self, config: ClassificationConfig, assets: Mapping[str, Any]) -> None:
        super().__init__(config, assets)
        self.features = PenFeatures(config.pen_reading, assets["mean"], assets["deviation"])

    @staticmethod
    def fit(
        config: ClassificationConfig, data: Labelled, examples: Sequence[Example]
    ) -> dict[str, Any]:
        pens = [np.asarray(example.content) for example in examples]
        mean, deviation = moments_of_pens(data.name, config.pen_reading, pens, config.normalise)
        return {"mean": mean, "deviation": deviation}

    def rows(self, examples: Sequence[Example], seed: int | None) -> Rows:
        # The features take less memory than the trajectories, and are the same in each epoch.
        rows = [self.row(np.asarray(example.content)) for example in examples]
        return Rows([len(row) for row in rows], lambda epoch, i: rows[i])

    def parse(self, line: str, number: int) -> np.ndarray:
        return self.features.parse(line)

    def read(self, path: Path, encoding: str) -> tuple[str, list[Example]]:
        return self.read_folder(path, encoding, None)


KINDS: dict[str, type[Sequences]] = {
    "text": Texts,
    "series": Series,
    "audio": Sounds,
    "pen": Pens,
}
"""The classes of sequences by the ``kind`` of :class:`throughtime.data.labelled.Labelled`."""


def _time_feature(config: ClassificationConfig, num_features: int) -> int | None:
    """The index of the feature that is the time; None if the steps are counted."""
    times = config.times
    if times is not None and not times <= num_features > 1:
        raise ValueError(
            f"--times {times}: expected the number of one of several features, got series of "
            f"{num_features} {'feature' if num_features == 1 else 'features'}."
        )
    return None if times is None else times - 1

"""What the task transcription reads of each kind of signals; a kind is one subclass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from throughtime.data.distortion import Distortion
from throughtime.data.transcribed import Transcribed, TranscribedSignal, read_transcribed
from throughtime.tasks.pen_features import PenFeatures
from throughtime.tasks.rows import Rows
from throughtime.tasks.shown import Drawing
from throughtime.tasks.sound_features import SoundFeatures

__all__ = ["LiveSignal", "Signals"]


class LiveSignal(NamedTuple):
    """A signal that arrives in pieces.

    Args:
        pieces: the pieces (N) of the signal, as they arrive.
        push: the features (T, I) of the steps that are known with a further piece.
        finish: the features of the remaining steps.
        rate: the number of values of the signal per second.
        latency: the seconds of the signal that must have arrived before the features of a number of
            consecutive steps are known.
    """

    pieces: Iterator[np.ndarray]
    push: Callable[[np.ndarray], Tensor]
    finish: Callable[[], Tensor]
    rate: int
    latency: Callable[[int], float]


Features = TypeVar("Features", SoundFeatures, PenFeatures)


class Signals(ABC, Generic[Features]):
    """How signals of one kind become the features that a network reads.

    Args:
        config: the settings of the task.
        assets: the assets of the task, with what :meth:`fit` has computed.

    Attributes:
        kind: the ``kind`` of :class:`throughtime.data.transcribed.Transcribed`.
        settings: the names of the settings of the task that have an effect on this kind only.
        times_change: the settings by which a training changes how long the parts of a signal are;
            the labels of single steps are then not known.
        is_drawn: whether signals of this kind can be drawn as lines; see :meth:`drawing`.
        features: what turns a signal into features.
    """

    kind: ClassVar[str]
    settings: ClassVar[frozenset[str]] = frozenset()
    times_change: ClassVar[tuple[str, ...]] = ()
    is_drawn: ClassVar[bool] = False
    features: Features

    def __init__(self, config: Any, assets: Mapping[str, Any]) -> None:
        self.config, self.assets = config, assets

    @staticmethod
    @abstractmethod
    def fit(config: Any, data: Transcribed, signals: Sequence[TranscribedSignal]) -> dict[str, Any]:
        """The assets that are computed from the signals of the training: ``mean``, ``deviation``.

        They are lists with one number for each feature.
        """

    @property
    def size(self) -> int:
        """I, the number of features of a step."""
        return self.features.size

    def length(self, signal: np.ndarray) -> int:
        """T, the number of steps of a signal."""
        return self.features.length(signal)

    @abstractmethod
    def rows(self, signals: Sequence[TranscribedSignal], seed: int | None = None) -> Rows:
        """The features (T, I) of signals.

        Args:
            signals: all signals of a split, because those of one speaker may be normalised
                together.
            seed: the seed of the random changes of a training; None changes nothing.
        """

    @abstractmethod
    def places(self, signal: np.ndarray) -> np.ndarray:
        """The index in the signal of the middle of each step, (T) whole numbers."""

    def distorted(
        self,
        signal: TranscribedSignal,
        distortion: Distortion,
        amount: float,
        draw: np.random.Generator,
    ) -> TranscribedSignal:
        """A signal that is distorted by an amount.

        Raises:
            ValueError: if the distortion moves the labels of single steps, and there are any.
        """
        changed = self.features.distorted(signal.signal, distortion, amount, draw)
        if signal.segments and len(changed) != len(signal.signal):
            raise ValueError(
                f"--robustness {distortion.name}: the data have labels of single steps, and a "
                f"signal of another length moves them. Leave {distortion.name} out."
            )
        return signal._replace(signal=changed)

    def parse(self, line: str) -> np.ndarray:
        """The signal of a line of the input.

        Raises:
            ValueError: for a line that is no signal of this kind.
            OSError: for a file that cannot be read.
        """
        return self.features.parse(line)

    @abstractmethod
    def picture(self, row: Tensor) -> Tensor:
        """A picture (height, T) of the features (T, I) of a signal, with values from 0 to 1."""

    def drawing(
        self, signals: Sequence[np.ndarray], titles: Sequence[str], title: str = ""
    ) -> Drawing | None:
        """Signals as one drawing, each with its title above it; None if this kind is not drawn."""
        return None

    def read(self, path: Path, encoding: str) -> list[TranscribedSignal]:
        """The signals of the user's own file, as those of the training."""
        return read_transcribed(path, self.kind, self.assets["rate"], encoding)

    def live(self, stream: BinaryIO, options: Any) -> LiveSignal:
        """Reads a signal that arrives through a stream.

        Args:
            stream: the stream.
            options: the options of ``throughtime predict``.

        Raises:
            ValueError: if signals of this kind, or with these settings, cannot be read live.
        """
        raise ValueError(
            f"--stream: reads sounds, and this run reads signals of another kind "
            f"({self.kind}). Predict from files."
        )

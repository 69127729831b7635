"""Sounds as the features that a model reads, and the settings of these features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from throughtime.data.audio import SpectralFeatures, read_recording, resampled
from throughtime.data.audio.augmentation import Augmentation
from throughtime.data.distortion import Distortion
from throughtime.tasks.network import MAY_BE_MISSING
from throughtime.tasks.series_features import moments

__all__ = ["SoundConfig", "SoundFeatures", "moments_of_sounds"]


@dataclass(kw_only=True)
class SoundConfig:
    """The settings of the features of sounds.

    Args:
        rate: samples per second to which sounds are converted (default: the lowest of the data).
        features: what describes a frame of a sound: log-mel, or mfcc with the energy.
        num_filters: number of mel filters of a sound.
        num_cepstra: number of coefficients of mfcc, with the energy.
        differences: number of differences of a sound's features that are added to them: 0, 1, 2.
        augment_noise: in training, noise is added to a sound at a ratio drawn from this number of
            dB to 30 dB more (default: no noise).
        augment_speed: in training, tempo and pitch of a sound are multiplied by a factor drawn from
            1 minus this number to 1 plus it.
        augment_tempo: in training, the tempo alone is multiplied by such a factor.
        augment_pitch: in training, the pitch alone is changed by up to this many semitones.
        augment_shift: in training, up to this many seconds of silence are put before and after.
        augment_gain: in training, the level of a sound is changed by up to this many dB.
        augment_trim: in training, the probability that the quiet beginning and end of a sound are
            cut off.
        mask_time: in training, up to this many consecutive frames of a sound are set to their mean.
        mask_features: in training, up to this many neighbouring features are set to their mean.
    """

    rate: int | None = field(default=None, metadata=MAY_BE_MISSING)
    features: Literal["log-mel", "mfcc"] = field(default="log-mel", metadata=MAY_BE_MISSING)
    num_filters: int = field(default=40, metadata=MAY_BE_MISSING)
    num_cepstra: int = field(default=13, metadata=MAY_BE_MISSING)
    differences: Literal[0, 1, 2] = field(default=0, metadata=MAY_BE_MISSING)
    augment_noise: float | None = field(default=None, metadata=MAY_BE_MISSING)
    augment_speed: float = field(default=0.0, metadata=MAY_BE_MISSING)
    augment_tempo: float = field(default=0.0, metadata=MAY_BE_MISSING)
    augment_pitch: float = field(default=0.0, metadata=MAY_BE_MISSING)
    augment_shift: float = field(default=0.0, metadata=MAY_BE_MISSING)
    augment_gain: float = field(default=0.0, metadata=MAY_BE_MISSING)
    augment_trim: float = field(default=0.0, metadata=MAY_BE_MISSING)
    mask_time: int = field(default=0, metadata=MAY_BE_MISSING)
    mask_features: int = field(default=0, metadata=MAY_BE_MISSING)

    def check_sound(self) -> None:
        """Raises a ValueError for a setting that is out of its range."""
        ranges = {
            "rate": (1000, 768_000),
            "num_filters": (1, 512),
            "num_cepstra": (1, 512),
            "augment_noise": (-30, 100),
            "augment_speed": (0, 0.9),
            "augment_tempo": (0, 0.9),
            "augment_pitch": (0, 24),
            "augment_shift": (0, 60),
            "augment_gain": (0, 60),
            "augment_trim": (0, 1),
            "mask_time": (0, 10_000),
            "mask_features": (0, 512),
        }
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"--{name}: expected {least:,} to {most:,}, got {value}.")
        if self.features == "log-mel" and self.num_cepstra != SoundConfig.num_cepstra:
            raise ValueError(
                f"--num_cepstra {self.num_cepstra}: is of --features mfcc, and --features is "
                "log-mel. Leave it out."
            )

    def spectral(self, rate: int) -> SpectralFeatures:
        """The features of sounds with ``rate`` samples per second."""
        return SpectralFeatures(
            rate, self.features, self.num_filters, self.num_cepstra, self.differences
        )

    @property
    def augmentation(self) -> Augmentation | None:
        """What changes the sounds of the training; None if nothing does."""
        augmentation = Augmentation(
            self.augment_noise,
            self.augment_speed,
            self.augment_tempo,
            self.augment_pitch,
            self.augment_shift,
            self.augment_gain,
            self.mask_time,
            self.mask_features,
            self.augment_trim,
        )
        return None if augmentation == Augmentation() else augmentation


def moments_of_sounds(
    name: str, spectral: SpectralFeatures, sounds: Sequence[np.ndarray], normalise: bool
) -> tuple[list[float], list[float]]:
    """See :func:`throughtime.tasks.series_features.moments`, of the features of the sounds."""
    return moments(name, [spectral(sound) for sound in sounds], normalise)


@dataclass(frozen=True)
class SoundFeatures:
    """Turns the samples of a sound into normalised features.

    Args:
        spectral: the features.
        mean, deviation: see :func:`throughtime.tasks.series_features.moments`.
        augmentation: what changes the sounds of the training, if anything does.
    """

    spectral: SpectralFeatures
    mean: Sequence[float]
    deviation: Sequence[float]
    augmentation: Augmentation | None = None

    @property
    def has_gaps(self) -> bool:
        """Whether the last feature is the time since the step before: frames have equal times."""
        return False

    @property
    def size(self) -> int:
        """The ``input_size`` of a model that reads the features."""
        return self.spectral.size

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return self.spectral.names

    def length(self, samples: np.ndarray) -> int:
        """The number of frames of a sound."""
        return self.spectral.num_frames(len(samples))

    def check(self, samples: np.ndarray) -> None:
        """Raises a ValueError for a sound that cannot be turned into features."""
        if not len(samples):
            raise ValueError("expected a sound, got no samples.")

    def of_series(self, samples: np.ndarray) -> Tensor:
        """The features (T, I) of the samples (N)."""
        return torch.from_numpy(self.normalised(self.spectral(samples)))

    def changed(self, samples: np.ndarray, seed: Sequence[int]) -> Tensor:
        """The features of a sound that is changed at random for the training.

        Args:
            samples: (N).
            seed: determines the change, such as the numbers of the epoch and of the example.
        """
        if self.augmentation is None:
            return self.of_series(samples)
        draw = np.random.default_rng(seed)
        samples = self.augmentation.of_samples(samples, self.spectral.rate, draw)
        features = self.normalised(self.spectral(samples))
        num_values = self.spectral.num_values
        return torch.from_numpy(self.augmentation.of_features(features, num_values, draw))

    def distorted(
        self, samples: np.ndarray, distortion: Distortion, amount: float, draw: np.random.Generator
    ) -> np.ndarray:
        """A sound that is distorted by an amount."""
        return distortion.of_sound(samples, self.spectral.rate, amount, draw)

    def noisy(self, features: Tensor, deviation: float) -> Tensor:
        """Adds normal noise to the features."""
        return features + deviation * torch.randn_like(features)

    def parse(self, line: str) -> np.ndarray:
        """The samples of the sound file whose path is a line, at the rate of the training.

        Raises:
            ValueError: for a file that is no sound; see :func:`read_recording`.
            OSError: for a file that cannot be read.
        """
        path = Path(line.strip()).expanduser()
        return resampled(read_recording(path), self.spectral.rate, str(path)).samples

    def normalised(self, features: np.ndarray) -> np.ndarray:
        """Features (T, I) with the mean of the training subtracted and its deviation divided."""
        values = (features - np.array(self.mean)) / np.array(self.deviation)
        return values.astype(np.float32)

"""Changes sounds at random during the training, so that a network learns what does not matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from throughtime.data.audio.recordings import Recording, resampled

__all__ = ["Augmentation", "stretched", "trimmed", "with_noise"]

_PART_SECONDS, _QUIET_DB = 0.025, 30

_RATE = 100_000
"""A sound is resampled from this nominal rate when its speed changes."""


@dataclass(frozen=True)
class Augmentation:
    """Changes a sound at random; a setting of 0 (or None) leaves that property as it is.

    Args:
        noise: the least ratio of sound to noise in dB; white noise is added at a ratio drawn from
            this value to 30 dB above it. None adds no noise.
        speed: the speed, with tempo and pitch, is multiplied by a factor from 1 - speed to
            1 + speed.
        tempo: the tempo, without pitch, is multiplied by a factor from 1 - tempo to 1 + tempo.
        pitch: the pitch, without tempo, is raised by -pitch to pitch semitones.
        shift: up to this many seconds of silence are put before or after the sound.
        gain: the level is changed by -gain to gain dB.
        mask_time: up to this many consecutive frames are set to 0 (SpecAugment).
        mask_features: up to this many neighbouring values of all frames are set to 0 (SpecAugment).
        trim: the probability that the quiet beginning and end of the sound are cut off.

    Source: of the masks, Park et al., arXiv 1904.08779; of the speed, Ko et al. (2015).
    """

    noise: float | None = None
    speed: float = 0.0
    tempo: float = 0.0
    pitch: float = 0.0
    shift: float = 0.0
    gain: float = 0.0
    mask_time: int = 0
    mask_features: int = 0
    trim: float = 0.0

    def of_samples(self, samples: np.ndarray, rate: int, draw: np.random.Generator) -> np.ndarray:
        """The changed samples (N'), of samples (N).

        Args:
            samples: the sound.
            rate: the number of samples per second.
            draw: the random numbers.
        """
        if self.trim and draw.uniform() < self.trim:
            samples = trimmed(samples, rate)
        if self.speed:
            samples = _at_speed(samples, draw.uniform(1 - self.speed, 1 + self.speed))
        if self.tempo:
            factor = draw.uniform(1 - self.tempo, 1 + self.tempo)
            samples = stretched(samples, 1 / factor, rate)
        if self.pitch:
            factor = 2 ** (draw.uniform(-self.pitch, self.pitch) / 12)
            samples = _at_speed(stretched(samples, factor, rate), factor)
        if self.shift:
            before, after = np.round(draw.uniform(0, self.shift, 2) * rate).astype(int)
            samples = np.pad(samples, (before, after))
        if self.gain:
            samples = samples * 10 ** (draw.uniform(-self.gain, self.gain) / 20)
        if self.noise is not None:
            samples = with_noise(samples, draw.uniform(self.noise, self.noise + 30), draw)
        return np.asarray(samples, np.float32)

    def of_features(
        self, features: np.ndarray, num_values: int, draw: np.random.Generator
    ) -> np.ndarray:
        """Normalised features (T, I), some of which are set to 0, their mean.

        Args:
            features: the values of each frame, then as many differences of each order.
            num_values: the number of values of a frame; a masked one is masked in each order.
            draw: the random numbers.
        """
        T, I = features.shape
        features = features.copy()
        if self.mask_time:
            width = int(draw.integers(0, min(self.mask_time, T // 2) + 1))
            begin = int(draw.integers(0, T - width + 1))
            features[begin : begin + width] = 0
        if self.mask_features:
            width = int(draw.integers(0, min(self.mask_features, num_values // 2) + 1))
            begin = int(draw.integers(0, num_values - width + 1))
            features.reshape(T, I // num_values, num_values)[:, :, begin : begin + width] = 0
        return features


def with_noise(samples: np.ndarray, ratio: float, draw: np.random.Generator) -> np.ndarray:
    """A sound with white noise; their powers have a ratio of ``ratio`` dB. Silence stays silent."""
    noise = draw.standard_normal(len(samples))
    power = np.mean(np.square(samples, dtype=np.float64)) / np.mean(noise**2)
    return samples + noise * math.sqrt(power * 10 ** (-ratio / 10))


def trimmed(samples: np.ndarray, rate: int) -> np.ndarray:
    """A sound without its quiet beginning and end, of which 50 ms stay.

    Parts of 25 ms are quiet if their power is 30 dB below that of the loudest part. A sound that is
    shorter than a part, or silent, is not changed.
    """
    size = max(1, round(_PART_SECONDS * rate))
    parts = np.asarray(samples[: len(samples) // size * size], np.float64).reshape(-1, size)
    power = np.square(parts).mean(1)
    if not power.any():
        return samples
    loud = np.flatnonzero(power > power.max() * 10 ** (-_QUIET_DB / 10))
    begin, end = size * max(0, int(loud[0]) - 2), size * (int(loud[-1]) + 3)
    return samples[begin:end]


def stretched(samples: np.ndarray, factor: float, rate: int) -> np.ndarray:
    """A sound of ``factor`` times the length at the same pitch.

    Frames of 30 ms are taken at other distances than they are added; each is moved by up to 7.5 ms
    to where it continues the previous one best (WSOLA).

    Source: Verhelst and Roelands (1993).
    """
    N = len(samples)
    half = max(2, round(0.015 * rate))
    size, reach = 2 * half, half // 2
    if N < 2 * size:
        return samples
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    source = np.pad(np.asarray(samples, np.float64), (half + reach, size + half + reach))
    length = round(N * factor)
    num_frames = -(-length // half) + 1
    output = np.zeros((num_frames + 1) * half)
    begin = reach
    for t in range(num_frames):
        if t:
            # The samples that would follow the previous frame, and the best match near the aim.
            expected = source[begin + half : begin + half + size]
            aim = min(round(t * half / factor), N)
            near = source[aim : aim + size + 2 * reach]
            begin = aim + int(np.argmax(np.correlate(near, expected, "valid")))
        output[t * half : t * half + size] += window * source[begin : begin + size]
    return output[half : half + length].astype(np.float32)


def _at_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """A sound that is played ``factor`` times as fast, with a higher pitch."""
    sound = Recording(np.asarray(samples, np.float32), _RATE)
    return resampled(sound, round(_RATE / factor)).samples

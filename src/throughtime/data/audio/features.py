"""Features of the frames of a sound: log-mel energies, cepstral coefficients, differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

__all__ = ["REACH", "SpectralFeatures", "differences", "emphasised", "mel_filters"]

REACH = 2
"""The number of frames before and after a frame from which its difference is computed."""

_EMPHASIS = 0.97
_SMALLEST_ENERGY = 1e-10


@dataclass(frozen=True)
class SpectralFeatures:
    r"""Describes each frame of a sound by its short-time spectrum.

    With the samples x_n, frames of N samples which start every M samples, and a Hann window w:

        s_n = x_n - 0.97 x_{n-1}                              pre-emphasis
        P_k = |sum_n w_n s_n exp(-2 pi i k n / K)|^2 / K      power spectrum
        E_m = log sum_k F_mk P_k                              log-mel: triangular filters F
        c_j = sum_m a_j cos(pi j (2m + 1) / 2Q) E_m           mfcc: orthonormal DCT-II

    Of mfcc, c_0 is replaced by the logarithm of sum_k P_k, the energy of the frame. Differences
    follow after the values: d_t = sum_{r=1,2} r (v_{t+r} - v_{t-r}) / 10, and the differences of
    these. The last frame is filled up with zeros, so that no sample is left out.

    Args:
        rate: the number of samples per second.
        kind: "log-mel" or "mfcc".
        num_filters: Q, the number of mel filters.
        num_cepstra: the number of coefficients of mfcc, with the energy.
        order: the number of differences: 0, 1 or 2.
        frame_ms: the length of a frame in milliseconds.
        hop_ms: the time between the starts of two frames in milliseconds.

    Raises:
        ValueError: for a number out of range, or filters that are narrower than the spectrum.

    Source: of the mel scale and the coefficients, Davis and Mermelstein (1980), and the HTK book.

    >>> SpectralFeatures(8000, "mfcc", order=1)(np.zeros(800, np.float32)).shape
    (9, 26)
    """

    rate: int
    kind: Literal["log-mel", "mfcc"] = "log-mel"
    num_filters: int = 40
    num_cepstra: int = 13
    order: int = 0
    frame_ms: float = 25.0
    hop_ms: float = 10.0

    def __post_init__(self) -> None:
        if self.kind not in ("log-mel", "mfcc"):
            raise ValueError(f"SpectralFeatures: expected log-mel or mfcc, got {self.kind!r}.")
        if self.order not in (0, 1, 2):
            raise ValueError(f"SpectralFeatures: expected order 0, 1 or 2, got {self.order}.")
        is_finite = math.isfinite(self.frame_ms) and math.isfinite(self.hop_ms)
        if not is_finite or self.frame_size < 2 or not 1 <= self.hop <= self.frame_size:
            raise ValueError(
                "SpectralFeatures: expected frames of several samples, and at most the length of "
                f"a frame from one to the next, got frame_ms={self.frame_ms}, hop_ms="
                f"{self.hop_ms} at {self.rate} samples per second."
            )
        if self.kind == "mfcc" and not 1 <= self.num_cepstra <= self.num_filters:
            raise ValueError(
                f"SpectralFeatures: expected num_cepstra from 1 to num_filters="
                f"{self.num_filters}, got {self.num_cepstra}."
            )
        is_empty = ~self.filters.any(1)
        if self.num_filters < 1 or is_empty.any():
            raise ValueError(
                f"SpectralFeatures: expected filters of which each covers a frequency, got "
                f"num_filters={self.num_filters} over {self.transform_size // 2 + 1} frequencies. "
                "Take fewer filters, or longer frames."
            )

    @property
    def frame_size(self) -> int:
        """N, the number of samples of a frame."""
        return math.floor(self.rate * self.frame_ms / 1000 + 0.5)

    @property
    def hop(self) -> int:
        """M, the number of samples from the start of a frame to that of the next."""
        return math.floor(self.rate * self.hop_ms / 1000 + 0.5)

    @property
    def transform_size(self) -> int:
        """K, the smallest power of two that is not less than N."""
        return 1 << max(1, (self.frame_size - 1).bit_length())

    @property
    def num_values(self) -> int:
        """The number of values of a frame, without differences."""
        return self.num_filters if self.kind == "log-mel" else self.num_cepstra

    @property
    def size(self) -> int:
        """I, the number of features of a frame."""
        return self.num_values * (1 + self.order)

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        if self.kind == "log-mel":
            values = [f"mel {m}" for m in range(1, self.num_filters + 1)]
        else:
            values = ["energy", *(f"c{j}" for j in range(1, self.num_cepstra))]
        return [f"{'Δ' * order}{value}" for order in range(1 + self.order) for value in values]

    def num_frames(self, num_samples: int) -> int:
        """T, the number of frames of a sound; the last one may be filled up with zeros."""
        return 1 + max(0, -(-(num_samples - self.frame_size) // self.hop))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The features (T, I) float32 of a sound with the samples (N)."""
        values = self.of_frames(emphasised(samples, 0.0), self.num_frames(len(samples)))
        parts = [values]
        for _ in range(self.order):
            parts.append(differences(parts[-1]))
        return np.concatenate(parts, 1).astype(np.float32)

    def of_frames(self, samples: np.ndarray, T: int) -> np.ndarray:
        """The values (T, num_values) float64 of the first T frames of emphasised samples."""
        N, M = self.frame_size, self.hop
        missing = max(0, (T - 1) * M + N - len(samples))
        samples = np.pad(samples[: (T - 1) * M + N], (0, missing))
        frames = np.lib.stride_tricks.sliding_window_view(samples, N)[::M]  # (T, N)
        spectrum = np.fft.rfft(frames * self._window, self.transform_size)
        power = (spectrum.real**2 + spectrum.imag**2) / self.transform_size  # (T, K/2 + 1)
        values = np.log(np.maximum(power @ self.filters.T, _SMALLEST_ENERGY))
        if self.kind == "mfcc":
            energy = np.log(np.maximum(power.sum(1), _SMALLEST_ENERGY))
            values = np.concatenate([energy[:, None], values @ self._cosines.T], 1)
        return values

    @cached_property
    def filters(self) -> np.ndarray:
        """F, (num_filters, K/2 + 1)."""
        return mel_filters(self.rate, self.transform_size, self.num_filters)

    @cached_property
    def _window(self) -> np.ndarray:
        n = np.arange(self.frame_size)
        return 0.5 - 0.5 * np.cos(2 * np.pi * n / self.frame_size)

    @cached_property
    def _cosines(self) -> np.ndarray:
        """The rows j = 1, 2, … of the orthonormal DCT-II."""
        Q = self.num_filters
        j, m = np.arange(1, self.num_cepstra)[:, None], np.arange(Q)
        return math.sqrt(2 / Q) * np.cos(np.pi * j * (2 * m + 1) / (2 * Q))


def emphasised(samples: np.ndarray, before: float) -> np.ndarray:
    """x_n - 0.97 x_{n-1}, of samples that follow the sample ``before``; float64."""
    samples = np.asarray(samples, np.float64)
    return samples - _EMPHASIS * np.concatenate([[before], samples[:-1]])


def differences(values: np.ndarray) -> np.ndarray:
    """The slope of each value over five frames (T, I); the first and last frame are repeated."""
    T = len(values)
    padded = np.pad(values, ((REACH, REACH), (0, 0)), mode="edge")
    steps = [
        r * (padded[REACH + r : REACH + r + T] - padded[REACH - r : REACH - r + T])
        for r in range(1, REACH + 1)
    ]
    return sum(steps[1:], steps[0]) / (2 * sum(r * r for r in range(1, REACH + 1)))


def mel_filters(rate: int, transform_size: int, num_filters: int) -> np.ndarray:
    """Triangles of height 1 whose corners are equally spaced on the mel scale, up to rate / 2.

    Returns:
        (num_filters, transform_size / 2 + 1): the weight of each frequency in each filter.
    """
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, num_filters + 2) / 2595) - 1)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    frequencies = np.arange(transform_size // 2 + 1) * rate / transform_size
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling))

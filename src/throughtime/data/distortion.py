"""Distorts sounds and series by a stated amount, to measure how robust a network is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from throughtime.checks import unknown
from throughtime.data.audio.augmentation import stretched, with_noise
from throughtime.data.audio.recordings import Recording, resampled

__all__ = ["DISTORTIONS", "Distortion", "distortions_of"]

_PIECE_SECONDS = 0.02
"""The length of the pieces of a sound that are lost."""


@dataclass(frozen=True)
class Distortion:
    """One kind of distortion and the amounts that are tried.

    Args:
        name: its name.
        quantity: what the amounts are, with the unit, for the axis of a plot.
        amounts: the amounts, in the order of the plot; None leaves the input as it is.
        of_sound: a function of the samples (N), the samples per second, the amount and the random
            numbers that returns the distorted samples.
        of_series: a function of the values (T, I), the amount and the random numbers that returns
            the distorted values.
    """

    name: str
    quantity: str
    amounts: Sequence[float | None]
    of_sound: Callable[[np.ndarray, int, float, np.random.Generator], np.ndarray]
    of_series: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def _noisy_sound(
    samples: np.ndarray, rate: int, amount: float, draw: np.random.Generator
) -> np.ndarray:
    return with_noise(samples, amount, draw).astype(np.float32)


def _noisy_series(values: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """Values with normal noise, whose deviation follows from that of each feature."""
    deviation = np.nanstd(values, 0) if len(values) > 1 else np.zeros(values.shape[1])
    noise = draw.standard_normal(values.shape)
    return values + noise * deviation * 10 ** (-amount / 20)


def _sound_at_rate(
    samples: np.ndarray, rate: int, amount: float, draw: np.random.Generator
) -> np.ndarray:
    """A sound that was recorded at ``amount`` times its rate: it has no higher frequencies."""
    low = resampled(Recording(np.asarray(samples, np.float32), rate), round(amount * rate))
    back = resampled(low, rate).samples[: len(samples)]
    return np.pad(back, (0, len(samples) - len(back)))


def _series_at_rate(values: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """A series with ``amount`` times as many steps; values between steps are interpolated."""
    T = max(1, round(amount * len(values)))
    places = np.linspace(0, len(values) - 1, T)
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, len(values) - 1)
    share = (places - before)[:, None]
    # A missing value (NaN) makes a neighbour missing only where it has a share.
    mixed = (1 - share) * values[before] + share * values[after]
    return np.where(share == 0, values[before], mixed)


def _faster_series(values: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    return _series_at_rate(values, 1 / amount, draw)


def _faster_sound(
    samples: np.ndarray, rate: int, amount: float, draw: np.random.Generator
) -> np.ndarray:
    return stretched(samples, 1 / amount, rate)


def _sound_with_gaps(
    samples: np.ndarray, rate: int, amount: float, draw: np.random.Generator
) -> np.ndarray:
    """A sound of which pieces of 20 ms are silent, each with the probability ``amount``."""
    size = max(1, round(_PIECE_SECONDS * rate))
    is_lost = draw.random(-(-len(samples) // size)) < amount
    return np.where(np.repeat(is_lost, size)[: len(samples)], np.float32(0), samples)


def _series_with_gaps(values: np.ndarray, amount: float, draw: np.random.Generator) -> np.ndarray:
    """A series without steps that are dropped, each with the probability ``amount``."""
    is_kept = draw.random(len(values)) >= amount
    is_kept[0] |= not is_kept.any()
    return values[is_kept]


DISTORTIONS: dict[str, Distortion] = {
    distortion.name: distortion
    for distortion in (
        Distortion(
            *("noise", "signal-to-noise ratio (dB)", (None, 30, 20, 15, 10, 5, 0, -5)),
            *(_noisy_sound, _noisy_series),
        ),
        Distortion(
            *("rate", "sampling rate, a multiple of the trained", (0.25, 0.375, 0.5, 0.75, None)),
            *(_sound_at_rate, _series_at_rate),
        ),
        Distortion(
            *("speed", "tempo", (0.5, 0.67, 0.8, 0.9, None, 1.1, 1.25, 1.5, 2)),
            *(_faster_sound, _faster_series),
        ),
        Distortion(
            *("gap", "fraction that is lost", (None, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)),
            *(_sound_with_gaps, _series_with_gaps),
        ),
    )
}
"""The distortions by name.

``noise``: noise is added; its power is that of the sound, or of each feature of a series, divided
by the signal-to-noise ratio. ``rate``: a sound is resampled to a lower rate and back, so that it
has no frequencies above half of that rate; a series has fewer steps. ``speed``: the tempo of a
sound changes, its pitch does not; a series has fewer or more steps. ``gap``: pieces of 20 ms of a
sound are silent; steps of a series are left out.
"""


def distortions_of(option: str, names: str) -> list[Distortion]:
    """The distortions of an option.

    Args:
        option: the option, for the message.
        names: their names, with commas between them.

    Raises:
        ValueError: for an unknown name, or one that is there twice.

    >>> [distortion.name for distortion in distortions_of("--robustness", "noise, gap")]
    ['noise', 'gap']
    """
    chosen = [name.strip() for name in names.split(",")]
    for i, name in enumerate(chosen):
        if name not in DISTORTIONS:
            raise ValueError(f"{option}: {unknown('distortion', name, DISTORTIONS)}")
        if name in chosen[:i]:
            raise ValueError(f"{option}: expected each distortion once, got {name} twice.")
    return [DISTORTIONS[name] for name in chosen]

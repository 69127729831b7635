"""Series of numbers as the features that a model reads: normalised, with missing values filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from throughtime.data.distortion import Distortion
from throughtime.data.labelled import missing_place
from throughtime.layers import time_gaps

__all__ = ["SeriesFeatures", "carried", "check_times", "mean_time_step", "moments"]

_LARGEST_TIME = 2**24


def moments(
    name: str, series: Sequence[np.ndarray], normalise: bool
) -> tuple[list[float], list[float]]:
    """The number that is subtracted from each feature, and the number that then divides it.

    Args:
        name: the name of the data, for messages.
        series: the series of the training split, each (T, I), with NaN where a value is missing.
        normalise: whether these are the mean and the standard deviation of the feature. If not,
            they are 0 and 1; for bytes, such as pixels, 0 and 255.

    Raises:
        ValueError: if the series have different numbers of features, or a feature has no value.
    """
    widths = {one.shape[1] for one in series}
    if len(widths) > 1:
        raise ValueError(
            f"{name}: expected series of one number of features, got "
            f"{', '.join(map(str, sorted(widths)))}."
        )
    steps = np.concatenate(series)
    if not normalise:
        scale = 255.0 if steps.dtype == np.uint8 else 1.0
        return [0.0] * steps.shape[1], [scale] * steps.shape[1]
    if np.isnan(steps).all(0).any():
        feature = int(np.isnan(steps).all(0).argmax()) + 1
        raise ValueError(f"{name}: feature {feature} is missing in all series.")
    both = np.stack([np.nanmean(steps, 0, np.float64), np.nanstd(steps, 0, np.float64)])
    mean, deviation = both.tolist()
    return mean, [value or 1.0 for value in deviation]


@dataclass(frozen=True)
class SeriesFeatures:
    """Turns a series into features.

    Args:
        mean, deviation: see :func:`moments`.
        missing: what is done about missing values: ``error``, they are refused; ``carry``, see
            :func:`carried`; ``decay``, the values, marks and time gaps of
            :class:`throughtime.models.marked.MarkedGRUD`.
        times: the index of the column with the time of each step, which is not read as a value:
            without ``decay`` the last feature is the time since the step before, and 1 at the first
            step. None counts the steps.
        time_step: the time that counts as 1.
    """

    mean: Sequence[float]
    deviation: Sequence[float]
    missing: str = "error"
    times: int | None = None
    time_step: float = 1.0

    @property
    def size(self) -> int:
        """The ``input_size`` of a model that reads the features; a gap is not among them."""
        num_values = len(self.mean) - (self.times is not None)
        return num_values * (2 if self.missing == "carry" else 1)

    @property
    def names(self) -> list[str]:
        """The names of what the model reads at each step, with the numbers of the features."""
        values = [f"x{i + 1}" for i in range(len(self.mean)) if i != self.times]
        further = {"carry": ["observed"], "decay": ["observed", "gap"]}.get(self.missing, [])
        names = values + [f"{value} {what}" for what in further for value in values]
        return [*names, "gap"] if self.has_gaps else names

    @property
    def has_gaps(self) -> bool:
        """Whether the last feature is the time since the step before."""
        return self.times is not None and self.missing != "decay"

    def length(self, series: np.ndarray) -> int:
        """The number of steps of a series."""
        return len(series)

    def check(self, series: np.ndarray) -> None:
        """Raises a ValueError for a series that cannot be turned into features."""
        if series.shape[1] != len(self.mean):
            raise ValueError(f"expected {len(self.mean)} features, got {series.shape[1]}.")
        if self.times is not None:
            check_times(series[:, self.times], self.times + 1)
        place = missing_place(series) if series.dtype.kind == "f" else ""
        if place and self.missing == "error":
            raise ValueError(
                f"{place} is missing. Use --missing carry, or --cell gru-d, or fill it in before."
            )

    def of_series(self, series: np.ndarray) -> Tensor:
        """The features of a series (T, I): (T, size), (T, 3 * size) with ``decay``.

        Where the last feature is a gap there is one more.
        """
        steps = (np.asarray(series, np.float32) - np.array(self.mean)) / np.array(self.deviation)
        steps = steps.astype(np.float32)
        times = np.arange(len(steps)) if self.times is None else series[:, self.times]
        steps = steps if self.times is None else np.delete(steps, self.times, 1)
        if self.missing != "decay":
            features = carried(steps) if self.missing == "carry" else steps
            if self.has_gaps:
                gaps = np.diff(times / self.time_step, prepend=times[:1] / self.time_step - 1)
                features = np.column_stack([features, gaps.astype(np.float32)])
            return torch.from_numpy(features)
        is_observed = torch.from_numpy(~np.isnan(steps))
        gaps = time_gaps(torch.from_numpy(times / self.time_step).float(), is_observed)
        return torch.cat([torch.from_numpy(np.nan_to_num(steps)), is_observed.float(), gaps], 1)

    def distorted(
        self, values: np.ndarray, distortion: Distortion, amount: float, draw: np.random.Generator
    ) -> np.ndarray:
        """A series that is distorted by an amount.

        Noise leaves the time of each step as it is. With another speed, the time from the first
        step is divided by the amount.
        """
        changed = distortion.of_series(values, amount, draw)
        if self.times is not None:
            times = values[:, self.times]
            if distortion.name == "noise":
                changed[:, self.times] = times
            elif distortion.name == "speed":
                changed[:, self.times] = times[0] + (changed[:, self.times] - times[0]) / amount
        return changed

    def noisy(self, features: Tensor, deviation: float) -> Tensor:
        """Adds normal noise to the values (…, I), but not to the marks and the gaps after them."""
        num_values = len(self.mean) - (self.times is not None)
        values = features[..., :num_values]
        noise = deviation * torch.randn_like(values)
        return torch.cat([values + noise, features[..., num_values:]], -1)

    def parse(self, line: str) -> np.ndarray:
        """The series of a line: steps with spaces, features with commas between them; ? is missing.

        Raises:
            ValueError: for anything else, with the number of the step; and as :meth:`check` does.
        """
        steps = []
        for place, step in enumerate(line.split(), 1):
            try:
                values = [float(cell) if cell != "?" else np.nan for cell in step.split(",")]
            except ValueError:
                raise ValueError(
                    f"step {place}: expected numbers with commas between them, got {step[:40]!r}."
                ) from None
            if len(values) != len(self.mean):
                raise ValueError(
                    f"step {place}: expected {len(self.mean)} features, got {len(values)}."
                )
            steps.append(values)
        series = np.array(steps, np.float32)
        self.check(series)
        return series


def check_times(times: np.ndarray, feature: int) -> None:
    """Raises a ValueError if the times of a series are not complete, exact and in order.

    Args:
        times: (T).
        feature: the number of their column from 1, for the message.
    """
    before = np.concatenate([times[:1], times[:-1]])
    # Series are kept as float32, which cannot tell larger whole numbers apart.
    for is_wrong, expected in (
        (np.isnan(times), "a time, because --times names this feature"),
        (
            np.abs(times) > _LARGEST_TIME,
            f"a time of at most {_LARGEST_TIME:,}; count it from the "
            "start of the series, or in a larger unit",
        ),
        (times < before, "a time that is not before that of the last step"),
    ):
        if is_wrong.any():
            step = int(is_wrong.argmax())
            raise ValueError(
                f"step {step + 1}, feature {feature}: expected {expected}, got {times[step]:g}."
            )


def mean_time_step(series: Sequence[np.ndarray], times: int | None) -> float:
    """The mean time from a step to the next one; 1 if the steps are counted.

    Args:
        series: the series of the training split, each (T, I).
        times: the index of the column with the time; None if there is none.
    """
    if times is None:
        return 1.0
    steps = np.concatenate([np.diff(one[:, times].astype(np.float64)) for one in series])
    return float(steps.mean()) if len(steps) and steps.mean() > 0 else 1.0


def carried(steps: np.ndarray) -> np.ndarray:
    """Replaces each missing value by the last one before it, or by 0, and marks what is observed.

    Args:
        steps: (T, I), with NaN where a value is missing.

    Returns:
        (T, 2 I): the values, and for each of them 1 if it is observed, else 0.
    """
    is_observed = ~np.isnan(steps)
    place = np.where(is_observed, np.arange(len(steps))[:, None], -1)
    place = np.maximum.accumulate(place, 0)
    filled = np.take_along_axis(steps, place.clip(0), 0)
    return np.concatenate([np.where(place >= 0, filled, 0), is_observed], 1).astype(np.float32)

"""Series of numbers as the features that a model reads: normalised, with missing values filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from throughtime.data.labelled import missing_place

__all__ = ["SeriesFeatures", "carried", "moments"]


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
        has_marks: whether missing values are carried on and marked (see :func:`carried`); if not,
            they are refused.
    """

    mean: Sequence[float]
    deviation: Sequence[float]
    has_marks: bool

    @property
    def size(self) -> int:
        """The number of features that the model reads at each step."""
        return len(self.mean) * (2 if self.has_marks else 1)

    def check(self, series: np.ndarray) -> None:
        """Raises a ValueError for another number of features, or for a missing value."""
        if series.shape[1] != len(self.mean):
            raise ValueError(f"expected {len(self.mean)} features, got {series.shape[1]}.")
        place = missing_place(series) if series.dtype.kind == "f" else ""
        if place and not self.has_marks:
            raise ValueError(f"{place} is missing. Use --missing carry, or fill it in before.")

    def of_series(self, series: np.ndarray) -> Tensor:
        """The features (T, size) of a series (T, I)."""
        steps = (np.asarray(series, np.float32) - np.array(self.mean)) / np.array(self.deviation)
        steps = steps.astype(np.float32)
        return torch.from_numpy(carried(steps) if self.has_marks else steps)

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

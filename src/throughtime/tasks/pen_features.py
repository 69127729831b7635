"""Trajectories of a pen as the features that a model reads, and the settings of these features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from throughtime.data.distortion import Distortion
from throughtime.data.pen import (
    Trajectory,
    at_equal_distances,
    at_equal_times,
    normalised,
    read_trajectory,
)
from throughtime.tasks.network import MAY_BE_MISSING
from throughtime.tasks.series_features import moments

__all__ = ["PenConfig", "PenFeatures", "PenReading", "moments_of_pens"]

_STEPS = {"distance": 0.5, "time": 0.02}


@dataclass(kw_only=True)
class PenConfig:
    """The settings of the features of pens.

    Args:
        pen_points: at which points the way of a pen is read: distance, at equal distances along
            each stroke; time, at equal times; original, at those of the data.
        pen_step: that distance, in sizes of the writing (default: 0.5), or that time in seconds
            (default: 0.02).
        pen_slope: shear a pen's line of writing until it is level; for lines of several words.
        pen_slant: shear a pen's strokes until they are upright.
        pen_size: scale the writing of a pen to the size 1, the deviation of its heights.
        pen_times: let the model read the time between two points of a pen, too.
    """

    pen_points: Literal["distance", "time", "original"] = field(
        default="distance", metadata=MAY_BE_MISSING
    )
    pen_step: float | None = field(default=None, metadata=MAY_BE_MISSING)
    pen_slope: bool = field(default=False, metadata=MAY_BE_MISSING)
    pen_slant: bool = field(default=True, metadata=MAY_BE_MISSING)
    pen_size: bool = field(default=True, metadata=MAY_BE_MISSING)
    pen_times: bool = field(default=False, metadata=MAY_BE_MISSING)

    def check_pen(self) -> None:
        """Raises a ValueError for a setting that is out of its range or without effect."""
        if self.pen_step is None:
            return
        if self.pen_points == "original":
            raise ValueError(
                f"--pen_step {self.pen_step}: would have no effect with --pen_points original. "
                "Leave it out."
            )
        if not 0 < self.pen_step <= 1e6:
            raise ValueError(f"--pen_step: expected more than 0, got {self.pen_step}.")

    @property
    def pen_reading(self) -> PenReading:
        """How trajectories are read."""
        step = self.pen_step or _STEPS.get(self.pen_points, 0.0)
        return PenReading(
            *(self.pen_points, step, self.pen_slope, self.pen_slant, self.pen_size, self.pen_times)
        )


@dataclass(frozen=True)
class PenReading:
    """How the features of trajectories are computed; see :class:`PenConfig`."""

    points: str
    step: float
    has_slope: bool
    has_slant: bool
    has_size: bool
    has_times: bool

    def trajectory(self, signal: np.ndarray) -> Trajectory:
        """The trajectory, normalised and resampled, of the array of another; see `Trajectory`."""
        whole = Trajectory.of_array(signal)
        trajectory = normalised(
            whole, slope=self.has_slope, slant=self.has_slant, size=self.has_size
        )
        if self.points == "original":
            return trajectory
        if self.points == "time":
            if trajectory.times is None:
                raise ValueError(
                    "--pen_points time: expected a time for each point of the pen, got none. Use "
                    "--pen_points distance."
                )
            return at_equal_times(trajectory, self.step)
        return at_equal_distances(trajectory, self.step)

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """The features (T, I): dx, dy, pen up, and perhaps the seconds since the last point."""
        trajectory = self.trajectory(signal)
        if not self.has_times:
            return trajectory.points.astype(np.float32)
        if trajectory.times is None:
            raise ValueError(
                "--pen_times: expected a time for each point of the pen, got none. Leave it out, "
                "or give the times."
            )
        gaps = np.diff(trajectory.times, prepend=trajectory.times[:1])
        return np.column_stack([trajectory.points, gaps]).astype(np.float32)

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return ["dx", "dy", "pen up", *(["time"] if self.has_times else [])]

    def places(self, signal: np.ndarray) -> np.ndarray:
        """The index of the point of a trajectory that is nearest to each point that is read."""
        numbers = np.arange(len(signal), dtype=float)
        if self.points == "time":
            times = Trajectory.of_array(signal).times
            new = self.trajectory(signal).times
            assert times is not None
            assert new is not None
            numbers = np.interp(new, times, numbers)
        elif self.points == "distance":
            # The numbers of the points are interpolated as times are.
            times = self.trajectory(np.column_stack([signal[:, :3], numbers])).times
            assert times is not None
            numbers = times
        return np.round(numbers).astype(np.int64)


def moments_of_pens(
    name: str, reading: PenReading, signals: Sequence[np.ndarray], normalise: bool
) -> tuple[list[float], list[float]]:
    """See :func:`throughtime.tasks.series_features.moments`, of the features of trajectories.

    Raises:
        ValueError: for a trajectory that cannot be read so, with its place.
    """
    features = []
    for place, signal in enumerate(signals, 1):
        try:
            features.append(reading(signal))
        except ValueError as error:
            raise ValueError(f'{name}, split "train", drawing {place}: {error}') from error
    return moments(name, features, normalise)


@dataclass(frozen=True)
class PenFeatures:
    """Turns a trajectory into normalised features.

    Args:
        reading: how its features are computed.
        mean, deviation: see :func:`throughtime.tasks.series_features.moments`.
    """

    reading: PenReading
    mean: Sequence[float]
    deviation: Sequence[float]

    @property
    def has_gaps(self) -> bool:
        """Whether a cell reads the last feature as the time since the step before."""
        return False

    @property
    def size(self) -> int:
        """The ``input_size`` of a model that reads the features."""
        return len(self.reading.names)

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return self.reading.names

    def length(self, signal: np.ndarray) -> int:
        """The number of steps of a trajectory."""
        return len(self.reading.trajectory(signal))

    def check(self, signal: np.ndarray) -> None:
        """Raises a ValueError for a trajectory that cannot be turned into features."""
        self.reading(signal)

    def of_series(self, signal: np.ndarray) -> Tensor:
        """The features (T, I) of the array of a trajectory."""
        values = (self.reading(signal) - np.array(self.mean)) / np.array(self.deviation)
        return torch.from_numpy(values.astype(np.float32))

    def distorted(
        self, signal: np.ndarray, distortion: Distortion, amount: float, draw: np.random.Generator
    ) -> np.ndarray:
        """A trajectory each of whose strokes is distorted as a series of places."""
        pen = Trajectory.of_array(signal)
        strokes = [distortion.of_series(stroke, amount, draw) for stroke in pen.strokes]
        if sum(map(len, strokes)) < 2:
            return signal
        times = None
        if pen.times is not None:
            spans = zip(pen.times[pen.firsts], pen.times[pen.lasts], strokes, strict=True)
            times = [np.linspace(first, last, len(stroke)) for first, last, stroke in spans]
        return Trajectory.of_strokes(strokes, times).array

    def noisy(self, features: Tensor, deviation: float) -> Tensor:
        """Adds normal noise to the features."""
        return features + deviation * torch.randn_like(features)

    def parse(self, line: str) -> np.ndarray:
        """The array of the trajectory in the file whose path is a line.

        Raises:
            ValueError: see :func:`throughtime.data.pen.read_trajectory`, and :meth:`check`.
            OSError: for a file that cannot be read.
        """
        path = Path(line.strip()).expanduser()
        array = read_trajectory(path).array
        try:
            self.check(array)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return array

    def picture(self, row: Tensor) -> Tensor:
        """The height of the pen at each step as a picture (40, T), brighter where it is down."""
        values = row.numpy() * np.array(self.deviation) + np.array(self.mean)
        height = np.cumsum(values[:, 1])
        low, high = height.min(), height.max()
        level = ((high - height) / max(high - low, 1e-6) * 39).round().astype(int)
        picture = torch.zeros(40, len(row))
        is_up = torch.from_numpy(values[:, 2] > 0.5)
        picture[torch.from_numpy(level), torch.arange(len(row))] = torch.where(is_up, 0.5, 1.0)
        return picture

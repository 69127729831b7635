"""The trajectory of a pen: the way from each point to the next, and where the pen is lifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Trajectory"]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What a pen has written, point by point.

    Args:
        points: (N, 3) float64: dx and dy, the way from the point before (0 at the first point), and
            1 where the pen is lifted after the point, else 0. x grows to the right, y upwards.
        times: (N) float64, the time of each point in seconds; None if it is unknown.

    Raises:
        ValueError: for less than two points, a number that is not finite, a mark that is neither 0
            nor 1, a pen that is not lifted at the end, or times that go back.

    >>> Trajectory.of_strokes([[[0, 0], [2, 1]], [[1, 3]]]).points.tolist()
    [[0.0, 0.0, 0.0], [2.0, 1.0, 1.0], [-1.0, 2.0, 1.0]]
    """

    points: np.ndarray
    times: np.ndarray | None = None

    def __post_init__(self) -> None:
        points = np.array(self.points, np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(
                f"expected the points of a pen as (N, 3): dx, dy and pen up, got {points.shape}."
            )
        if len(points) < 2:
            raise ValueError(
                f"expected a pen trajectory of at least two points, got {len(points)}. Leave it "
                "out."
            )
        times = None if self.times is None else self._checked_times(len(points))
        for values in (points, times):
            if values is not None and not np.isfinite(values).all():
                is_finite = np.isfinite(values).reshape(len(points), -1).all(1)
                place = int(is_finite.argmin())
                raise ValueError(
                    f"point {place + 1} of the pen: expected finite numbers, got "
                    f"{', '.join(f'{value:g}' for value in values[place : place + 1].ravel())}."
                )
        marks = points[:, 2]
        if (marks * (1 - marks)).any():
            place = int((marks * (1 - marks) != 0).argmax())
            raise ValueError(
                f"point {place + 1} of the pen: expected pen up as 0 or 1, got {marks[place]:g}."
            )
        if not marks[-1]:
            raise ValueError(
                "expected the pen to be lifted after its last point (pen up 1), got 0. The "
                "trajectory is not complete."
            )
        if times is not None and (times[1:] < times[:-1]).any():
            place = int((times[1:] < times[:-1]).argmax()) + 1
            raise ValueError(
                f"point {place + 1} of the pen: expected a time that is not before that of the "
                f"point before ({times[place - 1]:g} s), got {times[place]:g} s."
            )
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "times", times)

    def _checked_times(self, number: int) -> np.ndarray:
        times = np.array(self.times, np.float64)
        if times.shape != (number,):
            raise ValueError(
                f"expected a time for each of {number} points of the pen, got times of shape "
                f"{times.shape}."
            )
        return times

    @classmethod
    def of_strokes(
        cls, strokes: Sequence[np.ndarray | Sequence], times: Sequence | None = None
    ) -> Trajectory:
        """The trajectory of strokes.

        Args:
            strokes: the places of the points of each stroke, (n, 2): x and y.
            times: the times of the points of each stroke in seconds, (n); None if they are unknown.

        Raises:
            ValueError: for a stroke of another shape or without points, and as the class does.
        """
        parts = [np.asarray(stroke, np.float64) for stroke in strokes]
        for place, part in enumerate(parts, 1):
            if part.ndim != 2 or part.shape[1] != 2 or not len(part):
                raise ValueError(
                    f"stroke {place} of the pen: expected places (n, 2) of at least one point, got "
                    f"{part.shape}."
                )
        if not parts:
            raise ValueError("expected a pen trajectory of at least two points, got no stroke.")
        places = np.concatenate(parts)
        is_up = np.zeros(len(places))
        is_up[np.cumsum([len(part) for part in parts]) - 1] = 1
        ways = np.diff(places, axis=0, prepend=places[:1])
        stamps = None if times is None else np.concatenate([np.asarray(t, float) for t in times])
        return cls(np.column_stack([ways, is_up]), stamps)

    @classmethod
    def of_array(cls, array: np.ndarray) -> Trajectory:
        """The trajectory of :attr:`array`: (N, 3) points, or (N, 4) points and times."""
        if array.ndim != 2 or array.shape[1] not in (3, 4):
            raise ValueError(
                "expected the points of a pen as (N, 3), or with times as (N, 4), got "
                f"{array.shape}."
            )
        return cls(array[:, :3], array[:, 3] if array.shape[1] == 4 else None)

    @property
    def array(self) -> np.ndarray:
        """The points and, if they are known, the times: (N, 3) or (N, 4) float64."""
        if self.times is None:
            return self.points
        return np.column_stack([self.points, self.times])

    def __len__(self) -> int:
        return len(self.points)

    @property
    def places(self) -> np.ndarray:
        """The place of each point, (N, 2), seen from the first point."""
        return np.cumsum(self.points[:, :2], 0)

    @property
    def lasts(self) -> np.ndarray:
        """The index of the last point of each stroke."""
        return np.flatnonzero(self.points[:, 2])

    @property
    def firsts(self) -> np.ndarray:
        """The index of the first point of each stroke."""
        return np.concatenate([[0], self.lasts[:-1] + 1])

    @property
    def strokes(self) -> list[np.ndarray]:
        """The places of the points of each stroke, (n, 2), seen from the first point of all."""
        return np.split(self.places, self.firsts[1:])

    def at(self, places: np.ndarray) -> Trajectory:
        """The trajectory with the same strokes and times, and its points at other places (N, 2)."""
        points = self.points.copy()
        points[0, :2] = 0
        points[1:, :2] = places[1:] - places[:-1]
        return Trajectory(points, self.times)

    def segments(self) -> np.ndarray:
        """The ways of the pen while it writes, (M, 2): those within strokes."""
        is_first = np.concatenate([[True], self.points[:-1, 2] == 1])
        return self.points[~is_first, :2]

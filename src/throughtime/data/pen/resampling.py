"""Other points on the same trajectory: at equal distances, or at equal times."""

from __future__ import annotations

import numpy as np

from throughtime.data.pen.trajectory import Trajectory

__all__ = ["at_equal_distances", "at_equal_times"]


def at_equal_distances(trajectory: Trajectory, distance: float) -> Trajectory:
    """A trajectory whose points follow each other at equal distances along each stroke.

    The first and the last point of each stroke stay. Between them, a stroke of the length l has
    round(l / distance) pieces of equal length, and at least one; a stroke of the length 0 becomes
    one point. Times are interpolated.

    Args:
        trajectory: the trajectory.
        distance: the distance between two points along the stroke.

    Raises:
        ValueError: for a distance that is not positive, or if a single point remains.
    """
    _check_positive("distance", distance)
    firsts, lasts = trajectory.firsts, trajectory.lasts
    steps = np.hypot(*trajectory.points[:, :2].T)
    steps[firsts] = 0
    way = np.cumsum(steps)
    lengths = way[lasts] - way[firsts]
    num_pieces = np.where(lengths > 0, np.maximum(1, np.round(lengths / distance)), 0).astype(int)
    stroke, number = _counted(num_pieces + 1)
    new = way[firsts][stroke] + number * (lengths / np.maximum(num_pieces, 1))[stroke]
    return _interpolated(trajectory, way, new, stroke)


def at_equal_times(trajectory: Trajectory, interval: float) -> Trajectory:
    """A trajectory with a point every ``interval`` seconds of each stroke, and one at its end.

    Args:
        trajectory: a trajectory with times.
        interval: the time between two points in seconds.

    Raises:
        ValueError: for an interval that is not positive, a trajectory without times, or if a single
            point remains.
    """
    _check_positive("interval", interval)
    if trajectory.times is None:
        raise ValueError(
            "at_equal_times: expected a trajectory with times, got one without. Use "
            "at_equal_distances."
        )
    times = trajectory.times
    begins, ends = times[trajectory.firsts], times[trajectory.lasts]
    # Rounding errors must not put a point beside the last one.
    num_pieces = np.ceil((ends - begins) / interval - 1e-6).astype(int)
    stroke, number = _counted(num_pieces + 1)
    new = np.minimum(begins[stroke] + number * interval, ends[stroke])
    return _interpolated(trajectory, times, new, stroke)


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of the stroke of each new point, and its number in the stroke, both from 0."""
    stroke = np.repeat(np.arange(len(counts)), counts)
    return stroke, np.arange(len(stroke)) - (np.cumsum(counts) - counts)[stroke]


def _interpolated(
    trajectory: Trajectory, measure: np.ndarray, new: np.ndarray, stroke: np.ndarray
) -> Trajectory:
    """The points of a trajectory at other measures.

    Args:
        trajectory: the trajectory, of N points.
        measure: (N) of each point, rising within each stroke.
        new: (M) the measures of the new points.
        stroke: (M) the numbers of their strokes.
    """
    # A distance of 1 between strokes keeps the interpolation within each of them.
    old_stroke = np.cumsum(trajectory.points[:, 2]) - trajectory.points[:, 2]
    old, new = measure + old_stroke, new + stroke
    points = np.zeros((len(new), 3))
    for k, column in enumerate(trajectory.places.T):
        places = np.interp(new, old, column)
        points[1:, k] = places[1:] - places[:-1]
    points[:-1, 2] = stroke[1:] != stroke[:-1]
    points[-1, 2] = 1
    times = None if trajectory.times is None else np.interp(new, old, trajectory.times)
    return Trajectory(points, times)


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise ValueError(f"{name}: expected a positive number, got {value}.")

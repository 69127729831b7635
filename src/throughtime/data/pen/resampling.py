"""Other points on the same trajectory: at equal distances, or at equal times."""

from __future__ import annotations

from collections.abc import Callable

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

    def measured(places: np.ndarray, times: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
        way = np.concatenate([[0.0], np.cumsum(steps)])
        number = max(1, round(way[-1] / distance)) if way[-1] else 0
        return way, np.linspace(0, way[-1], number + 1)

    return _resampled(trajectory, measured)


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

    def measured(places: np.ndarray, times: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        assert times is not None
        whole = np.arange(times[0], times[-1], interval)
        # Rounding errors must not put a point beside the last one.
        whole = whole[whole < times[-1] - 1e-6 * interval]
        return times, np.append(whole, times[-1])

    return _resampled(trajectory, measured)


def _resampled(
    trajectory: Trajectory,
    measured: Callable[[np.ndarray, np.ndarray | None], tuple[np.ndarray, np.ndarray]],
) -> Trajectory:
    """Interpolates each stroke.

    Args:
        trajectory: the trajectory.
        measured: maps the places (n, 2) and the times (n) of a stroke to the measure of its points
            (n), and the measures at which the new points lie.
    """
    strokes, stamps = [], []
    places = trajectory.places
    for part in trajectory.bounds:
        times = None if trajectory.times is None else trajectory.times[part]
        measure, wanted = measured(places[part], times)
        stroke = [np.interp(wanted, measure, column) for column in places[part].T]
        strokes.append(np.column_stack(stroke))
        if times is not None:
            stamps.append(np.interp(wanted, measure, times))
    return Trajectory.of_strokes(strokes, stamps or None)


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise ValueError(f"{name}: expected a positive number, got {value}.")

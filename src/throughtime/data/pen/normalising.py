"""Takes the slope, the slant and the size out of a trajectory."""

from __future__ import annotations

import numpy as np

from throughtime.data.pen.trajectory import Trajectory

__all__ = ["normalised", "size_of", "slant_of", "slope_of"]


def slope_of(trajectory: Trajectory) -> float:
    r"""The slope m of the line of writing: the regression line of its points is y = m x + b.

    It is 0 for points one above the other.
    """
    x, y = (trajectory.places - trajectory.places.mean(0)).T
    square = float(x @ x)
    return float(x @ y) / square if square else 0.0


def slant_of(trajectory: Trajectory) -> float:
    r"""The slant s of the writing: that with which the strokes have the shortest ways sideways:

        s = argmin_s sum_k |dx_k - s dy_k|

    over the ways (dx_k, dy_k) of the pen while it writes. That is the median of dx_k / dy_k with
    the weights |dy_k|. A shear by x + a y adds a to it. It is 0 if the pen moves only sideways.
    """
    dx, dy = trajectory.segments().T
    is_used = dy != 0
    if not is_used.any():
        return 0.0
    ratios, weights = dx[is_used] / dy[is_used], np.abs(dy[is_used])
    order = np.argsort(ratios, kind="stable")
    sums = np.cumsum(weights[order])
    return float(ratios[order][np.searchsorted(sums, sums[-1] / 2)])


def size_of(trajectory: Trajectory) -> float:
    r"""The size of the writing: the standard deviation of y along the way of the pen.

    Each way within a stroke has the weight of its length, and the y of its middle. A trajectory
    without height has the standard deviation of x as its size, and one without any way the size 1.
    """
    ways = trajectory.points[:, :2].copy()
    ways[trajectory.firsts] = 0
    middle, weight = trajectory.places - ways / 2, np.hypot(*ways.T)
    total = weight.sum()
    if not total:
        return 1.0
    deviation = middle - weight @ middle / total
    x_size, y_size = np.sqrt(weight @ deviation**2 / total)
    # What is left of rounding a straight line is no height.
    return float(y_size if y_size > 1e-9 * x_size else x_size) or 1.0


def normalised(
    trajectory: Trajectory, *, slope: bool = False, slant: bool = True, size: bool = True
) -> Trajectory:
    """A trajectory that is sheared and scaled so that writings look alike.

    Args:
        trajectory: the trajectory.
        slope: first shear upwards until :func:`slope_of` is 0; of use for lines of several words,
            because a single letter has no line.
        slant: then shear sideways until :func:`slant_of` is 0.
        size: then scale until :func:`size_of` is 1.
    """
    places = trajectory.places
    if slope:
        x, y = places.T
        places = np.column_stack([x, y - slope_of(trajectory) * x])
    if slant:
        x, y = places.T
        places = np.column_stack([x - slant_of(trajectory.at(places)) * y, y])
    if size:
        places = places / size_of(trajectory.at(places))
    return trajectory.at(places)

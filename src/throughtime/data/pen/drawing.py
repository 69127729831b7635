"""A trajectory as an SVG picture."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from throughtime.data.pen.trajectory import Trajectory

__all__ = ["svg_of_pen"]


def svg_of_pen(
    trajectories: Sequence[Trajectory], titles: Sequence[str] = (), *, height: float = 60.0
) -> str:
    """Trajectories as an SVG picture, one below the other.

    The lines have the colour of the text around them, so they are visible on a dark page, too.

    Args:
        trajectories: the trajectories.
        titles: a line of text above each of them; empty for none.
        height: the height of each trajectory in pixels. A trajectory that would be wider than 900
            pixels is drawn smaller.

    >>> svg_of_pen([Trajectory.of_strokes([[[0, 0], [1, 2]]])]).startswith("<svg xmlns=")
    True
    """
    parts: list[str] = []
    top, width, margin, line = 0.0, 0.0, 6.0, 16.0
    for i, trajectory in enumerate(trajectories):
        if titles:
            top += line
            text = html.escape(titles[i])
            parts.append(
                f'<text x="{margin:g}" y="{top - 4:.1f}" font-size="12" '
                f'fill="currentColor" stroke="none">{text}</text>'
            )
            width = max(width, 7.5 * len(titles[i]) + 2 * margin)
        low, high = trajectory.places.min(0), trajectory.places.max(0)
        extent = high - low
        scale = min(
            (bound / side for bound, side in zip((900.0, height), extent, strict=True) if side > 0),
            default=1.0,
        )
        for stroke in trajectory.strokes:
            x, y = ((stroke - [low[0], high[1]]) * [scale, -scale] + [margin, top + margin]).T
            parts.append(_path(x, y))
        top += extent[1] * scale + 2 * margin
        width = max(width, extent[0] * scale + 2 * margin)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {top:.1f}" '
        f'width="{width:.1f}" height="{top:.1f}" fill="none" stroke="currentColor" '
        'stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round">'
        f"{''.join(parts)}</svg>"
    )


def _path(x: np.ndarray, y: np.ndarray) -> str:
    # A line back to the same point draws a dot, because the ends of lines are round.
    places = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)]
    places = places * 2 if len(places) == 1 else places
    return f'<path d="M{"L".join(places)}"/>'

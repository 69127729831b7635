"""A trajectory with what it says."""

from __future__ import annotations

from typing import NamedTuple

from throughtime.data.pen.trajectory import Trajectory

__all__ = ["Written"]


class Written(NamedTuple):
    """What a pen has written.

    Args:
        text: the transcript, or a label.
        trajectory: the way of the pen.
    """

    text: str
    trajectory: Trajectory

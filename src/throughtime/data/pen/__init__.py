"""Pens: trajectories of what is written, their files, and writing that the project draws itself."""

from throughtime.data.pen.drawing import svg_of_pen
from throughtime.data.pen.files import PEN_SUFFIXES, read_trajectory
from throughtime.data.pen.iam import read_iam
from throughtime.data.pen.normalising import normalised
from throughtime.data.pen.resampling import at_equal_distances, at_equal_times
from throughtime.data.pen.trajectory import Trajectory
from throughtime.data.pen.unipen import read_unipen
from throughtime.data.pen.written import Written

__all__ = [
    "PEN_SUFFIXES",
    "Trajectory",
    "Written",
    "at_equal_distances",
    "at_equal_times",
    "normalised",
    "read_iam",
    "read_trajectory",
    "read_unipen",
    "svg_of_pen",
]

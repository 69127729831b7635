"""Sequences with one label each: texts, series of numbers, and sounds."""

from throughtime.data.labelled.labelled import Example, Labelled, load_labelled, read_labelled
from throughtime.data.labelled.named_sets import LABELLED_SETS
from throughtime.data.labelled.series_files import NotSeries, missing_place
from throughtime.data.labelled.sound_folders import read_sounds

__all__ = [
    "LABELLED_SETS",
    "Example",
    "Labelled",
    "NotSeries",
    "load_labelled",
    "missing_place",
    "read_labelled",
    "read_sounds",
]

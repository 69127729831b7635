"""Sequences with one label each: texts, series of numbers, sounds, and ways of a pen."""

from throughtime.data.labelled.class_folders import read_class_folders
from throughtime.data.labelled.labelled import (
    Example,
    Labelled,
    load_labelled,
    read_labelled,
    read_own,
)
from throughtime.data.labelled.named_sets import LABELLED_SETS
from throughtime.data.labelled.series_files import NotSeries, missing_place

__all__ = [
    "LABELLED_SETS",
    "Example",
    "Labelled",
    "NotSeries",
    "load_labelled",
    "missing_place",
    "read_class_folders",
    "read_labelled",
    "read_own",
]

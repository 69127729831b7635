"""Notes, and piano rolls of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["FIRST_KEY", "NUM_KEYS", "Note", "key_name", "notes_of_roll", "roll_of_notes"]

FIRST_KEY, NUM_KEYS = 21, 88
"""The MIDI number of the lowest key of a piano, and the number of its keys."""

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


class Note(NamedTuple):
    """A note.

    Args:
        start, end: when it begins and ends, in seconds.
        key: its MIDI number, from 0 to 127; 60 is middle C.
        velocity: how hard the key is struck, from 1 to 127.
    """

    start: float
    end: float
    key: int
    velocity: int = 80


def key_name(key: int) -> str:
    """The name of a MIDI number.

    >>> key_name(60), key_name(21)
    ('C4', 'A0')
    """
    return f"{_NAMES[key % 12]}{key // 12 - 1}"


def notes_of_roll(roll: np.ndarray, frame_seconds: float) -> list[Note]:
    """The notes of a piano roll; a key that sounds in consecutive frames is one note.

    Args:
        roll: (T, 88) bool.
        frame_seconds: the duration of a frame.

    >>> roll = np.zeros((3, 88), bool)
    >>> roll[1:, 39] = True
    >>> notes_of_roll(roll, 0.5)
    [Note(start=0.5, end=1.5, key=60, velocity=80)]
    """
    sounding = np.zeros((len(roll) + 2, NUM_KEYS), np.int8)
    sounding[1:-1] = roll
    changes = np.diff(sounding, axis=0).T  # (88, T + 1)
    notes = [
        Note(start * frame_seconds, end * frame_seconds, FIRST_KEY + key)
        for key in range(NUM_KEYS)
        for start, end in zip(
            np.flatnonzero(changes[key] == 1).tolist(),
            np.flatnonzero(changes[key] == -1).tolist(),
            strict=True,
        )
    ]
    return sorted(notes)


def roll_of_notes(notes: Sequence[Note], frame_seconds: float) -> np.ndarray:
    """The piano roll (T, 88) of notes: a key is on in each frame in whose middle it sounds.

    A note that sounds in the middle of no frame is on in the frame in which it begins. Keys that a
    piano does not have are left out.
    """
    spans = []
    for note in notes:
        # The first frames whose middles are not before the start, and not before the end.
        first, end = (math.ceil(time / frame_seconds - 0.5) for time in note[:2])
        if first == end:
            first = int(note.start / frame_seconds)
        spans.append((first, max(first + 1, end)))
    roll = np.zeros((max((end for _, end in spans), default=0), NUM_KEYS), bool)
    for note, (first, end) in zip(notes, spans, strict=True):
        if FIRST_KEY <= note.key < FIRST_KEY + NUM_KEYS:
            roll[first:end, note.key - FIRST_KEY] = True
    return roll

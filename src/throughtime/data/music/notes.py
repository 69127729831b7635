"""Notes, and piano rolls of them."""

from __future__ import annotations

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

    A note that is shorter than a frame is on in the frame in which it begins. Keys that a piano
    does not have are left out.
    """
    T = max((round(note.end / frame_seconds) for note in notes), default=0)
    T = max([T, *(int(note.start / frame_seconds) + 1 for note in notes)])
    roll = np.zeros((T, NUM_KEYS), bool)
    for start, end, key, _ in notes:
        if FIRST_KEY <= key < FIRST_KEY + NUM_KEYS:
            first, last = round(start / frame_seconds), round(end / frame_seconds)
            first = first if last > first else int(start / frame_seconds)
            roll[first : max(last, first + 1), key - FIRST_KEY] = True
    return roll

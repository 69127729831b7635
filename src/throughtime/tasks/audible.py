"""Music that a task has written: as files, and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from throughtime.checks import unknown
from throughtime.data.music import (
    FIRST_KEY,
    NUM_KEYS,
    RATE,
    Note,
    measures,
    midi_bytes,
    roll_of_notes,
    synthesise,
    wav_bytes,
)
from throughtime.tasks.shown import Picture, Score, Shown, Sound

__all__ = ["check_output", "shown_music", "write_music"]

_PIXELS_PER_KEY, _MOST_COLUMNS = 4, 1600


def check_output(path: str | None, formats: Sequence[str] = ("mid", "wav")) -> None:
    """Raises a ValueError for a file of music that cannot be written.

    Args:
        path: the value of ``--output``; None is no file.
        formats: the endings of the names that the task can write.
    """
    if path is None:
        return
    file = Path(path).expanduser()
    if file.suffix.removeprefix(".") not in formats:
        raise ValueError(f"--output: {unknown('ending of a file', file.suffix, _dotted(formats))}")
    if file.is_dir() or not file.parent.is_dir():
        place = f"{file} is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise ValueError(f"--output: expected a file in a folder that exists, but {place}.")


def _dotted(formats: Sequence[str]) -> list[str]:
    return [f".{name}" for name in formats]


def write_music(path: str, notes: Sequence[Note], seconds: float) -> str:
    """Writes notes into a file, as its ending says, and returns a sentence on it.

    A sound is measured as it is written: its length, its peak, clipped samples, silences.

    Args:
        path: a file that :func:`check_output` accepts, ``.mid`` or ``.wav``.
        notes: the notes.
        seconds: the duration of the music.
    """
    file = Path(path).expanduser()
    what = f"{file}: {len(notes):,} {'note' if len(notes) == 1 else 'notes'}"
    if file.suffix == ".wav":
        sound = synthesise(notes, seconds)
        file.write_bytes(wav_bytes(sound))
        return f"{what}, {measures(sound)}."
    file.write_bytes(midi_bytes(notes, str(file)))
    return f"{what}, {seconds:.1f} s."


def shown_music(notes: Sequence[Note], seconds: float, frame_seconds: float) -> list[Shown]:
    """The piano roll, the sound and the MIDI file of notes.

    Args:
        notes: the notes.
        seconds: the duration of the music.
        frame_seconds: the duration of a column of the piano roll.
    """
    sound = torch.from_numpy(synthesise(notes, seconds))
    title = f"{len(notes)} notes, {seconds:.0f} s"
    return [
        _picture(notes, frame_seconds),
        Sound(sound, RATE, title),
        Score(midi_bytes(notes), "mid", title),
    ]


def _picture(notes: Sequence[Note], frame_seconds: float) -> Picture:
    """The piano roll as a picture: time to the right, pitch upwards, the keys C as grey lines."""
    roll = roll_of_notes(notes, frame_seconds)
    keys = np.flatnonzero(roll.any(0)) if roll.any() else np.array([0, NUM_KEYS - 1])
    low, high = max(0, keys.min() - 2), min(NUM_KEYS, keys.max() + 3)
    pixels = np.ones((NUM_KEYS, max(1, len(roll))), np.float32)
    pixels[[key for key in range(NUM_KEYS) if (key + FIRST_KEY) % 12 == 0]] = 0.85
    pixels[roll.T[:, : pixels.shape[1]]] = 0.1
    pixels = pixels[low:high][::-1]
    width = max(1, min(_PIXELS_PER_KEY * 2, _MOST_COLUMNS // pixels.shape[1]))
    pixels = pixels.repeat(_PIXELS_PER_KEY, 0).repeat(width, 1)
    return Picture(torch.from_numpy(pixels.copy()), "Piano roll: time to the right, pitch upwards")

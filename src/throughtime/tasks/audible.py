"""Music that a task has written: as files, and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from throughtime.checks import unknown
from throughtime.data.music import (
    FIRST_KEY,
    NUM_KEYS,
    RATE,
    Note,
    check_sound_font,
    key_name,
    measures,
    midi_of_parts,
    played_by_fluidsynth,
    roll_of_notes,
    synthesise,
    wav_bytes,
)
from throughtime.tasks.shown import Picture, Score, Shown, Sound

__all__ = ["OutputOptions", "shown_music", "write_music"]

_PIXELS_PER_KEY, _MOST_COLUMNS = 4, 1600


@dataclass
class OutputOptions:
    """The file of the music.

    Args:
        output: file for the music, which ends in .mid or .wav.
        sound_font: sound font (.sf2 or .sf3) with which the program fluidsynth plays the music for
            a .wav (default: the synthesiser of this package, which needs none).
    """

    FORMATS: ClassVar[Sequence[str]] = ("mid", "wav")
    """The endings of the names that the task can write."""

    _: KW_ONLY
    output: str | None = None
    sound_font: str | None = None

    def __post_init__(self) -> None:
        if self.output is not None:
            _check_file(Path(self.output).expanduser(), [f".{name}" for name in self.FORMATS])
        if self.sound_font is not None:
            if not self.is_sound:
                raise ValueError(
                    "--sound_font: without a sound it would have no effect. Write one with "
                    "--output and a name that ends in .wav, or leave it out."
                )
            check_sound_font(self.sound_font)

    @property
    def is_sound(self) -> bool:
        """Whether the file is a sound."""
        return (self.output or "").endswith(".wav")


def _check_file(file: Path, endings: Sequence[str]) -> None:
    """Raises a ValueError for a file of music that cannot be written."""
    if file.suffix not in endings:
        raise ValueError(f"--output: {unknown('ending of a file', file.suffix, endings)}")
    if file.is_dir() or not file.parent.is_dir():
        place = f"{file} is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise ValueError(f"--output: expected a file in a folder that exists, but {place}.")


def write_music(
    options: OutputOptions,
    parts: Sequence[Sequence[Note]],
    seconds: float,
    *,
    is_drums: bool = False,
) -> str:
    """Writes notes into a file, as its ending says, and returns a sentence on it.

    A sound is measured as it is written: its length, its peak, clipped samples, silences.

    Args:
        options: the file, ``.mid`` or ``.wav``, and how a sound is played.
        parts: the notes of each part; each is a track of a MIDI file.
        seconds: the duration of the music.
        is_drums: whether the keys are the drums of a kit.
    """
    file = Path(options.output or "").expanduser()
    number = sum(map(len, parts))
    what = f"{file}: {number:,} {'note' if number == 1 else 'notes'}"
    if not options.is_sound:
        file.write_bytes(midi_of_parts(parts, str(file), is_drums=is_drums))
        return f"{what}, {seconds:.1f} s."
    if options.sound_font is None:
        sound = synthesise(_together(parts), seconds, is_drums=is_drums)
    else:
        midi = midi_of_parts(parts, str(file), is_drums=is_drums)
        sound = played_by_fluidsynth(midi, options.sound_font)
    file.write_bytes(wav_bytes(sound))
    return f"{what}, {measures(sound)}."


def _together(parts: Sequence[Sequence[Note]]) -> list[Note]:
    return sorted(note for part in parts for note in part)


def shown_music(
    parts: Sequence[Sequence[Note]],
    seconds: float,
    frame_seconds: float,
    title: str = "",
    *,
    is_drums: bool = False,
) -> list[Shown]:
    """The piano roll, the sound and the MIDI file of notes.

    Args:
        parts: the notes of each part.
        seconds: the duration of the music.
        frame_seconds: the duration of a column of the piano roll.
        title: what the music is; it stands before the number of notes.
        is_drums: whether the keys are the drums of a kit.
    """
    notes = _together(parts)
    sound = torch.from_numpy(synthesise(notes, seconds, is_drums=is_drums))
    title = f"{title}{': ' if title else ''}{len(notes)} notes, {seconds:.0f} s"
    return [
        _picture(notes, frame_seconds, is_drums),
        Sound(sound, RATE, title),
        Score(midi_of_parts(parts, is_drums=is_drums), "mid", title),
    ]


def _picture(notes: Sequence[Note], frame_seconds: float, is_drums: bool) -> Picture:
    """The piano roll as a picture, and in its title what lies where.

    The keys C are grey lines, unless the keys are drums.
    """
    roll = roll_of_notes(notes, frame_seconds)
    keys = np.flatnonzero(roll.any(0)) if roll.any() else np.array([0, NUM_KEYS - 1])
    low, high = max(0, keys.min() - 2), min(NUM_KEYS, keys.max() + 3)
    pixels = np.ones((NUM_KEYS, max(1, len(roll))), np.float32)
    if not is_drums:
        pixels[[key for key in range(NUM_KEYS) if (key + FIRST_KEY) % 12 == 0]] = 0.85
    pixels[roll.T[:, : pixels.shape[1]]] = 0.1
    pixels = pixels[low:high][::-1]
    width = max(1, min(_PIXELS_PER_KEY * 2, _MOST_COLUMNS // pixels.shape[1]))
    pixels = pixels.repeat(_PIXELS_PER_KEY, 0).repeat(width, 1)
    lowest, highest = FIRST_KEY + low, FIRST_KEY + high - 1
    if is_drums:
        upwards = f"the drums {lowest} to {highest} of General MIDI upwards"
    else:
        upwards = f"{key_name(lowest)} to {key_name(highest)} upwards, the keys C in grey"
    title = f"Piano roll: {len(roll) * frame_seconds:.0f} s to the right, {upwards}"
    return Picture(torch.from_numpy(pixels.copy()), title)

"""Reads music of several parts, each with one key at a time: a named set, or MIDI files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from throughtime.checks import unknown
from throughtime.data.download import FILES, fetch
from throughtime.data.music.midi import pieces_of_files, read_parts
from throughtime.data.music.notes import Note, key_name
from throughtime.data.splits import Cut, check_own_splits, cut_own

__all__ = [
    "PART_SETS",
    "SILENT",
    "PartSet",
    "load_parts",
    "notes_of_parts",
    "read_part_steps",
    "steps_of_parts",
]

PART_SETS: dict[str, tuple[int, float]] = {"jsb-voices": (4, 0.5), "jsb-voices-16th": (1, 0.125)}
"""The named sets: the sixteenth notes of a step, and its seconds when it is played.

Both are Bach's chorales, in their own keys: soprano, alto, tenor and bass.
"""

SILENT = -1
"""The key of a part that is silent."""

_STEP_SECONDS = 0.25


@dataclass(frozen=True)
class PartSet:
    """Pieces of k parts.

    Args:
        name: the name of the data set, file or folder.
        splits: the pieces of "train", "valid" and "test", each (T, k) int16: the MIDI number of the
            key that each part plays in each step, or :data:`SILENT`.
        step_seconds: how long a step lasts.
        cut: how the pieces were cut into splits; None if they came in splits.
    """

    name: str
    splits: dict[str, list[np.ndarray]] = field(repr=False)
    step_seconds: float
    cut: Cut | None = None

    def ranges(self) -> list[tuple[int, int]]:
        """The lowest and the highest key of each part, in all splits together.

        Raises:
            ValueError: for a part that is silent in all pieces.
        """
        steps = np.concatenate([piece for pieces in self.splits.values() for piece in pieces])
        ranges = []
        for number, keys in enumerate(steps.T):
            played = keys[keys != SILENT]
            if not len(played):
                raise ValueError(
                    f"{self.name}: expected notes in each part, got none in part {number} of all "
                    "pieces. Leave the part out."
                )
            ranges.append((int(played.min()), int(played.max())))
        return ranges

    def fingerprint(self) -> str:
        """The sha256 of all splits; two sets with equal fingerprints have the same pieces."""
        digest = hashlib.sha256()
        for split, pieces in sorted(self.splits.items()):
            digest.update(f"{split} {len(pieces)}\n".encode())
            for steps in pieces:
                digest.update(f"{steps.shape}\n".encode() + steps.astype("<i2").tobytes())
        return digest.hexdigest()


def load_parts(
    data: str,
    *,
    step_seconds: float | None = None,
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut = "order",
) -> PartSet:
    """Reads music of several parts as steps.

    Args:
        data: the name of one of `PART_SETS`; a MIDI file, or a folder of MIDI files, see
            `pieces_of_files`, whose files have the same number of parts, see `read_parts`.
        step_seconds: the duration of a step, for MIDI files; None is 0.25.
        valid_fraction, test_fraction, cut: see `throughtime.data.splits.cut_own`.

    Raises:
        FileNotFoundError: if there is no such path.
        ValueError: as `read_part_steps` and `cut_own` do, and for files with different numbers of
            parts.
        DownloadError, ChecksumError: see `fetch`.
    """
    if data in PART_SETS:
        check_own_splits("load_parts", data, valid_fraction, test_fraction, cut)
        if step_seconds is not None:
            raise ValueError(
                f"--step_seconds {step_seconds}: {data} is in steps already, so it would have no "
                "effect. Leave it out."
            )
        sixteenths, seconds = PART_SETS[data]
        return PartSet(data, _voices(sixteenths), seconds)
    path = Path(data).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{unknown('set of parts, file or folder', data, PART_SETS)}")
    seconds = step_seconds or _STEP_SECONDS
    first: list[tuple[str, int]] = []

    def read(where: str, content: bytes) -> np.ndarray:
        steps = read_part_steps(where, content, seconds)
        first.append((where, steps.shape[1]))
        if steps.shape[1] != first[0][1]:
            raise ValueError(
                f"{where}: expected {first[0][1]} parts, as in {first[0][0]}, got "
                f"{steps.shape[1]}. Give files with equally many parts."
            )
        return steps

    splits, how = cut_own(
        "load_parts",
        path.name,
        pieces_of_files(path, read),
        valid_fraction,
        test_fraction,
        "pieces",
        cut,
        lambda steps: steps.tobytes(),
    )
    return PartSet(path.resolve().name, splits, seconds, how)


def _voices(sixteenths: int) -> dict[str, list[np.ndarray]]:
    """Bach's chorales in steps of so many sixteenth notes."""
    pieces = json.loads(fetch(FILES["jsb-voices"]["all"]))
    return {
        split: [np.array(piece, np.int16)[::sixteenths] for piece in pieces[split]]
        for split in ("train", "valid", "test")
    }


def read_part_steps(where: str, content: bytes, step_seconds: float) -> np.ndarray:
    """The steps (T, k) of a MIDI file; see :func:`read_parts` and :func:`steps_of_parts`.

    Raises:
        ValueError: as these do, and for a file without notes or shorter than a step.
    """
    parts = read_parts(where, content)
    if not parts:
        raise ValueError(f"{where}: expected parts with notes that are no drums, got none.")
    steps = steps_of_parts(where, parts, step_seconds)
    if not len(steps):
        raise ValueError(
            f"{where}: expected at least one step of {step_seconds:g} seconds, got shorter music. "
            "Give shorter steps."
        )
    return steps


def steps_of_parts(where: str, parts: Sequence[Sequence[Note]], step_seconds: float) -> np.ndarray:
    """The key (T, k) that sounds in the middle of each step in each part.

    Of notes of which one begins while the other sounds, the later one counts.

    Args:
        where: the name of the music, for messages.
        parts: the notes of each part.
        step_seconds: the duration of a step.

    Raises:
        ValueError: for a part in which two keys are struck together, with its place.

    >>> soprano, bass = [Note(0.0, 1.0, 72), Note(1.0, 2.0, 74)], [Note(0.5, 1.5, 48)]
    >>> steps_of_parts("x", [soprano, bass], 0.5).tolist()
    [[72, -1], [72, 48], [74, 48], [74, -1]]
    """
    end = max((note.end for part in parts for note in part), default=0.0)
    steps = np.full((math.ceil(end / step_seconds - 0.5), len(parts)), SILENT, np.int16)
    for number, part in enumerate(parts):
        starts: dict[float, int] = {}
        for note in sorted(part):
            if starts.setdefault(note.start, note.key) != note.key:
                keys = f"{key_name(starts[note.start])} and {key_name(note.key)}"
                raise ValueError(
                    f"{where}: expected one key at a time in each part, got {keys} together in "
                    f"part {number} at second {note.start:g}. Give each voice a track of its own."
                )
            # The first steps whose middles are not before the start, and not before the end.
            first, last = (math.ceil(time / step_seconds - 0.5) for time in note[:2])
            steps[first:last, number] = note.key
    return steps


def notes_of_parts(steps: np.ndarray, step_seconds: float) -> list[list[Note]]:
    """The notes of each part; a key that sounds in consecutive steps is one note.

    Args:
        steps: (T, k), keys or :data:`SILENT`.
        step_seconds: the duration of a step.

    >>> notes_of_parts(np.array([[60], [60], [-1], [62]]), 0.5)
    [[Note(start=0.0, end=1.0, key=60, velocity=80), Note(start=1.5, end=2.0, key=62, velocity=80)]]
    """
    parts = []
    for keys in steps.T:
        # The steps at which a part changes its key, and its end.
        edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
        parts.append(
            [
                Note(first * step_seconds, last * step_seconds, int(keys[first]))
                for first, last in pairwise(edges)
                if last > first and keys[first] != SILENT
            ]
        )
    return parts

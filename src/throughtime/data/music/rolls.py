"""Reads piano rolls: a named set, a MATLAB file, or a folder of MIDI files."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from throughtime.checks import unknown
from throughtime.data.download import FILES, fetch
from throughtime.data.files import read_once
from throughtime.data.music.midi import midi_splits
from throughtime.data.music.notes import NUM_KEYS, roll_of_notes
from throughtime.data.splits import Cut, check_own_splits, cut_own
from throughtime.data.subwords import MissingLibraryError

__all__ = ["ROLL_SETS", "Rolls", "load_rolls"]

ROLL_SETS: dict[str, float] = {
    "jsb-chorales": 0.5,
    "nottingham": 0.25,
    "musedata": 0.25,
    "piano-midi": 0.25,
}
"""The sets of piano rolls, each with the seconds that a frame of it lasts when it is played.

All of them are transposed to C major or C minor.
"""

_CELLS = {"train": "traindata", "valid": "validdata", "test": "testdata"}
_FRAME_SECONDS = 0.25


@dataclass(frozen=True)
class Rolls:
    """Pieces of music as piano rolls.

    Args:
        name: the name of the data set, file or folder.
        splits: the pieces of "train", "valid" and "test", each (T, 88) bool.
        frame_seconds: how long a frame lasts.
        is_in_c: whether all pieces are transposed to C.
        cut: how the pieces were cut into splits; None if they came in splits.
    """

    name: str
    splits: dict[str, list[np.ndarray]] = field(repr=False)
    frame_seconds: float
    is_in_c: bool = False
    cut: Cut | None = None

    def fingerprint(self) -> str:
        """The sha256 of all splits; two runs with equal fingerprints have the same pieces."""
        digest = hashlib.sha256()
        for split, pieces in sorted(self.splits.items()):
            digest.update(f"{split} {len(pieces)}\n".encode())
            for roll in pieces:
                digest.update(f"{roll.shape}\n".encode() + np.packbits(roll).tobytes())
        return digest.hexdigest()


def load_rolls(
    data: str,
    *,
    frame_seconds: float | None = None,
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut = "order",
) -> Rolls:
    """Reads pieces of music as piano rolls.

    Args:
        data: the name of one of `ROLL_SETS`; a MATLAB file with the cells traindata, validdata and
            testdata (the last two may be missing), each piece an array of frames and 88 keys that
            are 0 or 1; or a MIDI file, or a folder of MIDI files, see `midi_splits`.
        frame_seconds: the duration of a frame, for MIDI files; None is 0.25.
        valid_fraction: the fraction of the pieces for validation, if there is no such split; None
            is 0.1.
        test_fraction: the fraction of the pieces of a whole for the test; None is 0.
        cut: how the pieces are cut into splits; see `throughtime.data.splits.cut_items`.

    Raises:
        FileNotFoundError: if there is no such path.
        ValueError: for a file that cannot be read, with its place; and as `cut_own` does.
        DownloadError, ChecksumError: see `fetch`.
    """
    if data in ROLL_SETS:
        check_own_splits("load_rolls", data, valid_fraction, test_fraction, cut)
        _check_no_frames(data, frame_seconds)
        splits = _mat_pieces(data, fetch(FILES[data]["all"]))
        return Rolls(data, splits, ROLL_SETS[data], is_in_c=True)
    path = Path(data).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{unknown('set of music, file or folder', data, ROLL_SETS)}")
    if path.suffix == ".mat":
        _check_no_frames(data, frame_seconds)
        parts, seconds = _mat_pieces(str(path), read_once(path)), _FRAME_SECONDS
    else:
        seconds = frame_seconds or _FRAME_SECONDS
        parts = {
            split: [roll_of_notes(notes, seconds) for notes in pieces]
            for split, pieces in midi_splits(path, skip_drums=True).items()
        }
    if len(parts) == 1:
        parts = {"all": next(iter(parts.values()))}
    parts, how = cut_own(
        "load_rolls",
        path.name,
        parts,
        valid_fraction,
        test_fraction,
        "pieces",
        cut,
        lambda roll: roll.tobytes(),
    )
    return Rolls(path.resolve().name, parts, seconds, cut=how)


def _check_no_frames(data: str, frame_seconds: float | None) -> None:
    if frame_seconds is not None:
        raise ValueError(
            f"--frame_seconds {frame_seconds}: {data} is in frames already, so it would have no "
            "effect. Leave it out."
        )


def _mat_pieces(where: str, content: bytes) -> dict[str, list[np.ndarray]]:
    """The pieces of a MATLAB file by split."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingLibraryError(
            f"{where}: MATLAB files are read with scipy, which is not installed. Install it with "
            "`pip install throughtime[music]`."
        ) from error
    try:
        file: dict[str, Any] = loadmat(io.BytesIO(content))
    # scipy has no common error: a damaged file raises almost anything.
    except Exception as error:
        raise ValueError(
            f"{where}: expected a MATLAB file of version 5, got one that cannot be read "
            f"({type(error).__name__}: {error})."
        ) from error
    if "traindata" not in file:
        names = ", ".join(name for name in file if not name.startswith("__")) or "nothing"
        raise ValueError(f"{where}: expected a cell traindata, got {names}.")
    return {
        split: [
            _roll(f"{where}, {cell}, piece {number}", piece)
            for number, piece in enumerate(file[cell].ravel(), 1)
        ]
        for split, cell in _CELLS.items()
        if cell in file
    }


def _roll(where: str, piece: Any) -> np.ndarray:
    if not isinstance(piece, np.ndarray) or piece.ndim != 2 or piece.shape[1] != NUM_KEYS:
        shape = getattr(piece, "shape", type(piece).__name__)
        raise ValueError(f"{where}: expected an array of frames and {NUM_KEYS} keys, got {shape}.")
    if piece.dtype.kind not in "buif":
        raise ValueError(f"{where}: expected numbers, got {piece.dtype}.")
    if not np.isin(piece, (0, 1)).all():
        raise ValueError(f"{where}: expected keys of 0 or 1, got other numbers.")
    return piece.astype(bool)

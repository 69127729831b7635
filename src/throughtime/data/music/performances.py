"""Reads performances in MIDI as events: a named set, a file, or a folder, in splits."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path

import numpy as np

from throughtime.checks import unknown
from throughtime.data.download import FILES, fetch
from throughtime.data.music.events import events_of, steps_of
from throughtime.data.music.midi import MIDI_SUFFIXES, midi_splits, read_midi
from throughtime.data.music.notes import Note
from throughtime.data.splits import Cut, check_own_splits, cut_own

__all__ = ["PERFORMANCE_SETS", "Performances", "load_performances"]

PERFORMANCE_SETS = ("groove", "pop909")

_GROOVE_SPLITS = {"train": "train", "validation": "valid", "test": "test"}


@dataclass(frozen=True)
class Performances:
    """Pieces as events.

    Args:
        name: the name of the set, file or folder.
        splits: the pieces of "train", "valid" and "test", each (N) int16.
        cut: how the pieces were cut into splits; None if they came in splits.
    """

    name: str
    splits: dict[str, list[np.ndarray]] = field(repr=False)
    cut: Cut | None = None

    def fingerprint(self) -> str:
        """The sha256 of all splits; two sets with equal fingerprints have the same pieces."""
        digest = hashlib.sha256()
        for split, pieces in sorted(self.splits.items()):
            digest.update(f"{split} {len(pieces)}\n".encode())
            for events in pieces:
                digest.update(f"{len(events)}\n".encode() + events.tobytes())
        return digest.hexdigest()


def load_performances(
    data: str,
    *,
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut | None = None,
) -> Performances:
    """Reads performances as events, each from its first note on; the sustain pedal holds notes.

    Args:
        data: ``groove`` (human drumming, in its own splits), ``pop909`` (piano arrangements of pop
            songs), a MIDI file, or a folder of MIDI files; see `midi_splits`.
        valid_fraction: the fraction of the pieces for validation, if they come in no splits; None
            is 0.1.
        test_fraction: the fraction for the test; None is 0, and 0.1 for ``pop909``.
        cut: how the pieces are cut into splits; None is at random.

    Raises:
        FileNotFoundError: if there is no such path.
        ValueError: as `read_midi` and `cut_own` do.
        DownloadError, ChecksumError: see `fetch`.
    """
    if data == "groove":
        check_own_splits("load_performances", data, valid_fraction, test_fraction, cut or "order")
        table = csv.DictReader(io.StringIO(fetch(FILES["groove"]["info"]).decode()))
        split_of = {row["midi_filename"]: _GROOVE_SPLITS[row["split"]] for row in table}
        parts = _archive(data, lambda name: split_of[name.removeprefix("groove/")])
        return Performances(
            data, {s: list(map(_events, parts[s])) for s in ("train", "valid", "test")}
        )
    if data == "pop909":
        name, parts = data, _archive(data, lambda name: "all")
        test_fraction = 0.1 if test_fraction is None else test_fraction
    else:
        path = Path(data).expanduser()
        if not path.exists():
            known = unknown("set of performances, file or folder", data, PERFORMANCE_SETS)
            raise FileNotFoundError(f"{known}")
        name, parts = path.resolve().name, midi_splits(path, is_pedalled=True)
    has_own = "all" not in parts and "valid" in parts
    how: Cut = cut or ("order" if has_own else "random")
    pieces = {split: list(map(_events, notes)) for split, notes in parts.items()}
    splits, used = cut_own(
        "load_performances",
        name,
        pieces,
        valid_fraction,
        test_fraction,
        "pieces",
        how,
        lambda events: events.tobytes(),
    )
    return Performances(name, splits, used)


def _events(notes: list[Note]) -> np.ndarray:
    """The events of a piece, from its first note on."""
    events = dropwhile(lambda event: steps_of(event) > 0, events_of(notes))
    return np.array(list(events), np.int16)


def _archive(name: str, split_of: Callable[[str], str]) -> dict[str, list[list[Note]]]:
    """The pieces of an archive of MIDI files, by the split of each."""
    splits: dict[str, list[list[Note]]] = {}
    with tarfile.open(fileobj=io.BytesIO(fetch(FILES[name]["archive"]))) as archive:
        members = sorted((m for m in archive if m.isfile()), key=lambda member: member.name)
        for member in members:
            stream = archive.extractfile(member)
            if stream is not None and member.name.endswith(MIDI_SUFFIXES):
                notes = read_midi(member.name, stream.read(), is_pedalled=True)
                splits.setdefault(split_of(member.name), []).append(notes)
    return splits

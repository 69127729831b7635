"""Reads and writes MIDI files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from pathlib import Path
from typing import Any, TypeVar

from throughtime.data.files import read_once
from throughtime.data.music.notes import Note
from throughtime.data.split_files import split_name
from throughtime.data.subwords import MissingLibraryError

__all__ = [
    "MIDI_SUFFIXES",
    "midi_bytes",
    "midi_of_parts",
    "midi_splits",
    "pieces_of_files",
    "read_midi",
    "read_parts",
]

Piece = TypeVar("Piece")

MIDI_SUFFIXES = (".mid", ".midi")
_DRUMS, _PEDAL = 9, 64
_CHANNELS = tuple(channel for channel in range(16) if channel != _DRUMS)
_TICKS_PER_BEAT, _TEMPO = 480, 500_000
_MOST_SECONDS = 24 * 3600
_TICKS_PER_SECOND = 1_000_000 * _TICKS_PER_BEAT // _TEMPO


def _mido(where: str) -> Any:
    try:
        import mido
    except ImportError as error:
        raise MissingLibraryError(
            f"{where}: MIDI files are read and written with mido, which is not installed. Install "
            "it with `pip install throughtime[music]`."
        ) from error
    return mido


def read_midi(
    where: str, content: bytes, *, is_pedalled: bool = False, skip_drums: bool = False
) -> list[Note]:
    """The notes of a MIDI file of type 0 or 1, of all its tracks together, in order.

    A note that begins while its key sounds ends the note before. A note without an end ends with
    the file. A note of no duration is left out.

    Args:
        where: the name of the file, for messages.
        content: its bytes.
        is_pedalled: whether the sustain pedal holds the notes that end while it is down, until it
            is released or their key is struck again.
        skip_drums: whether the notes of channel 10, which are drums, are left out.

    Raises:
        ValueError: for a damaged file, one of type 2, one without a usable time, and one of more
            than 24 hours, with its place.
        MissingLibraryError: if mido is not installed.
    """
    sounding, end = _Sounding(is_pedalled), 0.0
    for end, _, message in _messages(where, content):
        if not skip_drums or getattr(message, "channel", None) != _DRUMS:
            sounding.read(message, end)
    return sounding.finished(end)


def read_parts(where: str, content: bytes) -> list[list[Note]]:
    """The notes of each part of a MIDI file: of each channel of each track that has notes.

    Notes end as in :func:`read_midi`. Parts are in the order of tracks, and those of a track in the
    order of channels; drums are left out.

    Args:
        where, content: see :func:`read_midi`.

    Raises:
        ValueError, MissingLibraryError: as :func:`read_midi` does.
    """
    parts: dict[tuple[int, int], _Sounding] = {}
    end = 0.0
    for end, track, message in _messages(where, content):
        channel = getattr(message, "channel", _DRUMS)
        if channel != _DRUMS:
            parts.setdefault((track, channel), _Sounding()).read(message, end)
    notes = [parts[place].finished(end) for place in sorted(parts)]
    return [part for part in notes if part]


def _messages(where: str, content: bytes) -> Iterator[tuple[float, int, Any]]:
    """The messages of all tracks in the order of time: second, number of the track, message."""
    mido, file = _mido(where), io.BytesIO(content)
    try:
        midi = mido.MidiFile(file=file, clip=True)
    # mido has no common error: a damaged file raises almost anything.
    except Exception as error:
        place = f"after byte {file.tell():,} of {len(content):,}"
        reason = "it ends too early" if isinstance(error, EOFError) else str(error)
        raise ValueError(
            f"{where}: expected a MIDI file, got one that cannot be read {place} "
            f"({type(error).__name__}: {reason})."
        ) from error
    if midi.type == 2:
        raise ValueError(
            f"{where}: expected a MIDI file of type 0 or 1, got type 2, whose tracks have no "
            "common time. Write it as type 1."
        )
    if midi.ticks_per_beat <= 0:
        raise ValueError(
            f"{where}: expected ticks per beat, got a division of {midi.ticks_per_beat} (a time "
            "code of frames, or none). Write the file with ticks per beat."
        )
    tempo, now, seconds = _TEMPO, 0, 0.0
    tracks = (_track(number, messages) for number, messages in enumerate(midi.tracks))
    # A merge keeps the order of tracks where messages have the same tick.
    for tick, track, message in merge(*tracks, key=lambda item: item[0]):
        seconds += (tick - now) * tempo / (1e6 * midi.ticks_per_beat)
        now = tick
        # A damaged time would be read as more frames or events than memory can hold.
        if seconds > _MOST_SECONDS:
            raise ValueError(
                f"{where}: expected music of at most 24 hours, got {seconds / 3600:,.0f} hours at "
                f"tick {tick:,}. Cut it into pieces, or write its times anew."
            )
        if message.type == "set_tempo":
            tempo = message.tempo
            if tempo == 0:
                raise ValueError(
                    f"{where}: expected a tempo of at least 1 microsecond per beat, got 0 at tick "
                    f"{tick:,}."
                )
        yield seconds, track, message


def _track(number: int, messages: Any) -> Iterator[tuple[int, int, Any]]:
    """The messages of a track, each with its tick and the number of the track."""
    tick = 0
    for message in messages:
        tick += message.time
        yield tick, number, message


class _Sounding:
    """The notes of a file, or of a part of it, as its messages are read."""

    def __init__(self, is_pedalled: bool = False) -> None:
        self.is_pedalled = is_pedalled
        self.notes: list[Note] = []
        # By channel and key: when the note began and its velocity, while the key is down and while
        # only the pedal holds the note.
        self.down: dict[tuple[int, int], tuple[float, int]] = {}
        self.pedalled: dict[tuple[int, int], tuple[float, int]] = {}
        self.pedals: set[int] = set()

    def read(self, message: Any, now: float) -> None:
        """Reads a message; those that neither begin nor end a note mean nothing."""
        if message.type not in ("note_on", "note_off", "control_change"):
            return
        channel = message.channel
        if message.type == "control_change":
            if not self.is_pedalled or message.control != _PEDAL:
                return
            if message.value >= 64:
                self.pedals.add(channel)
                return
            self.pedals.discard(channel)
            for place in [place for place in self.pedalled if place[0] == channel]:
                self._end(self.pedalled, place, now)
            return
        place = (channel, message.note)
        if message.type == "note_on" and message.velocity > 0:
            self._end(self.down, place, now)
            self._end(self.pedalled, place, now)
            self.down[place] = (now, message.velocity)
        elif place in self.down and channel in self.pedals:
            self.pedalled[place] = self.down.pop(place)
        else:
            self._end(self.down, place, now)

    def _end(
        self, sounding: dict[tuple[int, int], tuple[float, int]], place: tuple[int, int], now: float
    ) -> None:
        if place in sounding:
            start, velocity = sounding.pop(place)
            if now > start:
                self.notes.append(Note(start, now, place[1], velocity))

    def finished(self, now: float) -> list[Note]:
        """All notes, in order; what still sounds ends now."""
        for sounding in (self.down, self.pedalled):
            for place in list(sounding):
                self._end(sounding, place, now)
        return sorted(self.notes)


def midi_bytes(notes: Sequence[Note], where: str = "midi_bytes") -> bytes:
    """A MIDI file of type 0 with these notes, at 120 beats per minute and 480 ticks per beat.

    Times are rounded to ticks of 1/960 second; a note lasts at least one tick.
    """
    return midi_of_parts([notes], where)


def midi_of_parts(
    parts: Sequence[Sequence[Note]], where: str = "midi_of_parts", *, is_drums: bool = False
) -> bytes:
    """A MIDI file with a track for the notes of each part, which :func:`read_parts` reads again.

    It is of type 1 if there are several parts; see :func:`midi_bytes`.

    Args:
        parts: the notes of each part.
        where: the name of the file, for messages.
        is_drums: whether the keys are the drums of a kit; all parts are then on channel 10.

    Raises:
        ValueError: if there are more parts than channels, of which one is for drums.
    """
    mido = _mido(where)
    channels = (_DRUMS,) * len(parts) if is_drums else _CHANNELS
    if len(parts) > len(channels):
        raise ValueError(
            f"{where}: expected at most {len(_CHANNELS)} parts, one for each channel of MIDI, got "
            f"{len(parts)}."
        )
    tracks = [
        _written(mido, notes, channel) for notes, channel in zip(parts, channels, strict=False)
    ]
    tracks[0].insert(0, mido.MetaMessage("set_tempo", tempo=_TEMPO))
    kind = 0 if len(tracks) == 1 else 1
    midi = mido.MidiFile(type=kind, ticks_per_beat=_TICKS_PER_BEAT, tracks=tracks)
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()


def _written(mido: Any, notes: Sequence[Note], channel: int) -> Any:
    """A track with these notes."""
    events = []
    for start, end, key, velocity in notes:
        first = round(start * _TICKS_PER_SECOND)
        last = max(first + 1, round(end * _TICKS_PER_SECOND))
        # At the same tick notes end before others begin.
        events += [(first, 1, key, velocity), (last, 0, key, 0)]
    track = mido.MidiTrack()
    now = 0
    for tick, is_on, key, velocity in sorted(events):
        kind = "note_on" if is_on else "note_off"
        track.append(
            mido.Message(kind, note=key, velocity=velocity, time=tick - now, channel=channel)
        )
        now = tick
    return track


def midi_splits(
    path: Path, *, is_pedalled: bool = False, skip_drums: bool = False
) -> dict[str, list[list[Note]]]:
    """The notes of the pieces of a MIDI file or of a folder of MIDI files, by split.

    Args:
        path: see :func:`pieces_of_files`.
        is_pedalled, skip_drums: see :func:`read_midi`.

    Raises:
        FileNotFoundError: if the folder has no MIDI file.
        ValueError: as :func:`read_midi` does, and for a file without any note.
    """

    def piece(where: str, content: bytes) -> list[Note]:
        notes = read_midi(where, content, is_pedalled=is_pedalled, skip_drums=skip_drums)
        if not notes:
            what = "note that is no drum" if skip_drums else "note"
            raise ValueError(f"{where}: expected at least one {what}, got none.")
        return notes

    return pieces_of_files(path, piece)


def pieces_of_files(path: Path, read: Callable[[str, bytes], Piece]) -> dict[str, list[Piece]]:
    """The pieces of a MIDI file or of a folder of MIDI files, by split.

    Args:
        read: reads a piece from the name of a file, for messages, and its bytes.
        path: a file, which is a single piece; a folder with the folders train, valid and test (the
            last two may be missing); or another folder, all whose files are read, also those in
            folders in it, as the split "all".

    Raises:
        FileNotFoundError: if the folder has no MIDI file.
        ValueError: as ``read`` does.
    """

    def piece(file: Path) -> Piece:
        return read(str(file), read_once(file))

    if not path.is_dir():
        return {"all": [piece(path)]}
    folders = {
        split: folder
        for folder in sorted(path.iterdir())
        if folder.is_dir() and (split := split_name(folder.name)) is not None
    }
    if "train" not in folders:
        folders = {"all": path}
    splits = {split: [piece(file) for file in _files(f)] for split, f in folders.items()}
    for split, pieces in splits.items():
        if not pieces:
            raise FileNotFoundError(
                f"{folders[split]}: expected MIDI files ({', '.join(MIDI_SUFFIXES)}) in this "
                "folder, got none."
            )
    return splits


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in MIDI_SUFFIXES and f.is_file())

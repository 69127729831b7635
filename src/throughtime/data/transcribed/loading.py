"""Signals with their transcripts: named data sets, corpora in their layout, and own files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from throughtime.data.audio.recordings import Recording, read_recording, resampled
from throughtime.data.files import existing, read_once
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.pen import PEN_SUFFIXES, read_iam, read_trajectory
from throughtime.data.pen.iam import SPLITS_OF_IAM, is_iam
from throughtime.data.split_files import split_files
from throughtime.data.splits import Cut, check_own_splits, cut_own
from throughtime.data.text import decoded
from throughtime.data.transcribed.named_sets import TRANSCRIBED_SETS
from throughtime.data.transcribed.segments import read_segments, rescaled
from throughtime.data.transcribed.signals import Transcribed, TranscribedSignal
from throughtime.data.transcribed.timit import is_timit, read_timit

__all__ = ["CORPORA", "Corpus", "load_transcribed", "read_transcribed"]

_log = logging.getLogger(__name__)


class Corpus(NamedTuple):
    """A published corpus that the user owns, in the layout in which it is distributed.

    Args:
        name: its name, for messages.
        is_at: whether a folder has the layout of the corpus.
        read: reads the folder; takes the options by name.
        options: the names of the options that it has.
    """

    name: str
    is_at: Callable[[Path], bool]
    read: Callable[..., Transcribed]
    options: tuple[str, ...] = ()


def _read_iam(folder: Path) -> Transcribed:
    splits = {
        split: [TranscribedSignal(line.text, line.trajectory.array) for line in lines]
        for split, lines in ((split, read_iam(folder, split)) for split in SPLITS_OF_IAM)
    }
    return Transcribed("IAM-OnDB", splits, "pen")


CORPORA: tuple[Corpus, ...] = (
    Corpus("TIMIT", is_timit, read_timit, ("phones", "transcripts")),
    Corpus("IAM-OnDB", is_iam, _read_iam),
)
"""The corpora that are recognised by their layout."""


class _Read(NamedTuple):
    """A signal of a file, before all signals have one rate.

    Args:
        transcribed: the signal with its transcript.
        kind: the kind of the signal; see `Transcribed`.
        rate: the samples per second of a sound.
        path: its file.
    """

    transcribed: TranscribedSignal
    kind: str
    rate: int | None
    path: Path


def load_transcribed(
    data: str,
    *,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut | None = None,
    rate: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Transcribed:
    """Reads signals with transcripts.

    Args:
        data: the name of one of `TRANSCRIBED_SETS`; the folder of one of `CORPORA`; a file ``.tsv``
            (see `read_transcribed`), which is cut into splits; or a folder with such files train,
            and perhaps valid and test.
        encoding: the encoding of the user's own files.
        valid_fraction, test_fraction, cut: see `cut_items`; None is 0.1, 0 and ``random``.
        rate: the samples per second to which sounds are converted; None is the lowest of them.
        options: the options of the corpora that are not left to their defaults, by name.

    Raises:
        FileNotFoundError: if there is no such path, or no training file in the folder.
        ValueError: for an unknown name, an option without effect, a malformed line, or a file that
            is no sound.
        DownloadError, ChecksumError: see `fetch`.
    """
    options = dict(options or {})
    if data in TRANSCRIBED_SETS:
        _check_options(data, (), options)
        check_own_splits("load_transcribed", data, valid_fraction, test_fraction, cut or "order")
        if encoding != "utf-8":
            raise ValueError(f'--encoding: that of "{data}" is known. Leave it out.')
        return _at_rate(TRANSCRIBED_SETS[data](), rate)
    path = existing(data, TRANSCRIBED_SETS)
    corpus = next((one for one in CORPORA if path.is_dir() and one.is_at(path)), None)
    if corpus is not None:
        _check_options(corpus.name, corpus.options, options)
        check_own_splits("load_transcribed", corpus.name, valid_fraction, test_fraction, "order")
        if cut is not None or encoding != "utf-8":
            name = "--encoding" if cut is None else "--split"
            raise ValueError(f"{name}: that of {corpus.name} is known. Leave it out.")
        return _at_rate(corpus.read(path, **options), rate)
    _check_options(path.name, (), options)
    files = split_files(path, ".tsv") if path.is_dir() else {"all": path}
    if not files:
        raise FileNotFoundError(
            f"{path}: expected a file train.tsv and perhaps valid.tsv and test.tsv, with the path "
            "of a recording, a tab and its transcript on each line, got no file train.tsv."
        )
    name = path.resolve().name
    parts = {split: _read(file, encoding) for split, file in files.items()}
    kind = _only_kind(path, [one for part in parts.values() for one in part])
    if kind == "audio":
        rate = rate or min(one.rate or 0 for part in parts.values() for one in part)
    splits, how = cut_own(
        *("load_transcribed", name),
        {split: [_sounding(one, rate) for one in part] for split, part in parts.items()},
        *(valid_fraction, test_fraction, "recordings"),
        *(cut or ("order" if "valid" in parts else "random"), _content),
    )
    return Transcribed(name, splits, kind, rate=rate, cut=how)


def read_transcribed(
    file: Path, kind: str, rate: int | None, encoding: str = "utf-8"
) -> list[TranscribedSignal]:
    r"""The signals of one ``.tsv`` file, in its order.

    Args:
        file: on each line the path of a recording, relative to the file's folder, and its
            transcript, with a tab between them. Two further columns may follow: the speaker (or
            nothing), and the path of a file with the segments (see `read_segments`).
        kind: the kind of signals that are expected.
        rate: the samples per second to which sounds are converted.
        encoding: the encoding of the file.

    Raises:
        ValueError: for a malformed line, or a recording of another kind, with the line.
    """
    signals = _read(file, encoding)
    actual = _only_kind(file, signals)
    if actual != kind:
        raise ValueError(f"{file}: expected recordings of the kind {kind}, got {actual}.")
    return [_sounding(one, rate) for one in signals]


def _read(file: Path, encoding: str) -> list[_Read]:
    text = with_line_feeds(decoded(read_once(file), encoding, file))
    signals = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        name, *columns = line.split("\t")
        where = f"{file}, line {number}"
        if not 1 <= len(columns) <= 3 or not name.strip():
            raise ValueError(
                f"{where}: expected the path of a recording, a tab and its transcript, and perhaps "
                "its speaker and the file of its segments, each after a tab, got "
                f"{line[:60]!r}."
            )
        transcript, speaker, segments = (*columns, "", "")[:3]
        paths = [file.parent / Path(name.strip()).expanduser()]
        if segments.strip():
            paths.append(file.parent / Path(segments.strip()).expanduser())
        for path in paths:
            if not path.is_file():
                raise ValueError(f"{where}: there is no file {path}.")
        try:
            kind, signal, rate = _signal_of(paths[0])
            parts = read_segments(paths[1], len(signal)) if len(paths) > 1 else ()
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        transcribed = TranscribedSignal(
            " ".join(transcript.split()), signal, parts, " ".join(speaker.split())
        )
        signals.append(_Read(transcribed, kind, rate, paths[0]))
    if not signals:
        raise ValueError(f"{file}: expected recordings and transcripts, got an empty file.")
    _warn_of_early_ends(file, [one.transcribed for one in signals if one.transcribed.segments])
    return signals


def _warn_of_early_ends(file: Path, signals: Sequence[TranscribedSignal]) -> None:
    """Warns if the segments of most signals end so early that they may be counted in other units.

    Places in milliseconds or frames are whole numbers, too, and smaller than those in samples.
    """
    num_early = sum(4 * one.segments[-1].end < len(one.signal) for one in signals)
    if 2 * num_early > len(signals):
        _log.warning(
            "%s: the segments of %d of %d recordings end before a quarter of the recording. Their "
            "places should be counted in samples (of a pen, in points).",
            *(file, num_early, len(signals)),
        )


def _signal_of(path: Path) -> tuple[str, np.ndarray, int | None]:
    """The kind, the signal and the rate of a file."""
    if path.suffix.lower() in PEN_SUFFIXES:
        return "pen", read_trajectory(path).array, None
    recording = read_recording(path)
    return "audio", recording.samples, recording.rate


def _only_kind(where: Path, signals: Sequence[_Read]) -> str:
    """The kind of signals; raises a ValueError if they are of several."""
    kinds = {one.kind: one.path for one in signals}
    if len(kinds) > 1:
        named = " and ".join(f"{kind} ({path.name})" for kind, path in kinds.items())
        raise ValueError(f"{where}: expected recordings of one kind, got {named}.")
    return next(iter(kinds))


def _at_rate(transcribed: Transcribed, rate: int | None) -> Transcribed:
    """A data set whose sounds have another number of samples per second; None changes nothing."""
    before = transcribed.rate
    if rate is None or before is None or rate == before:
        return transcribed
    where = Path(transcribed.name)
    splits = {
        split: [_sounding(_Read(one, transcribed.kind, before, where), rate) for one in part]
        for split, part in transcribed.splits.items()
    }
    return replace(transcribed, splits=splits, rate=rate)


def _sounding(one: _Read, rate: int | None) -> TranscribedSignal:
    """The signal at a number of samples per second, if it is a sound."""
    transcribed = one.transcribed
    if one.rate is None or rate is None or rate == one.rate:
        return transcribed
    samples = resampled(Recording(transcribed.signal, one.rate), rate, str(one.path)).samples
    segments = rescaled(transcribed.segments, rate / one.rate, len(samples))
    return transcribed._replace(signal=samples, segments=segments)


def _content(signal: TranscribedSignal) -> object:
    """What two signals must share to stand in one split."""
    return signal.signal.tobytes()


def _check_options(name: str, known: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raises a ValueError for the options of another corpus."""
    for option, value in options.items():
        if option not in known:
            owners = " and ".join(one.name for one in CORPORA if option in one.options)
            raise ValueError(
                f"--{option} {value}: is of {owners}, and would have no effect on {name}. Leave it "
                "out."
            )

"""Recordings with their transcripts: named data sets, and the user's own files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from throughtime.checks import unknown
from throughtime.data.audio.recordings import Recording, read_recording, resampled
from throughtime.data.audio.spoken_digits import RATE_OF_DIGITS, packed_sounds, spoken_digits
from throughtime.data.files import read_once
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.split_files import split_files
from throughtime.data.splits import Cut, check_own_splits, cut_own
from throughtime.data.text import decoded

__all__ = ["TRANSCRIBED_SETS", "Spoken", "Transcribed", "load_transcribed", "read_transcribed"]

_RATE_OF_YES_AND_NO = 8000
_NUM_TRAINING_OF_YES_AND_NO = 31
_NUM_VALIDATION_OF_YES_AND_NO = 5
_DIGITS_OF_A_STRING = (3, 7)
_PAUSE = (0.05, 0.35)


class Spoken(NamedTuple):
    """A recording and what is said in it.

    Args:
        text: the transcript.
        samples: (N) float32.
    """

    text: str
    samples: np.ndarray


@dataclass(frozen=True)
class Transcribed:
    """Recordings with transcripts, in splits for training, validation and test.

    Args:
        name: the name of the data set, file or folder.
        splits: the recordings of "train", "valid" and "test"; a split without any is absent.
        rate: the number of samples per second.
        is_tokenised: whether the symbols of the transcripts are separated by spaces.
        cut: how the recordings were cut into splits; None if they came in splits.
    """

    name: str
    splits: dict[str, list[Spoken]] = field(repr=False)
    rate: int
    is_tokenised: bool = False
    cut: Cut | None = None

    def fingerprint(self) -> str:
        """The sha256 of all splits; two runs with equal fingerprints have the same recordings."""
        digest = hashlib.sha256(f"{self.rate}\n".encode())
        for split, recordings in sorted(self.splits.items()):
            digest.update(f"{split} {len(recordings)}\n".encode())
            for text, samples in recordings:
                digest.update(f"{text}\n{len(samples)}\n".encode("utf-8", "surrogatepass"))
                digest.update(samples.tobytes())
        return digest.hexdigest()


def load_transcribed(
    data: str,
    *,
    encoding: str = "utf-8",
    valid_fraction: float | None = None,
    test_fraction: float | None = None,
    cut: Cut | None = None,
    rate: int | None = None,
) -> Transcribed:
    """Reads recordings with transcripts.

    Args:
        data: the name of one of `TRANSCRIBED_SETS`; a file ``.tsv`` with the path of a recording,
            relative to the file's folder, a tab and the transcript on each line, which is cut into
            splits; or a folder with such files train, and perhaps valid and test.
        encoding: the encoding of the user's own files.
        valid_fraction, test_fraction, cut: see `cut_items`; None is 0.1, 0 and ``random``.
        rate: the samples per second to which recordings are converted; None is the lowest of them.

    Raises:
        FileNotFoundError: if there is no such path, or no training file in the folder.
        ValueError: for an unknown name, an option without effect, a malformed line, or a file that
            is no sound.
        DownloadError, ChecksumError: see `fetch`.
    """
    if data in TRANSCRIBED_SETS:
        check_own_splits("load_transcribed", data, valid_fraction, test_fraction, cut or "order")
        if encoding != "utf-8":
            raise ValueError(f'--encoding: that of "{data}" is known. Leave it out.')
        transcribed = TRANSCRIBED_SETS[data]()
        if rate in (None, transcribed.rate):
            return transcribed
        splits = {
            split: [
                Spoken(text, resampled(Recording(samples, transcribed.rate), rate).samples)
                for text, samples in part
            ]
            for split, part in transcribed.splits.items()
        }
        return Transcribed(data, splits, rate, transcribed.is_tokenised)
    path = Path(data).expanduser()
    if not path.exists():
        if data != path.name:
            raise FileNotFoundError(f"{path}: no such file or folder. Give --data one that exists.")
        raise ValueError(
            f"{unknown('data set', data, TRANSCRIBED_SETS)} Nor is there a file or folder of that "
            "name here."
        )
    files = split_files(path, ".tsv") if path.is_dir() else {"all": path}
    if not files:
        raise FileNotFoundError(
            f"{path}: expected a file train.tsv and perhaps valid.tsv and test.tsv, with the path "
            "of a recording, a tab and its transcript on each line, got no file train.tsv."
        )
    name = path.resolve().name
    recordings = {split: _recordings(file, encoding) for split, file in files.items()}
    rate = rate or min(sound.rate for part in recordings.values() for _, sound, _ in part)
    parts = {split: _at_rate(part, rate) for split, part in recordings.items()}
    splits, how = cut_own(
        *("load_transcribed", name, parts, valid_fraction, test_fraction, "recordings"),
        *(cut or ("order" if "valid" in parts else "random"), _content),
    )
    return Transcribed(name, splits, rate, cut=how)


def read_transcribed(file: Path, rate: int, encoding: str = "utf-8") -> list[Spoken]:
    """The recordings of one ``.tsv`` file, in its order, at a rate."""
    return _at_rate(_recordings(file, encoding), rate)


def _recordings(file: Path, encoding: str) -> list[tuple[str, Recording, Path]]:
    text = with_line_feeds(decoded(read_once(file), encoding, file))
    recordings = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        name, tab, transcript = line.partition("\t")
        where = f"{file}, line {number}"
        if not tab or not name.strip():
            raise ValueError(
                f"{where}: expected the path of a recording, a tab and its transcript, got "
                f"{line[:60]!r}."
            )
        path = file.parent / Path(name.strip()).expanduser()
        if not path.is_file():
            raise ValueError(f"{where}: there is no file {path}.")
        try:
            recordings.append((" ".join(transcript.split()), read_recording(path), path))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if not recordings:
        raise ValueError(f"{file}: expected recordings and transcripts, got an empty file.")
    return recordings


def _at_rate(recordings: Sequence[tuple[str, Recording, Path]], rate: int) -> list[Spoken]:
    return [
        Spoken(text, resampled(recording, rate, str(path)).samples)
        for text, recording, path in recordings
    ]


def _content(recording: Spoken) -> object:
    """What two recordings must share to stand in one split."""
    return recording.samples.tobytes()


def _yes_and_no() -> Transcribed:
    """Eight words in each recording; the first 31 files by name are the training, as in Kaldi."""
    words = {"0": "no", "1": "yes"}
    recordings = [
        Spoken(" ".join(words[digit] for digit in stem.split("_")), samples)
        for stem, samples in sorted(packed_sounds("yesno", _RATE_OF_YES_AND_NO))
    ]
    train = recordings[:_NUM_TRAINING_OF_YES_AND_NO]
    # Every sixth validates: the names are sorted, so the last ones are alike.
    every = len(train) // _NUM_VALIDATION_OF_YES_AND_NO
    splits = {
        "train": [one for i, one in enumerate(train) if i % every != every - 1],
        "valid": train[every - 1 :: every],
        "test": recordings[_NUM_TRAINING_OF_YES_AND_NO:],
    }
    return Transcribed("yesno", splits, _RATE_OF_YES_AND_NO, is_tokenised=True)


def _digit_strings() -> Transcribed:
    """Strings of 3 to 7 digits of one speaker each, joined from single recordings with pauses.

    The splits are those of the recordings: a string of the test has only recordings of the test.
    In the training each recording is used three times, in others once.
    """
    draw = np.random.default_rng(0)
    splits: dict[str, list[Spoken]] = {"train": [], "valid": [], "test": []}
    recordings = spoken_digits()
    for split, takes, times in (
        ("train", range(10, 50), 3),
        ("valid", range(5, 10), 1),
        ("test", range(5), 1),
    ):
        for speaker in sorted({recording.speaker for recording in recordings}):
            own = [one for one in recordings if one.speaker == speaker and one.take in takes]
            for _ in range(times):
                order = [own[i] for i in draw.permutation(len(own))]
                while order:
                    size = int(draw.integers(_DIGITS_OF_A_STRING[0], _DIGITS_OF_A_STRING[1] + 1))
                    string, order = order[:size], order[size:]
                    parts = [_pause(draw)]
                    for recording in string:
                        parts += [recording.samples, _pause(draw)]
                    text = " ".join(recording.digit for recording in string)
                    splits[split].append(Spoken(text, np.concatenate(parts)))
    return Transcribed("fsdd-strings", splits, RATE_OF_DIGITS, is_tokenised=True)


def _pause(draw: np.random.Generator) -> np.ndarray:
    """A pause with faint noise, because digital silence would mark the joins."""
    size = round(draw.uniform(*_PAUSE) * RATE_OF_DIGITS)
    return draw.normal(0, 1e-3, size).astype(np.float32)


TRANSCRIBED_SETS: dict[str, Callable[[], Transcribed]] = {
    "yesno": _yes_and_no,
    "fsdd-strings": _digit_strings,
}
"""The data sets by name."""

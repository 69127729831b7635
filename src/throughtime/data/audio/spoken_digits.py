"""The Free Spoken Digit Dataset: ten digits, spoken fifty times by each of six people."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from throughtime.data.audio.recordings import read_recording
from throughtime.data.download import FILES, fetch

__all__ = ["RATE_OF_DIGITS", "SpokenDigit", "packed_sounds", "spoken_digits"]

RATE_OF_DIGITS = 8000
"""Samples per second of the recordings."""


class SpokenDigit(NamedTuple):
    """A recording of a digit.

    Args:
        digit: "0" to "9".
        speaker: a first name.
        take: the number of the recording, from 0 to 49; the published test has 0 to 4.
        samples: (N) float32.
    """

    digit: str
    speaker: str
    take: int
    samples: np.ndarray


@cache
def spoken_digits() -> tuple[SpokenDigit, ...]:
    """All 3,000 recordings, in the order of digit, speaker and take.

    Raises:
        DownloadError, ChecksumError: see `fetch`.
        MissingLibraryError: see `read_recording`.
    """
    digits = []
    for stem, samples in packed_sounds("fsdd", RATE_OF_DIGITS):
        digit, speaker, take = stem.split("_")
        digits.append(SpokenDigit(digit, speaker, int(take), samples))
    return tuple(sorted(digits, key=lambda recording: recording[:3]))


def packed_sounds(name: str, rate: int) -> Iterator[tuple[str, np.ndarray]]:
    """The name without ending, and the samples, of each WAV file of a packed data set.

    Args:
        name: the name of the data set in `FILES`.
        rate: the rate that all of its recordings have.
    """
    with tarfile.open(fileobj=io.BytesIO(fetch(FILES[name]["all"]))) as archive:
        for member in archive.getmembers():
            path = PurePosixPath(member.name)
            # Some archives hold hidden files of the system that packed them.
            if path.suffix != ".wav" or path.name.startswith("."):
                continue
            file = archive.extractfile(member)
            assert file is not None, member.name
            recording = read_recording(file.read(), f"{name}: {path.name}")
            assert recording.rate == rate, f"{name}: {path.name} has rate {recording.rate}"
            yield path.stem, recording.samples

"""Sound files as samples of one channel."""

from __future__ import annotations

import io
import logging
import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from throughtime.data.files import read_once
from throughtime.data.subwords import MissingLibraryError

__all__ = ["LEAST_RATE", "MOST_RATE", "SOUND_SUFFIXES", "Recording", "read_recording", "resampled"]

SOUND_SUFFIXES = (".wav", ".flac")
"""The endings of the sound files that a folder is searched for."""

LEAST_RATE, MOST_RATE = 1000, 768_000
"""The numbers of samples per second that are read."""
_SPHERE_SIZES = (b"sample_count", b"sample_n_bytes", b"channel_count")
_MOST_SPHERE_HEADER = 65_536
_UNKNOWN_SIZES = (0xFFFFFFFF, 0x7FFFFFFF)
_INSTALL = 'Install it: pip install "throughtime[audio]".'
_log = logging.getLogger(__name__)


class Recording(NamedTuple):
    """The samples of a sound.

    Args:
        samples: (N) float32, from -1 to 1; files of floating-point numbers may exceed this range.
        rate: the number of samples per second.
    """

    samples: np.ndarray
    rate: int


def read_recording(file: Path | bytes, name: str = "") -> Recording:
    """Reads a sound file: WAV or FLAC, and whatever else the library soundfile reads.

    All widths and encodings of the samples are read (8 to 32 bits, floating point, mu-law, A-law).
    Several channels become their mean; a warning names a file with more than two.

    Args:
        file: the path of the file, or its content.
        name: the name of a content, for messages.

    Raises:
        ValueError: if the file is no sound, ends before the end that its header states, has no
            samples, or has samples that are not finite numbers.
        MissingLibraryError: if soundfile is not installed.
    """
    content = file if isinstance(file, bytes) else read_once(file)
    where = name if isinstance(file, bytes) else str(file)
    if not content:
        raise ValueError(f"{where}: expected a sound, got an empty file.")
    try:
        import soundfile
    except ImportError as error:
        raise MissingLibraryError(f"{where}: needs the library soundfile. {_INSTALL}") from error
    _check_end_of_wav(content, where)
    _check_end_of_sphere(content, where)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as sound:
            rate, expected = sound.samplerate, sound.frames
            samples = sound.read(dtype="float32", always_2d=True)  # (N, channels)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{where}: expected a sound file such as WAV or FLAC, and cannot read it "
            f"({str(error.error_string).rstrip('.')}). If its name is right, convert it to WAV."
        ) from error
    N, num_channels = samples.shape
    if N < expected:
        raise _ends_early(where, f"{expected:,} samples", f"{N:,}")
    if not N:
        raise ValueError(f"{where}: expected a sound, got a file with no samples. Leave it out.")
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise ValueError(
            f"{where}: expected {LEAST_RATE:,} to {MOST_RATE:,} samples per second, got {rate:,}."
        )
    is_wrong = ~np.isfinite(samples)
    if is_wrong.any():
        n, channel = np.argwhere(is_wrong)[0]
        raise ValueError(
            f"{where}: expected finite samples, got {samples[n, channel]} as sample {n + 1:,}"
            f"{f' of channel {channel + 1}' if num_channels > 1 else ''} (at {n / rate:.3f} s; "
            f"{int(is_wrong.sum()):,} in all). Repair the file, or leave it out."
        )
    if num_channels > 2:
        _log.warning("%s: has %d channels, of which the mean is read.", where, num_channels)
    return Recording(samples.mean(1) if num_channels > 1 else samples[:, 0], rate)


def resampled(recording: Recording, rate: int, where: str = "resampled") -> Recording:
    """The sound at another sampling rate; frequencies above half of the lower rate are removed.

    Args:
        recording: the sound.
        rate: the number of samples per second.
        where: the name of the sound, for messages.

    Raises:
        MissingLibraryError: if the rates differ and the library soxr is not installed.
        ValueError: if the sound is too short to have a sample at the new rate.
    """
    if rate == recording.rate:
        return recording
    try:
        import soxr
    except ImportError as error:
        raise MissingLibraryError(
            f"{where}: has {recording.rate} samples per second, and the library soxr is needed to "
            f"convert it to {rate}. {_INSTALL}"
        ) from error
    samples = np.asarray(soxr.resample(recording.samples, recording.rate, rate), np.float32)
    if not len(samples):
        raise ValueError(
            f"{where}: expected enough sound for one sample at {rate} per second, got "
            f"{len(recording.samples)} samples at {recording.rate}."
        )
    return Recording(samples, rate)


def _check_end_of_wav(content: bytes, where: str) -> None:
    """Raises a ValueError for a WAV file with fewer samples than its header states.

    libsndfile reads such a file without an error, as if the recording were shorter.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return
    place = 12
    while place + 8 <= len(content):
        chunk, size = struct.unpack_from("<4sI", content, place)
        place += 8
        if chunk == b"data":
            # A program that writes to a pipe does not know the size when it writes the header.
            if size not in _UNKNOWN_SIZES and place + size > len(content):
                raise _ends_early(where, f"{size:,} bytes of samples", f"{len(content) - place:,}")
            return
        # Chunks start at even places.
        place += size + size % 2
    raise ValueError(f"{where}: expected samples, got a WAV file that ends within its header.")


def _check_end_of_sphere(content: bytes, where: str) -> None:
    """Raises a ValueError for a NIST SPHERE file with fewer samples than its header states.

    libsndfile takes the number of samples from the size of the file. The header is text: its size
    in bytes on the second line, and then names, types and values.
    """
    if content[:8] != b"NIST_1A\n":
        return
    lines = content[:_MOST_SPHERE_HEADER].split(b"\n")
    size = lines[1].strip()
    fields = {line.split()[0]: line.split()[2] for line in lines[2:] if len(line.split()) == 3}
    numbers = [fields.get(name, b"") for name in _SPHERE_SIZES]
    if not size.isdigit() or not all(number.isdigit() for number in numbers):
        raise ValueError(
            f"{where}: expected a NIST SPHERE file whose header states its size and "
            f"{', '.join(name.decode() for name in _SPHERE_SIZES)}. Copy it again."
        )
    expected = math.prod(map(int, numbers))
    actual = len(content) - int(size)
    if actual < expected and b"shorten" not in fields.get(b"sample_coding", b""):
        raise _ends_early(where, f"{expected:,} bytes of samples", f"{max(0, actual):,}")


def _ends_early(where: str, expected: str, actual: str) -> ValueError:
    return ValueError(
        f"{where}: expected {expected}, as its header states, got {actual}: the file ends early. "
        "Copy it again; or, to use what is there, convert it to a new file."
    )

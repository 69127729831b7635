"""A sound that arrives through a stream, such as the standard input: WAV, or raw samples."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import BinaryIO

import numpy as np

from throughtime.data.audio.recordings import LEAST_RATE, MOST_RATE
from throughtime.data.subwords import MissingLibraryError

__all__ = ["RAW_FORMATS", "live_samples"]

_PIECE = 8192
_MOST_HEADER = 1 << 20
_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE

RAW_FORMATS = {
    "s16": (_PCM, 16),
    "u8": (_PCM, 8),
    "f32": (_FLOAT, 32),
    "mu-law": (_MU_LAW, 8),
    "a-law": (_A_LAW, 8),
}
"""The formats of raw samples: the code of a WAV file for their encoding, and their bits."""


def live_samples(
    stream: BinaryIO, rate: int, raw_rate: int | None = None, raw_format: str = "s16"
) -> Iterator[np.ndarray]:
    """The samples (N) of a sound, in pieces as they arrive.

    Args:
        stream: a WAV file with samples of 8 to 32 bits, floating-point numbers, mu-law or A-law; or
            raw samples of one channel.
        rate: the number of samples per second to give.
        raw_rate: the number of samples per second of a stream of raw samples; None for a WAV file.
        raw_format: one of `RAW_FORMATS`: ``s16`` (16 bits, signed, little-endian), ``u8`` (8 bits,
            unsigned), ``f32`` (floating point, little-endian), ``mu-law`` or ``a-law`` (8 bits).

    Raises:
        ValueError: if the stream is no such WAV file, has no samples, ends within a sample, or has
            samples that are not finite numbers.
        MissingLibraryError: if the rates differ and the library soxr is not installed.
    """
    source = _Bytes(stream)
    (kind, bits), num_channels, source_rate, size = RAW_FORMATS[raw_format], 1, raw_rate, None
    if source_rate is None:
        kind, num_channels, bits, source_rate, size = _header(source)
    convert = None
    if source_rate != rate:
        try:
            import soxr
        except ImportError as error:
            raise MissingLibraryError(
                f"standard input: has {source_rate} samples per second, and the library soxr is "
                f'needed to convert it to {rate}. Install it: pip install "throughtime[audio]".'
            ) from error
        convert = soxr.ResampleStream(source_rate, rate, 1, dtype="float32")
    width, count = num_channels * bits // 8, 0
    for piece in source.pieces(width, size):
        samples = _decoded(piece, kind, bits).reshape(-1, num_channels).mean(1)
        is_finite = np.isfinite(samples)
        if not is_finite.all():
            place = count + int((~is_finite).argmax())
            raise ValueError(
                f"standard input: expected finite samples, got {samples[place - count]} as sample "
                f"{place + 1:,} (at {place / source_rate:.3f} s)."
            )
        count += len(samples)
        samples = samples.astype(np.float32)
        yield samples if convert is None else convert.resample_chunk(samples)
    if not count:
        raise ValueError("standard input: expected a sound, got no samples.")
    if convert is not None:
        yield convert.resample_chunk(np.zeros(0, np.float32), last=True)


class _Bytes:
    """The bytes of a stream, of which any number can be asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        # A buffered stream gives what has arrived; others give what they have.
        self._read = getattr(stream, "read1", stream.read)
        self._rest = b""

    def exactly(self, size: int, what: str) -> bytes:
        """The next ``size`` bytes, which hold ``what``."""
        while len(self._rest) < size:
            piece = self._read(_PIECE)
            if not piece:
                raise ValueError(
                    f"standard input: expected {what}, got the end of the sound. Send a WAV file, "
                    "or raw samples with --raw_rate."
                )
            self._rest += piece
        content, self._rest = self._rest[:size], self._rest[size:]
        return content

    def pieces(self, width: int, size: int | None) -> Iterator[bytes]:
        """What follows in whole samples of ``width`` bytes; ``size`` bytes, None for all."""
        left = size
        while left is None or left > 0:
            piece = self._rest or self._read(_PIECE)
            self._rest = b""
            if not piece:
                if left is not None:
                    raise ValueError(
                        f"standard input: expected {size:,} bytes of samples, as the header "
                        f"states, got {(size or 0) - left:,}: the sound ends early."
                    )
                return
            piece = piece if left is None else piece[:left]
            num_whole = len(piece) // width * width
            while num_whole < len(piece):
                more = self._read(width - (len(piece) - num_whole))
                if not more:
                    raise ValueError("standard input: the sound ends within a sample.")
                piece += more
                num_whole = len(piece) // width * width
            left = None if left is None else left - len(piece)
            yield piece


def _header(source: _Bytes) -> tuple[int, int, int, int, int | None]:
    """The kind, the channels, the bits, the rate and the number of bytes of a WAV file."""
    start = source.exactly(12, "a WAV file")
    if start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise ValueError(
            f"standard input: expected a WAV file, got bytes that begin with {start[:4]!r}. For "
            "raw samples, say their rate: --raw_rate 16000."
        )
    layout = None
    while True:
        name, size = struct.unpack("<4sI", source.exactly(8, "a chunk of a WAV file"))
        if name == b"data":
            break
        if size > _MOST_HEADER:
            raise ValueError(f"standard input: expected a short header, got {size:,} bytes of it.")
        chunk = source.exactly(size + size % 2, "the header of a WAV file")
        if name == b"fmt " and size >= 16:
            kind, num_channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
            if kind == _EXTENSIBLE and size >= 26:
                (kind,) = struct.unpack_from("<H", chunk, 24)
            layout = kind, num_channels, bits, rate
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _MU_LAW: (8,), _A_LAW: (8,)}
    if layout is None or layout[2] not in known.get(layout[0], ()) or not layout[1]:
        raise ValueError(
            f"standard input: expected a WAV file with samples of 8 to 32 bits, floating-point "
            f"numbers, mu-law or A-law, got {_named(layout)}. Convert it first."
        )
    if not LEAST_RATE <= layout[3] <= MOST_RATE:
        raise ValueError(
            f"standard input: expected {LEAST_RATE:,} to {MOST_RATE:,} samples per second, got "
            f"{layout[3]:,}."
        )
    # A program that writes to a pipe does not know the size when it writes the header.
    return *layout, None if size in (0, 0xFFFFFFFF, 0x7FFFFFFF) else size


def _named(layout: tuple[int, int, int, int] | None) -> str:
    """The format of a WAV file in words."""
    if layout is None:
        return "no format"
    kind, num_channels, bits, _ = layout
    return f"format {kind} with {num_channels} channel(s) of {bits} bits"


@cache
def _mu_law() -> np.ndarray:
    """The sample of each byte of mu-law, from -1 to 1.

    The bits of a byte are inverted: a sign, a power of two (3 bits), and 4 bits within it.

    Source: ITU-T G.711.
    """
    byte = 255 - np.arange(256)
    magnitude = (((byte & 15) << 3) + 132 << ((byte >> 4) & 7)) - 132
    return np.where(byte & 128, -magnitude, magnitude) / 2.0**15


@cache
def _a_law() -> np.ndarray:
    """The sample of each byte of A-law, from -1 to 1; every other bit is inverted.

    Source: ITU-T G.711.
    """
    byte = np.arange(256) ^ 0x55
    power, rest = (byte >> 4) & 7, ((byte & 15) << 4) + 8
    magnitude = np.where(power, (rest + 256) << np.maximum(power - 1, 0), rest)
    return np.where(byte & 128, magnitude, -magnitude) / 2.0**15


# Functions, so that the help of a command, which imports this file, computes nothing.
_COMPANDED = {_MU_LAW: _mu_law, _A_LAW: _a_law}


def _decoded(content: bytes, kind: int, bits: int) -> np.ndarray:
    """Samples from -1 to 1, float64."""
    if kind == _FLOAT:
        return np.frombuffer(content, f"<f{bits // 8}").astype(np.float64)
    if kind in _COMPANDED:
        return _COMPANDED[kind]()[np.frombuffer(content, np.uint8)]
    if bits == 8:
        return np.frombuffer(content, np.uint8).astype(np.float64) / 128 - 1
    if bits == 24:
        parts = np.frombuffer(content, np.uint8).reshape(-1, 3)
        padded = np.zeros((len(parts), 4), np.uint8)
        padded[:, 1:] = parts
        return padded.view("<i4")[:, 0] / 2.0**31
    return np.frombuffer(content, f"<i{bits // 8}") / 2.0 ** (bits - 1)

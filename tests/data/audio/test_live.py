"""Sounds that arrive through a stream equal those of the file, however they are cut."""

import io
import struct

import numpy as np
import pytest
import soundfile

from throughtime.data.audio import read_recording
from throughtime.data.audio.live import live_samples

from ..sounds import as_file, tone


class Slow(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, content, size):
        self._file, self._size = io.BytesIO(content), size

    def read(self, size=-1):
        return self._file.read(min(size, self._size))


def heard(content, rate=8000, raw_rate=None, size=7):
    return np.concatenate(list(live_samples(Slow(content, size), rate, raw_rate)))


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_wav_file_is_read_as_it_arrives(subtype, num_channels, size):
    sound = np.stack([tone(0.05), tone(0.05, hertz=900.0)][:num_channels], 1)
    content = as_file(sound, 8000, subtype)
    expected = read_recording(content, "whole").samples
    np.testing.assert_allclose(heard(content, size=size), expected, atol=1e-6)


def test_an_extensible_header_and_further_chunks_are_read():
    content = as_file(np.repeat(tone(0.05)[:, None], 3, 1), 8000, "PCM_24", "WAVEX")
    expected = read_recording(content, "whole").samples
    np.testing.assert_allclose(heard(content), expected, atol=1e-6)


def test_a_header_of_a_pipe_states_no_size():
    content = as_file(tone(0.05))
    expected = heard(content)
    for size in (0, 0xFFFFFFFF):
        unknown = content[:40] + struct.pack("<I", size) + content[44:]
        np.testing.assert_array_equal(heard(unknown), expected)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_raw_samples_are_converted_to_the_rate(rate):
    sound = (tone(0.5, rate) * 32767).astype("<i2")
    samples = heard(sound.tobytes(), 8000, rate, size=1000)
    assert abs(len(samples) - 4000) <= 1
    t = np.arange(len(samples)) / 8000
    expected = 0.3 * np.sin(2 * np.pi * 440 * t) * (1 + t)
    assert np.abs(samples - expected)[200:-200].max() < 0.06


@pytest.mark.parametrize(
    ("raw_format", "subtype"),
    [("s16", "PCM_16"), ("u8", "PCM_U8"), ("f32", "FLOAT"), ("mu-law", "ULAW"), ("a-law", "ALAW")],
)
def test_raw_samples_of_each_format_equal_those_of_a_file(raw_format, subtype):
    sound = tone(0.05)
    raw = io.BytesIO()
    soundfile.write(raw, sound, 8000, subtype, format="RAW")
    expected = read_recording(as_file(sound, 8000, subtype), "whole").samples
    pieces = live_samples(Slow(raw.getvalue(), 7), 8000, 8000, raw_format)
    np.testing.assert_allclose(np.concatenate(list(pieces)), expected, atol=1e-6)


@pytest.mark.parametrize(("code", "subtype"), [(6, "ALAW"), (7, "ULAW")])
def test_every_byte_of_a_companded_format_is_decoded(code, subtype):
    header = as_file(tone(0.0), 8000, subtype)
    header = header[: header.index(b"data")]
    content = header + b"data" + struct.pack("<I", 256) + bytes(range(256))
    content = b"RIFF" + struct.pack("<I", len(content) - 8) + content[8:]
    assert struct.unpack_from("<H", content, 20) == (code,)
    expected = read_recording(content, "bytes").samples
    np.testing.assert_array_equal(heard(content).astype(np.float32), expected)


def test_a_high_rate_and_many_channels_are_read():
    sound = np.repeat(tone(0.2, 96_000)[:, None], 8, 1)
    samples = heard(as_file(sound, 96_000, "PCM_24"), 8000, size=5000)
    assert abs(len(samples) - 1600) <= 1
    t = np.arange(len(samples)) / 8000
    expected = 0.3 * np.sin(2 * np.pi * 440 * t) * (1 + t)
    assert np.abs(samples - expected)[200:-200].max() < 0.06


@pytest.mark.parametrize("rate", [0, 1, 2**31 - 1])
def test_a_header_of_an_impossible_rate_is_refused(rate):
    content = bytearray(as_file(tone()))
    content[24:28] = rate.to_bytes(4, "little")
    message = f"standard input: expected 1,000 to 768,000 samples per second, got {rate:,}"
    with pytest.raises(ValueError, match=message):
        heard(bytes(content))


@pytest.mark.parametrize(
    ("content", "raw_rate", "message"),
    [
        (b"", None, "expected a WAV file, got the end of the sound"),
        (b"\0" * 100, None, r"begin with b'\\x00.*say their rate: --raw_rate"),
        (as_file(tone())[:-500], None, "expected 8,000 bytes of samples, as the header states"),
        (as_file(tone())[:20], None, "expected the header of a WAV file, got the end"),
        (as_file(tone(), 8000, "IMA_ADPCM"), None, "mu-law or A-law, got format 17 with 1 channel"),
        (as_file(tone(0.0)), None, "expected a sound, got no samples"),
        (b"", 8000, "expected a sound, got no samples"),
        (b"\0" * 101, 8000, "the sound ends within a sample"),
        (
            as_file(np.array([0, np.nan, 0], np.float32), 8000, "FLOAT"),
            None,
            "expected finite samples, got nan as sample 2",
        ),
    ],
    # A file holds the time at which it was written, so it is no name of a test.
    ids=[
        *("nothing", "no header", "cut", "half a header", "adpcm", "no samples"),
        *("no raw samples", "half a sample", "no number"),
    ],
)
def test_what_is_no_sound_is_refused(content, raw_rate, message):
    with pytest.raises(ValueError, match=message):
        heard(content, raw_rate=raw_rate)

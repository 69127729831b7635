"""Sound files: each encoding is read, and damaged files are answered with what is wrong."""

import logging
import struct

import numpy as np
import pytest

from throughtime.data.audio import read_recording, resampled

from ..sounds import as_file, tone


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1 / 127),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 0.0),
        ("WAV", "DOUBLE", 0.0),
        # Of 8 bits with a logarithmic scale: an error of up to 1/32 of a sample.
        ("WAV", "ULAW", 0.02),
        ("WAV", "ALAW", 0.02),
        ("FLAC", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-6),
    ],
)
def test_each_encoding_is_read(kind, subtype, tolerance, tmp_path):
    sound = tone()
    path = tmp_path / f"sound.{kind.lower()}"
    path.write_bytes(as_file(sound, 8000, subtype, kind))
    samples, rate = read_recording(path)
    assert rate == 8000
    assert samples.dtype == np.float32
    assert np.abs(samples - sound).max() <= tolerance


def test_channels_become_their_mean_and_many_are_named(caplog):
    sound = tone()
    both = read_recording(as_file(np.stack([sound, sound / 2], 1), 8000, "FLOAT"), "stereo")
    np.testing.assert_allclose(both.samples, sound * 0.75, atol=1e-6)
    assert not caplog.records
    eight = np.repeat(sound[:, None], 8, 1)
    with caplog.at_level(logging.WARNING):
        read = read_recording(as_file(eight, 8000, "FLOAT"), "eight.wav")
    np.testing.assert_allclose(read.samples, sound, atol=1e-6)
    assert "eight.wav: has 8 channels, of which the mean is read." in caplog.text


def test_a_high_rate_is_converted():
    seconds, high = 0.5, 96_000
    recording = read_recording(as_file(tone(seconds, high), high, "FLOAT"), "high")
    assert recording.rate == high
    samples, rate = resampled(recording, 8000)
    assert (rate, len(samples)) == (8000, 4000)
    t = np.arange(4000) / 8000
    expected = 0.3 * np.sin(2 * np.pi * 440 * t) * (1 + t)
    # The noise above 4 kHz is removed; at the borders the sound is not periodic.
    assert np.abs(samples - expected)[200:-200].max() < 0.02
    assert resampled(recording, high) is recording


WAV = as_file(tone(), 8000)


def unknown_size(size):
    return WAV[:40] + struct.pack("<I", size) + WAV[44:]


def test_a_header_written_to_a_pipe_states_no_size():
    expected = read_recording(WAV, "whole").samples
    for size in (0xFFFFFFFF, 0x7FFFFFFF):
        np.testing.assert_array_equal(read_recording(unknown_size(size), "pipe").samples, expected)


def with_nan(channels=1):
    samples = np.repeat(tone()[:, None], channels, 1)
    samples[800:803, channels - 1] = np.nan
    return as_file(samples, 8000, "FLOAT")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WAV[:-1001], "expected 8,000 bytes of samples, as its header states, got 6,999"),
        (WAV[:44], "expected 8,000 bytes of samples, as its header states, got 0: the file ends"),
        (WAV[:30], "a WAV file that ends within its header"),
        (as_file(tone(), 8000, "PCM_16", "FLAC")[:3000], "s.wav: expected"),
        (b"", "expected a sound, got an empty file"),
        (as_file(np.zeros(0, np.float32)), "got a file with no samples"),
        (b"RIFF and more text than sound" * 10, "expected a sound file such as WAV or FLAC"),
        (b"label\ttext\n", "expected a sound file such as WAV or FLAC"),
        (with_nan(), r"got nan as sample 801 \(at 0.100 s; 3 in all\). Repair"),
        (with_nan(2), "got nan as sample 801 of channel 2"),
        (as_file(tone(), 200), "expected 1,000 to 768,000 samples per second, got 200"),
    ],
)
def test_a_damaged_file_is_answered_with_what_is_wrong(content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_recording(content, "s.wav")
    assert str(error.value).startswith("s.wav: expected")


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_a_flac_file_cut_anywhere_is_refused(size):
    content = as_file(tone(0.05), 8000, "PCM_16", "FLAC")
    with pytest.raises(ValueError, match=r"s\.flac: expected"):
        read_recording(content[:size], "s.flac")

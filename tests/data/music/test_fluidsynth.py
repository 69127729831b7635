"""Music played by the program fluidsynth, and by a stand-in for it where it is not installed."""

import os
import shutil
import stat
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from throughtime.data.music import Note, measures, midi_bytes, wav_bytes
from throughtime.data.music.fluidsynth import check_sound_font, played_by_fluidsynth
from throughtime.data.subwords import MissingLibraryError
from throughtime.tasks.audible import OutputOptions, write_music

# Writes a quiet tone to the right of silence, and its arguments into a file.
PROGRAM = """#!{python}
import pathlib, struct, sys, wave
words = sys.argv[1:]
pathlib.Path({log!r}).write_text(chr(10).join(words))
if pathlib.Path(words[-1]).read_bytes()[:4] != b"MThd":
    sys.exit("no MIDI file")
with wave.open(words[words.index("-F") + 1], "wb") as file:
    file.setnchannels(2)
    file.setsampwidth(2)
    file.setframerate(22050)
    file.writeframes(b"".join(struct.pack("<hh", 0, 100 * (n % 50)) for n in range(22050)))
"""
NOTES = [Note(0.0, 0.5, 60), Note(0.5, 1.0, 64)]


@pytest.fixture
def font(tmp_path):
    file = tmp_path / "tiny.sf2"
    file.write_bytes(b"RIFF\x04\0\0\0sfbk")
    return str(file)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The file with the arguments of the last call."""
    log = tmp_path / "arguments"
    file = tmp_path / "bin" / "fluidsynth"
    file.parent.mkdir()
    file.write_text(PROGRAM.format(python=sys.executable, log=str(log)))
    file.chmod(file.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(file.parent), prepend=os.pathsep)
    return log


def test_the_program_gets_font_and_music_and_its_sound_is_scaled(font, program):
    sound = played_by_fluidsynth(midi_bytes(NOTES), font)
    words = program.read_text().split("\n")
    assert words[-2] == font
    assert words[words.index("-r") + 1] == "22050"
    assert {"-n", "-i"} <= set(words)
    assert sound.shape == (22050, 2)
    assert (sound[:, 0] == 0).all()
    found = measures(sound)
    assert (found.seconds, found.clipped) == (1.0, 0)
    assert found.peak == pytest.approx(0.89, abs=1e-3)


def test_a_sound_of_a_font_is_written_in_stereo(font, program, tmp_path):
    options = OutputOptions(output=str(tmp_path / "a.wav"), sound_font=font)
    assert "2 notes, 1.0 s, peak 0.89 of 1, 0 samples clipped" in write_music(options, [NOTES], 1.0)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 22050, 22050)
        samples = np.frombuffer(file.readframes(22050), "<i2").reshape(-1, 2)
    assert wav_bytes(np.zeros((3, 2), np.float32))[-12:] == bytes(12)
    assert samples[:, 0].max() == 0
    assert samples[:, 1].max() == pytest.approx(0.89 * 32767, abs=2)


def test_a_program_that_fails_says_why(font, program):
    with pytest.raises(ValueError, match=r"fluidsynth cannot play .*tiny\.sf2: no MIDI file"):
        played_by_fluidsynth(b"no music", font)


def test_a_sound_font_that_is_none_is_refused(tmp_path, font, monkeypatch):
    other = tmp_path / "music.mid"
    other.write_bytes(midi_bytes(NOTES))
    with pytest.raises(ValueError, match=r"expected a sound font .*music\.mid"):
        check_sound_font(str(other))
    with pytest.raises(ValueError, match="expected a file, but there is none"):
        check_sound_font(str(tmp_path / "none.sf2"))
    with pytest.raises(ValueError, match="without a sound it would have no effect"):
        OutputOptions(output=str(tmp_path / "a.mid"), sound_font=font)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingLibraryError, match="the program fluidsynth, which is not installed"):
        OutputOptions(output=str(tmp_path / "a.wav"), sound_font=font)


def test_the_program_itself_plays_the_notes():
    fonts = [
        *Path("/usr/share/sounds").rglob("*.sf2"),
        *Path("/usr/share/soundfonts").glob("*.sf2"),
    ]
    if os.environ.get("THROUGHTIME_SOUND_FONT"):
        fonts.insert(0, Path(os.environ["THROUGHTIME_SOUND_FONT"]))
    if shutil.which("fluidsynth") is None or not fonts:
        # A sound font is too large for the repository; the other tests use a program of their own.
        pytest.skip("the program fluidsynth and a sound font are needed")
    sound = played_by_fluidsynth(midi_bytes(NOTES), str(fonts[0]))
    found = measures(sound)
    assert found.seconds > 1.0
    assert found.clipped == 0
    assert found.longest_silence < 0.2

"""Plays MIDI with the program fluidsynth and a sound font."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from throughtime.data.music.synthesiser import PEAK, RATE
from throughtime.data.subwords import MissingLibraryError

__all__ = ["check_sound_font", "played_by_fluidsynth"]


def check_sound_font(path: str) -> None:
    """Raises if the program fluidsynth or a sound font is not at hand.

    Args:
        path: the file of the sound font.

    Raises:
        ValueError: if the file is missing or is no sound font.
        MissingLibraryError: if the program is not installed.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"--sound_font: expected a file, but there is none at {file}.")
    with file.open("rb") as stream:
        start = stream.read(12)
    # A compressed sound font, .sf3, has the same header.
    if start[:4] != b"RIFF" or start[8:] != b"sfbk":
        raise ValueError(f"--sound_font: expected a sound font (.sf2, .sf3), got {file}.")
    if shutil.which("fluidsynth") is None:
        raise MissingLibraryError(
            "--sound_font: sound fonts are played by the program fluidsynth, which is not "
            "installed. Install it (the package fluidsynth of most systems), or leave the option "
            "out."
        )


def played_by_fluidsynth(midi: bytes, sound_font: str) -> np.ndarray:
    """The sound of a MIDI file, scaled to the peak of our own synthesiser.

    Args:
        midi: the bytes of the file.
        sound_font: a file that :func:`check_sound_font` accepts.

    Returns:
        (N, 2) float32 from -1 to 1 at `RATE`, left and right.

    Raises:
        ValueError: if the program fails, with what it says.
    """
    with tempfile.TemporaryDirectory() as folder:
        music, sound = Path(folder) / "music.mid", Path(folder) / "sound.wav"
        music.write_bytes(midi)
        font = str(Path(sound_font).expanduser().resolve())
        # Without a MIDI input and a shell, the program ends with the music.
        command = ["fluidsynth", "-n", "-i", "-q", "-r", str(RATE), "-O", "s16", "-T", "wav"]
        done = subprocess.run(
            [*command, "-F", str(sound), font, str(music)], capture_output=True, text=True
        )
        if done.returncode != 0 or not sound.is_file():
            reason = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
            raise ValueError(f"--sound_font: fluidsynth cannot play {sound_font}: {reason}")
        with wave.open(io.BytesIO(sound.read_bytes())) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            samples = samples.reshape(-1, file.getnchannels()).astype(np.float32) / 32768
    peak = np.abs(samples).max(initial=0.0)
    return samples * np.float32(PEAK / peak if peak > 0 else 1.0)

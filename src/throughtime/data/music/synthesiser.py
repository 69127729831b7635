"""A small synthesiser, which turns notes into sound, and measures of the sound."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from throughtime.data.music.drums import drum
from throughtime.data.music.notes import Note

__all__ = ["PEAK", "RATE", "SoundMeasures", "measures", "synthesise", "wav_bytes"]

RATE = 22_050
"""The sampling rate of the sounds in Hz."""

PEAK = 0.89
"""The largest amplitude of a sound: -1 dB."""

_ATTACK, _RELEASE = 0.008, 0.12
_NUM_PARTIALS = 8
# Of a string: how strongly the partials are sounded, and how many seconds the first one rings.
_BRIGHTNESS, _RING = 1.3, 1.6
_SILENCE = 1e-3
_LEAST_GAP = 0.02


def synthesise(
    notes: Sequence[Note], seconds: float | None = None, *, is_drums: bool = False
) -> np.ndarray:
    """The sound of notes, like plucked strings, or like the drums of a kit.

    A note of a string is a sum of harmonic partials; the higher ones are weaker and decay sooner.
    It rises within 8 ms, and after its end it fades within 120 ms. A stroke on a drum rings for a
    time of its own, whatever its end is. The sum of all notes is scaled to a peak of -1 dB, so that
    nothing is clipped.

    Args:
        notes: the notes.
        seconds: the duration of the music, after which the last notes fade; None is the end of the
            last note.
        is_drums: whether the keys are the drums of a kit; see
            :func:`throughtime.data.music.drums.drum`.

    Returns:
        (N) float32 from -1 to 1, at :data:`RATE`, of ``seconds`` and the time of fading.
    """
    seconds = max((note.end for note in notes), default=0.0) if seconds is None else seconds
    sound = np.zeros(math.ceil((seconds + _RELEASE) * RATE))
    for note in notes:
        tone = drum(note.key, RATE) if is_drums else _string(note.key, note.end - note.start)
        first = round(note.start * RATE)
        tone = tone[: max(0, len(sound) - first)]
        sound[first : first + len(tone)] += tone * (note.velocity / 127) ** 1.5
    if is_drums:
        # Drums still ring at the end.
        last = min(len(sound), round(_RELEASE * RATE))
        sound[len(sound) - last :] *= np.linspace(1, 0, last)
    peak = np.abs(sound).max(initial=0.0)
    return (sound * (PEAK / peak if peak > 0 else 1.0)).astype(np.float32)


def _string(key: int, seconds: float) -> np.ndarray:
    """One note of a string, struck as hard as possible, with its release."""
    frequency = 440.0 * 2 ** ((key - 69) / 12)
    time = np.arange(round((seconds + _RELEASE) * RATE)) / RATE
    tone = np.zeros(len(time))
    for partial in range(1, _NUM_PARTIALS + 1):
        # A partial above half the sampling rate would sound as another tone.
        if partial * frequency >= RATE / 2:
            break
        # High strings ring shorter than low ones.
        ring = _RING * 2 ** ((60 - key) / 24) / partial**0.7
        phase = 2 * np.pi * partial * frequency * time
        tone += partial**-_BRIGHTNESS * np.exp(-time / ring) * np.sin(phase)
    # A floor below the decay keeps long notes audible to their end.
    tone += 0.12 * np.sin(2 * np.pi * frequency * time)
    fade = np.clip((seconds + _RELEASE - time) / _RELEASE, 0, 1)
    return tone * np.clip(time / _ATTACK, 0, 1) * fade


def wav_bytes(sound: np.ndarray) -> bytes:
    """A WAV file with 16 bits per sample.

    Args:
        sound: (N), or (N, 2) for left and right.
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1 if sound.ndim == 1 else sound.shape[1])
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


@dataclass(frozen=True)
class SoundMeasures:
    """What a sound is like, measured.

    Args:
        seconds: its duration.
        peak: its largest amplitude; 1 is the largest that a file can hold.
        clipped: the number of samples at that limit.
        longest_silence: the seconds of its longest silence (below -60 dB).
        last: the largest amplitude of its last 5 ms, which is nearly 0 if all notes have ended.
    """

    seconds: float
    peak: float
    clipped: int
    longest_silence: float
    last: float

    def __str__(self) -> str:
        """The measures as half a sentence."""
        return (
            f"{self.seconds:.1f} s, peak {self.peak:.2f} of 1, {self.clipped} samples clipped, "
            f"longest silence {self.longest_silence:.2f} s"
        )


def measures(sound: np.ndarray) -> SoundMeasures:
    """Measures a sound (N), or (N, 2) for left and right, at :data:`RATE`."""
    amplitude = np.abs(sound.reshape(len(sound), -1)).max(1)
    # The waves themselves pass through 0; a gap of 20 ms does not belong to a wave.
    is_loud = np.flatnonzero(amplitude >= _SILENCE)
    edges = np.concatenate([[-1], is_loud, [len(sound)]])
    gap = (np.diff(edges).max() - 1) / RATE
    return SoundMeasures(
        seconds=len(sound) / RATE,
        peak=float(amplitude.max(initial=0.0)),
        clipped=int((amplitude >= 1.0).sum()),
        longest_silence=float(gap) if gap >= _LEAST_GAP else 0.0,
        last=float(amplitude[-RATE // 200 :].max(initial=0.0)),
    )

"""The sounds of a drum kit, for the small synthesiser."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

__all__ = ["drum"]

# When a drum has decayed to -60 dB, it is cut off; the last part fades out.
_DECAYS, _FADE = 6.9, 0.005


class _Drum(NamedTuple):
    """A drum: a skin whose pitch falls, and noise of wires or metal; both decay.

    Args:
        pitch: the final frequency of the skin in Hz.
        bend: by how much the pitch is higher at the stroke, as a factor.
        ring: the seconds in which the skin decays to 1/e.
        noise: the amplitude of the noise; that of the skin is 1 minus this.
        hiss: the seconds in which the noise decays to 1/e.
        brightness: how often the noise is differentiated, which removes its low frequencies.
    """

    pitch: float
    bend: float
    ring: float
    noise: float
    hiss: float
    brightness: int


_KICK = _Drum(50, 2.5, 0.09, 0.05, 0.01, 0)
_SNARE = _Drum(185, 1.3, 0.05, 0.6, 0.07, 1)
_STICK = _Drum(1700, 1.0, 0.01, 0.4, 0.01, 1)
_CLAP = _Drum(900, 1.0, 0.01, 0.9, 0.06, 1)
_CLOSED = _Drum(400, 1.0, 0.01, 1.0, 0.025, 2)
_OPEN = _CLOSED._replace(hiss=0.2)
_CRASH = _CLOSED._replace(hiss=0.45, brightness=1)
_RIDE = _Drum(3150, 1.0, 0.2, 0.75, 0.22, 2)
_BELL = _Drum(790, 1.0, 0.15, 0.3, 0.1, 2)
_BLOCK = _Drum(600, 1.1, 0.03, 0.1, 0.01, 1)

_TOMS = {41: 75, 43: 90, 45: 110, 47: 130, 48: 150, 50: 180, 58: 82}
_DRUMS = {
    **dict.fromkeys((35, 36), _KICK),
    **dict.fromkeys((38, 40), _SNARE),
    **{37: _STICK, 39: _CLAP},
    # 22 and 26 are the edge of the hi-hat, closed and open, of electronic kits.
    **dict.fromkeys((22, 42, 44, 54, 69, 70), _CLOSED),
    **dict.fromkeys((26, 46), _OPEN),
    **dict.fromkeys((49, 52, 55, 57), _CRASH),
    **dict.fromkeys((51, 59), _RIDE),
    **dict.fromkeys((53, 56), _BELL),
    **{key: _Drum(pitch, 1.6, 0.12, 0.08, 0.02, 0) for key, pitch in _TOMS.items()},
}
"""The drums by their MIDI numbers in the percussion map of General MIDI."""


@cache
def drum(key: int, rate: int) -> np.ndarray:
    """The sound of one stroke on a drum, (N), with an amplitude of about 1.

    The same key always gives the same sound. A key that is no drum of a usual kit is a wood block.

    Args:
        key: the MIDI number, as the percussion map of General MIDI has it.
        rate: the sampling rate in Hz.
    """
    kind = _DRUMS.get(key, _BLOCK)
    seconds = _DECAYS * max(kind.ring if kind.noise < 1 else 0.0, kind.hiss)
    time = np.arange(round(seconds * rate)) / rate
    # The pitch falls to its final value while the skin rings.
    pitch = kind.pitch * (1 + (kind.bend - 1) * np.exp(-time / (0.3 * kind.ring)))
    skin = np.sin(2 * np.pi * np.cumsum(pitch) / rate) * np.exp(-time / kind.ring)
    hiss = np.random.default_rng(key).standard_normal(len(time) + kind.brightness)
    hiss = np.diff(hiss, kind.brightness) * np.exp(-time / kind.hiss)
    hiss /= np.abs(hiss).max()
    sound = (1 - kind.noise) * skin + kind.noise * hiss
    sound *= np.clip((seconds - time) / _FADE, 0, 1)
    sound.flags.writeable = False
    return sound

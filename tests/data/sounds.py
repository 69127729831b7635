"""Sounds for tests."""

import io

import numpy as np
import soundfile


def tone(seconds=0.5, rate=8000, hertz=440.0, seed=0):
    """A tone with some noise, which has energy at all frequencies."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.01, len(t))
    return (0.3 * np.sin(2 * np.pi * hertz * t) * (1 + t) + noise).astype(np.float32)


def as_file(samples, rate=8000, subtype="PCM_16", kind="WAV"):
    """The content of a sound file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=kind)
    return file.getvalue()

"""Sound: recordings, and the features of their frames."""

from throughtime.data.audio.features import SpectralFeatures
from throughtime.data.audio.recordings import SOUND_SUFFIXES, Recording, read_recording, resampled
from throughtime.data.audio.streaming import FeatureStream

__all__ = [
    "SOUND_SUFFIXES",
    "FeatureStream",
    "Recording",
    "SpectralFeatures",
    "read_recording",
    "resampled",
]

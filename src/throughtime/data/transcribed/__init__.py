"""Signals with transcripts: speech, and whatever else is read symbol by symbol."""

from throughtime.data.transcribed.batches import TranscribedBatch, collate_transcribed
from throughtime.data.transcribed.loading import load_transcribed, read_transcribed
from throughtime.data.transcribed.named_sets import TRANSCRIBED_SETS
from throughtime.data.transcribed.segments import labels_at
from throughtime.data.transcribed.signals import Segment, Transcribed, TranscribedSignal

__all__ = [
    "TRANSCRIBED_SETS",
    "Segment",
    "Transcribed",
    "TranscribedBatch",
    "TranscribedSignal",
    "collate_transcribed",
    "labels_at",
    "load_transcribed",
    "read_transcribed",
]

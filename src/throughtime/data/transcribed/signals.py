"""A signal with its transcript, and a set of such signals."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from throughtime.data.splits import Cut

__all__ = ["Segment", "Transcribed", "TranscribedSignal"]


class Segment(NamedTuple):
    """The part of a signal in which one symbol is said or written.

    Args:
        begin, end: the part, as indices of the first axis of the signal; ``end`` is not part of it.
        symbol: the symbol.
    """

    begin: int
    end: int
    symbol: str


class TranscribedSignal(NamedTuple):
    """A signal and what is said or written in it.

    Args:
        text: the transcript.
        signal: the samples of a sound, (N) float32; or another sequence whose first axis is time.
        segments: where each symbol is, in order and without overlap; empty if it is not known.
        speaker: who speaks or writes; empty if it is not known.
    """

    text: str
    signal: np.ndarray
    segments: tuple[Segment, ...] = ()
    speaker: str = ""


@dataclass(frozen=True)
class Transcribed:
    """Signals with transcripts, in splits for training, validation and test.

    Args:
        name: the name of the data set, file or folder.
        splits: the signals of "train", "valid" and "test"; a split without any is absent.
        kind: what the signals are: "audio", or another key of
            `throughtime.tasks.transcription.SIGNALS`.
        rate: the number of samples per second of sounds; None for other kinds.
        is_tokenised: whether the symbols of the transcripts are separated by spaces.
        cut: how the signals were cut into splits; None if they came in splits.
        folding: for transcripts of phones, the phone as which each phone is judged, or an empty
            text for one that is left out; None for other transcripts.
    """

    name: str
    splits: dict[str, list[TranscribedSignal]] = field(repr=False)
    kind: str = "audio"
    rate: int | None = None
    is_tokenised: bool = False
    cut: Cut | None = None
    folding: Mapping[str, str] | None = None

    def fingerprint(self, *, with_segments: bool = False, with_speakers: bool = False) -> str:
        """The sha256 of all splits; two runs with equal fingerprints have the same signals.

        Args:
            with_segments, with_speakers: whether the training depends on these, too.
        """
        rate = "" if self.rate is None else self.rate
        digest = hashlib.sha256(f"{rate}\n".encode())
        for split, signals in sorted(self.splits.items()):
            digest.update(f"{split} {len(signals)}\n".encode())
            for one in signals:
                lines = [one.text, str(len(one.signal))]
                lines += [f"{a} {b} {symbol}" for a, b, symbol in one.segments if with_segments]
                lines += [one.speaker] if with_speakers else []
                lines = [f"{line}\n".encode("utf-8", "surrogatepass") for line in lines]
                digest.update(b"".join(lines))
                digest.update(one.signal.tobytes())
        return digest.hexdigest()

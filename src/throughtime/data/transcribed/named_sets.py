"""The named data sets of transcribed recordings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from throughtime.data.audio.spoken_digits import (
    RATE_OF_DIGITS,
    SpokenDigit,
    packed_sounds,
    spoken_digits,
)
from throughtime.data.pen.drawn_sets import drawn_lines
from throughtime.data.transcribed.signals import Segment, Transcribed, TranscribedSignal

__all__ = ["TRANSCRIBED_SETS"]

_RATE_OF_YES_AND_NO = 8000
_NUM_TRAINING_OF_YES_AND_NO = 31
_NUM_VALIDATION_OF_YES_AND_NO = 5
_DIGITS_OF_A_STRING = (3, 7)
_PAUSE = (0.05, 0.35)


def _yes_and_no() -> Transcribed:
    """Eight words in each recording; the first 31 files by name are the training, as in Kaldi."""
    words = {"0": "no", "1": "yes"}
    recordings = [
        TranscribedSignal(" ".join(words[digit] for digit in stem.split("_")), samples)
        for stem, samples in sorted(packed_sounds("yesno", _RATE_OF_YES_AND_NO))
    ]
    train = recordings[:_NUM_TRAINING_OF_YES_AND_NO]
    # Every sixth validates: the names are sorted, so the last ones are alike.
    every = len(train) // _NUM_VALIDATION_OF_YES_AND_NO
    splits = {
        "train": [one for i, one in enumerate(train) if i % every != every - 1],
        "valid": train[every - 1 :: every],
        "test": recordings[_NUM_TRAINING_OF_YES_AND_NO:],
    }
    return Transcribed("yesno", splits, rate=_RATE_OF_YES_AND_NO, is_tokenised=True)


def _digit_strings() -> Transcribed:
    """Strings of 3 to 7 digits of one speaker each, joined from single recordings with pauses.

    The splits are those of the recordings: a string of the test has only recordings of the test.
    In the training each recording is used three times, in others once.
    """
    draw = np.random.default_rng(0)
    splits: dict[str, list[TranscribedSignal]] = {"train": [], "valid": [], "test": []}
    recordings = spoken_digits()
    for split, takes, times in (
        ("train", range(10, 50), 3),
        ("valid", range(5, 10), 1),
        ("test", range(5), 1),
    ):
        for speaker in sorted({recording.speaker for recording in recordings}):
            own = [one for one in recordings if one.speaker == speaker and one.take in takes]
            for _ in range(times):
                order = [own[i] for i in draw.permutation(len(own))]
                while order:
                    size = int(draw.integers(_DIGITS_OF_A_STRING[0], _DIGITS_OF_A_STRING[1] + 1))
                    string, order = order[:size], order[size:]
                    splits[split].append(_joined(string, draw))
    return Transcribed("fsdd-strings", splits, rate=RATE_OF_DIGITS, is_tokenised=True)


def _joined(string: list[SpokenDigit], draw: np.random.Generator) -> TranscribedSignal:
    """Recordings of one speaker with pauses before, between and after them."""
    parts, segments = [_pause(draw)], []
    begin = len(parts[0])
    for recording in string:
        end = begin + len(recording.samples)
        segments.append(Segment(begin, end, recording.digit))
        parts += [recording.samples, _pause(draw)]
        begin = end + len(parts[-1])
    text = " ".join(recording.digit for recording in string)
    return TranscribedSignal(text, np.concatenate(parts), tuple(segments), string[0].speaker)


def _pause(draw: np.random.Generator) -> np.ndarray:
    """A pause with faint noise, because digital silence would mark the joins."""
    size = round(draw.uniform(*_PAUSE) * RATE_OF_DIGITS)
    return draw.normal(0, 1e-3, size).astype(np.float32)


def _pen_lines() -> Transcribed:
    """Lines of writing that the project draws itself; see `drawn_lines`."""
    splits = {
        split: [TranscribedSignal(line.text, line.trajectory.array) for line in lines]
        for split, lines in drawn_lines().items()
    }
    return Transcribed("pen-lines", splits, "pen")


TRANSCRIBED_SETS: dict[str, Callable[[], Transcribed]] = {
    "yesno": _yes_and_no,
    "fsdd-strings": _digit_strings,
    "pen-lines": _pen_lines,
}
"""The data sets by name."""

"""TIMIT in the layout in which the Linguistic Data Consortium distributes it."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Literal

from throughtime.data.audio.recordings import read_recording
from throughtime.data.transcribed.phones import PHONES, folding_to
from throughtime.data.transcribed.segments import read_segments
from throughtime.data.transcribed.signals import Segment, Transcribed, TranscribedSignal

__all__ = ["CORE_TEST_SPEAKERS", "DEVELOPMENT_SPEAKERS", "is_timit", "read_timit"]

_log = logging.getLogger(__name__)

CORE_TEST_SPEAKERS = frozenset(
    "mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 mbpm0 mklt0 fnlp0 "
    "mcmj0 mjdh0 fmgd0 mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0".split()
)
"""The speakers of the core test set: two men and one woman of each of the eight dialects.

Source: the documentation of TIMIT.
"""
DEVELOPMENT_SPEAKERS = frozenset(
    "faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 "
    "fedw0 mgjf0 mglb0 mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 "
    "mdvc0 mers0 fmah0 fdrw0 mrcs0 mrjm4 fcal1 mmwh0 fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 "
    "mteb0 mjfc0 mrjr0 fmml0 mrws1".split()
)
"""The fifty speakers of the rest of the test that are usually held out for validation.

Source: Halberstadt, "Heterogeneous acoustic measurements and multiple classifiers for speech
recognition" (1998); the list is that of Kaldi's recipe.
"""

_DIALECT = re.compile(r"dr[1-8]")
_SENTENCE = re.compile(r"s[aix]\d+")


def is_timit(folder: Path) -> bool:
    """Whether a folder has the folders TRAIN and TEST with dialects, in any case."""
    halves = [_halves(folder).get(name) for name in ("train", "test")]
    return all(half is not None and bool(_dialects(half)) for half in halves)


def read_timit(
    folder: Path,
    phones: Literal[61, 48, 39] | None = None,
    transcripts: Literal["phones", "words"] | None = None,
) -> Transcribed:
    """Reads TIMIT: ``TRAIN`` or ``TEST``, ``DR1`` to ``DR8``, a folder for each speaker.

    The training is ``TRAIN``; the test is the core test set; fifty other speakers of ``TEST``
    validate. The sentences SA, which all speakers say, are left out. Names may be in upper or lower
    case; a recording is a NIST SPHERE or a RIFF file.

    Args:
        folder: the folder that has ``TRAIN`` and ``TEST``.
        phones: into how many classes the phones of the transcripts are folded; None is 48. They are
            judged in 39 classes.
        transcripts: ``phones``, which have segments; or ``words``. None is phones.

    Raises:
        ValueError: for a sentence without a recording or transcript, an unknown phone, or a corpus
            without a speaker of one of the splits.
    """
    if transcripts == "words" and phones is not None:
        raise ValueError(f"--phones {phones}: the transcripts are words. Leave it out.")
    halves, classes = _halves(folder), folding_to(phones or 48)
    splits: dict[str, list[TranscribedSignal]] = {}
    rate = None
    for split, half, speakers in (
        ("train", "train", None),
        ("valid", "test", DEVELOPMENT_SPEAKERS),
        ("test", "test", CORE_TEST_SPEAKERS),
    ):
        sentences = _sentences(halves[half], speakers)
        if not sentences:
            what = "any speaker" if speakers is None else f"one of the {len(speakers)} speakers"
            raise ValueError(
                f"{halves[half]}: expected sentences of {what} of the split {split!r}, got none."
            )
        present = {speaker for speaker, _ in sentences}
        if speakers is not None and len(present) < len(speakers):
            _log.warning(
                "%s: of the %d speakers of the split %s only %d are here.",
                *(halves[half], len(speakers), split, len(present)),
            )
        splits[split] = []
        for speaker, stem in sentences:
            path = _file(stem, ".wav", ".wav.wav")
            samples, own_rate = read_recording(path)
            rate = rate or own_rate
            if own_rate != rate:
                raise ValueError(f"{path}: expected {rate} samples per second, got {own_rate}.")
            if transcripts == "words":
                segments = read_segments(_file(stem, ".wrd"), may_overlap=True)
                text, segments = " ".join(segment.symbol for segment in segments), ()
            else:
                segments = _phones(_file(stem, ".phn"), len(samples), classes)
                text = " ".join(segment.symbol for segment in segments)
            splits[split].append(TranscribedSignal(text, samples, segments, speaker))
    folding = None if transcripts == "words" else _judged(phones or 48)
    return Transcribed(
        "timit", splits, rate=rate, is_tokenised=transcripts != "words", folding=folding
    )


def _phones(file: Path, length: int, classes: dict[str, str]) -> tuple[Segment, ...]:
    """The segments of a sentence, each with the class of its phone."""
    segments = []
    for begin, end, phone in read_segments(file):
        if phone not in classes:
            raise ValueError(f"{file}: expected one of the 61 phones of TIMIT, got {phone!r}.")
        # Some last segments end a few samples after the recording.
        end = min(end, length)
        if classes[phone] and begin < end:
            segments.append(Segment(begin, end, classes[phone]))
    return tuple(segments)


def _judged(num_classes: int) -> dict[str, str]:
    """For each class of the transcripts the one of the 39 as which it is judged."""
    return {name: PHONES[phone][1] for phone, name in folding_to(num_classes).items() if name}


def _halves(folder: Path) -> dict[str, Path]:
    return {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}


def _dialects(half: Path) -> list[Path]:
    names = (path for path in half.iterdir() if path.is_dir())
    return sorted(
        (path for path in names if _DIALECT.fullmatch(path.name.lower())),
        key=lambda path: path.name.lower(),
    )


def _sentences(half: Path, speakers: frozenset[str] | None) -> list[tuple[str, Path]]:
    """The speaker and the path without ending of each sentence but SA, in order."""
    sentences: dict[tuple[str, str, str], Path] = {}
    for dialect in _dialects(half):
        for speaker in dialect.iterdir():
            name = speaker.name.lower()
            if not speaker.is_dir() or (speakers is not None and name not in speakers):
                continue
            for file in speaker.iterdir():
                stem = file.name.partition(".")[0]
                if _SENTENCE.fullmatch(stem.lower()) and not stem.lower().startswith("sa"):
                    sentences[dialect.name.lower(), name, stem.lower()] = speaker / stem
    return [(key[1], sentences[key]) for key in sorted(sentences)]


def _file(stem: Path, *endings: str) -> Path:
    """The file of a sentence with the first of these endings, in any case, that exists."""
    files = {path.name.lower(): path for path in stem.parent.iterdir()}
    for ending in endings:
        path = files.get(f"{stem.name.lower()}{ending}")
        if path is not None:
            return path
    raise ValueError(
        f"{stem.parent}: expected a file {stem.name}{endings[0].upper()}, as there are others of "
        "this sentence, got none. Restore it, or remove the others."
    )

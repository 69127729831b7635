"""A small corpus in the layout of TIMIT, for tests."""

import io

import numpy as np
import soundfile

from .sounds import as_file, tone

RATE = 8000
PHONES = {"h#": 0.0, "bcl": 0.0, "b": 300.0, "ix": 700.0, "aa": 1100.0, "q": 0.0, "s": 2000.0}
SENTENCES = {
    "SX1": ["h#", "bcl", "b", "ix", "q", "s", "h#"],
    "SI2": ["h#", "s", "aa", "bcl", "b", "h#"],
    "SX3": ["h#", "ix", "s", "q", "aa", "h#"],
    "SA1": ["h#", "aa", "h#"],
}
SECONDS = 0.08


def small_timit(folder, *, upper=True, kind="NIST", sentences=None):
    """Writes a corpus with two speakers of the training, one that validates and one of the test."""
    case = str.upper if upper else str.lower
    speakers = {"TRAIN": ["FCJF0", "MDAC0"], "TEST": ["FAKS0", "MDAB0", "MTPF0"]}
    for half, names in speakers.items():
        for speaker in names:
            place = folder / case(half) / case("DR1") / case(speaker)
            place.mkdir(parents=True)
            for i, (name, phones) in enumerate((sentences or SENTENCES).items()):
                write_sentence(place, case(name), phones, case, kind, seed=i + len(speaker))
    return folder


def write_sentence(place, name, phones, case, kind="NIST", seed=0):
    size = round(SECONDS * RATE)
    tones = [tone(SECONDS, RATE, PHONES[phone], seed + k) for k, phone in enumerate(phones)]
    samples = np.concatenate(tones)
    content = as_file(samples, RATE) if kind == "WAV" else as_sphere(samples)
    (place / f"{name}{case('.WAV')}").write_bytes(content)
    lines = [f"{k * size} {(k + 1) * size} {phone}\n" for k, phone in enumerate(phones)]
    # As in the corpus, a last segment may end after the recording.
    lines[-1] = f"{(len(phones) - 1) * size} {len(samples) + 20} {phones[-1]}\n"
    (place / f"{name}{case('.PHN')}").write_text("".join(lines))
    (place / f"{name}{case('.WRD')}").write_text(f"0 {3 * size} she\n{2 * size} {4 * size} had\n")
    (place / f"{name}{case('.TXT')}").write_text(f"0 {len(samples)} She had.\n")


def as_sphere(samples, subtype="PCM_16"):
    """The content of a NIST SPHERE file."""
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, subtype, format="NIST")
    return file.getvalue()

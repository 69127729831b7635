"""The named data sets of labelled texts, series and sounds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from throughtime.data.audio.spoken_digits import RATE_OF_DIGITS, SpokenDigit, spoken_digits
from throughtime.data.download import FILES, fetch
from throughtime.data.labelled.example import Example, Labelled
from throughtime.data.labelled.series_files import idx_images, ts_series
from throughtime.data.labelled.text_files import phrases, with_label_first

__all__ = ["LABELLED_SETS", "NUM_FOLDS", "split_off"]

_SEED_OF_FOLDS = 0
_FOLDS_OF_MR = 10


def split_off(examples: Sequence[Example], fraction: float) -> dict[str, list[Example]]:
    """Splits a part off for validation: every k-th example of each class, in the order of the file.

    Args:
        examples: the examples for training and validation.
        fraction: the fraction for validation, 1/k.
    """
    every = max(2, round(1 / fraction))
    number: dict[str, int] = {}
    splits: dict[str, list[Example]] = {"train": [], "valid": []}
    for example in examples:
        number[example.label] = number.get(example.label, 0) + 1
        splits["valid" if number[example.label] % every == 0 else "train"].append(example)
    return splits


def _lines(name: str, part: str) -> list[str]:
    # In movie reviews and questions some bytes are not UTF-8: their files are cp1252 or latin-1.
    content = fetch(FILES[name][part])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252" if name == "mr" else "latin-1")
    return [line.strip() for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def _sst(size: int, fold: int) -> Labelled:
    name, files = f"sst{size}", "binary" if size == 2 else "fine"
    splits = {
        split: with_label_first(_lines("sst", f"{files}.{part}"))
        for split, part in {"train": "train", "valid": "dev", "test": "test"}.items()
    }
    parts = [Example(label, text.lower()) for label, text in phrases(_lines("sst", "trees.train"))]
    parts = list(dict.fromkeys(parts))
    if size == 2:
        # Two classes: negative and positive without the neutral phrases.
        parts = [Example(str(int(label > "2")), text) for label, text in parts if label != "2"]
    return Labelled(name, splits, is_tokenised=True, parts=parts)


def _mr(fold: int) -> Labelled:
    examples = [
        Example(label, line)
        for label, part in (("negative", "neg"), ("positive", "pos"))
        for line in _lines("mr", part)
    ]
    random.Random(_SEED_OF_FOLDS).shuffle(examples)
    rest = [example for i, example in enumerate(examples) if i % _FOLDS_OF_MR != fold]
    return Labelled(
        "mr", {**split_off(rest, 0.1), "test": examples[fold::_FOLDS_OF_MR]}, is_tokenised=True
    )


def _trec(is_fine: bool, fold: int) -> Labelled:
    splits = {}
    for split in ("train", "test"):
        examples = with_label_first(_lines("trec", split))
        splits[split] = [
            Example(label if is_fine else label.partition(":")[0], text) for label, text in examples
        ]
    name = "trec-50" if is_fine else "trec"
    splits = {**split_off(splits["train"], 0.1), "test": splits["test"]}
    return Labelled(name, splits, is_tokenised=True)


def _uea(name: str, fold: int) -> Labelled:
    files = {
        split: ts_series(fetch(FILES[name][split]).decode("utf-8"), name)
        for split in ("train", "test")
    }
    # Some of these sets have a handful of examples of a class.
    fraction = 0.1 if len(files["train"]) > 1000 else 0.2
    splits = {**split_off(files["train"], fraction), "test": files["test"]}
    return Labelled(name, splits, kind="series")


def _mnist(is_permuted: bool, fold: int) -> Labelled:
    order = np.random.default_rng(_SEED_OF_FOLDS).permutation(784) if is_permuted else None
    contents = {part: fetch(file) for part, file in FILES["mnist"].items()}
    files = {
        split: idx_images(contents[f"{split}-images"], contents[f"{split}-labels"], order)
        for split in ("train", "test")
    }
    splits = {"train": files["train"][:55_000], "valid": files["train"][55_000:]}
    name = "permuted-mnist" if is_permuted else "mnist"
    return Labelled(name, {**splits, "test": files["test"]}, kind="series")


def _spoken(name: str, label: str, fold: int) -> Labelled:
    """Recordings of digits in the published split: the takes 0 to 4 are the test.

    Args:
        name: the name of the data set.
        label: what is the label: "digit" or "speaker".
        fold: 0; there are no folds.
    """
    parts: dict[str, list[Example]] = {"train": [], "valid": [], "test": []}
    for recording in spoken_digits():
        split = "test" if recording.take < 5 else "valid" if recording.take < 10 else "train"
        parts[split].append(Example(getattr(recording, label), recording.samples))
    return Labelled(name, parts, kind="audio", rate=RATE_OF_DIGITS)


def _unheard(fold: int) -> Labelled:
    """Digits of which all that one speaker says are the test; the takes 5 to 9 validate."""
    parts: dict[str, list[Example]] = {"train": [], "valid": [], "test": []}
    recordings = spoken_digits()
    unheard = _speakers(recordings)[fold]
    for recording in recordings:
        split = "valid" if 5 <= recording.take < 10 else "train"
        split = "test" if recording.speaker == unheard else split
        parts[split].append(Example(recording.digit, recording.samples))
    return Labelled("fsdd-unheard", parts, kind="audio", rate=RATE_OF_DIGITS)


def _speakers(recordings: Sequence[SpokenDigit]) -> list[str]:
    return sorted({recording.speaker for recording in recordings})


LABELLED_SETS: dict[str, Callable[[int], Labelled]] = {
    "sst2": partial(_sst, 2),
    "sst5": partial(_sst, 5),
    "mr": _mr,
    "trec": partial(_trec, False),
    "trec-50": partial(_trec, True),
    "japanese-vowels": partial(_uea, "japanese-vowels"),
    "pendigits": partial(_uea, "pendigits"),
    "articulary-words": partial(_uea, "articulary-words"),
    "handwriting": partial(_uea, "handwriting"),
    "mnist": partial(_mnist, False),
    "permuted-mnist": partial(_mnist, True),
    "fsdd": partial(_spoken, "fsdd", "digit"),
    "fsdd-speakers": partial(_spoken, "fsdd-speakers", "speaker"),
    "fsdd-unheard": _unheard,
}
"""The data sets by name; each function takes the number of the fold that is the test set."""

NUM_FOLDS: Mapping[str, int] = {"mr": _FOLDS_OF_MR, "fsdd-unheard": 6}
"""The number of folds of the data sets that have any."""

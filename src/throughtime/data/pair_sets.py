"""Readers of the named data sets of pairs, which also define their splits."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from throughtime.data.download import FILES, fetch
from throughtime.data.line_ends import lines

__all__ = ["PAIR_SETS", "Content"]

Sides = tuple[str, str]


class Content(NamedTuple):
    """The pairs of a data set.

    Args:
        splits: the pairs of each split, by name.
        kinds: the names of the tokenisers that suit source and target.
    """

    splits: dict[str, list[Sides]]
    kinds: tuple[str, str]


def _lines(name: str, part: str) -> list[str]:
    return lines(fetch(FILES[name][part]).decode("utf-8"))


def _multi30k(source: str, target: str) -> Content:
    """Captions of pictures in two languages: 29,000 for training, and the tests of three years."""
    splits = {
        "train": "train",
        "valid": "val",
        "test2016": "test_2016_flickr",
        "test2017": "test_2017_flickr",
        "mscoco2017": "test_2017_mscoco",
        "test2018": "test_2018_flickr",
    }
    return Content(
        {
            split: list(
                zip(
                    _lines("multi30k", f"{file}.{source}"),
                    _lines("multi30k", f"{file}.{target}"),
                    strict=True,
                )
            )
            for split, file in splits.items()
            # There is no Czech test set of 2017.
            if {f"{file}.{source}", f"{file}.{target}"} <= FILES["multi30k"].keys()
        },
        ("words", "words"),
    )


def _sigmorphon2017(language: str, size: str) -> Content:
    """Lemmas with their grammatical features, and the inflected forms.

    The lemma ``schmear`` with the features ``V;V.PTCP;PST`` becomes ``schmear<V><V.PTCP><PST>``.
    """

    def pairs(part: str) -> list[Sides]:
        rows = [line.split("\t") for line in _lines("sigmorphon2017", f"{language}-{part}")]
        return [
            (lemma + "".join(f"<{feature}>" for feature in features.split(";")), form)
            for lemma, form, features in rows
        ]

    return Content(
        {
            "train": pairs(f"train-{size}"),
            "valid": pairs("dev"),
            "test": pairs("uncovered-test"),
        },
        ("tagged", "characters"),
    )


def _cmudict() -> Content:
    """Words and their phonemes.

    There is no published split. The sha256 of a word modulo 100 decides its split, so that all of
    its pronunciations are in the same one: below 5 is validation, below 15 test, the rest training.
    Words that a later edition of the dictionary adds do not change the split of the others.
    """
    content = fetch(FILES["cmudict"]["all"])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = lines(archive.read("cmudict/cmudict").decode("utf-8"))
    splits: dict[str, list[Sides]] = {"train": [], "valid": [], "test": []}
    for entry in entries:
        # The second column counts the pronunciations of the word.
        word, _, phonemes = entry.split(" ", 2)
        percentile = _percentile(word)
        split = "valid" if percentile < 5 else "test" if percentile < 15 else "train"
        splits[split].append((word, phonemes))
    return Content(splits, ("characters", "symbols"))


def _scan(split: str) -> Content:
    """Commands and the actions that they ask for.

    The published splits have no validation part. A tenth of the training part is taken for it,
    selected by the sha256 of the command, so that equal commands are in the same split.
    """

    def pairs(part: str) -> list[Sides]:
        entries = _lines("scan", f"tasks_{part}_{split}.txt")
        rows = [entry.removeprefix("IN: ").partition(" OUT: ") for entry in entries]
        return [(command, actions) for command, _, actions in rows]

    train = pairs("train")
    # This rule leaves the command "jump", which the jump split needs to be learned, in training.
    is_valid = [_percentile(command) < 10 for command, _ in train]
    return Content(
        {
            "train": [pair for pair, valid in zip(train, is_valid, strict=True) if not valid],
            "valid": [pair for pair, valid in zip(train, is_valid, strict=True) if valid],
            "test": pairs("test"),
        },
        ("symbols", "symbols"),
    )


def _percentile(text: str) -> int:
    """A number from 0 to 99, evenly distributed over texts and always the same for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100


_LANGUAGES = [("de", "en"), ("fr", "en"), ("cs", "en"), ("en", "de"), ("en", "fr"), ("en", "cs")]
_INFLECTED = [
    (language, size)
    for language in ("english", "german", "spanish", "finnish", "turkish")
    for size in ("high", "medium", "low")
]

PAIR_SETS: dict[str, Callable[[], Content]] = {
    **{f"multi30k-{s}-{t}": partial(_multi30k, s, t) for s, t in _LANGUAGES},
    **{f"sigmorphon2017-{x}-{size}": partial(_sigmorphon2017, x, size) for x, size in _INFLECTED},
    "cmudict": _cmudict,
    "scan-simple": partial(_scan, "simple"),
    "scan-length": partial(_scan, "length"),
    "scan-jump": partial(_scan, "addprim_jump"),
}
"""The reader of each data set of pairs, by name."""

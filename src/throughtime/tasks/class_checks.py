"""What is refused, and what a user is told, of labelled examples before they are learned."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from throughtime.data import Tokeniser, in_words, suspicions
from throughtime.data.labelled import Example, Labelled
from throughtime.tasks.pen_features import PenFeatures
from throughtime.tasks.series_features import SeriesFeatures
from throughtime.tasks.sound_features import SoundFeatures

__all__ = [
    "check_missing",
    "check_series",
    "class_numbers",
    "long_line",
    "warn_of_long",
    "warn_of_splits",
    "warn_of_unknown",
    "warn_of_unknown_texts",
]

_log = logging.getLogger(__name__)


def class_numbers(labels: Sequence[str], examples: Sequence[Example], where: str) -> Tensor:
    """The numbers of the classes of examples, (N) int64.

    Args:
        labels: the names of the classes in the order of their numbers.
        examples: the examples.
        where: the name of the data and the split, for the message.

    Raises:
        ValueError: for a label that is none of them, with the place of the example.
    """
    number = {label: i for i, label in enumerate(labels)}
    for place, example in enumerate(examples, 1):
        if example.label not in number:
            raise ValueError(
                f"{where}, example {place}: expected one of the labels of the training "
                f"({', '.join(labels[:9])}{', …' if len(labels) > 9 else ''}), got "
                f"{example.label!r}."
            )
    return torch.tensor([number[example.label] for example in examples])


def check_series(
    features: SeriesFeatures | SoundFeatures | PenFeatures, examples: Sequence[Example], where: str
) -> None:
    """Raises a ValueError for an example that cannot be read, with its place."""
    for place, (_, series) in enumerate(examples, 1):
        try:
            features.check(np.asarray(series))
        except ValueError as error:
            raise ValueError(f"{where}, series {place}: {error}") from error


def check_missing(data: Labelled, option: str) -> None:
    """Raises a ValueError for a treatment of missing values if no value is missing.

    Args:
        data: series.
        option: the option that says how missing values are treated.
    """
    series = (np.asarray(content) for part in data.splits.values() for _, content in part)
    if not any(np.isnan(steps).any() for steps in series):
        raise ValueError(
            f"{option}: no value of {data.name} is missing, so it would have no effect. Leave it "
            "out."
        )


def warn_of_unknown(data: Labelled, tokeniser: Tokeniser) -> None:
    """Logs how many words of the validation's texts the training split lacks, if any."""
    texts = [str(content) for _, content in data.splits["valid"]]
    warn_of_unknown_texts(data.name, texts, tokeniser)


def warn_of_unknown_texts(name: str, texts: Sequence[str], tokeniser: Tokeniser) -> None:
    """Logs how many tokens of the validation the training split lacks, if any.

    Args:
        name: the name of the data.
        texts: the texts of the validation.
        tokeniser: the tokeniser of the training.
    """
    counts = tokeniser.count_unknown(texts)
    if counts:
        total = sum(len(tokeniser.encode(text)) for text in texts)
        summary = in_words(counts, total, tokeniser.unit)
        _log.warning("%s: of the validation %s.", name, summary)


def warn_of_long(where: str, lengths: Sequence[int], longest: int, unit: str) -> None:
    """Logs how many examples are cut, if any.

    Args:
        where: the name of the data and the split.
        lengths: the numbers of tokens or steps of the examples.
        longest: the number that is read.
        unit: the plural of what the lengths count.
    """
    too_long = [place for place, length in enumerate(lengths, 1) if length > longest]
    if too_long:
        _log.warning(
            "%s: of %d of %d examples only the first %s %s are read (the first of them is example "
            "%d, with %s). See --longest.",
            *(where, len(too_long), len(lengths), f"{longest:,}", unit, too_long[0]),
            f"{lengths[too_long[0] - 1]:,}",
        )


def long_line(number: int, length: int, longest: int, unit: str) -> str:
    """The warning that a line is cut; see :func:`warn_of_long`."""
    return (
        f"line {number}: has {length:,} {unit}, of which only the first {longest:,} are read "
        "(--longest of the training)."
    )


def warn_of_splits(data: Labelled) -> None:
    """Logs what makes the validation misleading: copies, sorted examples, or a single class."""
    unit = {"text": "texts", "series": "series", "audio": "recordings", "pen": "drawings"}[
        data.kind
    ]
    contents = {
        split: [_as_text(content) for _, content in examples]
        for split, examples in data.splits.items()
    }
    for warning in suspicions(data.name, contents, data.cut, unit):
        _log.warning(warning)
    labels = {label for label, _ in data.splits["valid"]}
    if len(labels) == 1:
        advice = " Use --split random." if data.cut in ("order", "blocks") else ""
        _log.warning(
            "%s: all examples of the validation have the label %r, so its figures do not show how "
            "well the classes are told apart.%s",
            *(data.name, *labels, advice),
        )


def _as_text(content: str | np.ndarray) -> str:
    """A text itself; of a series a checksum, which is the same for equal series."""
    return content if isinstance(content, str) else hashlib.sha256(content.tobytes()).hexdigest()

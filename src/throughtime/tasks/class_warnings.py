"""What a user is told of labelled examples before they are learned."""

from __future__ import annotations

import hashlib
import logging

import numpy as np

from throughtime.data import Tokeniser, in_words, suspicions
from throughtime.data.labelled import Labelled

__all__ = ["warn_of_splits", "warn_of_unknown"]

_log = logging.getLogger(__name__)


def warn_of_unknown(data: Labelled, tokeniser: Tokeniser) -> None:
    """Logs how many words of the validation's texts the training split lacks, if any."""
    texts = [str(content) for _, content in data.splits["valid"]]
    counts = tokeniser.count_unknown(texts)
    if counts:
        total = sum(len(tokeniser.encode(text)) for text in texts)
        summary = in_words(counts, total, tokeniser.unit)
        _log.warning("%s: of the validation %s.", data.name, summary)


def warn_of_splits(data: Labelled) -> None:
    """Logs what makes the validation misleading: copies, sorted examples, or a single class."""
    unit = "texts" if data.kind == "text" else "series"
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

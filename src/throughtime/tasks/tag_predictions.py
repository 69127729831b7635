"""What ``throughtime predict`` writes of a sentence whose words have labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from throughtime.data.label_schemes import Scheme, spans_of, to_labels
from throughtime.tasks.labelling import Labelled
from throughtime.tasks.uses import Prediction

__all__ = ["nothing_read", "of_sentence"]


def nothing_read() -> Prediction:
    """The prediction for a line without words."""
    return Prediction([""], {"words": [], "labels": []})


def of_sentence(
    words: Sequence[str], result: Labelled, has_spans: bool, scheme: Scheme
) -> Prediction:
    """The words with their labels, one on each line, and an empty line.

    Args:
        words: the words of the sentence.
        result: their labels in the scheme of the training, and the probabilities.
        has_spans: whether labels mark spans.
        scheme: the scheme in which spans are written.
    """
    labels: Sequence[str] = result.labels
    record: dict[str, Any] = {"words": list(words)}
    if has_spans:
        spans = spans_of(labels)
        labels = to_labels(spans, len(words), scheme)
        record |= {
            "labels": labels,
            "spans": [
                {
                    "text": " ".join(words[begin:end]),
                    "type": kind,
                    "begin": begin,
                    "end": end,
                    "probability": chance,
                }
                for (begin, end, kind), chance in zip(spans, result.chances, strict=True)
            ],
        }
    else:
        record |= {"labels": labels, "probabilities": result.chances}
    lines = [f"{word}\t{label}" for word, label in zip(words, labels, strict=True)]
    if result.intent is not None:
        intent, chance = result.intent
        lines.insert(0, f"# intent = {intent}")
        record["intent"] = {"label": intent, "probability": chance}
    return Prediction([*lines, ""], record)

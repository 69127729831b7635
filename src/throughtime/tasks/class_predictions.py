"""What ``throughtime predict`` writes of the probabilities of classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from throughtime.tasks.uses import Prediction

__all__ = ["after_each_step", "nothing_read", "of_the_whole"]


def nothing_read(has_words: bool) -> Prediction:
    """The prediction for an empty line; ``has_words`` asks for the label after each step."""
    return Prediction([] if has_words else [""], {"label": "", "probabilities": {}})


def of_the_whole(probabilities: Tensor, labels: Sequence[str]) -> Prediction:
    """The likeliest class of a sequence, whose classes have the probabilities (C)."""
    label = labels[int(probabilities.argmax())]
    return Prediction([label], {"label": label, "probabilities": _named(probabilities, labels)})


def after_each_step(
    probabilities: Tensor, labels: Sequence[str], number: int, names: Sequence[str], step: str
) -> Prediction:
    """The likeliest class after each step.

    Args:
        probabilities: of the classes after each step, (T, C).
        labels: the names of the classes.
        number: the number of the line.
        names: the name of each step.
        step: what a step is called, "word" or "step": the key of its name in the record.
    """
    lines, steps = [], []
    for name, at_step in zip(names, probabilities, strict=True):
        best = int(at_step.argmax())
        lines.append(f"{number}\t{name}\t{labels[best]}\t{at_step[best]:.4f}")
        steps.append({step: name, "probabilities": _named(at_step, labels)})
    return Prediction(lines, {"label": labels[int(probabilities[-1].argmax())], "words": steps})


def _named(probabilities: Tensor, labels: Sequence[str]) -> dict[str, float]:
    return dict(zip(labels, probabilities.tolist(), strict=True))

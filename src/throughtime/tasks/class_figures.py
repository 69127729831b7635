"""Figures and displays of how well classes are predicted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.tasks.labels import LabelCounts
from throughtime.tasks.shown import Curves, Shown, Table

__all__ = ["calibration_error", "class_curves", "class_displays", "class_figures"]

_NUM_BINS = 10
_MOST_CURVES = 6
_MOST_CONFUSED = 30
"""Classes up to which the confusion matrix is shown."""


def class_figures(scores: Tensor, targets: Tensor, names: Sequence[str]) -> dict[str, float]:
    """The accuracy and the macro F1 score, the mean of F1 over the classes.

    A class that is neither true nor predicted in any example is left out of the mean.

    Args:
        scores: (N, C), scores or logarithms of probabilities.
        targets: (N) int64, the true classes.
        names: the names of the C classes.
    """
    counts = _counts(scores, targets, names)
    f1 = [counts.of_label(name)["f1"] for name in counts.true.keys() | counts.predicted.keys()]
    accuracy = counts.right.total() / len(targets)
    return {"accuracy": accuracy, "f1_macro": sum(f1) / len(f1)}


def _counts(scores: Tensor, targets: Tensor, names: Sequence[str]) -> LabelCounts:
    true = [names[int(i)] for i in targets.tolist()]
    predicted = [names[int(i)] for i in scores.argmax(-1).tolist()]
    right = [names[int(i)] for i in targets[scores.argmax(-1) == targets].tolist()]
    counts = LabelCounts()
    counts.add(true, predicted, right)
    return counts


def _bins(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean confidence, accuracy and number of examples in bins of equal width of the confidence."""
    confidence, predicted = scores.double().softmax(-1).max(-1)
    place = (confidence * _NUM_BINS).long().clamp(max=_NUM_BINS - 1)
    number = torch.bincount(place, minlength=_NUM_BINS)
    is_right = (predicted == targets).double()
    sums = [torch.bincount(place, v, minlength=_NUM_BINS) for v in (confidence, is_right)]
    mean_confidence, accuracy = (total / number.clamp(min=1) for total in sums)
    return mean_confidence, accuracy, number


def calibration_error(scores: Tensor, targets: Tensor) -> float:
    """The expected calibration error: sum_b n_b / N |accuracy_b - confidence_b|, in 10 bins.

    The confidence is the highest probability of an example; the bins are of equal width.

    Source: Guo et al., "On calibration of modern neural networks", arXiv 1706.04599, equation 3.
    """
    confidence, accuracy, number = _bins(scores, targets)
    return ((accuracy - confidence).abs() * number).sum().item() / len(targets)


def class_displays(scores: Tensor, targets: Tensor, names: Sequence[str]) -> list[Shown]:
    """Precision and recall of each class, the confusion matrix, and the calibration curve."""
    items: list[Shown] = [_counts(scores, targets, names).table("Each class")]
    C = len(names)
    if C <= _MOST_CONFUSED:
        pairs = torch.bincount(targets * C + scores.argmax(-1), minlength=C * C).view(C, C)
        rows = [[name, *row] for name, row in zip(names, pairs.tolist(), strict=True)]
        items.append(Table(["true \\ predicted", *names], rows, "Confusion matrix"))
    confidence, accuracy, number = _bins(scores, targets)
    is_used = number > 0
    points = confidence[is_used].tolist()
    curves = {"accuracy": accuracy[is_used].tolist(), "perfect calibration": points}
    items.append(Curves(points, curves, "Calibration", "confidence", "accuracy"))
    return items


def class_curves(
    probabilities: Tensor, names: Sequence[str], words: Sequence[str], title: str
) -> Curves:
    """The probabilities of the classes that are likeliest at the end, after each word.

    Args:
        probabilities: (T, C).
        names: the names of the C classes.
        words: the T words.
        title: the whole text.
    """
    shown: list[int] = sorted(probabilities[-1].argsort(descending=True)[:_MOST_CURVES].tolist())
    curves = {names[i]: probabilities[:, i].tolist() for i in shown}
    # A word may come twice; the number tells the points apart.
    points = [f"{word} {i}" for i, word in enumerate(words, 1)]
    return Curves(points, curves, title, "", "probability")

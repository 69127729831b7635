"""Figures and displays of how well classes are predicted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.tasks.shown import Curves, Shown, Table

__all__ = ["calibration_error", "class_displays", "class_figures"]

_NUM_BINS = 10
_MOST_CONFUSED = 30
"""Classes up to which all cells of the confusion matrix are shown."""


def class_figures(scores: Tensor, targets: Tensor) -> dict[str, float]:
    """The accuracy and the macro F1 score.

    The macro F1 score is the mean over all classes of F1 = 2 P R / (P + R); F1 of a class that is
    neither predicted nor true is left out of the mean.

    Args:
        scores: (N, C), scores or logarithms of probabilities.
        targets: (N) int64, the true classes.
    """
    precision, recall, _, is_present = _by_class(scores, targets)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return {
        "accuracy": (scores.argmax(-1) == targets).double().mean().item(),
        "f1_macro": f1[is_present].mean().item(),
    }


def _by_class(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Precision, recall and number of each class, and whether it is predicted or true (C)."""
    confusion = _confusion(scores, targets).double()
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    is_present = (true > 0) | (predicted > 0)
    return right / predicted.clamp(min=1), right / true.clamp(min=1), true, is_present


def _confusion(scores: Tensor, targets: Tensor) -> Tensor:
    """How often each true class (rows) was predicted as each class (columns)."""
    C = scores.shape[-1]
    return torch.bincount(targets * C + scores.argmax(-1), minlength=C * C).view(C, C)


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


def class_displays(scores: Tensor, targets: Tensor, labels: Sequence[str]) -> list[Shown]:
    """Precision and recall of each class, the confusion matrix, and the calibration curve."""
    precision, recall, number, _ = _by_class(scores, targets)
    rows = [
        [label, f"{100 * p:.1f}", f"{100 * r:.1f}", int(n)]
        for label, p, r, n in zip(
            labels, precision.tolist(), recall.tolist(), number.tolist(), strict=True
        )
    ]
    items: list[Shown] = [
        Table(["class", "precision, %", "recall, %", "examples"], rows, "Each class")
    ]
    if len(labels) <= _MOST_CONFUSED:
        counts = _confusion(scores, targets).tolist()
        items.append(
            Table(
                ["true \\ predicted", *labels],
                [[label, *row] for label, row in zip(labels, counts, strict=True)],
                "Confusion matrix",
            )
        )
    confidence, accuracy, number = _bins(scores, targets)
    is_used = number > 0
    points = confidence[is_used].tolist()
    curves = {"accuracy": accuracy[is_used].tolist(), "perfect calibration": points}
    items.append(Curves(points, curves, "Calibration", "confidence", "accuracy"))
    return items

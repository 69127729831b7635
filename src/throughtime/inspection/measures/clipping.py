"""The norms of the gradients of a training, before and after clipping."""

from __future__ import annotations

from typing import NamedTuple

from throughtime.inspection.metrics import read_metrics
from throughtime.tasks.run import Run

__all__ = ["Clipping", "clipping"]


class Clipping(NamedTuple):
    r"""The gradient norms of a training.

        after = min(before, clip_norm)

    Args:
        steps: the steps of the training at which the norm was written down.
        before: the norm of the whole gradient: the mean over the steps since the row before.
        after: the norm after clipping, at most: the mean of clipped norms is not above it.
        clip_norm: the largest norm that the training allowed; 0 if it clipped nothing.

    Source: Pascanu, Mikolov and Bengio, arXiv 1211.5063, section 3.2.
    """

    steps: list[int]
    before: list[float]
    after: list[float]
    clip_norm: float

    @property
    def share(self) -> float:
        """The share of the rows whose mean norm is above ``clip_norm``."""
        clipped = [b > a for b, a in zip(self.before, self.after, strict=True)]
        return sum(clipped) / len(clipped)


def clipping(run: Run) -> Clipping | None:
    """The gradient norms in the ``metrics.csv`` of a run; None if it has none.

    Raises:
        ReadError: if the file is damaged.
    """
    _, rows = read_metrics(run.metrics_file)
    pairs = [
        (int(row["step"]), float(row["gradient_norm"]))
        for row in rows
        if row["split"] == "train" and row.get("gradient_norm")
    ]
    if not pairs:
        return None
    limit = float(run.config()["training"].get("clip_norm") or 0)
    before = [norm for _, norm in pairs]
    after = [min(norm, limit) if limit else norm for norm in before]
    return Clipping([step for step, _ in pairs], before, after, limit)

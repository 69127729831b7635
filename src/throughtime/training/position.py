"""The position of a training: the part of a checkpoint that does not belong to the learner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from throughtime.reading import Each, Entries, Maybe, Number, ReadError, Whole

__all__ = ["FIGURES", "Kept", "Position", "Row", "check_position", "position_kind"]

_ANY = Number(is_finite=False)
FIGURES = Entries(others=_ANY)
"""The kind of figures by name. A figure may be infinite, such as a perplexity."""

_SECONDS = Number(0)


@dataclass
class Row:
    """A row of metrics.csv.

    Args:
        step, epoch, seconds: when the figures were measured.
        split: the split of the data on which they were measured.
        figures: the figures, by name.
    """

    step: int
    epoch: float
    seconds: float
    split: str
    figures: dict[str, float]


_ROW = Entries(
    {"step": Whole(0), "epoch": _SECONDS, "seconds": _SECONDS, "split": str, "figures": FIGURES}
)


@dataclass
class Kept:
    """A validation whose model is kept.

    Args:
        step: when it was.
        value: the figure that is monitored.
    """

    step: int
    value: float


@dataclass
class Position:
    """The position of a training, which a checkpoint holds.

    Args:
        step: the number of steps so far.
        seconds: the training time so far, over all calls.
        validated: the step of the last validation.
        validation_seconds: the time of the longest validation.
        best: the best value of the monitored figure so far; None before the first validation.
        best_figures: all figures of that validation.
        num_without_best: the number of validations since then.
        kept: the best validations whose models are kept, the best one first.
        since_row: the sums of the figures over the steps since the last row, and the number of
            these steps as ``steps``.
        unwritten: rows that could not be written into metrics.csv.
    """

    step: int = 0
    seconds: float = 0.0
    validated: int = 0
    validation_seconds: float = 0.0
    best: float | None = None
    best_figures: dict[str, float] = field(default_factory=dict)
    num_without_best: int = 0
    kept: list[Kept] = field(default_factory=list)
    since_row: dict[str, float] = field(default_factory=dict)
    unwritten: list[Row] = field(default_factory=list)

    def count(self, means: Mapping[str, float]) -> None:
        """Adds the means of one more step."""
        self.step += 1
        for name, value in {**means, "steps": 1.0}.items():
            self.since_row[name] = self.since_row.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        """The means over the steps since the last row; empty if there are no such steps."""
        sums = dict(self.since_row)
        steps = sums.pop("steps", 0.0)
        return {name: value / steps for name, value in sums.items()} if steps else {}


def position_kind() -> Entries:
    """The kind (see :func:`throughtime.reading.typed`) of a position as a checkpoint holds it."""
    return Entries(
        {
            "step": Whole(0),
            "seconds": _SECONDS,
            "validated": Whole(0),
            "validation_seconds": _SECONDS,
            "best": Maybe(_ANY),
            "best_figures": FIGURES,
            "since_row": FIGURES,
            "unwritten": Each(_ROW),
        },
        # Older checkpoints lack these.
        {
            "num_without_best": Whole(0),
            "kept": Each(Entries({"step": Whole(0), "value": _ANY})),
        },
    )


def check_position(where: str, saved: Mapping[str, Any], monitor: str, names: set[str]) -> None:
    """Raises a ReadError for entries that contradict each other.

    Args:
        where: the file and the entry, for the message.
        saved: a position whose entries have been checked by :func:`position_kind`.
        monitor: the name of the figure that selects the best model.
        names: the names of the sums since the last row.
    """
    step, best, sums = saved["step"], saved["best"], saved["since_row"]
    if saved["validated"] > step:
        raise ReadError(f"{where}.validated", f"expected at most the step {step}.")
    if any(kept["step"] > step for kept in saved.get("kept", ())):
        raise ReadError(f"{where}.kept", f"expected validations up to the step {step}.")
    figure = saved["best_figures"].get(monitor)
    # A NaN, which differs from itself, is the best figure only if nothing better was validated.
    if figure != best and not (figure != figure and best != best):
        raise ReadError(f"{where}.best", f"expected the {monitor} of best_figures.")
    is_named = not names or set(sums) == names | {"steps"}
    if sums and not (is_named and 1 <= sums.get("steps", 0) <= step):
        raise ReadError(
            f"{where}.since_row", f"expected sums of {', '.join(sorted(names))} and their steps."
        )

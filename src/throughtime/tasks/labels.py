"""The labels of a task as numbers, and how well each of them is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from throughtime.tasks.shown import Table

__all__ = ["UNSEEN", "LabelCounts", "Labels"]

UNSEEN = -1
"""The number of a label that the training split does not have."""


@dataclass(frozen=True)
class Labels:
    """The labels of a training split; the number of a label is its index in ``names``.

    Args:
        names: the labels, each once.

    Raises:
        ValueError: if there is no label, or one is empty or occurs twice.

    >>> labels = Labels.of(["O", "B-PER", "O"])
    >>> labels.names, labels.numbers(["O", "B-LOC"])
    (('B-PER', 'O'), [1, -1])
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("expected at least one label, got none.")
        for name, count in Counter(self.names).items():
            if not isinstance(name, str) or not name or count > 1:
                what = f"{name!r} twice" if count > 1 else repr(name)
                raise ValueError(f"expected labels that are texts, each once, got {what}.")

    @classmethod
    def of(cls, labels: Iterable[str]) -> Labels:
        """The labels that occur, sorted."""
        return cls(tuple(sorted(set(labels))))

    @classmethod
    def from_json(cls, names: object) -> Labels:
        """Restores labels from their list of names, with the same numbers."""
        if not isinstance(names, list):
            raise ValueError(f"expected a list of labels, got {type(names).__name__}.")
        return cls(tuple(names))

    def to_json(self) -> list[str]:
        """The names in the order of their numbers, as a JSON list."""
        return list(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def numbers(self, labels: Iterable[str]) -> list[int]:
        """The number of each label; :data:`UNSEEN` for one that the training split lacks."""
        index = {name: number for number, name in enumerate(self.names)}
        return [index.get(label, UNSEEN) for label in labels]


@dataclass
class LabelCounts:
    """How often each label is right, was predicted, and is true; and the figures of that.

    >>> counts = LabelCounts()
    >>> counts.add(true=["a", "a", "b"], predicted=["a", "b", "b"], right=["a", "b"])
    >>> counts.figures()
    {'precision': 0.6666666666666666, 'recall': 0.6666666666666666, 'f1': 0.6666666666666666}
    """

    true: Counter[str] = field(default_factory=Counter)
    predicted: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    def add(self, true: Iterable[str], predicted: Iterable[str], right: Iterable[str]) -> None:
        """Counts the labels of some examples."""
        self.true.update(true)
        self.predicted.update(predicted)
        self.right.update(right)

    def figures(self) -> dict[str, float]:
        """Precision, recall and F1 over all labels together (micro average), from 0 to 1."""
        return _figures(self.right.total(), self.predicted.total(), self.true.total())

    def of_label(self, label: str) -> dict[str, float]:
        """Precision, recall and F1 of one label, from 0 to 1."""
        return _figures(self.right[label], self.predicted[label], self.true[label])

    def table(self, title: str = "") -> Table:
        """Precision, recall and F1 of each label, and how often it is true and predicted."""
        rows = []
        for label in sorted(self.true.keys() | self.predicted.keys()):
            shares = [round(share, 4) for share in self.of_label(label).values()]
            rows.append([label, *shares, self.true[label], self.predicted[label]])
        return Table(["label", "precision", "recall", "f1", "true", "predicted"], rows, title)


def _figures(right: int, predicted: int, true: int) -> dict[str, float]:
    # A share of nothing is 0, as the scorer of CoNLL has it.
    return {
        "precision": right / max(1, predicted),
        "recall": right / max(1, true),
        "f1": 2 * right / max(1, predicted + true),
    }

"""The errors of a decision by a threshold: who is accepted wrongly, and who is rejected wrongly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Tradeoff", "tradeoff"]


@dataclass(frozen=True)
class Tradeoff:
    """The error rates at each threshold.

    A pair is accepted as one of the same person if its distance is at most the threshold.

    Args:
        distances: (K), the different distances of all pairs, rising.
        thresholds: (K + 1), rising: below all distances, between each two of them, and above all.
        false_acceptance: (K + 1), the fraction of the pairs of different persons that is accepted.
        false_rejection: (K + 1), the fraction of the pairs of the same person that is not.
    """

    distances: np.ndarray
    thresholds: np.ndarray
    false_acceptance: np.ndarray
    false_rejection: np.ndarray

    @property
    def equal_error(self) -> tuple[float, float]:
        """The equal error rate, and its threshold.

        It is the mean of both rates at the threshold at which they differ least; of several such
        thresholds, the middle one.
        """
        difference = np.abs(self.false_acceptance - self.false_rejection)
        best = np.flatnonzero(difference == difference.min())
        middle = int(best[len(best) // 2])
        rate = (self.false_acceptance[middle] + self.false_rejection[middle]) / 2
        return float(rate), float(self.thresholds[middle])

    def at(self, threshold: float) -> tuple[float, float]:
        """The rates of false acceptance and of false rejection at a threshold."""
        num_accepted = int(np.searchsorted(self.distances, threshold, "right"))
        return float(self.false_acceptance[num_accepted]), float(self.false_rejection[num_accepted])

    def points(self, number: int) -> tuple[list[float], list[float]]:
        """False rejections at ``number`` false acceptances from 0 to 1: the points of a curve.

        The false acceptances are denser near 0, where systems are used.
        """
        wanted = np.linspace(0, 1, number) ** 3
        # The largest threshold that accepts no more than the wanted fraction.
        places = np.searchsorted(self.false_acceptance, wanted, "right") - 1
        return wanted.tolist(), self.false_rejection[places].tolist()


def tradeoff(genuine: np.ndarray, impostor: np.ndarray) -> Tradeoff:
    """The error rates of all thresholds.

    Args:
        genuine: (N) distances of pairs of the same person.
        impostor: (M) distances of pairs of different persons.

    Raises:
        ValueError: if one of them is empty.

    >>> tradeoff(np.array([0.1, 0.2, 0.6]), np.array([0.5, 0.8, 0.9])).equal_error
    (0.3333333333333333, 0.55)
    """
    for name, distances in (("the same person", genuine), ("different persons", impostor)):
        if not len(distances):
            raise ValueError(
                f"expected pairs of {name}, got none. Each split needs two persons or more, with "
                "two examples or more."
            )
    values = np.unique(np.concatenate([genuine, impostor]))
    between = (values[1:] + values[:-1]) / 2
    thresholds = np.concatenate([[values[0] - 1], between, [values[-1] + 1]])
    accepted = [
        np.searchsorted(np.sort(distances), thresholds, "right") / len(distances)
        for distances in (impostor, genuine)
    ]
    return Tradeoff(values, thresholds, accepted[0], 1 - accepted[1])

"""What all forms of written models share: their interface, and the comparison of outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["Form", "Run", "difference"]

Run = Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""Runs the file whose name ends in the first argument on inputs by name; returns the outputs."""


class Form(ABC):
    """A model in the form in which it is written: as one file, or as several.

    Attributes:
        ends: what the names of the files end in, before the ending .onnx.
    """

    ends: tuple[str, ...] = ("",)

    @abstractmethod
    def files(self) -> Mapping[str, Any]:
        """The models of ONNX by the ends of their names."""

    @abstractmethod
    def difference(self, run: Run) -> float:
        """Compares the files with the module on examples of their own.

        Returns:
            The largest difference of an output, relative to the largest output.
        """


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the largest finite number; infinite if shapes differ.

    Infinity equals itself alone, and whole numbers and truth values must be equal.

    >>> difference(np.array([1.0, -np.inf]), np.array([2.0, -np.inf]))
    0.5
    """
    if got.shape != wanted.shape:
        return float("inf")
    if wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(got, wanted) else float("inf")
    is_finite = np.isfinite(wanted)
    if not np.array_equal(got[~is_finite], wanted[~is_finite], equal_nan=True):
        return float("inf")
    if not is_finite.any():
        return 0.0
    largest = max(float(np.abs(wanted[is_finite]).max()), 1e-30)
    error = float(np.abs(got[is_finite] - wanted[is_finite]).max()) / largest
    return error if np.isfinite(error) else float("inf")

"""Cuts what comes whole into what is learned from, tuned on and tested on."""

from __future__ import annotations

import math
from typing import Any, TypeVar

__all__ = ["split_in_order"]

Whole = TypeVar("Whole", str, list[Any])


def split_in_order(
    name: str, whole: Whole, valid: float | None, test: float | None, unit: str
) -> dict[str, Whole]:
    """First train, then valid, then test; a part of fraction 0 is absent.

    Args:
        name: of what is cut, for the errors.
        whole: a text, or a list.
        valid, test: the fractions; None is 0.1 for the first, 0 for the second.
        unit: what `whole` consists of, in the plural.

    Raises:
        ValueError: fractions out of range, or that leave a part empty.

    >>> split_in_order("digits", "0123456789", 0.2, 0.1, "characters")
    {'train': '0123456', 'valid': '78', 'test': '9'}
    """
    valid = 0.1 if valid is None else valid
    test = 0.0 if test is None else test
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise ValueError(
            f"{name}: expected fractions from 0 that leave some {unit} for training, got "
            f"valid_fraction={valid}, test_fraction={test}. Make their sum less than 1."
        )
    # The rounding undoes that of floating point, by which 10 * (1 - 0.9) is just below 1.
    start_valid = math.floor(round(len(whole) * (1 - valid - test), 6))
    start_test = math.floor(round(len(whole) * (1 - test), 6))
    parts = {
        "train": whole[:start_valid],
        "valid": whole[start_valid:start_test],
        "test": whole[start_test:],
    }
    for part, fraction in {"train": 1.0, "valid": valid, "test": test}.items():
        if fraction > 0 and not parts[part]:
            raise ValueError(
                f"{name}: expected enough {unit} for every split, got {len(whole)}, which leaves "
                f'"{part}" empty. Give more {unit}, or set its fraction to 0.'
            )
    return {part: some for part, some in parts.items() if some}

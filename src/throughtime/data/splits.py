"""Cuts a text or a list into splits for training, validation and test."""

from __future__ import annotations

import math
from typing import Any, TypeVar

__all__ = ["split_in_order"]

Whole = TypeVar("Whole", str, list[Any])


def split_in_order(
    name: str, whole: Whole, valid: float | None, test: float | None, unit: str
) -> dict[str, Whole]:
    """Cuts ``whole`` into train, valid and test, in this order; a split of fraction 0 is absent.

    Args:
        name: the name of the data, for error messages.
        whole: a text or a list.
        valid, test: the fractions of validation and test; None is 0.1 and 0.
        unit: the plural of the items of ``whole``, for error messages.

    Raises:
        ValueError: if the fractions are out of range or leave a split empty.

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
    # round() corrects floating-point errors: 10 * (1 - 0.9) is slightly below 1.
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
    return {part: items for part, items in parts.items() if items}

"""Cuts a text or a list into splits for training, validation and test."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable
from typing import Any, Literal, TypeVar

from throughtime.checks import unknown

__all__ = ["Cut", "check_own_splits", "cut_items", "cut_own", "cut_text", "split_in_order"]

Whole = TypeVar("Whole", str, list[Any])
Item = TypeVar("Item")

Cut = Literal["order", "random", "blocks"]
"""How data are cut into splits; see :func:`cut_items`."""

_NUM_BLOCKS = 10
_LEAST_ITEMS_OF_BLOCK = 10


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
    valid, test = _fractions(name, valid, test, unit)
    start_valid, start_test = _starts(len(whole), valid, test)
    parts = {
        "train": whole[:start_valid],
        "valid": whole[start_valid:start_test],
        "test": whole[start_test:],
    }
    return _checked(name, parts, valid, test, len(whole), unit)


def cut_items(
    name: str,
    items: list[Item],
    valid: float | None,
    test: float | None,
    unit: str,
    how: Cut = "order",
    key: Callable[[Item], Hashable] = lambda item: item,
) -> dict[str, list[Item]]:
    """Cuts a list into train, valid and test; a split of fraction 0 is absent.

    Args:
        name, items, valid, test, unit: see :func:`split_in_order`.
        how: ``order``: train, then valid, then test. ``random``: the items in random order, always
            the same; items of equal keys are in the same split. ``blocks``: ten blocks of
            consecutive items (fewer if they have less than ten items), each of which is cut in
            order.
        key: what makes two items equal.

    Raises:
        ValueError: if the fractions are out of range or leave a split empty.

    >>> cut_items("digits", list(range(10)), 0.2, 0.1, "digits", "random")
    {'train': [3, 5, 2, 4, 6, 0, 1], 'valid': [7, 8], 'test': [9]}
    """
    if how not in ("order", "random", "blocks"):
        raise unknown("way to split", how, ("order", "random", "blocks"))
    if how == "order":
        return split_in_order(name, items, valid, test, unit)
    valid, test = _fractions(name, valid, test, unit)
    parts: dict[str, list[Item]] = {"train": [], "valid": [], "test": []}
    if how == "blocks":
        N = len(items)
        num_blocks = max(1, min(_NUM_BLOCKS, N // _LEAST_ITEMS_OF_BLOCK))
        for k in range(num_blocks):
            block = items[k * N // num_blocks : (k + 1) * N // num_blocks]
            start_valid, start_test = _starts(len(block), valid, test)
            parts["train"] += block[:start_valid]
            parts["valid"] += block[start_valid:start_test]
            parts["test"] += block[start_test:]
    else:
        equal: dict[Hashable, list[Item]] = {}
        for item in items:
            equal.setdefault(key(item), []).append(item)
        groups = list(equal.values())
        random.Random(0).shuffle(groups)
        start_valid, start_test = _starts(len(items), valid, test)
        num_assigned = 0
        for group in groups:
            part = "train" if num_assigned < start_valid else "valid"
            part = "test" if num_assigned >= start_test else part
            parts[part] += group
            num_assigned += len(group)
    return _checked(name, parts, valid, test, len(items), unit)


def cut_own(
    where: str,
    name: str,
    parts: dict[str, list[Item]],
    valid: float | None,
    test: float | None,
    unit: str,
    how: Cut,
    key: Callable[[Item], Hashable],
) -> tuple[dict[str, list[Item]], Cut | None]:
    """The splits of the user's own data, of which the missing ones are cut off.

    Args:
        where: the function that reads the data, for error messages.
        parts: the items of each split that has a file of its own; those of a single file are
            "all". Without "valid", the validation is cut off the training.
        name, valid, test, unit, how, key: see :func:`cut_items`.

    Returns:
        The splits, and how they were cut; None if they were not.

    Raises:
        ValueError: for an option that would cut splits which have files, and as `cut_items` does.
    """
    parts = dict(parts)
    if "all" not in parts and "valid" in parts:
        check_own_splits(where, name, valid, test, how)
        return parts, None
    if "all" in parts:
        whole = parts.pop("all")
    else:
        check_own_splits(where, name, None, test, "order")
        whole, test = parts["train"], 0
    return parts | cut_items(name, whole, valid, test, unit, how, key), how


def cut_text(
    name: str, text: str, valid: float | None, test: float | None, how: Cut = "order"
) -> dict[str, str]:
    r"""Cuts a text into train, valid and test; see :func:`cut_items`.

    In order it is cut between two characters; else between its lines, which end with ``\n``. At
    random, its empty lines are left out.
    """
    if how == "order":
        return split_in_order(name, text, valid, test, "characters")
    lines = [f"{line}\n" for line in text.removesuffix("\n").split("\n")]
    if how == "random":
        lines = [line for line in lines if line.strip()]
    parts = cut_items(name, lines, valid, test, "lines", how)
    return {part: "".join(lines) for part, lines in parts.items()}


def check_own_splits(
    where: str, name: str, valid: float | None, test: float | None, how: Cut
) -> None:
    """Raises a ValueError for options that would cut data which come in splits."""
    if valid is not None or test is not None:
        raise ValueError(
            f'{where}: expected no fractions because "{name}" comes in splits of its own, got '
            f"valid_fraction={valid}, test_fraction={test}. Leave them out."
        )
    if how != "order":
        raise ValueError(
            f'{where}: expected no way to split because "{name}" comes in splits of its own, got '
            f"{how}. Leave --split out."
        )


def _fractions(
    name: str, valid: float | None, test: float | None, unit: str
) -> tuple[float, float]:
    valid = 0.1 if valid is None else valid
    test = 0.0 if test is None else test
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise ValueError(
            f"{name}: expected fractions from 0 that leave some {unit} for training, got "
            f"valid_fraction={valid}, test_fraction={test}. Make their sum less than 1."
        )
    return valid, test


def _starts(number: int, valid: float, test: float) -> tuple[int, int]:
    """The indices of ``number`` items at which validation and test begin."""
    # round() corrects floating-point errors: 10 * (1 - 0.9) is slightly below 1.
    return (
        math.floor(round(number * (1 - valid - test), 6)),
        math.floor(round(number * (1 - test), 6)),
    )


def _checked(
    name: str, parts: dict[str, Any], valid: float, test: float, number: int, unit: str
) -> dict[str, Any]:
    """The parts that are not empty. Raises a ValueError if one should not be."""
    for part, fraction in {"train": 1.0, "valid": valid, "test": test}.items():
        if fraction > 0 and not parts[part]:
            raise ValueError(
                f"{name}: expected enough {unit} for every split, got {number}, which leaves "
                f'"{part}" empty. Give more {unit}, or set its fraction to 0.'
            )
    return {part: items for part, items in parts.items() if items}

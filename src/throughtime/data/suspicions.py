"""Warns of data whose validation says little: sorted ones, and copies in several splits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from throughtime.data.splits import Cut

__all__ = ["suspicions"]

_LEAST_ITEMS = 20
_SORTED = 0.95
_COPIES_OF_A_LIST = 0.05
_COPIES_OF_A_TEXT = 1 / 3


def suspicions(
    name: str, splits: Mapping[str, Sequence[str]], cut: Cut | None, unit: str = "lines"
) -> list[str]:
    """Sentences about what makes a validation misleading; none if nothing is wrong.

    Sorted items that were cut in order differ in kind between training and validation. Items of the
    validation that are in the training, too, make its figures too good. In a running text some
    lines occur again; so of a text with empty lines only many copies are worth a warning.

    Args:
        name: the name of the data.
        splits: the items of each split (lines, pairs), by name.
        cut: how they were cut; None if they came in splits.
        unit: the plural of the items.
    """
    train, valid = splits.get("train", ()), splits.get("valid", ())
    sentences = []
    # The first line of a text that was cut in order may begin in its middle.
    if valid and cut == "order" and _is_sorted([*train, *valid]):
        sentences.append(
            f"{name}: the {unit} are sorted, and the validation is the last of them, from "
            f"{_shortened(valid[min(1, len(valid) - 1)])} on. So it differs from the training. Use "
            "--split random."
        )
    known = set(train)
    copies = [item for item in valid if item.strip() and item in known]
    num_valid = sum(1 for item in valid if item.strip())
    is_list = num_valid > 0.99 * len(valid)
    share = len(copies) / max(1, num_valid)
    if not is_list:
        # Short lines, such as the names of speakers, may well occur again.
        share = sum(map(len, copies)) / max(1, sum(map(len, valid)))
    if num_valid >= _LEAST_ITEMS and share > (_COPIES_OF_A_LIST if is_list else _COPIES_OF_A_TEXT):
        advice = (
            " Use --split random, which keeps equal ones together."
            if cut in ("order", "blocks")
            else " Remove them from one of the two."
        )
        sentences.append(
            f"{name}: {len(copies):,} of {num_valid:,} {unit} of the validation are in the "
            f"training, too, so its figures are better than those for new ones.{advice}"
        )
    return sentences


def _is_sorted(items: Sequence[str]) -> bool:
    """Whether nearly all items stand in the order of the alphabet, or against it."""
    folded = [item.casefold() for item in items]
    ups = sum(a < b for a, b in itertools.pairwise(folded))
    downs = sum(a > b for a, b in itertools.pairwise(folded))
    return ups + downs >= _LEAST_ITEMS and max(ups, downs) >= _SORTED * (ups + downs)


def _shortened(item: str, most: int = 40) -> str:
    item = item.strip()
    return repr(item if len(item) <= most else f"{item[:most]}…")

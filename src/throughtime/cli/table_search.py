"""The random search of a table: settings that are drawn from ranges for each trial."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from throughtime.reading import Entries, Whole

__all__ = ["SEARCH", "check_search", "drawn_settings"]

SEARCH = Entries(
    {
        "trials": Whole(2),
        "ranges": Entries(
            others=Entries({"low": float, "high": float}, {"log": bool, "whole": bool})
        ),
    }
)
"""The kinds of the entry ``search`` of the file of a table."""


def check_search(where: str, search: Mapping[str, Any]) -> None:
    """Raises a ValueError for a range that holds no value.

    Args:
        where: the name of the file, for the message.
        search: the entry ``search``.
    """
    if not search["ranges"]:
        raise ValueError(f"{where}: search: ranges: expected at least one, got none.")
    for name, entry in search["ranges"].items():
        low, high = entry["low"], entry["high"]
        place = f"{where}: search: ranges: {name}"
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"{place}: expected low below high, got {low:g} and {high:g}.")
        if entry.get("log") and low <= 0:
            raise ValueError(f"{place}: expected low above 0 on a log scale, got {low:g}.")
        if entry.get("whole") and math.ceil(low) > math.floor(high):
            raise ValueError(f"{place}: expected a whole number from {low:g} to {high:g}.")


def drawn_settings(ranges: Mapping[str, Any], row: str, trial: int) -> dict[str, Any]:
    """The settings of a trial, which depend on the row, the trial and the ranges alone.

    >>> drawn_settings({"units": {"low": 20, "high": 200, "log": True, "whole": True}}, "LSTM", 1)
    {'units': 23}
    """
    draw = random.Random(f"{row} {trial}")
    settings: dict[str, Any] = {}
    for name, entry in sorted(ranges.items()):
        low, high = entry["low"], entry["high"]
        share = draw.random()
        if entry.get("log"):
            value = low * (high / low) ** share
        else:
            value = low + (high - low) * share
        if entry.get("whole"):
            value = min(max(round(value), math.ceil(low)), math.floor(high))
        settings[name] = value
    return settings

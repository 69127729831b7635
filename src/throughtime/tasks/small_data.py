"""Defaults of the batch size and of dropout for small data."""

from __future__ import annotations

from typing import Any

from throughtime.tasks.task import Default

__all__ = ["defaults_for"]

_LEAST_STEPS = 50
"""The number of steps that an epoch shall have at least."""

_DROPOUT = 0.3


def defaults_for(
    config: Any, amount: int, unit: str, *, per_row: int, least: int, few: int
) -> dict[str, Default]:
    """The batch size and the dropout that suit an amount of training data; none if it is large.

    The batch size is halved until an epoch has at least 50 steps. A network that reads few examples
    many times learns them by heart, so dropout is 0.3 for few of them, unless it is set.

    Args:
        config: the settings, with ``batch_size`` and ``dropout``.
        amount: the number of units of the training split.
        unit: the plural of the units, for the reasons.
        per_row: the number of units that a batch size of 1 reads in a step.
        least: the smallest batch size.
        few: the number of units below which dropout is used.
    """
    defaults = {}
    size = config.batch_size
    while size > least and size * per_row * _LEAST_STEPS > amount:
        size //= 2
    if size != config.batch_size:
        num_steps = -(-amount // (config.batch_size * per_row))
        defaults["batch_size"] = Default(
            size,
            f"with {config.batch_size} an epoch of {amount:,} {unit} would have only "
            f"{num_steps} {'step' if num_steps == 1 else 'steps'}",
        )
    if amount < few and config.dropout == 0:
        defaults["dropout"] = Default(
            _DROPOUT, f"without it a network learns {amount:,} {unit} by heart"
        )
    return defaults

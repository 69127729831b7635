"""Properties of a text at the steps of any model, whose tokens may be characters or words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from throughtime.inspection.measures.text_properties import Property
from throughtime.inspection.recording import Recording

__all__ = ["as_text", "followed"]


def as_text(steps: Sequence[str]) -> Sequence[str]:
    """The steps, such that they are a text when they are joined: words get a space behind them.

    >>> as_text(["a", "cat"]), as_text("cat")
    (['a ', 'cat '], 'cat')
    """
    are_words = any(len(step) > 1 for step in steps)
    return [f"{step} " for step in steps] if are_words else steps


def followed(
    recordings: Sequence[Recording], property: Property
) -> tuple[Sequence[Recording], Property]:
    """The arguments of :func:`.correlation.followers` for the parts that can follow a property.

    Args:
        recordings: those of the held-out data.
        property: a property of texts.

    Returns:
        The recordings, without the states of parts at whose steps the property never changes,
        unless it changes in none; and the property, computed once for all states of a part.
    """
    results: dict[int, Tensor] = {}

    def of_steps(steps: Sequence[str]) -> Tensor:
        # The recordings keep the steps, so no other ones get their id.
        if id(steps) not in results:
            results[id(steps)] = property(as_text(steps))
        return results[id(steps)]

    parts = {
        part
        for part in recordings[0].steps
        if len(torch.cat([of_steps(r.steps[part]) for r in recordings]).unique()) > 1
    }
    states = frozenset(n for n in recordings[0].states if recordings[0].part(n) in parts)
    return [replace(r, states=states or r.states) for r in recordings], of_steps

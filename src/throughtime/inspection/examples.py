"""The held-out inputs that a user can choose by their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from throughtime.tasks.uses import Inspectable, Streams

__all__ = ["PASSAGE", "examples"]

PASSAGE = 300
"""The number of steps of a passage of a text."""

_MOST_STEPS, _NUM_EXAMPLES, _NUM_PASSAGES = 20_000, 20, 8


def examples(task: Inspectable) -> Sequence[Any]:
    """The first held-out inputs; of a language model, whose text is one, passages of it.

    Raises:
        ValueError: if the data of the run cannot be read.
    """
    inputs = task.held_out(_MOST_STEPS)
    if not isinstance(task, Streams):
        return inputs[:_NUM_EXAMPLES]
    passages = []
    for text in inputs[:1]:
        step = max(PASSAGE, len(text) // _NUM_PASSAGES)
        passages = [text[i : i + PASSAGE] for i in range(0, len(text), step)][:_NUM_PASSAGES]
    return passages

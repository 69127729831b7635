"""A run that is watched while it reads one input."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import torch
from torch import nn

from throughtime.inspection.examples import examples
from throughtime.inspection.measures.correlation import followers
from throughtime.inspection.measures.summary import Measured, measures_of
from throughtime.inspection.measures.text_properties import Property
from throughtime.inspection.recording import Recording, record
from throughtime.layers.recurrent import Recurrent
from throughtime.tasks.run import Run
from throughtime.tasks.uses import Streams

__all__ = ["Watched", "example_of"]

_FOLLOWED_STEPS = 10_000


def example_of(task: Any, number: int | None = None) -> Any:
    """The held-out example of a number, from 1; None is the longest, in which there is most to see.

    Raises:
        ValueError: if there is no such example, or the data of the run cannot be read.
    """
    choices = examples(task)
    if number is None and choices:
        # What has no length counts as the shortest.
        return max(choices, key=lambda input: len(input) if isinstance(input, Sized) else 0)
    if number is None or not 1 <= number <= len(choices):
        raise ValueError(f"--example: expected a number from 1 to {len(choices)}, got {number}.")
    return choices[number - 1]


class Watched:
    """A run with its model, and what the model computes for one input.

    Args:
        run, task: the run and its task, which is
            :class:`~throughtime.tasks.uses.Inspectable`.
        input: a text, or one of ``task.held_out``.
        is_own: whether the user has written the input; else units are compared with properties in
            more of the held-out text.
        step: a model that ``--keep_best`` has kept; None is the best one.

    Raises:
        ValueError: if the run has no model, the model has no recurrent layers, or it cannot read
            the input.
    """

    def __init__(
        self, run: Run, task: Any, input: Any, *, is_own: bool = False, step: int | None = None
    ) -> None:
        self.run, self.task, self.input, self.is_own = run, task, input, is_own
        self.model = run.load_model(task, step)
        self.is_language = isinstance(task, Streams)
        if not any(isinstance(module, Recurrent) for module in self.model.modules()):
            raise ValueError(
                f"{run.folder}: the model has no recurrent layers of this package, so there is "
                f"nothing to measure."
            )
        try:
            self.recording = record(task, self.model, input)
        except ValueError as error:
            raise ValueError(f"{run.folder}: the text cannot be read: {error}") from error

    def fresh(self) -> nn.Module:
        """A model with the weights that a training with the seed of the run would start from."""
        seed = self.run.config()["training"].get("seed")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed if isinstance(seed, int) else 0)
            return self.task.model().eval()

    def followed(self) -> list[Recording]:
        """The recordings in which units are compared with properties."""
        if self.is_own or not self.is_language:
            return [self.recording]
        return [record(self.task, self.model, i) for i in self.task.held_out(_FOLLOWED_STEPS)]

    def measures(self, properties: Mapping[str, Property], is_thorough: bool) -> list[Measured]:
        """See :func:`throughtime.inspection.measures.summary.measures_of`."""
        return list(
            measures_of(
                self.task,
                self.model,
                self.input,
                fresh=self.fresh,
                run=self.run,
                properties=properties,
                followed=self.followed(),
                is_thorough=is_thorough,
            )
        )

    def unit(self, text: str) -> tuple[str, int]:
        """The recorded value and the number of a unit that a user names, ``recurrent.c_l1:31``.

        Raises:
            ValueError: if there is no such unit.
        """
        values = self.recording.values
        name, _, number = text.rpartition(":")
        width = values[name].shape[1] if name in values else 0
        if not (number.isascii() and number.isdecimal()) or int(number) >= width:
            names = ", ".join(f"{n}:0 to {v.shape[1] - 1}" for n, v in values.items())
            raise ValueError(
                f"--unit: expected a value and the number of a unit, one of {names}; got {text}."
            )
        return name, int(number)

    def follower(self, properties: Mapping[str, Property]) -> tuple[str, int]:
        """The unit that follows one of the properties most.

        In a text in which none of them changes, and in other inputs than texts, it is the unit of a
        state that varies most.

        Raises:
            ValueError: if there is one property alone, and it never changes.
        """
        best = []
        recordings = self.followed() if self.is_language else []
        for property in properties.values() if recordings else ():
            try:
                best += followers(recordings, property, most=1)
            except ValueError:
                if len(properties) == 1:
                    raise
        if best:
            chosen = max(best, key=lambda unit: abs(unit.correlation))
            return chosen.name, chosen.unit
        recording = self.recording
        part = list(recording.steps)[-1]
        states = [name for name in sorted(recording.states) if recording.part(name) == part]
        spread = {name: recording.values[name].double().std(0, correction=0) for name in states}
        name = max(states, key=lambda state: float(spread[state].max()))
        return name, int(spread[name].argmax())

"""The contract of a learner: how a model gets better, one step at a time."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torch.distributions import Distribution

from throughtime.checks import unknown
from throughtime.tasks.episodes import Environment
from throughtime.tasks.task import Batches, Loss, Share, Task
from throughtime.training.config import (
    EvolutionConfig,
    GradientConfig,
    LoopConfig,
    ReinforceConfig,
)
from throughtime.training.processes import Processes

__all__ = [
    "CONFIGS",
    "Diverged",
    "HasEpisodes",
    "HasFitness",
    "HasLoss",
    "Learner",
    "StepReport",
    "choose",
    "learner_class",
]

CONFIGS: dict[str, type[LoopConfig]] = {
    "gradient": GradientConfig,
    "reinforce": ReinforceConfig,
    "evolution": EvolutionConfig,
}
"""The settings of each learner, which is the class ``LEARNER`` of the module of that name."""


class Diverged(RuntimeError):
    """The loss or its gradient is no longer a finite number."""


@runtime_checkable
class HasLoss(Protocol):
    """A task with batches, each of which has a loss; see ``BatchTask``."""

    def batches(self, split: str, share: Share = ...) -> Batches: ...

    def loss(
        self, model: nn.Module, batch: Any, carried: Any = None, progress: float = 0.0
    ) -> Loss: ...

    def figures_of_loss(self, loss: float) -> dict[str, float]: ...


@runtime_checkable
class HasEpisodes(Protocol):
    """A task with an environment to act in; see ``EpisodeTask``."""

    def environment(self, seed: int) -> Environment: ...

    def policy(
        self, model: nn.Module, observations: Tensor, carried: Any = None
    ) -> tuple[Distribution, Any]: ...


@runtime_checkable
class HasFitness(Protocol):
    """A task that can say how fit a model is for one case: a batch, or an episode."""

    def fitness(self, model: nn.Module, seed: int) -> float: ...


_NEEDS: dict[str, tuple[type, str]] = {
    "gradient": (HasLoss, "batches with a loss"),
    "reinforce": (HasEpisodes, "episodes to play"),
    "evolution": (HasFitness, "a fitness"),
}


def choose(task: type[Task], name: str | None) -> str:
    """The name of the learner of a task.

    Args:
        name: as the user gave it; None takes the first that can learn the task.

    Raises:
        ValueError: for an unknown learner, or one that needs what the task does not have.
    """
    fitting = [learner for learner, (need, _) in _NEEDS.items() if issubclass(task, need)]
    if name is None and fitting:
        return fitting[0]
    if name is not None and name not in CONFIGS:
        raise unknown("learner", name, CONFIGS)
    if name not in fitting:
        what = " or ".join(f"{words} ({learner})" for learner, (_, words) in _NEEDS.items())
        if name is not None:
            what = _NEEDS[name][1]
        raise ValueError(
            f"--learner {name}: expected a task that has {what}, and {task.name} has not. "
            f"It can be learned by: {', '.join(fitting) or 'none'}."
        )
    return cast(str, name)


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Args:
        units: what this process read in the step: characters, tokens, steps of episodes.
        means: figures whose mean over several steps is written.
        latest: figures of which the last one is written (the learning rate).
    """

    units: int
    means: Mapping[str, float]
    latest: Mapping[str, float] = field(default_factory=dict)


class Learner(ABC):
    """Makes the model of a task better, step by step.

    The loop (:mod:`throughtime.training.loop`) does everything else: the clock, signals, rows,
    validation, checkpoints and resuming.

    Args:
        task: what is learned.
        config: of the learner's ``Config``.

    Attributes:
        model: that learns.
        processes: that learn together.
        total_steps: of the whole training; None if only the time ends it.
        steps_per_epoch: after which a validation is due, where no setting says otherwise.
        columns: the figures of a row of metrics.csv, besides those of the task.
        means: the names of the ``means`` of every :class:`StepReport`.
    """

    model: nn.Module
    processes: Processes
    total_steps: int | None
    steps_per_epoch: int
    columns: ClassVar[tuple[str, ...]] = ()
    means: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __init__(self, task: Any, config: Any) -> None: ...

    @abstractmethod
    def step(self, progress: float) -> StepReport:
        """Makes one step.

        Args:
            progress: the part of the training that is done, from 0 to 1.

        Raises:
            Diverged: if the loss is no longer finite; the model is as it was before the step.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs, the same in all processes: tensors and plain values."""

    def state_kinds(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The kinds of the entries of :meth:`state_dict` and of :meth:`own_state`.

        A checkpoint is checked by them before anything of it is used; see
        :func:`throughtime.reading.typed` and :mod:`throughtime.training.kinds`.

        Args:
            step: how many steps were made.
        """
        return dict.fromkeys(self.state_dict(), object), dict.fromkeys(self.own_state(), object)

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any], own: dict[str, Any], step: int) -> None:
        """Goes back to a saved state.

        Args:
            state, own: what :meth:`state_dict` and :meth:`own_state` returned, among other things;
                each entry is of its kind.
            step: how many steps were made.

        Raises:
            ValueError: if an entry does not fit all the same; then nothing was used.
        """

    def own_state(self) -> dict[str, Any]:
        """What a resumed training needs of this process alone."""
        return {}

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """The figures of a row, from the means over its steps."""
        return dict(means)

    @property
    def advice(self) -> str:
        """What to try if the training diverges."""
        return "a lower --learning_rate"


def learner_class(name: str) -> type[Learner]:
    """The learner of that name; its module is imported now, for Lightning alone takes seconds."""
    return importlib.import_module(f"throughtime.training.{name}").LEARNER

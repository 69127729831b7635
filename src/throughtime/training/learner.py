"""The interface of a learner, which improves a model step by step."""

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
"""The class of the settings of each learner, by the name of the learner and of its module."""


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
    """A task that measures the fitness of a model on one case, a batch or an episode."""

    def fitness(self, model: nn.Module, seed: int) -> float: ...


_NEEDS: dict[str, tuple[type, str]] = {
    "gradient": (HasLoss, "batches with a loss"),
    "reinforce": (HasEpisodes, "episodes to play"),
    "evolution": (HasFitness, "a fitness"),
}


def choose(task: type[Task], name: str | None) -> str:
    """Chooses the learner of a task, and returns its name.

    Args:
        task: the class of the task.
        name: the name from the user; None is the first learner that can learn the task.

    Raises:
        ValueError: for an unknown learner, or one that needs something that the task lacks.
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
    """The result of one step.

    Args:
        units: the number of units (characters, tokens, steps of episodes) that this process read.
        means: figures that metrics.csv averages over the steps of a row.
        latest: figures of which metrics.csv has the last value (the learning rate).
    """

    units: int
    means: Mapping[str, float]
    latest: Mapping[str, float] = field(default_factory=dict)


class Learner(ABC):
    """Improves the model of a task step by step.

    The loop (:mod:`throughtime.training.loop`) does everything else: the clock, signals, rows,
    validation, checkpoints and resuming.

    Args:
        task: the task to learn.
        config: the settings, of the class in :data:`CONFIGS`.

    Attributes:
        model: the model.
        processes: the processes that learn together.
        total_steps: the number of steps of the whole training; None if only the time ends it.
        steps_per_epoch: the number of steps between validations, unless a setting changes it.
        columns: the names of the learner's figures in metrics.csv, besides those of the task.
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
            progress: the fraction of the training that is done, from 0 to 1.

        Raises:
            Diverged: if the loss is no longer finite; the model is then unchanged.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The state that all processes share, as tensors and plain values, for a checkpoint."""

    def state_kinds(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The kinds of the entries of :meth:`state_dict` and of :meth:`own_state`.

        A checkpoint is checked by them before any of it is used; see
        :func:`throughtime.reading.typed` and :mod:`throughtime.training.checkpoint_kinds`.

        Args:
            step: the number of steps of the training so far.
        """
        return dict.fromkeys(self.state_dict(), object), dict.fromkeys(self.own_state(), object)

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any], own: dict[str, Any], step: int) -> None:
        """Restores a saved state.

        Args:
            state, own: the results of :meth:`state_dict` and :meth:`own_state`, possibly with
                further entries; each entry has been checked by :meth:`state_kinds`.
            step: the number of steps of the training so far.

        Raises:
            ValueError: if entries contradict each other; the learner is then unchanged.
        """

    def own_state(self) -> dict[str, Any]:
        """The state of this process alone, for a checkpoint."""
        return {}

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        """The figures of a row of metrics.csv, from the means over its steps."""
        return dict(means)

    @property
    def advice(self) -> str:
        """The advice to the user if the training diverges, to complete a sentence."""
        return "a lower --learning_rate"


def learner_class(name: str) -> type[Learner]:
    """The class of the learner of that name.

    Its module is imported by this call, because the import of Lightning takes seconds.
    """
    return importlib.import_module(f"throughtime.training.{name}").LEARNER

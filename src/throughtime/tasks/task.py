"""The contract of a task: what is learned, without a word on how."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.reading import Entries
from throughtime.tasks.shown import Shown
from throughtime.tasks.size import check_size

__all__ = [
    "WHOLE",
    "BatchTask",
    "Batches",
    "Evaluation",
    "Figure",
    "Loss",
    "NoOptions",
    "Share",
    "Task",
    "get",
    "names",
    "register",
]


class Share(NamedTuple):
    """The part of the data that one of several processes reads.

    Args:
        rank: the number of this process, from 0.
        world_size: the number of processes.
    """

    rank: int = 0
    world_size: int = 1


WHOLE = Share()
"""All of the data, for one process."""


class Batches(Protocol):
    """The batches of a split, epoch after epoch, from any place on.

    A batch is a pytree (tuples, named tuples, lists, dicts) of tensors; its tensors are moved to
    the device of the model.
    """

    def __iter__(self) -> Iterator[Any]:
        """The batches of the epoch; a further iteration is the next epoch."""
        ...

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        ...

    def seek(self, epoch: int, position: int) -> None:
        """Makes the next iteration begin with batch ``position`` of that epoch, both from 0."""
        ...


@dataclass(frozen=True)
class Loss:
    """The loss of a batch.

    Args:
        total: the sum over the units of the batch (characters, tokens, series), a scalar.
        count: the number of units.
        carried: a pytree of tensors that the next batch of the epoch goes on from (a recurrent
            state); None where batches have nothing in common.
    """

    total: Tensor
    count: int
    carried: Any = None

    @property
    def mean(self) -> Tensor:
        """The loss per unit."""
        return self.total / self.count


@dataclass(frozen=True)
class Figure:
    """What a number says.

    Args:
        unit: of the number, for the axis of a picture ("nats per token"); empty for a share.
        better: whether lower or higher numbers are better.
    """

    unit: str = ""
    better: Literal["lower", "higher"] = "lower"

    def is_improved(self, new: float, old: float) -> bool:
        """Whether ``new`` is better than ``old``; any number is better than none (NaN)."""
        if math.isnan(old):
            return not math.isnan(new)
        return new < old if self.better == "lower" else new > old

    @property
    def worst(self) -> float:
        """A number that every other one improves."""
        return math.inf if self.better == "lower" else -math.inf


@dataclass(frozen=True)
class Evaluation:
    """How well a model does.

    Args:
        figures: the numbers, by the names of ``Task.figures``.
        about: what was evaluated (the number of pairs, the width of the beam), by name.
        outputs: what the model made of each example, in the order of the data; empty where a task
            has no outputs.
        signatures: by the name of a figure, how the library that measured it names the measure.
    """

    figures: dict[str, float]
    about: dict[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    signatures: dict[str, str] = field(default_factory=dict)


@dataclass
class NoOptions:
    """The options of a use that has none."""


class Task(ABC):
    """Data, model and judgement of one thing to learn.

    A task is a :class:`BatchTask`, or an :class:`~throughtime.tasks.episodes.EpisodeTask`. What a
    trained task can do beyond being evaluated is in :mod:`throughtime.tasks.uses`.

    Args:
        config: the settings, an instance of the task's ``Config``.
        assets: what a trained model needs of the data of its training (a vocabulary, say), as
            :attr:`assets` returned it; None takes it from the data now.

    Attributes:
        name: what the command line calls the task.
        Config: a dataclass of the settings. A field's metadata may hold ``free_on_resume=True``: a
            resumed run may change the setting.
        Assets: the kinds of the entries of :attr:`assets`, by which those of a run are checked.
        EvaluationOptions: a dataclass of the options of :meth:`evaluate`, flags of
            ``throughtime evaluate``.
        unit: what is counted, in the plural, for the speed ("characters").
        has_outputs: whether :meth:`evaluate` returns what the model made of each example.
        figures: every number that a validation gives, by name.
        monitor: the figure by which the best model is kept.
    """

    name: ClassVar[str] = ""
    Config: ClassVar[type]
    Assets: ClassVar[Entries] = Entries(others=Any)
    EvaluationOptions: ClassVar[type] = NoOptions
    unit: ClassVar[str] = "examples"
    has_outputs: ClassVar[bool] = False
    monitor: ClassVar[str] = "loss"
    figures: Mapping[str, Figure]

    def __init__(self, config: Any, assets: dict[str, Any] | None = None) -> None:
        self.config = config
        self._assets = assets

    @property
    @abstractmethod
    def assets(self) -> dict[str, Any]:
        """What a trained model needs of the data, as JSON can hold it."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A short name for a run with these settings, fit for a folder."""

    @abstractmethod
    def model(self) -> nn.Module:
        """A new model."""

    @abstractmethod
    def evaluate(
        self, model: nn.Module, split: str | None = None, options: Any = None
    ) -> Evaluation:
        """Judges a model.

        Args:
            split: of the data; None is the validation split, or what the options say.
            options: of :attr:`EvaluationOptions`; None is a validation during a training, which
                may leave out figures that are not in :attr:`figures`.
        """

    def show(self, model: nn.Module) -> list[Shown]:
        """What the model makes, for a person to look at along the way."""
        return []

    def check(self) -> None:
        """Raises a ValueError, before anything is written, if this cannot be trained."""
        if self.monitor not in self.figures:
            raise unknown("figure to monitor", self.monitor, self.figures)
        check_size(self.name, self.model)
        self.model()


class BatchTask(Task):
    """A task that is learned from batches, by the loss of each."""

    @abstractmethod
    def batches(self, split: str, share: Share = WHOLE) -> Batches:
        """The batches of a split; with several processes, the share of one of them."""

    @abstractmethod
    def loss(
        self, model: nn.Module, batch: Any, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        """The loss of a batch.

        Args:
            batch: from :meth:`batches`, on the device of the model.
            carried: what the loss of the batch before returned, detached; None at an epoch's start.
            progress: the part of the training that is done, from 0 to 1.
        """

    def figures_of_loss(self, loss: float) -> dict[str, float]:
        """The mean loss per unit, as the field reads it: the figures known while training."""
        return {"loss": loss}

    def check(self) -> None:
        super().check()
        # What the model refuses is answered before anything is written.
        with torch.no_grad():
            self.loss(self.model(), next(iter(self.batches("train"))))

    def fitness(self, model: nn.Module, seed: int) -> float:
        """Minus the mean loss of the training batch with that number: the higher, the better."""
        batches = self.batches("train")
        batches.seek(seed // len(batches), seed % len(batches))
        return -float(self.loss(model, next(iter(batches))).mean)


_registry: dict[str, type[Task]] = {}


def register(task: type[Task]) -> type[Task]:
    """Lists a task under its ``name``, so that :func:`get` and the command line find it."""
    if _registry.get(task.name, task) is not task:
        raise ValueError(f'{task.__name__}: the name "{task.name}" belongs to another task.')
    _registry[task.name] = task
    return task


def names() -> list[str]:
    """The names of all tasks."""
    return list(_registry)


def get(name: str) -> type[Task]:
    """The task of that name; raises a ValueError with the nearest one for an unknown name."""
    if name not in _registry:
        raise unknown("task", name, _registry)
    return _registry[name]

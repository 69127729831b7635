"""The interface of a task, which defines what is learned; a learner defines how."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.reading import Entries
from throughtime.tasks.shown import Curves, Shown, Table
from throughtime.tasks.size import check_size

__all__ = [
    "WHOLE",
    "BatchTask",
    "Batches",
    "Default",
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
"""The share of a single process: all of the data."""


class Batches(Protocol):
    """The batches of a split, one epoch per iteration; an iteration can start at any batch.

    A batch is a pytree (tuples, named tuples, lists, dicts) of tensors. The learner moves these
    tensors to the device of the model.
    """

    def __iter__(self) -> Iterator[Any]:
        """Yields the batches of one epoch; each new iteration yields the next epoch."""
        ...

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        ...

    def seek(self, epoch: int, position: int) -> None:
        """Makes the next iteration start at batch ``position`` of ``epoch``, both from 0."""
        ...


@dataclass(frozen=True)
class Loss:
    """The loss of a batch.

    Args:
        total: the loss summed over the units of the batch (characters, tokens, series), a scalar.
        count: the number of units.
        carried: a pytree of tensors that is passed to the loss of the next batch of the epoch
            (a recurrent state); None if the batches are independent.
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
    """How to read one of the numbers that measure a model.

    Args:
        unit: the unit, for the axis of a plot ("nats per token"); empty for a fraction.
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
        """The value with which a search for the best starts: all finite numbers improve on it."""
        return math.inf if self.better == "lower" else -math.inf


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating a model.

    Args:
        figures: the numbers that measure the model, by the names of ``Task.figures``.
        about: what was evaluated and how (the number of pairs, the width of the beam), by name.
        outputs: the model's output for each example, in the order of the data; empty if the task
            has none.
        signatures: for figures that a library computes, the exact variant of the measure as that
            library names it (sacrebleu's signature of BLEU), by the name of the figure.
        tables: figures in more detail, such as those of each label.
        curves: figures against a property of the data, such as the amount of noise.
    """

    figures: dict[str, float]
    about: dict[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    signatures: dict[str, str] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    curves: Sequence[Curves] = ()


@dataclass
class NoOptions:
    """An empty set of options."""


class Default(NamedTuple):
    """A default of a setting that depends on the data.

    Args:
        value: the value.
        reason: why it suits the data, a sentence for the user.
    """

    value: Any
    reason: str


class Task(ABC):
    """The data, the model and the evaluation of one learning problem.

    A task is a :class:`BatchTask` or an :class:`~throughtime.tasks.episodes.EpisodeTask`. The
    protocols in :mod:`throughtime.tasks.uses` add what a trained model can be used for.

    Args:
        config: the settings, an instance of the task's ``Config``.
        assets: the ``assets`` of an earlier training, with which its model can be used without
            the training data; None computes them from the data.

    Attributes:
        name: the name of the task on the command line.
        Config: a dataclass of the settings. A field's metadata may hold ``free_on_resume=True``: a
            resumed run may change the setting.
        Assets: the kinds of the entries of :attr:`assets`, by which those of a run are checked.
        EvaluationOptions: a dataclass of the options of :meth:`evaluate`, flags of
            ``throughtime evaluate``.
        unit: the plural of what is counted to measure the speed of a training ("characters").
        has_outputs: whether :meth:`evaluate` returns the model's output for each example.
        figures: every number that a validation computes, by name.
        monitor: the name of the figure that selects the best model.
    """

    name: ClassVar[str] = ""
    Config: ClassVar[type]
    Assets: ClassVar[Entries] = Entries(others=Any)
    EvaluationOptions: ClassVar[type] = NoOptions
    unit: ClassVar[str] = "examples"
    has_outputs: ClassVar[bool] = False
    monitor: str = "loss"
    figures: Mapping[str, Figure]

    def __init__(self, config: Any, assets: dict[str, Any] | None = None) -> None:
        self.config = config
        self._assets = assets

    @property
    def assets(self) -> dict[str, Any]:
        """What a trained model needs from its training data (a vocabulary), as a JSON object."""
        return self._assets if self._assets is not None else self._new_assets

    @cached_property
    def _new_assets(self) -> dict[str, Any]:
        return self.new_assets()

    def new_assets(self) -> dict[str, Any]:
        """Computes :attr:`assets` from the data of a new training; empty if nothing is needed."""
        return {}

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        """What turns text into tokens and back, by what is read: ``text``, ``source``, ``target``.

        Empty for a task without text.
        """
        return {}

    @property
    @abstractmethod
    def title(self) -> str:
        """A short name for a run with these settings, usable as the name of a folder."""

    @abstractmethod
    def model(self) -> nn.Module:
        """Creates a new, untrained model."""

    @abstractmethod
    def evaluate(
        self, model: nn.Module, split: str | None = None, options: Any = None
    ) -> Evaluation:
        """Measures how well a model does.

        Args:
            model: the model.
            split: the name of a split of the data; None is the data that the options name, by
                default the validation split.
            options: an instance of :attr:`EvaluationOptions`; None is a validation during a
                training, which may omit numbers that are not in :attr:`figures`.
        """

    def show(self, model: nn.Module) -> list[Shown]:
        """Examples of what the model produces, to be looked at during the training."""
        return []

    def defaults(self) -> Mapping[str, Default]:
        """The settings for which another default suits the amount of data, by name.

        A command uses them for the settings that the user did not make.
        """
        return {}

    def check(self) -> None:
        """Raises a ValueError if the task cannot be trained; called before a run is created."""
        if self.monitor not in self.figures:
            raise unknown("figure to monitor", self.monitor, self.figures)
        check_size(self.name, self.model)
        self.model()


class BatchTask(Task):
    """A task that is learned from batches, with a loss for each batch."""

    @abstractmethod
    def batches(self, split: str, share: Share = WHOLE) -> Batches:
        """The batches of a split, or one process's share of them."""

    @abstractmethod
    def loss(
        self, model: nn.Module, batch: Any, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        """The loss of a batch.

        Args:
            model: the model.
            batch: a batch of :meth:`batches`, on the device of the model.
            carried: the ``carried`` of the previous batch's loss, detached from its graph; None
                for the first batch of an epoch.
            progress: the fraction of the training that is done, from 0 to 1.
        """

    def figures_of_loss(self, loss: float) -> dict[str, float]:
        """The figures that follow from the mean loss per unit, such as a perplexity."""
        return {"loss": loss}

    def check(self) -> None:
        super().check()
        # A model may accept its settings and refuse its first batch; the user learns it here.
        with torch.no_grad():
            self.loss(self.model(), next(iter(self.batches("train"))))

    def fitness(self, model: nn.Module, seed: int) -> float:
        """Minus the mean loss on one training batch, so that higher is better.

        Args:
            model: the model.
            seed: the number of the batch, counted over all epochs.
        """
        batches = self.batches("train")
        batches.seek(seed // len(batches), seed % len(batches))
        return -float(self.loss(model, next(iter(batches))).mean)


_registry: dict[str, type[Task]] = {}


def register(task: type[Task]) -> type[Task]:
    """Registers a task under its ``name``, so that :func:`get` and the command line find it."""
    if _registry.get(task.name, task) is not task:
        raise ValueError(f'{task.__name__}: the name "{task.name}" belongs to another task.')
    _registry[task.name] = task
    return task


def names() -> list[str]:
    """The names of all tasks."""
    return list(_registry)


def get(name: str) -> type[Task]:
    """The task class of that name; raises a ValueError with the nearest name if there is none."""
    if name not in _registry:
        raise unknown("task", name, _registry)
    return _registry[name]

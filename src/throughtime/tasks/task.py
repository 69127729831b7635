"""The contract of a task: what is learned, without a word on how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from throughtime.checks import unknown

__all__ = ["Batches", "Task", "get", "names", "register"]


class Batches(Protocol):
    """Batches in an order that can be left and taken up again in the middle."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Task(ABC):
    """Data, model, loss and metrics of one thing to learn.

    Args:
        config: the settings, an instance of the task's ``Config``.
        assets: what the task once took from its data and needs to read a trained model (a
            vocabulary, say), as :attr:`assets` gave it; None takes it from the data now.

    Attributes:
        name: what the command line calls it.
        Config: a dataclass with the settings, their types, defaults and descriptions.
        unit: what is counted, in the plural, for the speed ("characters").
        figures: the metrics that are not known of a training batch but of whole splits only.
        monitor: the metric by which the best model is chosen, the lower the better.
        fraction: how much of its training is done, from 0 to 1, as the training says it.
    """

    name: ClassVar[str] = ""
    Config: ClassVar[type]
    unit: ClassVar[str] = "examples"
    figures: ClassVar[tuple[str, ...]] = ()
    monitor: ClassVar[str] = "loss"

    def __init__(self, config: Any, assets: dict[str, Any] | None = None) -> None:
        self.config = config
        self.fraction = 0.0

    @property
    @abstractmethod
    def assets(self) -> dict[str, Any]:
        """What a trained model needs of the data, as JSON can hold it."""

    @property
    @abstractmethod
    def title(self) -> str:
        """A short name for a run with these settings, fit for a folder."""

    @abstractmethod
    def data(self, split: str, rank: int = 0, world_size: int = 1) -> Batches:
        """The batches of a split; of several processes each takes its share of the rows."""

    @abstractmethod
    def model(self) -> nn.Module:
        """A new model."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any, state: Any) -> tuple[Tensor, Any]:
        """The mean loss of a batch, and the state that the next batch goes on from, or None."""

    @abstractmethod
    def count(self, batch: Any) -> int:
        """How many units the batch holds."""

    @abstractmethod
    def readable(self, loss: float) -> dict[str, float]:
        """The loss as people of the field read it: name to figure."""

    @abstractmethod
    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """The figures of a whole split."""

    @abstractmethod
    def sample(self, model: nn.Module) -> str:
        """Something that the model makes, to be read by a person."""

    def check(self) -> None:
        """Raises a ValueError, before anything is written, where this cannot be trained."""
        self.model()
        self.data("train")


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

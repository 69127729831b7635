"""What a trained task can do beyond being evaluated. The commands know these protocols only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import nn

__all__ = [
    "AttentionMap",
    "Continues",
    "Explains",
    "Prediction",
    "Predicts",
]


class AttentionMap(NamedTuple):
    """Where a model looked while it wrote.

    Args:
        source: S tokens that were read.
        target: T tokens that were written.
        weights: (T, S), a row for each token that was written; each sums to 1.
        title: the two texts, for a page to show above.
    """

    source: Sequence[str]
    target: Sequence[str]
    weights: Sequence[Sequence[float]]
    title: str = ""


@runtime_checkable
class Continues(Protocol):
    """A task whose model creates sequences: ``throughtime generate``.

    Attributes:
        ContinuationOptions: a dataclass whose fields are flags of the command.
    """

    ContinuationOptions: ClassVar[type]

    def continuation(self, model: nn.Module, options: Any) -> Iterator[str]:
        """The pieces of the text, each as soon as it is known."""
        ...


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one input.

    Args:
        lines: to write for a person, without line ends.
        record: the same as a JSON object.
        attention: where the model looked, if it looks back and was to explain itself.
    """

    lines: Sequence[str]
    record: dict[str, Any] = field(default_factory=dict)
    attention: AttentionMap | None = None


@runtime_checkable
class Predicts(Protocol):
    """A task whose model makes something of an input: ``throughtime predict``.

    Attributes:
        reads: what a line of the input is, for the help of the command.
        writes: what is written for it.
        PredictionOptions: a dataclass whose fields are flags of the command.
    """

    reads: ClassVar[str]
    writes: ClassVar[str]
    PredictionOptions: ClassVar[type]

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: Any,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        """One prediction for each input, in order; that of an empty line writes an empty line.

        Args:
            inputs: the lines, some at a time, as they come in.
            options: of :attr:`PredictionOptions`.
            say: takes remarks for the person, a line each.

        Raises:
            ValueError: before the first prediction for options that do not fit this task; later
                for an input that the model cannot take, with its number.
        """
        ...


@runtime_checkable
class Explains(Protocol):
    """A task that can show where its model looks.

    One that also predicts takes ``explain=True`` in ``predictions``, which then say where the model
    looked; otherwise they do not, because that takes memory.
    """

    @property
    def nothing_to_explain(self) -> str:
        """Why there is nothing to show ("attention=none"); empty if there is."""
        ...

    def explanations(self, model: nn.Module) -> list[AttentionMap]:
        """Where the model looks for some examples of the validation split."""
        ...

"""The protocols for using a trained model: generate, predict, explain.

The commands and the pages know these protocols only, and no task by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from throughtime.models import Hypothesis

__all__ = [
    "AttentionMap",
    "Continues",
    "Explains",
    "Hears",
    "Inspectable",
    "Language",
    "Observation",
    "Prediction",
    "Predicts",
    "ReadsFiles",
    "Searches",
    "Streams",
]


class AttentionMap(NamedTuple):
    """The attention weights of one target over its source.

    Args:
        source: the S tokens that the model read.
        target: the T tokens that the model wrote.
        weights: (T, S), a row for each token of the target; each row sums to 1.
        title: the two texts, shown above the map.
        source_parents, target_parents: for a side that is a tree in prefix order, the index of the
            parent of each node, -1 for the root; empty for a sequence.
    """

    source: Sequence[str]
    target: Sequence[str]
    weights: Sequence[Sequence[float]]
    title: str = ""
    source_parents: Sequence[int] = ()
    target_parents: Sequence[int] = ()


@runtime_checkable
class Continues(Protocol):
    """A task whose model generates sequences, for ``throughtime generate``.

    Attributes:
        ContinuationOptions: a dataclass whose fields are flags of the command.
    """

    ContinuationOptions: ClassVar[type]

    def continuation(
        self, model: nn.Module, options: Any, say: Callable[[str], None]
    ) -> Iterator[str]:
        """Yields the text in pieces, each as soon as it is generated.

        Args:
            model: the model.
            options: an instance of :attr:`ContinuationOptions`.
            say: called with each remark for the user, a line of text.
        """
        ...


@dataclass(frozen=True)
class Prediction:
    """A model's output for one input.

    Args:
        lines: the output as lines of text, without line ends.
        record: the output as a JSON object.
        attention: the attention weights, if the model has attention and they were asked for.
    """

    lines: Sequence[str]
    record: dict[str, Any] = field(default_factory=dict)
    attention: AttentionMap | None = None


@runtime_checkable
class Predicts(Protocol):
    """A task whose model computes an output for each input, for ``throughtime predict``.

    Attributes:
        reads: what a line of the input is, for the help of the command ("a source").
        writes: what the command writes for a line.
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
        """Yields one prediction for each line, in order; for an empty line, an empty one.

        Args:
            model: the model.
            inputs: the lines, in groups, as they arrive.
            options: an instance of :attr:`PredictionOptions`.
            say: called with each warning for the user, a line of text.

        Raises:
            ValueError: before the first prediction if the options do not fit the task; later if
                the model cannot process a line, with the number of the line.
        """
        ...


@runtime_checkable
class Hears(Protocol):
    """A task whose model can transcribe a sound while it arrives.

    Its ``PredictionOptions`` have the option ``stream``, which asks for it.
    """

    def heard(
        self, model: nn.Module, stream: BinaryIO, options: Any, say: Callable[[str], None]
    ) -> Iterator[str]:
        """Yields the pieces of the transcript, each as soon as it is heard.

        Args:
            model: the model.
            stream: the sound.
            options: an instance of ``PredictionOptions``.
            say: called with each remark for the user, a line of text.

        Raises:
            ValueError: if the model needs the whole sound, or the stream is no sound.
        """
        ...


@runtime_checkable
class ReadsFiles(Protocol):
    """A task that can be :class:`Predicts` of files, such as sounds: each line is a path."""

    @property
    def reads_files(self) -> bool:
        """Whether the files of ``throughtime predict`` are the inputs, and do not hold lines."""
        ...


@runtime_checkable
class Explains(Protocol):
    """A task that can show the attention weights of its model.

    If such a task is also :class:`Predicts`, its ``predictions`` take ``explain``: with True, each
    prediction holds its attention weights. False is the default because they take memory.
    """

    @property
    def nothing_to_explain(self) -> str:
        """Why the model has no attention weights ("attention=none"); empty if it has them."""
        ...

    def explanations(self, model: nn.Module) -> list[AttentionMap]:
        """The attention weights for a few examples of the validation split."""
        ...


@dataclass(frozen=True)
class Observation:
    """One sequence as a model reads it, step by step.

    Args:
        steps: the text of each step, for each part of the model: the prefix of the names of its
            modules ("encoder", "decoder"; empty for the whole model). Modules without a part do
            not read these steps.
        run: runs the model once on the sequence, in evaluation mode and without a gradient, and
            returns (T, K), the probability of each output after each of the last T steps of the
            part that comes last in ``steps``; None if the model has no probabilities.
        outputs: the names of the K outputs (characters, labels).
        features: (T, I), the numbers that the model read, if it reads numbers and no tokens.
        feature_names: the names of the I features.
    """

    steps: Mapping[str, Sequence[str]]
    run: Callable[[], Tensor | None]
    outputs: Sequence[str] = ()
    features: Tensor | None = None
    feature_names: Sequence[str] = ()


@runtime_checkable
class Inspectable(Protocol):
    """A task whose model can be watched while it reads, for ``throughtime inspect``."""

    def held_out(self, most: int) -> list[Any]:
        """Inputs of the validation split, in order; each can be an argument of :meth:`observe`.

        Args:
            most: the largest number of steps in all of them together; the first may have more.
        """
        ...

    def observe(self, model: nn.Module, input: Any) -> Observation:
        """Prepares the model to read one input.

        Args:
            model: the model.
            input: a text that a user has written, or one of :meth:`held_out`.

        Raises:
            ValueError: if the model cannot read the input: an empty text, or a character that the
                training never saw.
        """
        ...


@dataclass(frozen=True)
class Language:
    """The tokens of a language model, which is called as ``model(tokens, state)``.

    The model maps tokens (B, T) and a state to the scores of the next token (B, T, V) and the next
    state.

    Args:
        tokens: the text of each of the V tokens.
        start: what the model reads before the first token of a text.
        encode: turns a text into token ids (N); raises a ValueError for unknown characters.
    """

    tokens: Sequence[str]
    start: str
    encode: Callable[[str], Tensor]


@runtime_checkable
class Streams(Protocol):
    """A task whose model is a language model, which reads and writes token by token."""

    @property
    def language(self) -> Language:
        """The tokens of the model."""
        ...


@runtime_checkable
class Searches(Protocol):
    """A task whose model is a :class:`~throughtime.models.Writer`, which a beam search can use."""

    @property
    def tokenisers(self) -> tuple[Any, Any]:
        """The tokenisers of source and target."""
        ...

    def search(
        self, model: nn.Module, sources: Sequence[Sequence[int]], **how: Any
    ) -> list[list[Hypothesis]]:
        """The best targets of each source, which is given as token ids.

        Args:
            model: the model.
            sources: the token ids of the sources.
            how: ``beam_width``, ``n_best`` and ``watch``; see
                :func:`throughtime.tasks.rewriting.hypotheses`.
        """
        ...

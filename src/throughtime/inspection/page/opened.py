"""A run whose page is open: its model, what it read last, and what the page must know of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from throughtime.checks import unknown
from throughtime.data import Tokeniser
from throughtime.inspection.examples import examples
from throughtime.inspection.measures.projection import embeddings
from throughtime.inspection.page.held_out import MOST_STEPS, recordings_of
from throughtime.inspection.page.reading import (
    MOST_VALUES,
    LanguageReader,
    Reading,
    ReadingOfLanguage,
    ReadingOfRecording,
)
from throughtime.inspection.recording import Recording, record
from throughtime.tasks.loading import load_run
from throughtime.tasks.run import Run
from throughtime.tasks.unknown_tokens import UnknownTokens
from throughtime.tasks.uses import Inspectable, Streams

__all__ = ["OpenedRun"]

_MOST_CHARACTERS = 10_000
_NUM_READINGS = 4


class OpenedRun:
    """A run of the page, and all that is computed once for its model.

    Several requests may use it at once; the model runs for one of them at a time.

    Args:
        folder: the run folder.
        version: a number that no other model of this folder has.
        check: called while a long computation goes on; raises to end it.

    Raises:
        RunError: a ValueError, if the folder is not a run or has no model yet.
        ValueError: if its task cannot be inspected.
    """

    def __init__(self, folder: Path, version: int, check: Callable[[], None]) -> None:
        self.folder, self.version, self._check = folder, version, check
        # Before the model is read: if it changes meanwhile, it is read again.
        self.stamp = _stamp_of(folder)
        """The time at which the model was saved, in nanoseconds."""
        loaded = load_run(folder)
        task = loaded.task
        if not isinstance(task, Inspectable):
            raise ValueError(
                f"{folder}: the task {task.name} cannot be inspected: it does not say what its "
                "model reads."
            )
        self.task, self.model, self.config = task, loaded.model, loaded.config
        self.name: str = loaded.task.name
        self.tokenisers = list(loaded.tokenisers.values())
        self.lock = threading.RLock()
        self._held_out_lock = threading.Lock()
        self.language = task.language if isinstance(task, Streams) else None
        self.reader = None
        if self.language is not None:
            self.reader = LanguageReader(self.language, self.model)
        self._readings: OrderedDict[str | int, ReadingOfRecording] = OrderedDict()
        self.missing_data = ""
        """Why the data cannot be read; empty if they can, or were not needed yet."""
        self._first: Recording | None = None

    @property
    def is_stale(self) -> bool:
        """Whether the folder has another model than the one that was read."""
        return _stamp_of(self.folder) not in (self.stamp, None)

    @cached_property
    def inputs(self) -> Sequence[Any]:
        """The held-out inputs; empty if the data are missing."""
        try:
            return self.task.held_out(MOST_STEPS)
        except (ValueError, OSError) as error:
            self.missing_data = f"The data of this run cannot be read: {error}"
            return []

    @cached_property
    def examples(self) -> Sequence[Any]:
        """The held-out inputs that the page offers; empty if the data are missing."""
        return examples(self.task) if self.inputs else []

    @property
    def first(self) -> Recording | None:
        """A recording of any input, which says what the model has; None if there is none yet."""
        with self.lock:
            if self._first is None and self.language is not None:
                self._first = record(self.task, self.model, self.language.start)
            elif self._first is None and self.examples:
                self._first = record(self.task, self.model, self.examples[0])
            return self._first

    @property
    def most_characters(self) -> int:
        """The largest length of a text, whose values must fit into memory."""
        first = self.first
        if first is None:
            return _MOST_CHARACTERS
        width = max(1, sum(value.shape[1] for value in first.values.values()))
        return min(_MOST_CHARACTERS, MOST_VALUES // 2 // width)

    def text(self, text: str) -> str:
        """The text itself, checked.

        Raises:
            ValueError: if it is too long.
        """
        if len(text) > self.most_characters:
            raise ValueError(
                f"The text has {len(text):,} characters; of this model the page reads at most "
                f"{self.most_characters:,}. Take a part of it."
            )
        return text

    def example(self, number: int) -> Any:
        """An example by its number.

        Raises:
            ValueError: if there is no such example.
        """
        if not 0 <= number < len(self.examples):
            raise ValueError(
                f"example: expected a number below {len(self.examples)}, got {number}."
                f"{f' {self.missing_data}' if self.missing_data else ''}"
            )
        return self.examples[number]

    def ids(self, text: str) -> list[int]:
        """The token ids of a text for the language model.

        Raises:
            ValueError: if it is too long, or has unknown characters.
        """
        assert self.language is not None
        return self.language.encode(self.text(text)).tolist()

    def read(self, input: str | int) -> Reading:
        """Reads a text, or the example of a number.

        Raises:
            ValueError: if the model cannot read it.
        """
        text = self.text(input) if isinstance(input, str) else self.example(input)
        with self.lock:
            if self.reader is not None:
                ids = self.ids(text)
                if not ids:
                    raise ValueError("expected at least one character, got an empty text.")
                return ReadingOfLanguage(self.reader, ids)
            reading = self._readings.get(input)
            if reading is None:
                recording = record(self.task, self.model, text)
                self._first = self._first or recording
                reading = self._readings[input] = ReadingOfRecording(recording)
                if len(self._readings) > _NUM_READINGS:
                    self._readings.popitem(last=False)
            self._readings.move_to_end(input)
            return reading

    def typed(self, input: str | int) -> str | None:
        """The input as a person would type it; None if nobody can."""
        input = self.example(input) if isinstance(input, int) else input
        if isinstance(input, str):
            return input
        with self.lock:
            observation = self.task.observe(self.model, input)
            if observation.features is not None:
                return None
            tokens = next(iter(observation.steps.values()))
            texts = (text for text in (" ".join(tokens), "".join(tokens)) if self._is(text, tokens))
            return next(texts, None)

    def _is(self, text: str, tokens: Sequence[str]) -> bool:
        """Whether the model reads a text as these tokens."""
        try:
            steps = self.task.observe(self.model, text).steps
        except ValueError:
            # The task reads texts of another form.
            return False
        return list(next(iter(steps.values()))) == list(tokens)

    def unknown(self, input: str | int) -> str:
        """A sentence on the tokens of a text that the training never saw; empty without any."""
        tokeniser = self.tokenisers[0] if self.tokenisers else None
        text = self.example(input) if isinstance(input, int) else input
        if not isinstance(text, str) or not isinstance(tokeniser, Tokeniser):
            return ""
        tokens = UnknownTokens(tokeniser)
        tokens.add(text)
        return str(tokens)

    @property
    def recordings(self) -> list[Recording]:
        """What the model computes for the held-out data, recorded once.

        Raises:
            ValueError: if the data are missing.
        """
        with self._held_out_lock:
            return self._recordings

    @cached_property
    def _recordings(self) -> list[Recording]:
        inputs = self.inputs
        if not inputs:
            raise ValueError(self.missing_data or "The run has no held-out data.")
        return recordings_of(self.task, self.model, self.language, inputs, self.lock, self._check)

    def embedding(self, name: str) -> tuple[Tensor, Sequence[str]]:
        """The rows of an embedding, and their tokens.

        Raises:
            ValueError: if there is no such embedding.
        """
        tokens = self.tokens_of_embeddings
        if name not in tokens:
            raise unknown("embedding", name, tokens)
        return embeddings(self.model)[name], tokens[name]

    @property
    def tokens_of_embeddings(self) -> dict[str, Sequence[str]]:
        """The tokens of each embedding whose rows are the tokens of a tokeniser.

        The last part of a model writes the tokens of the last tokeniser, and other parts read those
        of the first.
        """
        last = "" if self.first is None else list(self.first.steps)[-1]
        tokens: dict[str, Sequence[str]] = {}
        for name, weight in embeddings(self.model).items():
            is_of_last = bool(last) and name.startswith(f"{last}.")
            for tokeniser in self.tokenisers[-1:] if is_of_last else self.tokenisers[:1]:
                if len(tokeniser) == len(weight):
                    texts = (tokeniser.decode([i]) for i in range(len(weight)))
                    tokens[name] = [text or "·" for text in texts]
        return tokens


def _stamp_of(folder: Path) -> int | None:
    """The time at which the model was saved, in nanoseconds; None if there is none."""
    try:
        return Run(folder).model_file.stat().st_mtime_ns
    except OSError:
        return None

"""Reads texts with a language model so that a key press costs one step."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.inspection.page.wire import likeliest
from throughtime.inspection.recording import Recording, recorded
from throughtime.layers.evaluation import evaluating
from throughtime.tasks.uses import Language

__all__ = ["Block", "LanguageReader", "Reading", "ReadingOfLanguage", "ReadingOfRecording"]

_SHORT, _LONG = 16, 128
"""Steps of a block. A state is kept after each block, so an edit reads at most so many steps again
before it. A long text is read faster in long blocks, except near its end, where people type."""

MOST_VALUES = 1 << 26
"""The largest number of values in the blocks of a reader: 256 MB of float32."""


class Reading(Protocol):
    """What a model computed while it read one input.

    Attributes:
        steps: the text of each step, for each part of the model.
        features: (T, I), the numbers that the model read, or None if it read tokens.
        feature_names: the names of the I features.
    """

    @property
    def steps(self) -> Mapping[str, Sequence[str]]: ...

    @property
    def features(self) -> Tensor | None: ...

    @property
    def feature_names(self) -> Sequence[str]: ...

    def values(self, name: str, begin: int = 0) -> Tensor:
        """The values (T - begin, W) of a name from step ``begin`` on.

        Raises:
            ValueError: if there is no such name.
        """
        ...

    def top(self, begin: int = 0) -> list[list[list[Any]]]:
        """The likeliest outputs after each step from ``begin`` on; see :func:`.wire.likeliest`."""
        ...


@dataclass(frozen=True)
class Block:
    """Consecutive tokens of a text, and what the model computed for them.

    Args:
        number: a number that no other block has.
        values: by name, (T, W) for the T tokens of the block.
        top: the likeliest next tokens after each of them.
        scores: (V), the scores of the next token after the last of them.
        state: the state of the model after the last of them.
    """

    number: int
    values: Mapping[str, Tensor]
    top: Sequence[list[list[Any]]]
    scores: Tensor
    state: Any

    @property
    def length(self) -> int:
        """The number of its tokens."""
        return len(self.top)


class LanguageReader:
    """Reads texts, and keeps what it computed for the texts that it read last.

    A text is cut into blocks. A block is kept under its tokens and the number of the block before
    it, so all texts that begin alike share blocks. A text that is longer by one token continues
    from the state of its last block.

    Args:
        language: the tokens of the model.
        model: a language model; it is called as ``model(tokens, state)``.
    """

    def __init__(self, language: Language, model: nn.Module) -> None:
        self.language, self.model = language, model
        self.device = next(model.parameters()).device
        self._blocks: OrderedDict[tuple[int, tuple[int, ...]], Block] = OrderedDict()
        self._num_values = 0
        self._numbers = count(1)

    def read(self, ids: Sequence[int]) -> list[Block]:
        """The blocks of a text; the last one may be shorter.

        Args:
            ids: the token ids.
        """
        blocks: list[Block] = []
        begin = 0
        while begin < len(ids):
            before = blocks[-1] if blocks else None
            blocks.append(self._block(before, ids[begin : begin + 2 * _LONG]))
            begin += blocks[-1].length
        return blocks

    def start(self) -> Block:
        """The block of the token that the model reads before a text."""
        return self.read(self.language.encode(self.language.start).tolist())[-1]

    def nats(self, ids: Sequence[int]) -> list[float]:
        """Minus the log-probability of each token given those before it.

        The first token is the one after ``language.start``. No values are recorded.
        """
        tokens = torch.tensor(ids, dtype=torch.int64)
        scores, state = [self.start().scores[None]], None
        with evaluating(self.model):
            for piece in tokens[:-1].split(512) if len(ids) > 1 else ():
                piece_scores, state = self.model(piece[None].to(self.device), state)
                scores.append(piece_scores[0].float().cpu())
        logs = torch.cat(scores).log_softmax(-1)
        return (-logs.gather(1, tokens[:, None])).squeeze(1).tolist()

    def _block(self, before: Block | None, ids: Sequence[int]) -> Block:
        """The block that comes next: one that is kept, else a new one.

        Args:
            before: the block before it; None if it begins the text.
            ids: the next tokens, more than a long block has if there are more.
        """
        parent = 0 if before is None else before.number
        for length in (_LONG, _SHORT):
            key = parent, tuple(ids[:length])
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        key = parent, tuple(ids[: _LONG if len(ids) == 2 * _LONG else _SHORT])
        block = self._read_on(before, *key)
        self._keep(key, block)
        return block

    def _read_on(self, before: Block | None, parent: int, ids: tuple[int, ...]) -> Block:
        """A block that is not kept yet: what is kept of its beginning, and its other tokens."""
        lengths = range(min(len(ids), _SHORT) - 1, 0, -1)
        known = next((n for n in lengths if (parent, ids[:n]) in self._blocks), 0)
        # The longer block takes the place of the shorter one. Otherwise a typed text would keep
        # 1 + 2 + … + 16 steps for each 16.
        first = self._drop((parent, ids[:known])) if known else None
        start = first or before
        tokens = torch.tensor([ids[known:]], device=self.device)
        with recorded(self.model) as record, evaluating(self.model):
            scores, state = self.model(tokens, None if start is None else start.state)
        scores = scores[0].float().cpu()  # (T, V)
        values = {name: torch.cat(parts, 1)[0].cpu() for name, parts in record.pieces.items()}
        top = likeliest(scores.softmax(-1), self.language.tokens)
        if first is not None:
            values = {name: torch.cat([first.values[name], v]) for name, v in values.items()}
            top = [*first.top, *top]
        return Block(next(self._numbers), values, top, scores[-1], state)

    def _keep(self, key: tuple[int, tuple[int, ...]], block: Block) -> None:
        self._blocks[key] = block
        self._num_values += _size(block)
        while self._num_values > MOST_VALUES and len(self._blocks) > 1:
            self._drop(next(iter(self._blocks)))

    def _drop(self, key: tuple[int, tuple[int, ...]]) -> Block:
        block = self._blocks.pop(key)
        self._num_values -= _size(block)
        return block


def _size(block: Block) -> int:
    return sum(value.numel() for value in block.values.values())


class ReadingOfLanguage:
    """A text that a language model has read; see :class:`Reading`.

    Args:
        reader: the reader.
        ids: the token ids, at least one.
    """

    features, feature_names = None, ()

    def __init__(self, reader: LanguageReader, ids: Sequence[int]) -> None:
        self.steps = {"": [reader.language.tokens[i] for i in ids]}
        self._blocks = reader.read(ids)
        lengths = (block.length for block in self._blocks[:-1])
        self._starts = list(accumulate(lengths, initial=0))

    def values(self, name: str, begin: int = 0) -> Tensor:
        last = self._blocks[-1].values
        if name not in last:
            raise unknown("value", name, last)
        parts, offset = self._from(begin)
        return torch.cat([block.values[name] for block in parts])[offset:]

    def top(self, begin: int = 0) -> list[list[list[Any]]]:
        parts, offset = self._from(begin)
        return [row for block in parts for row in block.top][offset:]

    def _from(self, begin: int) -> tuple[Sequence[Block], int]:
        """The blocks that hold the steps from ``begin`` on, and the place of ``begin`` in them."""
        first = bisect_right(self._starts, begin) - 1
        return self._blocks[first:], begin - self._starts[first]


@dataclass(frozen=True)
class ReadingOfRecording:
    """An input that a model has read as a whole; see :class:`Reading`."""

    recording: Recording

    @property
    def steps(self) -> Mapping[str, Sequence[str]]:
        return self.recording.steps

    @property
    def features(self) -> Tensor | None:
        return self.recording.features

    @property
    def feature_names(self) -> Sequence[str]:
        return self.recording.feature_names

    def values(self, name: str, begin: int = 0) -> Tensor:
        if name not in self.recording.values:
            raise unknown("value", name, self.recording.values)
        return self.recording.values[name][begin:]

    def top(self, begin: int = 0) -> list[list[list[Any]]]:
        probabilities = self.recording.probabilities
        if probabilities is None:
            return []
        return likeliest(probabilities[begin:], self.recording.outputs)

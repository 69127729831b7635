"""What all generated problems have in common, and their batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from throughtime.data.ragged_batches import check_range

__all__ = ["Examples", "GeneratedBatches", "Graded", "Problem", "one_hot"]


class Examples(NamedTuple):
    """Sequences with their targets, padded to the longest of them.

    Args:
        inputs: (B, T, I) float32; symbols are one-hot.
        lengths: (B) int64, the number of valid steps of each sequence.
        targets: (B, T), for symbols their number as int64, else a number as float32.
        has_target: (B, T) bool, whether a step has a target, so that it counts in the loss.
        legal: (B, T, O) bool. A step with any True is judged: each legal symbol must get a higher
            probability than each other symbol. (B, T, 0) if the targets are numbers.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    has_target: Tensor
    legal: Tensor


class Problem(ABC):
    """A problem whose examples are drawn at random.

    Attributes:
        name: the name on the command line.
        inputs: the names of the I input features; of symbols, the symbols.
        outputs: the names of the O output symbols; empty if the output is one number.
        length: the default size of an example.
        measure: what the size of an example measures; empty if examples have no size.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    length: int
    measure: str

    @property
    def input_size(self) -> int:
        return len(self.inputs)

    @property
    def output_size(self) -> int:
        return max(1, len(self.outputs))

    @abstractmethod
    def examples(self, draw: np.random.Generator, number: int, length: int) -> Examples:
        """Draws examples.

        Args:
            draw: the source of the random numbers.
            number: B, the number of examples.
            length: the size, or the largest size, of an example (see :attr:`measure`).
        """

    def parse(self, text: str) -> Tensor:
        """The inputs (T, I) that a line of text describes; each character is a symbol.

        Raises:
            ValueError: for a symbol that the problem does not have.
        """
        known = {symbol: number for number, symbol in enumerate(self.inputs)}
        for place, symbol in enumerate(text, 1):
            if symbol not in known:
                raise ValueError(
                    f"character {place}: expected one of {' '.join(known)}, got {symbol!r}."
                )
        return one_hot(torch.tensor([known[symbol] for symbol in text]), self.input_size)


class Graded(ABC):
    """A problem with exactly one example of each size, so that sizes can be tested in order."""

    @abstractmethod
    def graded(self, sizes: Sequence[int]) -> Examples:
        """The examples of these sizes."""


def one_hot(symbols: Tensor, size: int) -> Tensor:
    """The symbols as one-hot vectors: (…) int64 to (…, size) float32."""
    return torch.nn.functional.one_hot(symbols, size).float()


class GeneratedBatches:
    """Batches of examples that are drawn anew for each batch of each epoch.

    The examples of a batch depend only on the seed, the epoch and the position of the batch. With
    several processes, each reads every world_size-th example of each batch.

    Args:
        problem: what is drawn.
        lengths: the size of the examples in each epoch; the last one holds for all later epochs.
        number: the number of batches in an epoch.
        size: the number of examples in a batch.
        seed: the seed of the examples.
        rank: the number of this process, from 0.
        world_size: the number of processes.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self,
        problem: Problem,
        lengths: Sequence[int],
        number: int,
        size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        who = type(self).__name__
        check_range(who, "number", number, 1)
        check_range(who, "world_size", world_size, 1)
        check_range(who, "size", size, world_size)
        check_range(who, "rank", rank, 0, world_size - 1)
        self._problem, self._lengths, self._seed = problem, lengths, seed
        self._number, self._size, self._rank, self._world_size = number, size, rank, world_size
        self._epoch = self._start = 0

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Examples]:
        """Yields the batches of an epoch, starting at the first one or where :meth:`seek` says.

        If an iteration is stopped before its end, the next one repeats the same epoch.
        """
        start, self._start = self._start, 0
        epoch = self._epoch
        length = self._lengths[min(epoch, len(self._lengths) - 1)]
        for position in range(start, self._number):
            if position + 1 == self._number:
                self._epoch += 1
            draw = np.random.default_rng([self._seed, epoch, position])
            batch = self._problem.examples(draw, self._size, length)
            yield Examples(*(part[self._rank :: self._world_size] for part in batch))

    def seek(self, epoch: int, position: int) -> None:
        """Makes the next iteration start at batch ``position`` of ``epoch``, both from 0."""
        check_range(type(self).__name__, "epoch", epoch, 0)
        check_range(type(self).__name__, "position", position, 0, self._number - 1)
        self._epoch, self._start = epoch, position

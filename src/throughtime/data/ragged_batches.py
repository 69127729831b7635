"""Batches of rows of similar lengths, in a new random order each epoch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from throughtime.checks import unknown

__all__ = ["RaggedBatch", "RaggedBatches", "check_range", "pad_rows"]

Batch = TypeVar("Batch")


class RaggedBatch(NamedTuple):
    """Rows that are padded with 0 to the longest of them.

    Args:
        rows: (B, T) token ids, or (B, T, …) features.
        lengths: (B) int64, the number of valid steps of each row.
    """

    rows: Tensor
    lengths: Tensor


def pad_rows(rows: Sequence[object], dtype: torch.dtype = torch.int64) -> RaggedBatch:
    """Pads rows of numbers, or of tensors (T, …), to one tensor.

    Args:
        rows: one sequence per row, of any lengths.
        dtype: the dtype of the padded tensor.

    >>> pad_rows([[4, 5], [6]])
    RaggedBatch(rows=tensor([[4, 5],
            [6, 0]]), lengths=tensor([2, 1]))
    """
    tensors = [torch.as_tensor(row, dtype=dtype) for row in rows]
    padded = pad_sequence(tensors, batch_first=True)  # (B, T, …)
    return RaggedBatch(padded, torch.tensor([len(tensor) for tensor in tensors]))


class RaggedBatches(Generic[Batch]):
    """Batches of rows of similar lengths; an epoch holds each row once.

    Rows are sorted into classes of similar lengths: each length up to 15 is a class of its own, and
    in a class of greater lengths these differ by at most an eighth. In each epoch the rows of each
    class are shuffled, the classes are concatenated and cut into batches, and the batches are
    shuffled. The positions of the cuts depend only on the sizes of the classes, so all epochs have
    the same number of batches. The order is determined by the seed and the number of the epoch.
    With several processes, each reads every world_size-th row of each batch.

    Args:
        lengths: the lengths of the rows, in steps.
        collate: creates a batch from the indices of its rows.
        size: the largest size of a batch.
        by: the unit of ``size``: ``rows``; or ``tokens``, which are the rows times the padded
            length. A row longer than ``size`` is a batch of its own.
        is_shuffled: False gives all epochs the same order, short rows first.
        seed: the seed of the order.
        rank: the number of this process, from 0.
        world_size: the number of processes.

    Raises:
        ValueError: if there are no rows or fewer rows than processes, or a number is out of range.

    >>> rows = [[4], [5, 6, 7], [8]]
    >>> batches = RaggedBatches([1, 3, 1], lambda indices: [rows[i] for i in indices], 2,
    ...                         is_shuffled=False)
    >>> list(batches)
    [[[4], [8]], [[5, 6, 7]]]
    """

    unit: ClassVar[str] = "rows"
    """The plural of what a row is, for messages and for ``by``."""

    def __init__(
        self,
        lengths: Sequence[int],
        collate: Callable[[Sequence[int]], Batch],
        size: int,
        *,
        by: str = "rows",
        is_shuffled: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        who, unit = type(self).__name__, self.unit
        if by not in (unit, "tokens"):
            raise unknown("measure of a batch", by, [unit, "tokens"])
        check_range(who, "size", size, 1)
        check_range(who, "world_size", world_size, 1)
        check_range(who, "rank", rank, 0, world_size - 1)
        if not len(lengths):
            raise ValueError(f"{who}: expected at least one of the {unit}, got none.")
        if len(lengths) < world_size or (by == unit and size < world_size):
            raise ValueError(
                f"{who}: expected {unit} in every batch for each of {world_size} processes, "
                f"got {len(lengths)} {unit} in batches of {size}. Take fewer processes, or a "
                "larger --batch_size."
            )
        self._collate, self._seed, self._is_shuffled = collate, seed, is_shuffled
        self._rank, self._world_size = rank, world_size
        classes: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            classes.setdefault(_class_of(length), []).append(row)
        self._classes = [classes[length] for length in sorted(classes)]
        # The lengths are those of the classes, so that the cuts do not depend on the shuffling.
        class_lengths = [length for length in sorted(classes) for _ in classes[length]]
        self._cuts = _cuts(class_lengths, size, by == "tokens", world_size)
        # The epoch and the batch with which the next iteration starts.
        self._epoch = self._start = 0

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return len(self._cuts)

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches of an epoch, starting at the first one or where :meth:`seek` says.

        If an iteration is stopped before its end, the next one repeats the same epoch.
        """
        start, self._start = self._start, 0
        order = self.order(self._epoch)
        for k in range(start, len(self)):
            batch = self._collate(order[k][self._rank :: self._world_size])
            if k + 1 == len(self):
                self._epoch += 1
            yield batch

    @property
    def epoch(self) -> int:
        """The number of the epoch, from 0, to which a batch belongs while it is created."""
        return self._epoch

    def seek(self, epoch: int, position: int) -> None:
        """Makes the next iteration start at batch ``position`` of ``epoch``, both from 0."""
        check_range(type(self).__name__, "epoch", epoch, 0)
        check_range(type(self).__name__, "position", position, 0, len(self) - 1)
        self._epoch, self._start = epoch, position

    def order(self, epoch: int) -> list[list[int]]:
        """The indices of the rows of each batch of an epoch, over all processes."""
        draw = random.Random(f"{self._seed} {epoch}")
        rows: list[int] = []
        for members in self._classes:
            rows += draw.sample(members, len(members)) if self._is_shuffled else members
        begins = [0, *self._cuts[:-1]]
        batches = [rows[begin:end] for begin, end in zip(begins, self._cuts, strict=True)]
        if self._is_shuffled:
            draw.shuffle(batches)
        return batches


def check_range(who: str, name: str, value: int, least: int, most: int | None = None) -> None:
    """Raises a ValueError unless ``least <= value <= most``."""
    if value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{who}: expected {name} {bounds}, got {value}.")


def _class_of(length: int) -> int:
    """The greatest length of the class to which a length belongs."""
    step = 1 << max(0, length.bit_length() - 4)
    return -(-length // step) * step


def _cuts(lengths: Sequence[int], size: int, by_tokens: bool, world_size: int) -> list[int]:
    """The index after the last row of each batch.

    Args:
        lengths: the greatest length of the class of each row, in rising order.
        size: the largest size of a batch.
        by_tokens: whether the size counts tokens instead of rows.
        world_size: the number of processes, each of which needs a row of every batch.
    """
    cuts, begin = [], 0
    for row, length in enumerate(lengths):
        num_rows = row + 1 - begin
        is_full = num_rows * length > size if by_tokens else num_rows > size
        if is_full and num_rows > world_size:
            cuts.append(row)
            begin = row
    if cuts and len(lengths) - begin < world_size:
        cuts.pop()
    return [*cuts, len(lengths)]

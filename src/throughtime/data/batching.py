"""Batches of a long text, each of which continues the rows of the batch before."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from throughtime.checks import shape_is
from throughtime.data.ragged_batches import check_range

__all__ = ["ContiguousBatches", "rows_for_scoring"]


class ContiguousBatches:
    """Batches for truncated backpropagation through time.

    The text is cut into B rows of L = (N - 1) // B steps. Batch k holds the columns kT to (k+1)T of
    every row, so the recurrent state after one batch is the initial state of the next. The last
    batch may be shorter. The targets are the inputs shifted by one character. So each character is
    predicted exactly once, except the first one of the text and up to B - 1 at its end. With
    several processes, each reads B / world_size rows.

    Args:
        tokens: the text as token ids.
        batch_size: B, the number of rows of all processes together.
        steps: T, the number of steps over which the gradient flows back.
        rank: the number of this process, from 0.
        world_size: the number of processes.

    Attributes:
        num_characters: the number of characters predicted in one epoch, by all processes together.
        num_left_over: the number of characters at the end of the text that are never predicted.

    Shapes:
        tokens: (N,) of int64.
        x, y of a batch: (B / world_size, T), views of tokens.

    Raises:
        ShapeError: if tokens does not have one dimension.
        ValueError: if tokens is not of int64 or is too short, a number is out of range, or the
            rows cannot be divided equally among the processes.

    >>> for x, y in ContiguousBatches(torch.arange(9), batch_size=2, steps=3):
    ...     print(x.tolist(), y.tolist())
    [[0, 1, 2], [4, 5, 6]] [[1, 2, 3], [5, 6, 7]]
    [[3], [7]] [[4], [8]]
    """

    def __init__(
        self,
        tokens: Tensor,
        batch_size: int,
        steps: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check_tokens(tokens, batch_size)
        check_range("ContiguousBatches", "steps", steps, 1)
        check_range("ContiguousBatches", "world_size", world_size, 1)
        check_range("ContiguousBatches", "rank", rank, 0, world_size - 1)
        if batch_size % world_size:
            raise ValueError(
                f"ContiguousBatches: expected a batch_size that {world_size} processes can share "
                f"equally, got {batch_size}. Make --batch_size a multiple of {world_size}."
            )
        B, T, N = batch_size, steps, len(tokens)
        L = (N - 1) // B
        own_rows = slice(rank * B // world_size, (rank + 1) * B // world_size)
        self._x = tokens[: B * L].view(B, L)[own_rows]
        self._y = tokens[1 : 1 + B * L].view(B, L)[own_rows]
        self._steps = T
        self.num_characters = B * L
        self.num_left_over = N - 1 - B * L
        # The batch with which the next iteration starts.
        self._start = 0

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-self._x.shape[1] // self._steps)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batches in order, starting at the first one or where :meth:`seek` says."""
        start, self._start = self._start, 0
        for k in range(start, len(self)):
            columns = slice(k * self._steps, (k + 1) * self._steps)
            yield self._x[:, columns], self._y[:, columns]  # (B / world_size, T)

    def seek(self, epoch: int, position: int) -> None:
        """Makes the next iteration start at batch ``position``; all epochs are equal."""
        check_range("ContiguousBatches", "epoch", epoch, 0)
        check_range("ContiguousBatches", "position", position, 0, len(self) - 1)
        self._start = position


def rows_for_scoring(num_characters: int, most: int = 32, least_length: int = 4096) -> int:
    """The number of rows into which a text is cut to score it in parallel.

    More rows are faster, but the model reads each row without the text before it.

    Args:
        num_characters: the length of the text.
        most: the largest number of rows.
        least_length: the smallest number of characters of a row.

    >>> rows_for_scoring(1_000), rows_for_scoring(20_000), rows_for_scoring(1_000_000)
    (1, 4, 32)
    """
    return max(1, min(most, num_characters // least_length))


def _check_tokens(tokens: Tensor, batch_size: int) -> None:
    shape_is("ContiguousBatches", "tokens", tokens, ["N"])
    if tokens.dtype != torch.int64:
        raise ValueError(
            f"ContiguousBatches: expected tokens of int64, got {tokens.dtype}. "
            "Use Vocabulary.encode."
        )
    check_range("ContiguousBatches", "batch_size", batch_size, 1)
    if len(tokens) < batch_size + 1:
        raise ValueError(
            f"ContiguousBatches: expected at least {batch_size + 1} characters because "
            f"batch_size={batch_size}, got {len(tokens)}. "
            "Give more text, or a smaller --batch_size."
        )

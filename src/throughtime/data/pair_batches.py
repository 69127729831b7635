"""Pairs of ragged sequences in padded batches of similar lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from throughtime.data.ragged_batches import RaggedBatches, pad_rows
from throughtime.data.tokeniser import BOS, EOS

__all__ = ["PairBatch", "PairBatches", "collate"]

Ids = Sequence[int]


class PairBatch(NamedTuple):
    """Some pairs, padded with 0 to the longest of them.

    Args:
        source: the ids of the sources.
        source_lengths: how many of them are not padding.
        target_in: what the decoder reads: begin, then the target.
        target_out: what it shall say: the target, then the end.
        target_lengths: of both.

    Shapes:
        source: (B, S). target_in, target_out: (B, T). lengths: (B). All of int64.
    """

    source: Tensor
    source_lengths: Tensor
    target_in: Tensor
    target_out: Tensor
    target_lengths: Tensor


def collate(sources: Sequence[Ids], targets: Sequence[Ids]) -> PairBatch:
    """The batch of some pairs.

    Args:
        sources, targets: ids without begin and end; a target may be empty.

    >>> batch = collate([[4, 5], [6]], [[7], [8, 9]])
    >>> batch.source.tolist(), batch.target_in.tolist(), batch.target_out.tolist()
    ([[4, 5], [6, 0]], [[1, 7, 0], [1, 8, 9]], [[7, 2, 0], [8, 9, 2]])
    """
    source, source_lengths = pad_rows(sources)  # (B, S)
    target_in, target_lengths = pad_rows([[BOS, *row] for row in targets])  # (B, T)
    target_out, _ = pad_rows([[*row, EOS] for row in targets])  # (B, T)
    return PairBatch(source, source_lengths, target_in, target_out, target_lengths)


class PairBatches(RaggedBatches[PairBatch]):
    """All pairs once in an epoch, in padded batches of similar lengths.

    The length of a pair is that of its longer side, the end of the target included.

    Args:
        sources, targets: ids without begin and end; a source has at least one.
        size, by, is_shuffled, seed, rank, world_size: see
            :class:`throughtime.data.RaggedBatches`.

    Raises:
        ValueError: no pairs, or not as many sources as targets; an empty source; a number out of
            its range; fewer pairs than processes.

    >>> batches = PairBatches([[4], [5, 6, 7], [8]], [[9], [9], [9]], size=2, is_shuffled=False)
    >>> [batch.source.tolist() for batch in batches]
    [[[4], [8]], [[5, 6, 7]]]
    """

    unit = "pairs"

    def __init__(
        self,
        sources: Sequence[Ids],
        targets: Sequence[Ids],
        size: int,
        *,
        by: str = "pairs",
        is_shuffled: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check_pairs(sources, targets)
        super().__init__(
            [max(len(s), len(t) + 1) for s, t in zip(sources, targets, strict=True)],
            lambda rows: collate([sources[i] for i in rows], [targets[i] for i in rows]),
            size,
            by=by,
            is_shuffled=is_shuffled,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        self.num_pairs = len(sources)
        """How many pairs one epoch reads, in all processes together."""


def _check_pairs(sources: Sequence[Ids], targets: Sequence[Ids]) -> None:
    if len(sources) != len(targets) or not sources:
        raise ValueError(
            f"PairBatches: expected pairs, got {len(sources)} sources and {len(targets)} targets."
        )
    for place, source in enumerate(sources):
        if not len(source):
            raise ValueError(
                f"PairBatches: expected sources of at least one token, got none in number {place}. "
                "Leave this pair out."
            )

"""Batches of source and target sequences of similar lengths, padded to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from throughtime.data.ragged_batches import RaggedBatches, pad_rows
from throughtime.data.tokeniser import BOS, EOS

__all__ = ["PairBatch", "PairBatches", "collate"]

Ids = Sequence[int]


class PairBatch(NamedTuple):
    """A batch of pairs, padded with 0 to the longest sequence of each side.

    Args:
        source: the token ids of the sources.
        source_lengths: the lengths of the sources without padding.
        target_in: the inputs of the decoder: begin token and target.
        target_out: the outputs expected of the decoder: target and end token.
        target_lengths: the lengths of target_in, and of target_out, without padding.

    Shapes:
        source: (B, S). target_in, target_out: (B, T). lengths: (B). All of int64.
    """

    source: Tensor
    source_lengths: Tensor
    target_in: Tensor
    target_out: Tensor
    target_lengths: Tensor


def collate(sources: Sequence[Ids], targets: Sequence[Ids]) -> PairBatch:
    """Pads pairs to a batch.

    Args:
        sources, targets: token ids without begin and end token; a target may be empty.

    >>> batch = collate([[4, 5], [6]], [[7], [8, 9]])
    >>> batch.source.tolist(), batch.target_in.tolist(), batch.target_out.tolist()
    ([[4, 5], [6, 0]], [[1, 7, 0], [1, 8, 9]], [[7, 2, 0], [8, 9, 2]])
    """
    source, source_lengths = pad_rows(sources)  # (B, S)
    target_in, target_lengths = pad_rows([[BOS, *row] for row in targets])  # (B, T)
    target_out, _ = pad_rows([[*row, EOS] for row in targets])  # (B, T)
    return PairBatch(source, source_lengths, target_in, target_out, target_lengths)


class PairBatches(RaggedBatches[PairBatch]):
    """Batches of pairs of similar lengths; an epoch holds each pair once.

    The length of a pair is that of its longer side; a target counts with its end token.

    Args:
        sources, targets: token ids without begin and end token; no source may be empty.
        size, by, is_shuffled, seed, rank, world_size: see
            :class:`throughtime.data.RaggedBatches`.

    Raises:
        ValueError: if there are no pairs, different numbers of sources and targets, an empty
            source, or fewer pairs than processes; or if a number is out of range.

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
        """The number of pairs of an epoch, in all processes together."""


def _check_pairs(sources: Sequence[Ids], targets: Sequence[Ids]) -> None:
    if len(sources) != len(targets) or not sources:
        raise ValueError(
            f"PairBatches: expected pairs, got {len(sources)} sources and {len(targets)} targets."
        )
    for number, source in enumerate(sources):
        if not len(source):
            raise ValueError(
                "PairBatches: expected sources of at least one token, got none in number "
                f"{number}. Leave this pair out."
            )

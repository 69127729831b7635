"""Pairs of ragged sequences in padded batches of similar lengths, in a new order every epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from throughtime.checks import unknown
from throughtime.data.tokeniser import BOS, EOS, PAD

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

    def padded(rows: Sequence[Ids]) -> Tensor:
        tensors = [torch.as_tensor(row, dtype=torch.int64) for row in rows]
        return pad_sequence(tensors, batch_first=True, padding_value=PAD)

    return PairBatch(
        source=padded(sources),  # (B, S)
        source_lengths=torch.tensor([len(row) for row in sources]),
        target_in=padded([[BOS, *row] for row in targets]),  # (B, T)
        target_out=padded([[*row, EOS] for row in targets]),  # (B, T)
        target_lengths=torch.tensor([len(row) + 1 for row in targets]),
    )


class PairBatches:
    """All pairs once in an epoch, in padded batches of similar lengths.

    Pairs are sorted into classes by the longer of their two sides (every length up to 15 is one,
    from there a class is at most an eighth wide). In each epoch the pairs of a class are shuffled,
    the classes are laid one behind the other and cut, and the batches are shuffled. Where it is
    cut depends on the classes alone, so every epoch has as many batches. The order comes from the
    seed and the number of the epoch. Of several processes each takes every world_size-th pair of
    each batch.

    Args:
        sources, targets: ids without begin and end; a source has at least one.
        size: how much a batch holds.
        by: what the size counts: ``pairs``, or ``tokens``, the padded length of the longer side
            times the pairs; a longer pair is a batch by itself.
        is_shuffled: False reads every epoch in the same order, short pairs first.
        seed: of the order.
        rank: the number of this process, from 0.
        world_size: how many processes there are.

    Raises:
        ValueError: no pairs, or not as many sources as targets; an empty source; a number out of
            its range; fewer pairs than processes.

    >>> batches = PairBatches([[4], [5, 6, 7], [8]], [[9], [9], [9]], size=2, is_shuffled=False)
    >>> [batch.source.tolist() for batch in batches]
    [[[4], [8]], [[5, 6, 7]]]
    """

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
        if by not in ("pairs", "tokens"):
            raise unknown("measure of a batch", by, ["pairs", "tokens"])
        _check_range("size", size, 1)
        _check_range("world_size", world_size, 1)
        _check_range("rank", rank, 0, world_size - 1)
        if len(sources) < world_size or (by == "pairs" and size < world_size):
            raise ValueError(
                f"PairBatches: expected a pair in every batch for each of {world_size} processes, "
                f"got {len(sources)} pairs in batches of {size}. Take fewer processes, or a larger "
                "--batch_size."
            )
        self._sources, self._targets = sources, targets
        self._is_shuffled, self._rank, self._world_size = is_shuffled, rank, world_size
        classes: dict[int, list[int]] = {}
        for place, (source, target) in enumerate(zip(sources, targets, strict=True)):
            # The end, too, is a token of the target.
            classes.setdefault(_class_of(max(len(source), len(target) + 1)), []).append(place)
        self._classes = [classes[length] for length in sorted(classes)]
        lengths = [length for length in sorted(classes) for _ in classes[length]]
        self._cuts = _cuts(lengths, size, by, world_size)
        self._cut = {
            "num_pairs": len(sources),
            "num_source_tokens": sum(map(len, sources)),
            "num_target_tokens": sum(map(len, targets)),
            "size": size,
            "by_tokens": int(by == "tokens"),
            "seed": seed,
            "is_shuffled": int(is_shuffled),
        }
        # The batch that comes next, and the one that the next iteration begins with.
        self._position = self._start = self._epoch = 0

    @property
    def num_pairs(self) -> int:
        """How many are read in one iteration, by all processes together."""
        return len(self._sources)

    def __len__(self) -> int:
        """How many batches one iteration has."""
        return len(self._cuts)

    def __iter__(self) -> Iterator[PairBatch]:
        """The batches of an epoch, from the first, or from where `load_state_dict` says."""
        # An iteration that was left in the middle is begun again, in its own order.
        start, self._start = self._start, 0
        epoch = self._epoch
        order = self._order(epoch)
        for k in range(start, len(self)):
            places = order[k][self._rank :: self._world_size]
            batch = collate([self._sources[i] for i in places], [self._targets[i] for i in places])
            # Moved on before the batch is out, so that a state saved after it resumes behind it.
            is_last = k + 1 == len(self)
            self._position, self._epoch = (0, epoch + 1) if is_last else (k + 1, epoch)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The place in the iterations, and the pairs and settings that it belongs to."""
        return {"position": self._position, "epoch": self._epoch, **self._cut}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Makes the next iteration go on behind the last batch that was seen.

        Args:
            state: what `state_dict` returned, in any of the processes.

        Raises:
            ValueError: the state belongs to other pairs, or to other settings.
        """
        cut = {name: state.get(name) for name in self._cut}
        if cut != self._cut:
            raise ValueError(
                f"PairBatches.load_state_dict: expected a state of {self._cut}, got {cut}. "
                "Resume with the data and settings that it was saved with."
            )
        _check_range("position", state["position"], 0, len(self) - 1)
        _check_range("epoch", state["epoch"], 0)
        self._position = self._start = state["position"]
        self._epoch = state["epoch"]

    def _order(self, epoch: int) -> list[list[int]]:
        """The pairs of each batch, by their places."""
        draw = random.Random(f"{self._cut['seed']} {epoch}")
        line: list[int] = []
        for members in self._classes:
            line += draw.sample(members, len(members)) if self._is_shuffled else members
        begins = [0, *self._cuts[:-1]]
        batches = [line[a:b] for a, b in zip(begins, self._cuts, strict=True)]
        if self._is_shuffled:
            draw.shuffle(batches)
        return batches


def _class_of(length: int) -> int:
    """The greatest length of the class that a length belongs to."""
    step = 1 << max(0, length.bit_length() - 4)
    return -(-length // step) * step


def _cuts(lengths: Sequence[int], size: int, by: str, world_size: int) -> list[int]:
    """Where the batches end, in the line of all pairs by their classes."""
    cuts, begin = [], 0
    for place, length in enumerate(lengths):
        held = place + 1 - begin
        is_full = held > size if by == "pairs" else held * length > size
        if is_full and held > world_size:
            cuts.append(place)
            begin = place
    if cuts and len(lengths) - begin < world_size:
        cuts.pop()
    return [*cuts, len(lengths)]


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


def _check_range(name: str, value: int, least: int, most: int | None = None) -> None:
    if value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"PairBatches: expected {name} {bounds}, got {value}.")

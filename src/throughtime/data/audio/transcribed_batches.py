"""Batches of recordings with transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.data.ragged_batches import pad_rows

__all__ = ["TranscribedBatch", "collate_transcribed"]


class TranscribedBatch(NamedTuple):
    """The features of recordings, and the symbols of their transcripts.

    Args:
        inputs: (B, T, I) features.
        lengths: (B) the number of valid steps of each recording.
        targets: (B, U) symbols.
        target_lengths: (B) the number of symbols of each transcript.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor


def collate_transcribed(
    rows: Sequence[Tensor], symbols: Sequence[Sequence[int]]
) -> TranscribedBatch:
    """A batch, padded to the longest recording and the longest transcript.

    Args:
        rows: (T, I) features of each recording.
        symbols: the symbols of each transcript.
    """
    return TranscribedBatch(*pad_rows(rows, torch.float32), *pad_rows(symbols))

"""Batches of signals with transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.data.ragged_batches import pad_rows

__all__ = ["TranscribedBatch", "collate_transcribed"]


class TranscribedBatch(NamedTuple):
    """The features of signals, and what a network is to write.

    Args:
        inputs: (B, T, I) features.
        lengths: (B) the number of valid steps of each signal.
        targets: (B, U) the symbols of the transcripts, or the classes of the steps.
        target_lengths: (B) the number of valid targets of each signal.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor


def collate_transcribed(
    rows: Sequence[Tensor], targets: Sequence[Sequence[int]]
) -> TranscribedBatch:
    """A batch, padded to the longest signal and the longest target.

    Args:
        rows: (T, I) features of each signal.
        targets: the targets of each signal.
    """
    return TranscribedBatch(*pad_rows(rows, torch.float32), *pad_rows(targets))

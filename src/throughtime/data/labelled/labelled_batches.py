"""Batches of sequences with one label each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.data.ragged_batches import pad_rows

__all__ = ["LabelledBatch", "collate_labelled"]


class LabelledBatch(NamedTuple):
    """Sequences and their classes.

    Args:
        inputs: (B, T) token ids, or (B, T, I) features.
        lengths: (B) the number of valid steps of each sequence.
        targets: (B) the number of the class.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor


def collate_labelled(rows: Sequence[Tensor], targets: Tensor) -> LabelledBatch:
    """A batch of sequences, which are padded to the longest of them.

    Args:
        rows: (T) token ids or (T, I) features of each sequence.
        targets: (B) the number of the class of each.
    """
    dtype = torch.int64 if rows[0].dim() == 1 else torch.float32
    return LabelledBatch(*pad_rows(rows, dtype), targets)

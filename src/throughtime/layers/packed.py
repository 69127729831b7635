"""Unpacks and packs a ``PackedSequence`` with operations that all PyTorch transforms support.

PyTorch's own ``pad_packed_sequence`` and ``pack_padded_sequence`` have no forward-mode derivative,
no rule for ``torch.func`` and no graph in ``torch.compile``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

__all__ = ["packed_like", "padded"]


def padded(packed: PackedSequence) -> tuple[Tensor, Tensor]:
    """Unpacks to the sequence (T, B, …), zero past a row's end, and the lengths of its rows.

    The rows are in the order that they had before they were packed.

    Shapes:
        lengths: (B,) int64, on the CPU.
    """
    data, sizes, _, unsorted = packed
    T, B = sizes.shape[0], _num_rows(packed)
    lengths = (sizes.unsqueeze(1) > torch.arange(B)).sum(0)
    if unsorted is not None:
        lengths = lengths[unsorted.cpu()]
    empty = data.new_zeros(T * B, *data.shape[1:])
    return empty.index_copy(0, _places(packed, B), data).unflatten(0, (T, B)), lengths


def packed_like(sequence: Tensor, packed: PackedSequence) -> PackedSequence:
    """Packs a sequence (T, B, …) with the lengths and the order of rows of ``packed``."""
    data = sequence.flatten(0, 1).index_select(0, _places(packed, sequence.shape[1]))
    # Not packed._replace: torch.compile turns its result into an empty tuple.
    return PackedSequence(data, *packed[1:])


def _num_rows(packed: PackedSequence) -> int:
    rows = packed.sorted_indices
    return int(packed.batch_sizes[0]) if rows is None else rows.shape[0]


def _places(packed: PackedSequence, B: int) -> Tensor:
    """For each row of the packed data its index t * B + b in the flattened padded sequence."""
    data, sizes, order, _ = packed
    N = data.shape[0]
    # The packed data lists all rows of step 0, then all of step 1, …; sizes are their numbers.
    steps = torch.repeat_interleave(torch.arange(sizes.shape[0]), sizes, output_size=N)
    rows = torch.arange(N) - (sizes.cumsum(0) - sizes)[steps]
    steps, rows = steps.to(data.device), rows.to(data.device)
    return steps * B + (rows if order is None else order[rows])

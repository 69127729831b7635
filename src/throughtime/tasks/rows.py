"""What a model reads of the examples of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from throughtime.counted import counted
from throughtime.data import RaggedBatches
from throughtime.data.labelled.labelled_batches import LabelledBatch, collate_labelled
from throughtime.layers.evaluation import evaluating

__all__ = ["Rows", "labelled_batches", "outputs_of"]


class Rows(NamedTuple):
    """What the model reads of examples.

    Args:
        lengths: the number of steps of each example.
        row: a function of the number of an epoch and the index of an example that returns what is
            read of it in that epoch, (T) token ids or (T, I) features.
    """

    lengths: list[int]
    row: Callable[[int, int], Tensor]


def labelled_batches(
    rows: Rows, targets: Tensor, size: int, **options: Any
) -> RaggedBatches[LabelledBatch]:
    """The batches of examples with one label each.

    Args:
        rows: what the model reads of the examples.
        targets: (N) int64, their classes.
        size, options: see :class:`throughtime.data.RaggedBatches`.
    """

    def collate(indices: Sequence[int]) -> LabelledBatch:
        chosen = [rows.row(batches.epoch, i) for i in indices]
        return collate_labelled(chosen, targets[list(indices)])

    batches = RaggedBatches(rows.lengths, collate, size, **options)
    return batches


def outputs_of(model: nn.Module, batches: RaggedBatches[LabelledBatch], what: str) -> Tensor:
    """The outputs (N, …) of a model for N examples, float32, in the order of the examples.

    Args:
        model: the model, which is called with the inputs and lengths of each batch.
        batches: the examples; an epoch has each of them once.
        what: the activity, for the display of the progress ("scoring").
    """
    order = torch.tensor([i for indices in batches.order(0) for i in indices])
    device = next(model.parameters()).device
    with evaluating(model):
        parts = [
            model(batch.inputs.to(device), batch.lengths).cpu().float()
            for batch in counted(what, batches)
        ]
    outputs = torch.cat(parts)
    return outputs[order.argsort()]

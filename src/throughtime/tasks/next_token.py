"""The loss of a language model on padded rows of tokens."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from throughtime.data import RaggedBatch
from throughtime.layers.evaluation import evaluating
from throughtime.tasks.task import Loss

__all__ = ["next_token_loss", "total_loss"]


def next_token_loss(model: nn.Module, batch: RaggedBatch) -> Loss:
    """The loss of each token of the rows but their first, in nats, summed.

    Args:
        model: maps tokens (B, T) to scores (B, T, V) and a state.
        batch: the rows (B, T + 1), each with a first token that is given.
    """
    rows, lengths = batch
    scores, _ = model(rows[:, :-1])  # (B, T, V)
    is_valid = torch.arange(scores.shape[1], device=rows.device) < lengths[:, None] - 1
    targets = rows[:, 1:][is_valid]
    return Loss(F.cross_entropy(scores[is_valid], targets, reduction="sum"), len(targets))


def total_loss(model: nn.Module, batches: Iterable[RaggedBatch]) -> tuple[float, int]:
    """The loss of all batches, in evaluation mode, and the number of tokens."""
    device = next(model.parameters()).device
    total, count = 0.0, 0
    with evaluating(model):
        for batch in batches:
            loss = next_token_loss(model, RaggedBatch(*(tensor.to(device) for tensor in batch)))
            total, count = total + loss.total.item(), count + loss.count
    return total, count

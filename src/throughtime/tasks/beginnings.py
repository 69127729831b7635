"""The probabilities of the classes after each step of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from throughtime.layers.evaluation import evaluating

__all__ = ["TOKENS_OF_EVALUATION", "probabilities_of_beginnings"]

TOKENS_OF_EVALUATION = 8192
"""The tokens or steps of a batch without gradients, padding included."""


def probabilities_of_beginnings(model: nn.Module, row: Tensor) -> Tensor:
    """The probabilities of the classes of each beginning of a sequence, (T, C).

    Every beginning is read as a sequence of its own, because a network that reads in both
    directions has no states that depend on a beginning alone.

    Args:
        model: takes sequences and their lengths, and gives the scores of the classes.
        row: the sequence, (T) token ids or (T, I) features.
    """
    device, T = next(model.parameters()).device, len(row)
    parts = []
    with evaluating(model):
        size = max(1, TOKENS_OF_EVALUATION // T)
        for first in range(1, T + 1, size):
            lengths = torch.arange(first, min(first + size, T + 1))
            last = int(lengths[-1])
            rows = row[:last].expand(len(lengths), *row[:last].shape).to(device)
            is_valid = (torch.arange(last) < lengths[:, None]).to(device)
            rows = rows * is_valid.view(*is_valid.shape, *[1] * (rows.dim() - 2))
            parts.append(model(rows, lengths).float().softmax(-1).cpu())
    return torch.cat(parts)

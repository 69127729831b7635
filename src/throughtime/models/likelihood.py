"""The likelihood of a text under a language model."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.counted import counted
from throughtime.layers.evaluation import evaluating

__all__ = ["log_likelihood"]


def log_likelihood(model: nn.Module, tokens: Tensor, rows: int = 1) -> tuple[float, int]:
    """The log-likelihood of a text under a language model, and the number of characters scored.

    All characters are scored except the first, which is only read.

    Args:
        model: maps tokens (B, T) and a state to scores (B, T, V) and the next state.
        tokens: (N) int64, the text.
        rows: the number of parts into which the text is cut to be read in parallel. More rows are
            faster, but the model reads each part without the text before it.

    Units: nats.

    Raises:
        ValueError: if the text has fewer than two characters.
    """
    if len(tokens) < 2:
        raise ValueError(
            f"expected a text of at least 2 characters to score, as the first is given, "
            f"got {len(tokens)}."
        )
    device = next(model.parameters()).device
    total, state = 0.0, None
    count = len(tokens) - 1
    # All rows have the same length. The characters that are left over continue the last row and its
    # state, so that each character but the first is scored exactly once.
    length, left_over = divmod(count, rows)
    main = count - left_over
    x, y = tokens[:main].view(rows, length), tokens[1 : main + 1].view(rows, length)
    parts = [(x[:, a : a + 512], y[:, a : a + 512]) for a in range(0, length, 512)]
    with evaluating(model):
        for x, y in counted("scoring", parts):
            scores, state = model(x.to(device), state)
            total -= _summed_loss(scores, y)
        if left_over:
            state = _last_row(state)
            scores, _ = model(tokens[main:-1].unsqueeze(0).to(device), state)
            total -= _summed_loss(scores, tokens[main + 1 :].unsqueeze(0))
    return total, count


def _summed_loss(scores: Tensor, targets: Tensor) -> float:
    """The cross-entropy in nats, summed over all tokens in float64."""
    targets = targets.to(scores.device)
    loss = F.cross_entropy(scores.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return loss.double().sum().item()


def _last_row(state: Any) -> Any:
    """The last row of the batch of a state, which may be a tensor, None or a nested tuple."""
    if isinstance(state, Tensor):
        return state[:, -1:].contiguous()
    return None if state is None else tuple(_last_row(s) for s in state)

"""The likelihood of a text under a language model."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.layers.evaluation import evaluating

__all__ = ["log_likelihood"]


def log_likelihood(model: nn.Module, tokens: Tensor, rows: int = 1) -> tuple[float, int]:
    """The log-likelihood of a text under the model, and of how many characters it is the sum.

    The first character of the text is given. A text in several rows is scored faster, but each
    row begins with no memory of what stands before it.

    Args:
        tokens: (N) int64.
        rows: in how many parts, one below the other, the text is read.

    Units: nats.

    Raises:
        ValueError: for a text of fewer than two characters.
    """
    if len(tokens) < 2:
        raise ValueError(
            f"expected a text of at least 2 characters to score, as the first is given, "
            f"got {len(tokens)}."
        )
    device = next(model.parameters()).device
    total, state = 0.0, None
    count = len(tokens) - 1
    # Rows of one length; the characters that are left over follow the last row, whose state they
    # go on from. So each character but the first of the text is scored exactly once.
    length, left_over = divmod(count, rows)
    main = count - left_over
    x, y = tokens[:main].view(rows, length), tokens[1 : main + 1].view(rows, length)
    parts = [(x[:, a : a + 512], y[:, a : a + 512]) for a in range(0, length, 512)]
    with evaluating(model):
        for x, y in parts:
            scores, state = model(x.to(device), state)
            total -= _summed_loss(scores, y)
        if left_over:
            state = _last_row(state)
            scores, _ = model(tokens[main:-1].unsqueeze(0).to(device), state)
            total -= _summed_loss(scores, tokens[main + 1 :].unsqueeze(0))
    return total, count


def _summed_loss(scores: Tensor, targets: Tensor) -> float:
    targets = targets.to(scores.device)
    loss = F.cross_entropy(scores.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return loss.double().sum().item()


def _last_row(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state[:, -1:].contiguous()
    return None if state is None else tuple(_last_row(s) for s in state)

"""Training steps of models that compute the same, timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Contender", "check_same", "seconds_of_steps"]


class Contender(NamedTuple):
    """A model that is trained.

    Args:
        module: the model.
        loss: its loss of a batch, a scalar.
    """

    module: nn.Module
    loss: Callable[[Any], Tensor]


def check_same(contenders: Mapping[str, Contender], batch: Any) -> None:
    """Raises an AssertionError unless all have the same loss and norm of the gradients of a batch.

    Dropout is off.
    """
    losses, norms = [], []
    for module, loss_of in contenders.values():
        module.eval()
        loss = loss_of(batch)
        loss.backward()
        losses.append(loss.item())
        gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())
        module.zero_grad()
        module.train()
    assert all(abs(losses[0] / loss - 1) < 1e-5 for loss in losses), losses
    assert all(abs(norms[0] / norm - 1) < 1e-3 for norm in norms), norms


def seconds_of_steps(
    contenders: Mapping[str, Contender],
    batches: Sequence[Any],
    rounds: int,
    optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """The seconds of each training step: the gradient, its clipping, and the optimizer.

    The contenders take turns with each batch, so that a disturbance hits all of them.

    Args:
        contenders: the models by name. The one called "ours" has a fused optimizer, as the training
            of the package has.
        batches: the batches; each is read once in a round.
        rounds: the number of rounds that count; one more before them warms up.
        optimizers: the optimizers by name; None is AdamW.
        clock: the time in seconds.

    Returns:
        For each name ``rounds * len(batches)`` times, in the order of the steps.
    """
    optimizers = optimizers or {
        name: torch.optim.AdamW(one.module.parameters(), 1e-3, fused=name == "ours" or None)
        for name, one in contenders.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for batch in batches:
            for name, (module, loss_of) in contenders.items():
                begun = clock()
                optimizers[name].zero_grad()
                loss_of(batch).backward()
                nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                optimizers[name].step()
                if turn > 0:
                    seconds[name].append(clock() - begun)
    return seconds

"""The average of the weights of a model over the steps of its training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

__all__ = ["averaged"]


def averaged(model: nn.Module, decay: float, device: torch.device | None = None) -> AveragedModel:
    r"""A copy of a model whose weights follow those of the model, averaged over the steps:

        a_1 = w_1;   a_{n+1} = d_n a_n + (1 - d_n) w_{n+1},   d_n = min(d, (1 + n) / (10 + n))

    where w_n are the weights after step n, so that the first weights, which are drawn at random, do
    not stay in the average of a short training. Call its ``update_parameters(model)`` after each
    step. Buffers are copied, not averaged.

    Args:
        model: the model that is trained.
        decay: d, from 0 (the average is the last weights) to below 1.
        device: the device of the copy; None is that of the model.

    Source: Polyak and Juditsky (1992); the limit of d_n as in TensorFlow's moving averages.

    >>> model = nn.Linear(1, 1)
    >>> average = averaged(model, 0.999)
    >>> average.update_parameters(model)
    >>> torch.equal(average.module.weight, model.weight)
    True
    """

    def update(averages: list[Tensor], weights: list[Tensor], num_averaged: Tensor) -> None:
        n = int(num_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, weights, num_averaged)

    # PyTorch names other types of lists, which may hold None; here all are tensors.
    return AveragedModel(model, device, multi_avg_fn=update)  # type: ignore[arg-type]

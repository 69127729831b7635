"""Dropout that draws its random numbers in a fifth of PyTorch's time on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.kernels.transforms import is_transformed

__all__ = ["Dropout", "dropout"]

_STEPS = 1 << 16
# Below this probability, rounding to a multiple of 1/65536 causes a relative error above 0.1 %.
_LEAST = 0.01


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` with the faster random numbers of :func:`dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        # Read p in training only: torch.compile turns a float that is read into a symbol and
        # recompiles.
        return dropout(input, self.p) if self.training else input


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Returns x / (1 - p) with probability 1 - p, else 0, independently for each element.

    On a CPU, PyTorch draws a 64-bit number for each element on one core. This function draws one
    for four elements, and compares 16 of its bits with a threshold for each of them. There, p is
    rounded to a multiple of 1/65536, and the scale uses the rounded p, so that the expectation
    stays x. On another device, in a compiled model, and for p below 0.01, PyTorch's function runs.

    >>> dropout(torch.ones(1000), 0.5).unique()
    tensor([0., 2.])
    """
    if not training:
        return x
    dropped = round(p * _STEPS)
    is_ours = x.device.type == "cpu" and x.is_floating_point() and _LEAST <= p
    if not is_ours or dropped >= _STEPS or torch.compiler.is_compiling():
        return F.dropout(x, p)
    count = -(-x.numel() // 4)
    if is_transformed():
        # torch.vmap supports no in-place draw. This draws the same numbers.
        drawn = torch.randint(-(2**63), 2**63 - 1, (count,)) ^ -(2**63)
    else:
        drawn = torch.empty(count, dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[: x.numel()].view(x.shape)
    is_kept = bits >= dropped - _STEPS // 2
    return x * is_kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))

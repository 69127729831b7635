"""Dropout whose random numbers cost a fifth of PyTorch's on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.kernels.transforms import is_transformed

__all__ = ["Dropout", "dropout"]

_STEPS = 1 << 16
# Below this, a probability in steps of 1/65536 would be off by more than a thousandth of itself.
_LEAST = 0.01


class Dropout(nn.Dropout):
    """As ``torch.nn.Dropout``; see :func:`dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        # torch.compile makes a symbol of a float that is read, and then begins again.
        return dropout(input, self.p) if self.training else input


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """x / (1 - p) with probability 1 - p, else 0, for each feature by itself.

    PyTorch draws a number of 64 bits for each feature on one core of a CPU; of such a number four
    features can be decided, each by 16 bits. So p is rounded to a multiple of 1/65536 there, and
    the scale goes by the rounded one: the expectation is x. Elsewhere (another device, a compiled
    model, p below 0.01) PyTorch's own runs.

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
        # torch.vmap needs numbers that are not drawn in place. These are the same.
        drawn = torch.randint(-(2**63), 2**63 - 1, (count,)) ^ -(2**63)
    else:
        drawn = torch.empty(count, dtype=torch.int64).random_(-(2**63), None)
    bits = drawn.view(torch.int16)[: x.numel()].view(x.shape)
    is_kept = bits >= dropped - _STEPS // 2
    return x * is_kept.to(x.dtype).mul_(_STEPS / (_STEPS - dropped))

"""The loss of a large vocabulary, without its scores ever standing in memory all at once."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.kernels.transforms import has_tangent, is_transformed

__all__ = ["linear_cross_entropy"]

# The scores of a chunk should still be in the cache when they are read again.
_NUMBERS_OF_A_CHUNK, _FEWEST_ROWS = 1 << 20, 32


def linear_cross_entropy(
    h: Tensor, scores: nn.Linear, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    r"""The cross-entropy of ``scores(h)``, summed over the rows:

        z = W h + b
        L = sum_n (1 - e) (log sum_v exp z_nv - z_n,y_n) + e (log sum_v exp z_nv - mean_v z_nv)

    The rows are taken a few at a time, and where a gradient is wanted it is made on the way, as
    softmax(z) less the smoothed target, from the scores that are at hand.

    Args:
        h: what is scored.
        scores: W and b.
        target: y.
        label_smoothing: e.

    Shapes:
        h: (N, H). target: (N) int64, from 0 to below V. The loss is ().

    Units: nats.

    >>> h, scores, target = torch.randn(5, 3), nn.Linear(3, 7), torch.randint(7, (5,))
    >>> expected = F.cross_entropy(scores(h), target, reduction="sum")
    >>> torch.allclose(linear_cross_entropy(h, scores, target), expected)
    True
    """
    learned = any(weight.requires_grad for weight in scores.parameters())
    wants = torch.is_grad_enabled() and (h.requires_grad or learned)
    is_plain = (
        torch.is_autocast_enabled(h.device.type)
        or torch.compiler.is_compiling()
        or is_transformed()
        or has_tangent((h, *scores.parameters()))
    )
    if is_plain or h.dtype not in (torch.float32, torch.float64):
        # Half precision asks for sums in single; compiling, torch.func and forward mode for
        # PyTorch's own operations.
        z = scores(h)
        z = z if z.dtype is torch.float64 else z.float()
        return F.cross_entropy(z, target, reduction="sum", label_smoothing=label_smoothing)
    return _Chunked.apply(h, scores.weight, scores.bias, target, label_smoothing, wants)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h, weight, bias, target, smoothing, wants):
        V = weight.shape[0]
        rows = max(_FEWEST_ROWS, _NUMBERS_OF_A_CHUNK // V)
        total = h.new_zeros(())
        # One piece of memory for the scores of all chunks: a new one each time costs half as much
        # as the product.
        space = h.new_empty(min(rows, len(h)), V)
        made = [torch.empty_like(h), torch.zeros_like(weight), h.new_zeros(V)] if wants else None
        for begin in range(0, len(h), rows):
            part = slice(begin, begin + rows)
            y = target[part].unsqueeze(1)
            z = space[: len(y)]
            torch.mm(h[part], weight.t(), out=z)
            if bias is not None:
                z += bias
            most = z.amax(1, keepdim=True)
            of_target, mean = z.gather(1, y), z.mean(1, keepdim=True)
            z.sub_(most).exp_()
            summed = z.sum(1, keepdim=True)
            log = summed.log() + most
            total += ((1 - smoothing) * (log - of_target) + smoothing * (log - mean)).sum()
            if made is not None:
                z.div_(summed).sub_(smoothing / V)
                z.scatter_add_(1, y, of_target.new_full(y.shape, smoothing - 1))
                d_h, d_weight, d_bias = made
                torch.mm(z, weight, out=d_h[part])
                d_weight.addmm_(z.T, h[part])
                d_bias += z.sum(0)
        if made is not None:
            ctx.has_bias = bias is not None
            ctx.save_for_backward(*made)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d: Tensor):  # type: ignore[override]
        d_h, d_weight, d_bias = ctx.saved_tensors
        return d * d_h, d * d_weight, d * d_bias if ctx.has_bias else None, None, None, None

"""The cross-entropy of a linear output layer, without all scores in memory at once."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data import PAD, PairBatch
from throughtime.kernels.transforms import has_tangent, is_transformed
from throughtime.models import Writer

__all__ = ["linear_cross_entropy", "teacher_loss"]

# The scores of a chunk of rows are read several times, so a chunk should fit into the cache. Fewer
# than 32 rows would make the matrix products slow.
_NUMBERS_OF_A_CHUNK, _FEWEST_ROWS = 1 << 20, 32


def linear_cross_entropy(
    h: Tensor, scores: nn.Linear, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    r"""The cross-entropy of ``scores(h)``, summed over the rows:

        z = W h + b
        L = sum_n (1 - e) (log sum_v exp z_nv - z_n,y_n) + e (log sum_v exp z_nv - mean_v z_nv)

    The rows are processed in chunks, whose scores are discarded again. If a gradient is needed,
    the forward pass computes it from the scores of each chunk, dL/dz = softmax(z) - smoothed
    target, since the backward pass no longer has them.

    Args:
        h: the inputs of the output layer.
        scores: the output layer, W and b.
        target: y, the true token of each row.
        label_smoothing: e, the share of the target probability that is spread over all tokens.

    Shapes:
        h: (N, H). target: (N) int64, from 0 to below V. The loss is ().

    Units: nats.

    >>> h, scores, target = torch.randn(5, 3), nn.Linear(3, 7), torch.randint(7, (5,))
    >>> expected = F.cross_entropy(scores(h), target, reduction="sum")
    >>> torch.allclose(linear_cross_entropy(h, scores, target), expected)
    True
    """
    has_learned_scores = any(weight.requires_grad for weight in scores.parameters())
    needs_gradient = torch.is_grad_enabled() and (h.requires_grad or has_learned_scores)
    is_plain = (
        torch.is_autocast_enabled(h.device.type)
        or torch.compiler.is_compiling()
        or is_transformed()
        or has_tangent((h, *scores.parameters()))
    )
    if is_plain or h.dtype not in (torch.float32, torch.float64):
        # The chunks sum in the dtype of h, too coarse for half precision; and torch.compile,
        # torch.func and forward mode know PyTorch's own operations, but not a custom function.
        z = scores(h)
        z = z if z.dtype is torch.float64 else z.float()
        return F.cross_entropy(z, target, reduction="sum", label_smoothing=label_smoothing)
    return _Chunked.apply(h, scores.weight, scores.bias, target, label_smoothing, needs_gradient)


def teacher_loss(model: nn.Module, batch: PairBatch, label_smoothing: float = 0.0) -> Tensor:
    """The losses of all tokens of the targets under teacher forcing, summed.

    Args:
        model: a :class:`~throughtime.models.Writer`.
        batch: its sources are whatever the model encodes.
        label_smoothing: see :func:`linear_cross_entropy`.

    Units: nats.
    """
    assert isinstance(model, Writer)
    source, source_lengths, target_in, target_out, target_lengths = batch
    is_token = target_out != PAD
    h = model.unscored(source, source_lengths, target_in, target_lengths)[is_token]  # (N, H)
    return linear_cross_entropy(h, model.head, target_out[is_token], label_smoothing)


class _Chunked(torch.autograd.Function):
    """The loss over chunks of rows, with all gradients computed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, h, weight, bias, target, smoothing, needs_gradient):
        V = weight.shape[0]
        rows = max(_FEWEST_ROWS, _NUMBERS_OF_A_CHUNK // V)
        total = h.new_zeros(())
        # All chunks share one buffer: to allocate one for each costs half as much time as the
        # matrix product.
        buffer = h.new_empty(min(rows, len(h)), V)
        gradients = None
        if needs_gradient:
            gradients = [torch.empty_like(h), torch.zeros_like(weight), h.new_zeros(V)]
        for begin in range(0, len(h), rows):
            part = slice(begin, begin + rows)
            y = target[part].unsqueeze(1)
            z = buffer[: len(y)]
            torch.mm(h[part], weight.t(), out=z)
            if bias is not None:
                z += bias
            z_max = z.amax(1, keepdim=True)
            z_target, z_mean = z.gather(1, y), z.mean(1, keepdim=True)
            # From here on the buffer holds exp(z - max z), and then dL/dz.
            z.sub_(z_max).exp_()
            normaliser = z.sum(1, keepdim=True)
            log_sum = normaliser.log() + z_max
            losses = (1 - smoothing) * (log_sum - z_target) + smoothing * (log_sum - z_mean)
            total += losses.sum()
            if gradients is not None:
                z.div_(normaliser).sub_(smoothing / V)
                z.scatter_add_(1, y, z_target.new_full(y.shape, smoothing - 1))
                d_h, d_weight, d_bias = gradients
                torch.mm(z, weight, out=d_h[part])
                d_weight.addmm_(z.T, h[part])
                d_bias += z.sum(0)
        if gradients is not None:
            ctx.has_bias = bias is not None
            ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d: Tensor):  # type: ignore[override]
        d_h, d_weight, d_bias = ctx.saved_tensors
        return d * d_h, d * d_weight, d * d_bias if ctx.has_bias else None, None, None, None

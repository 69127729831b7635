"""How far results in bfloat16 may lie from exact ones: what the kernels round, rounded at random.

The kernels keep sums, cell states and saved gates in float32. They round to bfloat16

- what a block of R multiplies: the state that is fed back, or a value made inside the step;
- the gradient of each sum of products, which the backward step multiplies with R and W;
- the results themselves.

The reference in float64 is run several times with the first two kinds of rounding put in, each
time at other points of the grid of bfloat16. What that does to a result is a sample of what the
kernel's own roundings may do. :func:`allowed` takes twice the largest of :data:`SAMPLES`, plus the
rounding of the result and the error of float32: half the spacing of each type at the largest
number of the tensor, the latter with the room that ``TOLERANCE`` gives it.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from throughtime.kernels import reference

SAMPLES = 8
UNIT = torch.finfo(torch.bfloat16).eps / 2


def _rounded(value, generator):
    """Rounds to the precision of bfloat16 on a grid that is shifted at random."""
    scale = 1 + torch.rand(value.shape, generator=generator, dtype=value.dtype)
    rounded = (value * scale).bfloat16().to(value.dtype) / scale
    # What is a number of bfloat16 already is not rounded.
    return torch.where(value == value.bfloat16(), value, rounded)


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, generator):
        return _rounded(value, generator)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, generator):
        ctx.generator = generator
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return _rounded(gradient, ctx.generator), None


@contextmanager
def _roundings(generator):
    """Makes the reference round at the places where the kernels round."""

    def linear(value, weight, bias=None):
        # Of three dimensions are the inputs of all steps, which come in bfloat16.
        operand = value if value.dim() == 3 else _Forward.apply(value, generator)
        return _Backward.apply(F.linear(operand, weight, bias), generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "F", SimpleNamespace(linear=linear))
        yield


def allowed(exact, run, of_float32):
    """For each result, how far that of a kernel in bfloat16 may be off.

    Args:
        exact: the results in float64, by name.
        run: the function that gave them, by the reference.
        of_float32: what sums in float32 may err, as a share of the largest number.
    """
    generator = torch.Generator().manual_seed(0)
    worst = dict.fromkeys(exact, 0.0)
    for _ in range(SAMPLES):
        with _roundings(generator):
            sample = run()
        for name, value in exact.items():
            if value.numel():
                off = (sample[name] - value).abs().max().item()
                worst[name] = max(worst[name], off)
    return {
        name: 2 * worst[name] + (UNIT + of_float32) * (value.abs().max().item() + 1e-3)
        for name, value in exact.items()
        if value.numel()
    }

"""Training steps of small layers, and the results of the reference for them."""

import copy

import torch

import throughtime as tt

T, B, I, H = 5, 3, 4, 7


def layer_of(cell="lstm", **options):
    torch.manual_seed(0)
    return tt.Recurrent(cell, I, H, dtype=torch.float64, **options)


def sequence(*shape):
    return torch.randn(*(shape or (T, B)), I, dtype=torch.float64, requires_grad=True)


def step(layer, x, hx=None):
    """All results and gradients of a training step, from the output and the last states."""
    torch.manual_seed(3)
    output, states = layer(x, hx)
    results = [output, *(states if isinstance(states, tuple) else (states,))]
    loss = sum((r * torch.linspace(-1, 2, r.numel()).view_as(r)).sum() for r in results)
    leaves = [v for v in (x, *(hx or ()), *layer.parameters()) if v.requires_grad]
    return [*results, *torch.autograd.grad(loss, leaves, allow_unused=True)]


def by_reference(layer, x, hx=None):
    exact = copy.deepcopy(layer)
    exact.backend = "reference"
    return step(exact, x, hx)


def equals_the_reference(layer, x, hx=None):
    torch.testing.assert_close(step(layer, x, hx), by_reference(layer, x, hx))

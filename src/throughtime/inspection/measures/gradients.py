"""How far a gradient reaches: its norm against the lag, and the lag at which it has vanished."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.inspection.measures.unrolled import unrolled
from throughtime.inspection.recording import Name
from throughtime.layers.recurrent import Recurrent

__all__ = [
    "Decay",
    "decay",
    "factor_per_step",
    "gradient_norms",
    "layer_decay",
    "memory_horizon",
    "projected_losses",
]


def gradient_norms(
    losses: Sequence[Tensor],
    states: Sequence[tuple[Tensor, ...]],
    at: Sequence[int],
    most: int,
    is_reverse: bool = False,
) -> Tensor:
    r"""The norm of the gradient with respect to the state k steps earlier, against the lag k:

        n_k = mean over t of |d loss_t / d state_{t-k}|,   k = 0 … K

    where state is the vector of all states of a layer (h and c of an LSTM together).

    Args:
        losses: the loss of each step t, a scalar each.
        states: the states after each step, as :func:`.unrolled.unrolled` keeps them.
        at: the steps t whose losses are used; those with fewer than K steps before them are left
            out.
        most: K.
        is_reverse: whether the layer reads from the end; then state_{t+k} takes the place of
            state_{t-k}.

    Returns:
        (K + 1) float64.

    Raises:
        ValueError: if no step has K steps before it.

    Source: Bengio, Simard and Frasconi, IEEE Transactions on Neural Networks 5 (1994); Pascanu,
    Mikolov and Bengio, arXiv 1211.5063.
    """
    norms = []
    for t in at:
        last = t + most if is_reverse else t - most
        if not 0 <= last < len(states):
            continue
        lagged = [states[t + k if is_reverse else t - k] for k in range(most + 1)]
        flat = [value for step in lagged for value in step]
        gradients = torch.autograd.grad(
            losses[t], flat, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        squares = torch.stack([g.double().square().sum() for g in gradients])
        norms.append(squares.view(most + 1, -1).sum(-1).sqrt())
    if not norms:
        raise ValueError(
            f"gradient_norms: expected a step with {most} steps before it, got {len(states)} steps "
            f"in all. Give a longer text, or fewer lags."
        )
    return torch.stack(norms).mean(0)


def factor_per_step(norms: Tensor) -> float:
    r"""The factor by which the gradient changes per step of lag, by least squares:

        log n_k = a + k log factor,   k = 1 … K

    Args:
        norms: (K + 1), of :func:`gradient_norms`; K is 2 or more. Lag 0 is left out, because there
            the loss reads the state itself. Lags from the first zero on are left out too.

    Returns:
        The factor: below 1 the gradient vanishes, above 1 it explodes; NaN if fewer than two lags
        have a gradient.
    """
    positive = norms[1:].double()
    zeros = (positive <= 0).nonzero()
    positive = positive[: int(zeros[0])] if len(zeros) else positive
    if len(positive) < 2:
        return math.nan
    k = torch.arange(len(positive), dtype=torch.float64)
    k, logs = k - k.mean(), positive.log()
    return math.exp(float((k * logs).sum() / (k * k).sum()))


def memory_horizon(norms: Tensor, share: float = 1 / math.e) -> int | None:
    """The smallest lag at which the gradient's norm is below a share of its largest value.

    Args:
        norms: (K + 1), of :func:`gradient_norms`. Lag 0 is left out, because there the loss reads
            the state itself.
        share: the share of the largest norm; lags before that of the largest one do not count.

    Returns:
        The lag in steps; None if the norm stays above the share at all K lags.
    """
    start = 1 + int(norms[1:].argmax())
    below = (norms[start:] < share * norms[start]).nonzero()
    return start + int(below[0]) if len(below) else None


def projected_losses(outputs: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """A loss for each step of layers without a loss of their own: r . y_t, r of length 1.

    Args:
        outputs: y_t, (B, width) each.
        seed: of r, which is drawn from all directions.
    """
    generator = torch.Generator().manual_seed(seed)
    r = torch.randn(outputs[0].shape[-1], generator=generator, dtype=torch.float64)
    r = (r / r.norm()).to(outputs[0])
    return [(output * r).sum() for output in outputs]


class Decay(NamedTuple):
    """How the gradient of a layer changes with the lag.

    Args:
        name: the layer and direction.
        norms: see :func:`gradient_norms`.
        factor: see :func:`factor_per_step`.
    """

    name: Name
    norms: Tensor
    factor: float


def decay(
    losses: Sequence[Tensor],
    by_layer: dict[Name, list[tuple[Tensor, ...]]],
    *,
    most: int,
    num_losses: int = 8,
) -> list[Decay]:
    """The gradient norms of all layers whose states the losses depend on.

    Args:
        losses: the loss of each step.
        by_layer: the states, see :class:`.unrolled.States`.
        most: the largest lag K; at most half of the steps.
        num_losses: how many losses are differentiated, spread over the steps.
    """
    results = []
    for name, states in by_layer.items():
        T = min(len(losses), len(states))
        # So that a short sequence too has several steps with K steps before them.
        K = min(most, T // 2)
        if K < 1 or len(states) < len(losses):
            continue
        # Losses may stand for the last steps only.
        first = len(states) - len(losses)
        of_steps = [*([losses[0]] * first), *losses]
        low, high = (first, T - 1 - K) if name.is_reverse else (max(K, first), len(states) - 1)
        steps = torch.linspace(low, high, min(num_losses, high - low + 1)).round().int().tolist()
        norms = gradient_norms(of_steps, states, steps, K, name.is_reverse)
        results.append(Decay(name, norms, factor_per_step(norms)))
    return results


def layer_decay(layer: Recurrent, x: Tensor, *, most: int = 60, **inputs: Tensor) -> list[Decay]:
    """The gradient norms of a layer alone, whose loss at a step is a projection of the output.

    Args:
        layer: the layer, of any cell.
        x: one sequence in the layout of the layer.
        most: the largest lag.
        inputs: the further inputs of cells that have such.
    """
    with unrolled(layer) as states:
        layer(x, **({"inputs": inputs} if inputs else {}))
        losses = projected_losses(states.outputs[""])
        return decay(losses, states.by_layer, most=most)

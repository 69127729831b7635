"""The step of a layer as a dynamical system: Jacobians, Lyapunov exponent, the spectrum of R."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from throughtime.inspection.measures.trajectory import Trajectory

__all__ = [
    "jacobians",
    "linear_states",
    "lyapunov_exponent",
    "product_singular_values",
    "spectra",
]

_MOST_NUMBERS = 2**24


def jacobians(trajectory: Trajectory, at: Tensor, states: Tensor | None = None) -> Tensor:
    r"""The Jacobians of the step, exact, by reverse-mode differentiation of the reference:

        J_t = d state_{t+1} / d state_t

    Args:
        trajectory: the step and the states.
        at: (N) whole numbers, the steps t.
        states: (N, n), the states at which the step is differentiated; None takes those of the
            trajectory before the steps.

    Returns:
        (N, n, n); row i of a matrix is the gradient of unit i of the next state.
    """
    start = trajectory.states[at] if states is None else states
    n = trajectory.size
    # The rows do not depend on each other, so that the sum of the next states has as its gradient
    # the Jacobians of all of them at once.
    summed = torch.func.jacrev(
        lambda state: trajectory.step(state, at).sum(0),
        chunk_size=max(1, _MOST_NUMBERS // max(1, start.numel() * 8)),
    )
    return summed(start).transpose(0, 1).reshape(len(at), n, n)


def product_singular_values(steps: Tensor) -> Tensor:
    r"""The singular values of the products of Jacobians over k consecutive steps:

        d state_{t+k} / d state_t = J_{t+k-1} … J_t,   k = 1 … K

    The largest bounds how much a gradient can grow over k steps, the smallest how much it shrinks.

    Args:
        steps: (K, n, n), the Jacobians of consecutive steps.

    Returns:
        (K, n), each row in descending order. Values below 1e-16 of the largest one are rounding.

    Source: Pascanu, Mikolov and Bengio, arXiv 1211.5063, section 2.
    """
    product, rows = torch.eye(steps.shape[-1], dtype=steps.dtype), []
    for step in steps:
        product = step @ product
        rows.append(torch.linalg.svdvals(product))
    return torch.stack(rows)


def lyapunov_exponent(trajectory: Trajectory, seed: int = 0) -> float:
    r"""The largest Lyapunov exponent of the layer on this sequence, in nats per step:

        lambda = lim 1/T sum_t log (|J_t v_t| / |v_t|),   v_{t+1} = J_t v_t

    Above 0 nearby states drift apart (chaos), below 0 they meet, and the past is forgotten. The
    first tenth of the steps only turns v into the direction that grows most.

    Args:
        trajectory: the step and the states; T is at least 2.
        seed: of the first direction v.

    Returns:
        The exponent; minus infinity if a step forgets the state entirely.

    Source: Benettin, Galgani, Giorgilli and Strelcyn, Meccanica 15 (1980); of recurrent networks:
    Engelken, Wolf and Abbott, arXiv 2006.02427.
    """
    T = trajectory.num_steps
    if T < 2:
        raise ValueError(f"lyapunov_exponent: expected at least 2 steps, got {T}.")
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(1, trajectory.size, generator=generator, dtype=trajectory.states.dtype)
    v = v / v.norm()
    total, first = 0.0, T // 10
    for t in range(T):
        at = torch.tensor([t])
        v = _product(trajectory, trajectory.states[t : t + 1], at, v)
        growth = float(v.norm())
        if growth == 0:
            return -math.inf
        v = v / growth
        total += math.log(growth) if t >= first else 0.0
    return total / (T - first)


def _product(trajectory: Trajectory, state: Tensor, at: Tensor, v: Tensor) -> Tensor:
    """J v, by differentiating u^T J with respect to u, which needs no forward-mode rules."""
    with torch.enable_grad():
        state = state.detach().requires_grad_()
        following = trajectory.step(state, at)
        u = torch.zeros_like(following, requires_grad=True)
        (pulled,) = torch.autograd.grad(
            following, state, u, create_graph=True, materialize_grads=True
        )
        if not pulled.requires_grad:
            # The step does not read the state.
            return torch.zeros_like(v)
        return torch.autograd.grad(pulled, u, v)[0]


def spectra(trajectory: Trajectory) -> dict[str, Tensor]:
    r"""The eigenvalues of each recurrent block R, the largest modulus first.

    In the linear case h_t = R h_{t-1}, and so h_t = Q Lambda^t Q^{-1} h_0 (for a symmetric R,
    Q^{-1} = Q^T): a component with abs(lambda) below 1 vanishes, one above 1 explodes.

    Returns:
        (H) complex128 for each block of the recurrent matrix by its name; none if there is none.

    Source: Hochreiter, diploma thesis (1991); Pascanu, Mikolov and Bengio, arXiv 1211.5063.
    """
    call = trajectory.call
    if call.weights.weight_hh is None:
        return {}
    names = call.cell.recurrent_block_names
    blocks = call.weights.weight_hh.double().chunk(len(names))
    values = {}
    for name, block in zip(names, blocks, strict=True):
        if block.shape[0] == block.shape[1]:
            eigenvalues = torch.linalg.eigvals(block)
            values[name] = eigenvalues[eigenvalues.abs().argsort(descending=True)]
    return values


def linear_states(R: Tensor, h_0: Tensor, num_steps: int) -> Tensor:
    r"""The states of the linear recurrence h_t = R h_{t-1} by the eigenvectors of R:

        h_t = Q Lambda^t Q^{-1} h_0,   R = Q Lambda Q^{-1}

    Args:
        R: (H, H), with H independent eigenvectors.
        h_0: (H).
        num_steps: T.

    Returns:
        (T + 1, H) float64, h_0 first.
    """
    eigenvalues, Q = torch.linalg.eig(R.double())
    component = torch.linalg.solve(Q, h_0.to(Q.dtype))
    powers = eigenvalues ** torch.arange(num_steps + 1).unsqueeze(-1)  # (T + 1, H)
    return ((powers * component) @ Q.T).real

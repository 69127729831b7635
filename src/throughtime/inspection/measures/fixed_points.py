"""Fixed and slow points of a layer: where its state stands still, and whether it returns there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from throughtime.inspection.measures.dynamics import jacobians
from throughtime.inspection.measures.trajectory import Trajectory

__all__ = ["FixedPoints", "fixed_points"]

_FIXED = 1e-12
"""A point whose speed q is below this is a fixed point."""


@dataclass(frozen=True)
class FixedPoints:
    """Points at which the state of a layer changes little or not at all under a constant input.

    Args:
        points: (M, n), without repetitions, the slowest first.
        speeds: (M), q of each point.
        eigenvalues: (M, n) complex, of the step's Jacobian at each point, the largest modulus
            first. A fixed point is stable if all moduli are below 1.
    """

    points: Tensor
    speeds: Tensor
    eigenvalues: Tensor

    @property
    def are_fixed(self) -> Tensor:
        """(M), whether each is a fixed point; the others are slow points."""
        return self.speeds < _FIXED

    @property
    def are_stable(self) -> Tensor:
        """(M), whether the state returns to the point from nearby."""
        return (self.eigenvalues.abs() < 1).all(-1)


def fixed_points(
    trajectory: Trajectory,
    *,
    x: Tensor | None = None,
    num_starts: int = 16,
    num_steps: int = 60,
    same: float = 1e-3,
) -> FixedPoints:
    r"""Minimises the speed of the state from states of the trajectory, with a constant input x:

        q(h) = 1/2 |F(h, x) - h|^2

    by the method of Levenberg and Marquardt, each start on its own:

        delta = -(A^T A + mu I)^{-1} A^T (F(h, x) - h),   A = dF/dh - I

    Args:
        trajectory: the step, and the states from which the search starts.
        x: (I), the constant input; None takes the mean input of the sequence.
        num_starts: how many states are starts, spread over the sequence.
        num_steps: the largest number of steps of the search.
        same: points within this distance of each other, as a share of their own length or of 1 if
            they are shorter, count once.

    Returns:
        The points that were reached. A search that ends where q is small but not zero has reached a
        slow point.

    Source: Sussillo and Barak, Neural Computation 25 (2013).
    """
    x = trajectory.x.mean(0) if x is None else x
    constant = _constant(trajectory, x)
    T = trajectory.num_steps
    starts = torch.linspace(0, T, min(num_starts, T + 1)).round().long()
    h = trajectory.states[starts].clone()
    at = torch.zeros(len(h), dtype=torch.long)
    identity = torch.eye(trajectory.size, dtype=h.dtype)
    damping = torch.full((len(h), 1, 1), 1e-3, dtype=h.dtype)
    difference = constant.step(h, at) - h
    speeds = difference.square().sum(-1) / 2
    for _ in range(num_steps):
        is_moving = (speeds > _FIXED**2) & (damping.flatten() < 1e8)
        if not is_moving.any():
            break
        moving = is_moving.nonzero().flatten()
        A = jacobians(constant, at[moving], h[moving]) - identity
        right = -(A.mT @ difference[moving].unsqueeze(-1))
        normal = A.mT @ A + damping[moving] * identity
        # A singular matrix gives infinite or NaN steps, which are never slower.
        trial = h[moving] + torch.linalg.solve_ex(normal, right).result.squeeze(-1)
        change = constant.step(trial, at[moving]) - trial
        trial_speeds = change.square().sum(-1) / 2
        is_slower = trial_speeds < speeds[moving]
        better = moving[is_slower]
        h[better], difference[better] = trial[is_slower], change[is_slower]
        speeds[better] = trial_speeds[is_slower]
        damping[better] /= 5
        damping[moving[~is_slower]] *= 4
    order = speeds.argsort()
    kept: list[int] = []
    for i in order.tolist():
        near = same * max(1.0, float(h[i].norm()))
        if all(float((h[i] - h[j]).norm()) > near for j in kept):
            kept.append(i)
    eigenvalues = torch.linalg.eigvals(jacobians(constant, at[kept], h[kept]))
    ranks = eigenvalues.abs().argsort(-1, descending=True)
    return FixedPoints(h[kept], speeds[kept], eigenvalues.gather(-1, ranks))


def _constant(trajectory: Trajectory, x: Tensor) -> Trajectory:
    """A trajectory of one step with constant inputs: x, and the means of the further inputs."""
    inputs = tuple(value.mean(0, keepdim=True) for value in trajectory.call.inputs)
    call = replace(trajectory.call, x=x.view(1, 1, -1), inputs=inputs)
    return replace(trajectory, call=call)

"""When features were observed: the time gaps between observations, and the last observed steps."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.checks import shape_is
from throughtime.layers.sequence import Layout

__all__ = ["is_bool", "last_observed", "observed_before", "time_gaps"]


def time_gaps(
    times: Tensor,
    mask: Tensor,
    before: Tensor | None = None,
    batch_first: bool = False,
    resets: Tensor | None = None,
) -> Tensor:
    r"""The time d since each feature was last observed, at each step.

        d_1 = 0
        d_t = s_t - s_{t-1}              where mask_{t-1}
              s_t - s_{t-1} + d_{t-1}    elsewhere

    Args:
        times: s, the time of each step of each row, in any unit; times must not decrease.
        mask: True where a feature is observed.
        before: the time (B,) of the last step before this piece, if the sequence is passed in
            pieces; None at the beginning of a sequence.
        batch_first: whether the first two dimensions are (B, T) instead of (T, B).
        resets: True where a row is reset before the step, which then counts as a first step with
            d = 0.

    Shapes:
        times, resets: (T, B). mask: (T, B, I). Returns (T, B, I). All without B for one sequence.

    Source: Che et al., arXiv 1606.01865, equation 2.

    >>> mask = torch.tensor([[1, 1], [0, 1], [0, 0], [1, 1]], dtype=torch.bool).unsqueeze(1)
    >>> time_gaps(torch.tensor([[0.0], [0.5], [2.0], [3.0]]), mask).squeeze(1).tolist()
    [[0.0, 0.0], [0.5, 0.5], [2.0, 1.5], [3.0, 2.5]]
    """
    is_bool("time_gaps", mask)
    layout = Layout(batch_first, mask.dim() == 2)
    shape_is("time_gaps", "mask", mask, (*layout.leading, "I"))
    leading, why = tuple(mask.shape[:-1]), "mask has these steps and rows"
    shape_is("time_gaps", "times", times, leading, why)
    times, mask = layout.time_first(times), layout.time_first(mask)
    first = times[0] if before is None else layout.with_batch(before, 0)
    shape_is("time_gaps", "before", first, (times.shape[1],), "times has so many rows")
    if resets is not None:
        is_bool("time_gaps", resets, "resets")
        shape_is("time_gaps", "resets", resets, leading, why)
        resets = layout.time_first(resets)
        # At each step, the time of the latest reset of the row.
        begins = _latest(resets)
        first = torch.where(begins < 0, first, times.gather(0, begins.clamp(min=0)))
    times, first = times.unsqueeze(-1).expand(mask.shape), first.unsqueeze(-1)
    steps = observed_before(last_observed(mask, resets), resets)
    since = torch.where(steps < 0, first, times.gather(0, steps.clamp(min=0)))
    return layout.restored(times - since)


def is_bool(who: str, mask: Any, name: str = "mask") -> None:
    """Raises a ValueError if ``mask`` is not a tensor of torch.bool."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else repr(mask)
        raise ValueError(f"{who}: expected {name} of torch.bool, got {got}.")


def _latest(events: Tensor) -> Tensor:
    """For each step, the latest step up to it where ``events`` is True; -1 before the first."""
    steps = torch.arange(events.shape[0], device=events.device).view(-1, *[1] * (events.dim() - 1))
    return torch.where(events, steps, -1).cummax(0).values


def last_observed(mask: Tensor, resets: Tensor | None) -> Tensor:
    """For each step, the latest step up to it at which a feature was observed; -1 if there is none.

    Observations before a reset of the row do not count.

    Shapes:
        mask: (T, B, I). resets: (T, B). Returns (T, B, I).
    """
    latest = _latest(mask)
    if resets is None:
        return latest
    return torch.where(latest < _latest(resets).unsqueeze(-1), -1, latest)


def observed_before(latest: Tensor, resets: Tensor | None) -> Tensor:
    """Shifts the result of :func:`last_observed` by one step, to exclude the step itself.

    A step with a reset has no previous step: its result is -1.
    """
    # Not a slice of T - 1 steps: torch.export would refuse T = 2.
    before = F.pad(latest, (0, 0, 0, 0, 1, 0), value=-1)[:-1]
    return before if resets is None else torch.where(resets.unsqueeze(-1), -1, before)

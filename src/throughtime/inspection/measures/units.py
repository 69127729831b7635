"""What single units do over a sequence: saturated gates, dead units, the rank of the states."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.inspection.recording import Name, Recording

__all__ = ["Saturation", "are_gates", "dead_units", "effective_rank", "saturation"]


class Saturation(NamedTuple):
    """How often each unit of a gate is nearly closed or nearly open.

    Args:
        left: (W), the share of the steps at which the value is below ``low``.
        right: (W), the share of the steps at which it is above ``high``.
    """

    left: Tensor
    right: Tensor


def saturation(values: Tensor, low: float = 0.1, high: float = 0.9) -> Saturation:
    """The shares of the steps at which each unit of a gate is saturated.

    Args:
        values: (T, W), the values of a gate, from 0 to 1.
        low, high: the bounds; those of the source are 0.1 and 0.9.

    Source: Karpathy, Johnson and Fei-Fei, arXiv 1506.02078, section 4.2.
    """
    return Saturation((values < low).double().mean(0), (values > high).double().mean(0))


def are_gates(recording: Recording) -> list[str]:
    """The names of the recorded values that are gates: no states, from 0 to 1 at all steps."""
    return [
        name
        for name, value in recording.values.items()
        if name not in recording.states
        and Name.of(name).layer is not None
        and bool(((value >= 0) & (value <= 1)).all())
    ]


def dead_units(values: Tensor, tolerance: float = 1e-3) -> Tensor:
    """The numbers of the units that never change: they carry nothing from step to step.

    Args:
        values: (T, W), a state at all steps.
        tolerance: a unit is dead if its largest and its smallest value differ by less. A unit of a
            rectifier that is always 0 is dead, and one of tanh that is always saturated too.
    """
    return (values.amax(0) - values.amin(0) < tolerance).nonzero().flatten()


def effective_rank(values: Tensor) -> float:
    r"""In how many directions the states vary:

        exp(-sum_i p_i log p_i),   p_i = s_i / sum_j s_j

    with the singular values s of the states without their mean.

    Args:
        values: (T, W).

    Returns:
        From 1 to W; 0 if the states never change.

    Source: Roy and Vetterli, EUSIPCO 2007. Differs: the mean is subtracted, because a constant part
    is no variation.
    """
    centred = values.double() - values.double().mean(0)
    s = torch.linalg.svdvals(centred)
    # What remains of equal values is rounding.
    if not len(s) or float(s[0]) <= 1e-12 * float(torch.linalg.vector_norm(values.double())):
        return 0.0
    p = s / s.sum()
    return float(torch.exp(torch.special.entr(p).sum()))

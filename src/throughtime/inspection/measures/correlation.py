"""The correlation of units with properties of the text that the network reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from throughtime.inspection.measures.text_properties import Property
from throughtime.inspection.recording import Recording

__all__ = ["Follower", "correlations", "followers"]


class Follower(NamedTuple):
    """A unit and how closely it follows a property.

    Args:
        name: the name of the state in the recording.
        unit: the number of the unit, from 0.
        correlation: Pearson's r, from -1 to 1.
    """

    name: str
    unit: int
    correlation: float


def correlations(values: Tensor, property: Tensor) -> Tensor:
    r"""Pearson's correlation of each unit with a property:

        r_i = sum_t (v_ti - mean v_i) (p_t - mean p) / sqrt(sum_t (v_ti - mean v_i)^2)
                                                     / sqrt(sum_t (p_t - mean p)^2)

    Args:
        values: (T, W).
        property: (T).

    Returns:
        (W) float64; 0 for a unit that never changes.

    Raises:
        ValueError: if the property never changes, so that nothing can follow it.

    Source: K. Pearson, Proceedings of the Royal Society 58 (1895).

    >>> values = torch.tensor([[0.0, 3.0], [1.0, 3.0], [2.0, 3.0]])
    >>> correlations(values, torch.tensor([4.0, 2.0, 0.0])).round().int().tolist()
    [-1, 0]
    """
    if len(values) != len(property):
        raise ValueError(
            f"correlations: expected one value of the property for each of {len(values)} steps, "
            f"got {len(property)}."
        )
    v, v_norm = _centred(values)
    p, p_norm = _centred(property.unsqueeze(-1))
    if not len(property) or p_norm == 0:
        raise ValueError(
            f"correlations: the property never changes in these {len(property)} steps. Choose "
            f"another property, or more text."
        )
    products = (v * p).sum(0)
    return torch.where(v_norm > 0, products / (v_norm * p_norm).clamp(min=1e-300), 0.0)


def followers(
    recordings: Sequence[Recording], property: Property, most: int = 20
) -> list[Follower]:
    """The units of all states that follow a property, that with the largest abs(r) first.

    Args:
        recordings: what one model computed for one or several texts.
        property: the property; see :data:`~.text_properties.PROPERTIES`.
        most: the largest number of units.

    Raises:
        ValueError: if the property never changes in these texts.
    """
    if not recordings:
        raise ValueError("followers: expected at least one recording, got none.")
    ranked: list[Follower] = []
    for name in sorted(recordings[0].states):
        values = torch.cat([r.values[name] for r in recordings])
        wanted = torch.cat([property(r.tokens(name)) for r in recordings])
        correlation = correlations(values, wanted)
        best = correlation.abs().topk(min(most, len(correlation))).indices.tolist()
        ranked += [Follower(name, unit, float(correlation[unit])) for unit in best]
    return sorted(ranked, key=lambda unit: -abs(unit.correlation))[:most]


def _centred(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values (T, W) without their mean over the steps, and their norms (W); 0 if all are equal."""
    values = values.double()
    is_constant = (values == values[:1]).all(0)
    centred = values - values.mean(0)
    return centred, torch.where(is_constant, 0.0, torch.linalg.vector_norm(centred, dim=0))

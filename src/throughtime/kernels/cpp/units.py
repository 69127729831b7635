"""Pads the units of a row to a whole number of vectors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pad", "width"]

# A multiple of the lanes of every vector, from 16 bytes of float64 to 64 bytes of float32.
_UNITS = 16


def width(units: int) -> int:
    """The number of units of a row with padding."""
    return -(-units // _UNITS) * _UNITS


def pad(value: Tensor, width: int) -> Tensor:
    """The value with zeros after its last unit, (…, width); the value itself if none is missing."""
    missing = width - value.shape[-1]
    return torch.nn.functional.pad(value, (0, missing)) if missing else value

"""Random numbers computed from a seed and a place.

Every backend draws the same numbers, in any order, and need not store them.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["new_seed", "uniform"]

# The odd numbers and shifts of the SplitMix64 generator (Steele, Lea and Flood 2014), and for 32
# bits those that C. Wellons found to mix best with two products ("lowbias32").
_STEP = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
_STEP32, _FIRST32, _SECOND32 = 0x9E3779B9, 0x7FEB352D, 0x846CA68B
_LOW = 0xFFFFFFFF
# The time of what is drawn once for a sequence.
_NO_TIME = -1


def new_seed(device: torch.device | str = "cpu") -> Tensor:
    """A seed for one call, drawn by PyTorch's own generator; ``torch.manual_seed`` repeats it."""
    return torch.randint(2**63 - 1, (), dtype=torch.int64, device=device)


def uniform(
    seed: Tensor, stream: int, t: int | None, rows: int, units: int, dtype: torch.dtype
) -> Tensor:
    r"""A number for each row b and unit j of a step:

        k = mix(mix(mix(seed + (stream + 1) s) + (t + 1) s) + (b + 1) s)
        u = hash32(j s', k) / 2^24

    where mix and hash32 turn each bit of their argument into any bit of their value.

    Args:
        seed: int64, ().
        stream: which of the cell's random inputs.
        t: the step, in reading order; None is no step but the whole sequence.
        rows, units: B and H.
        dtype: float64 where that is wanted; else float32. Both hold each number exactly.

    Shapes:
        (B, H), from 0 to below 1, multiples of 2^-24.
    """
    at = _NO_TIME if t is None else t
    key = _mixed(_mixed(seed + _signed((stream + 1) * _STEP)) + _signed((at + 1) * _STEP))
    row = torch.arange(1, rows + 1, device=seed.device).unsqueeze(-1) * _signed(_STEP)
    key = _mixed(key + row)  # (B, 1)
    unit = torch.arange(units, device=seed.device) * _STEP32
    x = ((key & _LOW) + unit) & _LOW  # (B, H)
    x = x ^ (x >> 16)
    x = (x * _FIRST32) & _LOW
    x = x ^ (x >> 15) ^ (_shifted(key, 32))
    x = (x * _SECOND32) & _LOW
    x = x ^ (x >> 16)
    wide = torch.float64 if dtype is torch.float64 else torch.float32
    return (x >> 8).to(wide) * 2.0**-24


def _mixed(z: Tensor) -> Tensor:
    for shift, factor in _MIX:
        z = (z ^ _shifted(z, shift)) * _signed(factor)
    return z


def _shifted(z: Tensor, by: int) -> Tensor:
    """The bits of z shifted to the right; the highest bits become zeros."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _signed(n: int) -> int:
    """The int64 number with the same 64 bits as n."""
    n &= 2**64 - 1
    return n - 2**64 if n >= 2**63 else n

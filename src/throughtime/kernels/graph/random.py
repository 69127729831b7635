"""Random numbers that are a function of a seed and a position (counter-based).

Every backend gets the same numbers, in any order of the positions, and need not store them.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["new_seed", "uniform"]

# The multipliers and shifts of the SplitMix64 generator (Steele, Lea and Flood 2014), and for 32
# bits those of C. Wellons' hash "lowbias32". A row has one 64-bit key; its units need only the
# 32-bit hash, of which a vector computes twice as many at once.
_STEP = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
_STEP32, _FIRST32, _SECOND32 = 0x9E3779B9, 0x7FEB352D, 0x846CA68B
_LOW = 0xFFFFFFFF
# The time index of a random input that is drawn once for a whole sequence.
_NO_TIME = -1


def new_seed(device: torch.device | str = "cpu") -> Tensor:
    """A seed for one call, drawn by PyTorch's generator, so that ``torch.manual_seed`` sets it."""
    return torch.randint(2**63 - 1, (), dtype=torch.int64, device=device)


def uniform(
    seed: Tensor, stream: int, t: int | None, rows: int, units: int, dtype: torch.dtype
) -> Tensor:
    r"""A random number for each row b and unit j of a step, uniform in [0, 1):

        k = mix(mix(mix(seed + (stream + 1) s) + (t + 1) s) + (b + 1) s)
        u = hash32(j s', k) / 2^24

    where each bit of the argument of mix and hash32 affects each bit of the result.

    Args:
        seed: int64, ().
        stream: the number of the random input among those of the cell.
        t: the step, in reading order; None for numbers that hold for the whole sequence.
        rows, units: B and H.
        dtype: with float64 the result is float64, else float32. Both hold each number exactly.

    Shapes:
        (B, H), from 0 to below 1, multiples of 2^-24.
    """
    time = _NO_TIME if t is None else t
    key = _mixed(_mixed(seed + _signed((stream + 1) * _STEP)) + _signed((time + 1) * _STEP))
    row = torch.arange(1, rows + 1, device=seed.device).unsqueeze(-1) * _signed(_STEP)
    key = _mixed(key + row)  # (B, 1)
    unit = torch.arange(units, device=seed.device) * _STEP32
    x = ((key & _LOW) + unit) & _LOW  # (B, H)
    x = x ^ (x >> 16)
    x = (x * _FIRST32) & _LOW
    x = x ^ (x >> 15) ^ (_shifted(key, 32))
    x = (x * _SECOND32) & _LOW
    x = x ^ (x >> 16)
    result = torch.float64 if dtype is torch.float64 else torch.float32
    # The highest 24 bits: as many as a float32 holds exactly.
    return (x >> 8).to(result) * 2.0**-24


def _mixed(z: Tensor) -> Tensor:
    for shift, factor in _MIX:
        z = (z ^ _shifted(z, shift)) * _signed(factor)
    return z


def _shifted(z: Tensor, by: int) -> Tensor:
    """The bits of z shifted to the right; the highest bits become zeros, unlike those of ``>>``."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _signed(n: int) -> int:
    """The int64 number with the same 64 bits as n."""
    n &= 2**64 - 1
    return n - 2**64 if n >= 2**63 else n

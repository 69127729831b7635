"""The form in which the page gets numbers: base64 for tensors, plain lists for a few of them."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

__all__ = ["finite", "likeliest", "packed"]

_NUM_LIKELIEST = 8


def packed(name: str, values: Tensor) -> dict[str, Any]:
    """Values (T, W) as ``{"name", "shape", "data"}``, the data in base64 of float32.

    >>> packed("h", Tensor([[1.0]]))
    {'name': 'h', 'shape': [1, 1], 'data': 'AACAPw=='}
    """
    numbers = values.detach().cpu().float().contiguous().numpy().astype("<f4")
    data = base64.b64encode(numbers.tobytes()).decode("ascii")
    return {"name": name, "shape": list(values.shape), "data": data}


def likeliest(probabilities: Tensor, outputs: Sequence[str]) -> list[list[list[Any]]]:
    """For each row of probabilities (T, K) the likeliest outputs as ``[output, probability]``.

    Outputs whose probability is 0 or NaN are left out.

    >>> likeliest(Tensor([[0.0, 0.25, 0.75]]), "abc")
    [[['c', 0.75], ['b', 0.25]]]
    """
    best, index = probabilities.topk(min(_NUM_LIKELIEST, probabilities.shape[-1]))
    return [
        [[outputs[i], p] for p, i in zip(row, indices, strict=True) if p > 0]
        for row, indices in zip(best.tolist(), index.tolist(), strict=True)
    ]


def finite(numbers: Iterable[float]) -> list[float | None]:
    """The numbers for JSON, which has no infinity and no NaN: these become None."""
    return [number if math.isfinite(number) else None for number in numbers]

"""``torch.autocast`` for calls: the whole call runs in one dtype, whichever backend runs it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from throughtime.kernels.call import Call, Weights

__all__ = ["are_of_one_type", "autocast_dtype", "autocast_off", "outside_autocast"]

P = ParamSpec("P")
R = TypeVar("R")


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype in which autocast runs a call; None if autocast is off, or leaves x as it is.

    As in all of PyTorch, float64 stays float64.
    """
    if not torch._C._is_any_autocast_enabled() or x.dtype is torch.float64:
        return None
    # Not every device has autocast: meta has none.
    device = x.device.type
    if not torch.amp.is_autocast_available(device):
        return None
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def autocast_off(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which autocast is off for the device of x."""
    device = x.device.type
    has_autocast = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if has_autocast else nullcontext()


def are_of_one_type(dtype: torch.dtype, x: Tensor) -> bool:
    """Whether a value of this dtype can enter a call with x: it equals that of x, or is cast."""
    if dtype == x.dtype:
        return True
    types = (dtype, x.dtype)
    are_cast = torch.float64 not in types and all(t.is_floating_point for t in types)
    return are_cast and autocast_dtype(x) is not None


def outside_autocast(
    function: Callable[Concatenate[Call, P], R],
) -> Callable[Concatenate[Call, P], R]:
    """Decorates a function of a call so that it need not handle autocast.

    Under autocast the function receives a call whose tensors all have autocast's dtype, and runs
    with autocast off: autocast would cast some operations of the reference and not others.
    """

    @wraps(function)
    def run(call: Call, *args: P.args, **kwargs: P.kwargs) -> R:
        dtype = autocast_dtype(call.x)
        if dtype is None:
            return function(call, *args, **kwargs)
        with autocast_off(call.x):
            return function(_cast(call, dtype), *args, **kwargs)

    return run


def _cast(call: Call, dtype: torch.dtype) -> Call:
    """The call with all its floating-point tensors in the dtype."""

    def to(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.to(dtype)

    w = call.weights
    return replace(
        call,
        x=call.x.to(dtype),
        weights=Weights(
            w.weight_ih.to(dtype),
            *(to(w.weight_hh), to(w.bias_ih), to(w.bias_hh)),
            {name: p.to(dtype) for name, p in w.parameters.items()},
        ),
        state=tuple(s.to(dtype) for s in call.state),
        inputs=tuple(v.to(dtype) for v in call.inputs),
    )

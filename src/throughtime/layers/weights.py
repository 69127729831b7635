"""Looks a layer's weight up for a call, and checks its shape, device and dtype.

Kernels read weights by their memory addresses, so a weight of a wrong shape would make them read
outside it. A weight may have been replaced since the layer was constructed: by
``load_state_dict(assign=True)``, a parametrization, or an assignment. The check compares properties
of the tensors and reads no element, so it is cheap enough for every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from throughtime.checks import ShapeError, device_is
from throughtime.kernels.autocast import are_of_one_type

__all__ = ["Owner", "weight_of"]


class Owner(Protocol):
    """A layer: its parameters, and its name in error messages."""

    @property
    def _parameters(self) -> Mapping[str, Tensor | None]: ...
    @property
    def who(self) -> str: ...


def weight_of(owner: Owner, name: str, shape: tuple[int, ...], x: Tensor | None) -> Tensor:
    """Returns the weight ``name``, after checking that a call with the input x can read it.

    Args:
        owner: the layer.
        name: the name of the attribute, such as ``weight_hh_l0``.
        shape: the shape that the weight had when the layer was constructed.
        x: the input, whose device and dtype the weight must have (under autocast: any dtype that
            autocast casts). With None only the shape is checked.

    Raises:
        ShapeError: if the weight has another shape.
        ValueError: if it has another device or dtype, or is not a tensor.
    """
    # Read the dict of nn.Module first: its __getattr__ costs as much as the whole check.
    value: Any = owner._parameters.get(name)
    if value is None:
        value = getattr(owner, name, None)
    if isinstance(value, Tensor) and value.shape == shape:
        if x is None or (value.dtype is x.dtype and value.device == x.device):
            return value
    if not isinstance(value, Tensor):
        raise ValueError(f"{owner.who}: expected {name} as a tensor of {shape}, got {value!r}.")
    if value.shape != shape:
        raise ShapeError(
            f"{owner.who}: expected {name} of shape {shape}, as the layer was constructed with, "
            f"got {tuple(value.shape)}. Load weights of this shape, or construct another layer."
        )
    assert x is not None
    device_is(owner.who, name, value, x)
    if not are_of_one_type(value.dtype, x):
        raise ValueError(
            f"{owner.who}: expected {name} of {x.dtype} as x is, got {value.dtype}. Convert all "
            f"weights to one type, for example layer.to({x.dtype})."
        )
    return value

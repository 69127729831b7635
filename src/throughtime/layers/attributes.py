"""Attributes of a layer that read and replace its sizes and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar, overload

from torch import nn

from throughtime.layers.spec import LayerSpec

__all__ = ["WithSpec"]

Value = TypeVar("Value")


class _Option(Generic[Value]):
    """An attribute that reads a field of the layer's ``spec``; setting it replaces the ``spec``.

    The ``spec`` is the only place that stores an option, so no second copy can differ from it.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, layer: None, owner: type) -> Self: ...
    @overload
    def __get__(self, layer: WithSpec, owner: type) -> Value: ...
    def __get__(self, layer: WithSpec | None, owner: type) -> Any:
        return self if layer is None else getattr(layer.spec, self.name)

    def __set__(self, layer: WithSpec, value: Value) -> None:
        layer.spec = replace(layer.spec, **{self.name: value})


class WithSpec(nn.Module):
    """A module whose sizes and options are attributes: one for each field of its ``spec``."""

    spec: LayerSpec

    input_size = _Option[int]()
    hidden_size = _Option[int]()
    num_layers = _Option[int]()
    bias = _Option[bool]()
    batch_first = _Option[bool]()
    dropout = _Option[float]()
    bidirectional = _Option[bool]()
    merge = _Option[str]()
    backend = _Option[str]()
    save = _Option[str]()
    strict = _Option[bool]()
    locked_dropout = _Option[bool]()
    recurrent_dropout = _Option[float]()
    zoneout = _Option["float | Mapping[str, float]"]()
    weight_drop = _Option[float]()
    learned_state = _Option[bool]()
    residual = _Option[bool]()
    independent = _Option[bool]()
    proj_size = _Option[int]()
    activations = _Option[Mapping[str, Any]]()
    clip = _Option["float | None"]()
    forget_bias = _Option["float | str | None"]()
    chrono_steps = _Option["float | None"]()
    recurrent_init = _Option["str | None"]()

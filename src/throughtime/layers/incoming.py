"""What a layer is called with: checked, time first, with a batch and an initial state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from throughtime.checks import ShapeError, device_is, integer_lengths, nearest, shape_is
from throughtime.kernels.autocast import are_of_one_type

if TYPE_CHECKING:
    from throughtime.layers.recurrent import Recurrent

__all__ = ["Incoming", "prepared"]


@dataclass(frozen=True)
class Incoming:
    """Everything that comes into a layer, in one form.

    Args:
        x: (T, B, I).
        state: in the cell's order, each (L*D, B, H).
        lengths: (B,) int64, or None.
        resets: (T, B) bool, or None.
        inputs: what enters each step besides x, in the cell's order, each (T, B, H).
    """

    x: Tensor
    state: tuple[Tensor, ...]
    lengths: Tensor | None
    resets: Tensor | None
    inputs: tuple[Tensor, ...]


def prepared(
    layer: Recurrent,
    x: Any,
    hx: Any,
    lengths: Any = None,
    resets: Any = None,
    inputs: Any = None,
    time_first: bool = False,
) -> Incoming:
    """Checks what a layer is called with, and brings it into one form.

    Args:
        layer: whose arguments they are.
        x, hx, lengths, resets, inputs: as its ``forward`` takes them.
        time_first: whether x is time first though the layer is ``batch_first``.
    """
    who = layer.who
    batch_first = layer.batch_first and not time_first
    for name, value in (("x", x), ("resets", resets)):
        if not isinstance(value, Tensor) and (value is not None or name == "x"):
            raise TypeError(f"{who}: expected {name} as a tensor, got {value!r}.")
    alone = x.dim() == 2
    leading = ("T",) if alone else ("B", "T") if batch_first else ("T", "B")
    shape_is(who, "x", x, (*leading, layer.input_size), f"input_size={layer.input_size}")
    if not are_of_one_type(layer.dtype, x):
        raise ValueError(
            f"{who}: expected x of {layer.dtype} as the weights are, got "
            f"{x.dtype}. Convert one of them, for example layer.to(x.dtype)."
        )

    def time_and_batch(value: Tensor) -> Tensor:
        return value.unsqueeze(1) if alone else value.transpose(0, 1) if batch_first else value

    given = x.shape[:1] if alone else x.shape[:2]
    inputs = _inputs(layer, x, inputs, given)
    x = time_and_batch(x)
    T, B, _ = x.shape
    if T == 0:
        raise ShapeError(f"{who}: expected at least one time step, got x with none.")
    if isinstance(lengths, Tensor):
        device_is(who, "lengths", lengths, x, or_cpu=True)
    if lengths is not None:
        lengths = integer_lengths(who, lengths, B, T)
    if resets is not None:
        if resets.dtype != torch.bool:
            raise ValueError(f"{who}: expected resets of torch.bool, got {resets.dtype}.")
        device_is(who, "resets", resets, x)
        shape_is(who, "resets", resets, tuple(given), "x has these steps and rows")
        resets = time_and_batch(resets)
    state = _initial(layer, x, hx, alone)
    return Incoming(x, state, lengths, resets, tuple(time_and_batch(v) for v in inputs))


def _inputs(layer: Recurrent, x: Tensor, inputs: Any, leading: torch.Size) -> list[Tensor]:
    """What enters each step besides x, spread over the units."""
    specs, who = layer.cell.given_inputs, layer.who
    if inputs is None:
        inputs = {}
    if not isinstance(inputs, Mapping):
        raise TypeError(f"{who}: expected inputs as a dict of tensors, got {inputs!r}.")
    for name in inputs:
        if name not in specs:
            known = f"the cell has {', '.join(specs)}" if specs else "the cell has none"
            raise ValueError(f'{who}: unknown input "{name}"{nearest(name, specs) or ";"} {known}.')
    found = []
    for name, spec in specs.items():
        value = inputs.get(name)
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{who}: expected the input {name} of the cell as a tensor, got {value!r}. Call "
                f"layer(x, inputs={{{name!r}: …}})."
            )
        if spec.size == 1 and value.dim() == len(leading):
            value = value.unsqueeze(-1)
        width = spec.size or layer.hidden_size
        shape_is(who, f"the input {name}", value, (*leading, width), "x has these steps and rows")
        device_is(who, f"the input {name}", value, x)
        if not are_of_one_type(value.dtype, x):
            raise ValueError(
                f"{who}: expected the input {name} of {x.dtype} as x is, got {value.dtype}."
            )
        found.append(value.expand(*leading, layer.hidden_size))
    return found


def _initial(layer: Recurrent, x: Tensor, hx: Any, alone: bool) -> tuple[Tensor, ...]:
    who, B = layer.who, x.shape[1]
    specs, rows = layer.cell.state_specs, layer.num_layers * layer.num_directions
    shapes = [(rows, B, size) for size in layer.state_sizes.values()]
    if hx is None and layer.learned_state:
        learned = layer.learned_states(x)
        return tuple(torch.stack(r).unsqueeze(1).expand(-1, B, -1) for r in learned)
    if hx is None:
        return tuple(
            torch.full(shape, spec.initial, dtype=x.dtype, device=x.device)
            for shape, spec in zip(shapes, specs.values(), strict=True)
        )
    if not isinstance(hx, (Tensor, tuple, list)):
        raise TypeError(f"{who}: expected hx as a tensor or a tuple, got {hx!r}.")
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    if len(states) != len(specs) or (len(specs) > 1 and isinstance(hx, Tensor)):
        raise ValueError(
            f"{who}: expected {len(specs)} initial state(s) ({', '.join(specs)}), "
            f"{'a tuple' if len(specs) > 1 else 'a tensor'}, got "
            f"{'a tensor' if isinstance(hx, Tensor) else f'a tuple of {len(states)}'}."
        )
    why = f"num_layers={layer.num_layers}, bidirectional={layer.bidirectional}, x has {B} rows"
    for (name, value), shape in zip(zip(specs, states, strict=True), shapes, strict=True):
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{who}: expected the initial state {name} as a tensor, got {value!r}."
            )
        device_is(who, f"the initial state {name}", value, x)
        if not are_of_one_type(value.dtype, x):
            raise ValueError(
                f"{who}: expected the initial state {name} of {x.dtype} as x is, got {value.dtype}."
            )
        expected = (shape[0], shape[2]) if alone else shape
        shape_is(who, f"the initial state {name}", value, expected, why)
    return tuple(s.unsqueeze(1) for s in states) if alone else states

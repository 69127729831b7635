"""Checks the arguments of a layer's call and converts them to time-first batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from throughtime.checks import device_is, nearest, shape_is
from throughtime.kernels.autocast import are_of_one_type
from throughtime.layers.sequence import Layout, enter
from throughtime.layers.stack import Incoming, Stack

__all__ = ["initial", "prepared"]


def prepared(
    layer: Stack,
    x: Any,
    hx: Any,
    lengths: Any = None,
    resets: Any = None,
    inputs: Any = None,
) -> Incoming:
    """Checks the arguments of a call and converts them to (T, B, …) with an initial state.

    Args:
        layer: the layer that is called.
        x, hx, lengths, resets, inputs: the arguments of its ``forward``.
    """
    steps = enter(
        layer.who,
        x,
        input_size=layer.input_size,
        dtype=layer.dtype,
        batch_first=layer.batch_first,
        lengths=lengths,
        resets=resets,
        inputs=inputs,
    )
    layout = steps.layout
    T, B, _ = steps.x.shape
    leading = (T,) if layout.is_single else (B, T) if layout.batch_first else (T, B)
    further = tuple(layout.time_first(v) for v in _inputs(layer, steps.x, inputs, leading))
    state = initial(layer, steps.x, hx, layout)
    return Incoming(steps.x, steps.lengths, steps.resets, layout, state, further)


def _inputs(layer: Stack, x: Tensor, inputs: Any, leading: tuple[int, ...]) -> list[Tensor]:
    """The further inputs of the cell in its order, each expanded to H features."""
    specs, who = layer.cell.given_inputs, layer.who
    if inputs is None:
        inputs = {}
    if not isinstance(inputs, Mapping):
        raise TypeError(f"{who}: expected inputs as a dict of tensors, got {inputs!r}.")
    for name in inputs:
        if name not in specs:
            known = f"the cell has {', '.join(specs)}" if specs else "the cell has none"
            raise ValueError(f'{who}: unknown input "{name}"{nearest(name, specs) or ";"} {known}.')
    further = []
    for name, spec in specs.items():
        value = inputs.get(name)
        if name not in inputs and spec.default is not None:
            value = x.new_full((), spec.default).expand(*leading, spec.size or layer.hidden_size)
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
                f"{who}: expected the input {name} of {x.dtype} as the weights are, got "
                f"{value.dtype}."
            )
        further.append(value.expand(*leading, layer.hidden_size))
    return further


def initial(layer: Stack, x: Tensor, hx: Any, layout: Layout) -> tuple[Tensor, ...]:
    """The initial states (L*D, B, size): those of ``hx``, else the learned, else the cell's.

    Args:
        layer: the layer.
        x: its input, (T, B, I).
        hx: the argument of the call.
        layout: the layout of the caller's sequences.
    """
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

    def why() -> str:
        settings = f"num_layers={layer.num_layers}, bidirectional={layer.bidirectional}"
        return f"{settings}, x has {B} rows"

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
        expected = (shape[0], shape[2]) if layout.is_single else shape
        shape_is(who, f"the initial state {name}", value, expected, why)
    return tuple(layout.with_batch(s, 1) for s in states)

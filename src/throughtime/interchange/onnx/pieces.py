"""Parts of models as nodes of a graph: linear layers, embeddings, attention, recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.interchange.onnx.layers import further, write_layers
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.interchange.steps import default_inputs
from throughtime.layers import Attention, Recurrent

__all__ = [
    "attend",
    "initial_states",
    "linear",
    "looked_up",
    "masked",
    "pooled_by_attention",
    "run_layers",
    "size",
    "stacked_steps",
    "starts_of",
    "valid_steps",
    "with_constants",
]

END = 2**62
"""The end of a slice that reaches to the last element."""


def linear(graph: GraphWriter, x: str, layer: nn.Linear, name: str) -> str:
    """The result (…, O) of a linear layer on x (…, I)."""
    stored = graph.weight(f"{name}_weight", layer.weight.T)
    has_bias = layer.bias is not None
    product = graph.node("MatMul", [x, stored], f"{name}_without_bias" if has_bias else name)
    if not has_bias:
        return product
    return graph.node("Add", [product, graph.weight(f"{name}_bias", layer.bias)], name)


def looked_up(graph: GraphWriter, table: Tensor, ids: str, name: str) -> str:
    """The rows of a table at the given ids."""
    return graph.node("Gather", [graph.weight(f"{name}_table", table), ids], name, axis=0)


def size(graph: GraphWriter, value: str, axis: int) -> str:
    """The size of a value along an axis, as a vector of one number."""
    shape = graph.node("Shape", [value], f"shape_of_{value}")
    return graph.node("Gather", [shape, graph.integers(axis)], f"size_{axis}_of_{value}", axis=0)


def starts_of(layer: Recurrent) -> dict[str, Any]:
    """For each state its value at the beginning of a sequence: a number, or (L*D, H) if learned."""
    specs = layer.cell.state_specs
    if layer.learned_state:
        learned = layer.learned_states()
        return dict(zip(specs, [[row.tolist() for row in rows] for rows in learned], strict=True))
    return {name: spec.initial for name, spec in specs.items()}


def initial_states(graph: GraphWriter, layer: Recurrent, batch: str, name: str) -> list[str]:
    """The states at the beginning of a sequence, each (L*D, B, H).

    Args:
        batch: the number of rows, as a vector of one number.
        name: what the names of the values begin with.
    """
    rows = layer.num_layers * layer.num_directions
    starts = starts_of(layer)
    states = []
    for state, width in layer.state_sizes.items():
        dims = [graph.integers(rows), batch, graph.integers(width)]
        shape = graph.node("Concat", dims, f"{name}_shape_of_{state}", axis=0)
        if layer.learned_state:
            value = torch.tensor(starts[state], dtype=graph.dtype).unsqueeze(1)  # (L*D, 1, H)
            start = graph.weight(f"{name}_learned_{state}", value)
        else:
            start = graph.number(float(starts[state]))
        states.append(graph.node("Expand", [start, shape], f"{name}_start_of_{state}"))
    return states


def with_constants(
    graph: GraphWriter, layer: Recurrent, x: str, constants: Mapping[str, float]
) -> dict[str, str]:
    """The inputs of the cell by name: x, and those that have one value in all steps."""
    steps = [size(graph, x, axis) for axis in (0, 1)] if constants else []
    inputs = {"x": x}
    for name, value in constants.items():
        width = layer.equations.input_specs[name].size or layer.hidden_size
        shape = graph.node("Concat", [*steps, graph.integers(width)], f"shape_of_{name}", axis=0)
        inputs[name] = graph.node("Expand", [graph.number(value), shape], f"{name}_of_each_step")
    return inputs


def run_layers(
    graph: GraphWriter,
    layer: Recurrent,
    inputs: Mapping[str, str],
    lengths: str,
    name: str,
    title: str,
) -> tuple[str, list[str]]:
    """Runs recurrent layers from their initial states.

    Args:
        inputs: the inputs that the model passes to the cell by name, in the layout of the layer; x
            among them.
        lengths: the name of the lengths (B) of int32; empty if all steps are valid.
        name: a name that the graph uses for these layers alone.
        title: the class of the model.

    Returns:
        The output, zero past a row's end, and the last states, each (L*D, B, H).
    """
    others = [n for n in further(layer) if n not in inputs]
    constants = default_inputs("save_onnx", title, layer, others)
    inputs = with_constants(graph, layer, inputs["x"], constants) | dict(inputs)
    batch = size(graph, inputs["x"], 0 if layer.batch_first else 1)
    initial = initial_states(graph, layer, batch, name)
    last = [f"{name}_last_{state}" for state in layer.state_sizes]
    write_layers(graph, layer, inputs, lengths, initial, f"{name}_output", last)
    return f"{name}_output", last


def valid_steps(graph: GraphWriter, value: str, lengths: str) -> str:
    """The mask (B, T) of the valid steps of a value (B, T, …)."""
    count = graph.node("Squeeze", [size(graph, value, 1)], f"steps_of_{value}")
    ends = [graph.number(0, torch.int64), count, graph.number(1, torch.int64)]
    steps = graph.node("Range", ends, f"each_step_of_{value}")
    wide = graph.node("Cast", [lengths], f"{lengths}_wide", to=graph.onnx.TensorProto.INT64)
    column = graph.node("Unsqueeze", [wide, graph.integers(1)], f"{lengths}_column")
    return graph.node("Less", [steps, column], f"valid_steps_of_{value}")


def masked(graph: GraphWriter, value: str, mask: str, fill: float, name: str) -> str:
    """The value (B, T, F), or ``fill`` where the mask (B, T) is False."""
    wide = graph.node("Unsqueeze", [mask, graph.integers(2)], f"{name}_mask")
    return graph.node("Where", [wide, value, graph.number(fill)], name)


def as_numbers(graph: GraphWriter, whole: str, name: str) -> str:
    """Integers as floating-point numbers of the graph's type."""
    kind = graph.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(str(graph.dtype)[6:]))
    return graph.node("Cast", [whole], name, to=kind)


def pooled_by_attention(graph: GraphWriter, h: str, mask: str, scorer: nn.Sequential) -> str:
    """The mean (B, F) of h (B, T, F), weighted by two linear layers with tanh between them."""
    first, _, second = scorer
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    hidden = graph.node("Tanh", [linear(graph, h, first, "attention_hidden")], "attention_tanh")
    energies = linear(graph, hidden, second, "attention_energies")  # (B, T, 1)
    energies = masked(graph, energies, mask, float("-inf"), "attention_of_valid_steps")
    weights = graph.node("Softmax", [energies], "attention_weights", axis=1)
    product = graph.node("Mul", [weights, h], "attended_steps")
    return graph.node("ReduceSum", [product, graph.integers(1)], "attended_sum", keepdims=0)


def attend(
    graph: GraphWriter, attention: Attention, query: str, memory: Mapping[str, str]
) -> tuple[str, str]:
    """The context (B, M) of a query (B, Q), and the attention weights (B, S).

    Args:
        memory: the names of ``values`` (B, S, M), ``keys`` (B, S, …) and ``mask`` (B, S). The keys
            of ``dot`` are the values.
    """
    keys = memory["values" if attention.kind == "dot" else "keys"]
    if attention.kind == "additive":
        asked = linear(graph, query, attention.query, "query_hidden")
        asked = graph.node("Unsqueeze", [asked, graph.integers(1)], "query_step")
        both = graph.node("Add", [asked, keys], "query_and_keys")
        both = graph.node("Tanh", [both], "query_and_keys_tanh")
        energies = linear(graph, both, attention.energy, "energies")  # (B, S, 1)
    else:
        column = graph.node("Unsqueeze", [query, graph.integers(2)], "query_column")
        energies = graph.node("MatMul", [keys, column], "energies")  # (B, S, 1)
    energies = graph.node("Squeeze", [energies, graph.integers(2)], "energy_of_each_step")
    lowest = graph.number(float("-inf"))
    energies = graph.node("Where", [memory["mask"], energies, lowest], "energy_of_valid_steps")
    weights = graph.node("Softmax", [energies], "attention_weights", axis=1)
    row = graph.node("Unsqueeze", [weights, graph.integers(1)], "attention_row")
    context = graph.node("MatMul", [row, memory["values"]], "context_row")
    return graph.node("Squeeze", [context, graph.integers(1)], "context"), weights


def stacked_steps(graph: GraphWriter, x: str, count: int, name: str) -> str:
    """Joins ``count`` steps of x (B, T, F) to one, the last one filled up with zeros."""
    if count == 1:
        return x
    T = size(graph, x, 1)
    negative = graph.node("Neg", [T], f"{name}_negative")
    # The remainder has the sign of the divisor, so it is the number of missing steps.
    missing = graph.node("Mod", [negative, graph.integers(count)], f"{name}_missing")
    pads = [graph.integers(0, 0, 0, 0), missing, graph.integers(0)]
    pads = graph.node("Concat", pads, f"{name}_pads", axis=0)
    padded = graph.node("Pad", [x, pads, graph.number(0.0)], f"{name}_padded")
    width = graph.node("Mul", [size(graph, x, 2), graph.integers(count)], f"{name}_width")
    # A zero in the shape of a Reshape keeps a size.
    shape = graph.node("Concat", [graph.integers(0, -1), width], f"{name}_shape", axis=0)
    return graph.node("Reshape", [padded, shape], name)

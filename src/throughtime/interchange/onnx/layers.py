"""Writes a ``Recurrent`` to ONNX: a node for each layer and direction, and nodes that join them.

Each layer and direction becomes a native RNN, GRU or LSTM node if ONNX has one for the cell, else a
Scan node.
"""

from __future__ import annotations

import torch

from throughtime.interchange.onnx.native import native, write
from throughtime.interchange.onnx.scan import scan
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.interchange.steps import further_inputs, traced_cell
from throughtime.layers import Recurrent

__all__ = ["further", "is_native", "write_layers"]


def is_native(layer: Recurrent) -> bool:
    """Whether the layer is written with native nodes.

    Raises:
        ValueError: if the cell can be written neither as a native node nor as a Scan.
    """
    if native(layer.equations) is not None:
        return True
    traced_cell("save_onnx", layer.equations)
    return False


def further(layer: Recurrent) -> list[str]:
    """The names of the further inputs of a step besides x."""
    return [] if is_native(layer) else further_inputs("save_onnx", layer.equations)


def write_layers(
    graph: GraphWriter,
    layer: Recurrent,
    inputs: dict[str, str],
    lengths: str,
    initial: list[str],
    output: str,
    last: list[str],
) -> None:
    """Writes all stacked layers.

    Args:
        graph: the graph to write into.
        layer: the layers.
        inputs: the names of the values in the graph by the names of the step's inputs; x first.
        lengths: the name of the lengths; empty if there are none.
        initial: the names of the initial states, each (L*D, B, H).
        output, last: the names that the output and the last states must get.
    """
    if layer.batch_first:
        inputs = {
            key: graph.node("Transpose", [name], f"{name}_time_first", perm=[1, 0, 2])
            for key, name in inputs.items()
        }
    for key in list(inputs)[1:]:
        # An input of one number for each row is repeated for all units.
        if layer.equations.input_specs[key].size == 1:
            wide = [inputs[key], graph.integers(1, 1, layer.hidden_size)]
            inputs = inputs | {key: graph.node("Expand", wide, f"{key}_of_units")}
    outputs, ends = _stacked(graph, layer, inputs, lengths, initial)
    if layer.batch_first:
        graph.node("Transpose", outputs, output, perm=[1, 0, 2])
    else:
        graph.node("Identity", outputs, output)
    _join(graph, initial, list(zip(*ends, strict=True)), last, lengths, is_native(layer))


def _stacked(
    graph: GraphWriter,
    layer: Recurrent,
    inputs: dict[str, str],
    lengths: str,
    initial: list[str],
) -> tuple[list[str], list[list[str]]]:
    """Writes the layers one after the other, time first; see :func:`write_layers`.

    Returns:
        The name of the last layer's output, as a list of one, and for each layer, or each direction
        of it if they are independent, the names of the last states.
    """
    # A native node reads the lengths; a Scan reads a mask of the valid steps.
    rows = _valid(graph, inputs["x"], lengths) if lengths and not is_native(layer) else lengths
    L, D = layer.num_layers, layer.num_directions
    xs, ends = [inputs["x"]], list[list[str]]()
    for l in range(L):
        suffixes = [f"_l{l}", f"_l{l}_reverse"][:D]
        groups = [[suffix] for suffix in suffixes] if layer.independent else [suffixes]
        xs = xs * len(groups) if l == 0 else xs
        outputs: list[str] = []
        for i, (x, group) in enumerate(zip(xs, groups, strict=True)):
            states = [_rows(graph, name, l * D + i, len(group), L * D) for name in initial]
            group_outputs, end = _directions(graph, layer, group, inputs | {"x": x}, rows, states)
            outputs += group_outputs
            ends.append(end)
        is_apart = layer.independent and l + 1 < L
        if D == 2 and not layer.independent:
            outputs = [_merged(graph, layer, outputs, f"_l{l}")]
        if layer.residual and l > 0:
            outputs = [
                graph.node("Add", [y, x], f"{y}_and_input")
                for x, y in zip(xs, outputs, strict=True)
            ]
        if layer.independent and not is_apart:
            outputs = [_merged(graph, layer, outputs, f"_l{l}")]
        xs = outputs
    return xs, ends


def _directions(
    graph: GraphWriter,
    layer: Recurrent,
    suffixes: list[str],
    inputs: dict[str, str],
    rows: str,
    states: list[str],
) -> tuple[list[str], list[str]]:
    """Writes one layer in the directions that share an input.

    Args:
        suffixes: the suffixes of the weights of each direction.
        rows: the name of the lengths for a native node, of the mask for a Scan; empty if none.
        states: the names of the initial states, each (D, B, H).

    Returns:
        The names of the outputs, one for each direction, and of the last states (D, B, H).
    """
    if is_native(layer):
        return write(graph, layer, suffixes, inputs["x"], rows, states)
    outputs: list[str] = []
    last: list[list[str]] = []
    for i, suffix in enumerate(suffixes):
        initial = [
            graph.node("Gather", [s, graph.number(i, torch.int64)], f"{s}_at{suffix}", axis=0)
            for s in states
        ]
        output, end = scan(graph, layer, suffix, inputs, rows, initial)
        outputs.append(output)
        # (1, B, H)
        last.append([graph.node("Unsqueeze", [e, graph.integers(0)], f"{e}_row") for e in end])
    return outputs, [_concatenated(graph, list(of), f"{of[0]}s") for of in zip(*last, strict=True)]


def _rows(graph: GraphWriter, states: str, start: int, count: int, of: int) -> str:
    """The rows ``start`` to ``start + count`` of states that have ``of`` rows."""
    if count == of:
        return states
    return graph.slice(states, start, start + count, 0, f"{states}_from_{start}")


def _concatenated(graph: GraphWriter, parts: list[str], name: str) -> str:
    """The parts concatenated along axis 0."""
    return parts[0] if len(parts) == 1 else graph.node("Concat", parts, name, axis=0)


def _join(
    graph: GraphWriter,
    initial: list[str],
    pieces: list[tuple[str, ...]],
    last: list[str],
    lengths: str,
    is_native: bool,
) -> None:
    """Joins the last states of all layers to (L*D, B, H).

    Args:
        initial: the names of the initial states.
        pieces: for each state the names of the last states of all layers.
        last: the names that the joined states must get.
        lengths: the name of the lengths; empty if there are none.
        is_native: whether the layers are native nodes.
    """
    is_row_valid = ""
    if lengths and is_native:
        # A row without steps must keep its initial state, but runtimes return zero for it.
        has_steps = graph.node("Greater", [lengths, graph.number(0, torch.int32)], "has_steps")
        is_row_valid = graph.node("Unsqueeze", [has_steps, graph.integers(1)], "is_there")
    for name, first, parts in zip(last, initial, pieces, strict=True):
        whole = _concatenated(graph, list(parts), f"{name}_of_layers")
        if is_row_valid:
            graph.node("Where", [is_row_valid, whole, first], name)
        else:
            graph.node("Identity", [whole], name)


def _merged(graph: GraphWriter, layer: Recurrent, both: list[str], suffix: str) -> str:
    """Merges the outputs of both directions."""
    if layer.merge == "concat":
        return graph.node("Concat", both, f"directions{suffix}", axis=2)
    if layer.merge == "product":
        return graph.node("Mul", both, f"product{suffix}")
    total = graph.node("Add", both, f"sum{suffix}")
    if layer.merge == "sum":
        return total
    return graph.node("Mul", [total, graph.number(0.5)], f"mean{suffix}")


def _valid(graph: GraphWriter, x: str, lengths: str) -> str:
    """The mask (T, B, 1) of the valid steps."""
    steps = graph.node("Shape", [x], "shape_of_input")
    count = graph.node("Gather", [steps, graph.number(0, torch.int64)], "num_steps", axis=0)
    ends = [graph.number(0, torch.int64), count, graph.number(1, torch.int64)]
    every = graph.node("Range", ends, "every_step")
    column = graph.node("Unsqueeze", [every, graph.integers(1, 2)], "every_step_column")
    wide = graph.node("Cast", [lengths], "lengths_wide", to=graph.onnx.TensorProto.INT64)
    row = graph.node("Unsqueeze", [wide, graph.integers(1)], "lengths_row")
    return graph.node("Less", [column, row], "valid")

"""The layer GRU-D, which fills in missing values, as nodes of a graph."""

from __future__ import annotations

import torch

from throughtime.interchange.onnx.pieces import run_layers, size
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.models.marked import MarkedGRUD

__all__ = ["run_marked"]


def run_marked(graph: GraphWriter, marked: MarkedGRUD, x: str, lengths: str) -> str:
    """The output (B, T, H) of GRU-D on values, marks and gaps side by side (B, T, 3*I)."""
    layer = marked.layer
    I = layer.input_size
    x = graph.node("Transpose", [x], "marked_time_first", perm=[1, 0, 2])
    values, marks, gaps = (
        graph.slice(x, i * I, (i + 1) * I, 2, name)
        for i, name in enumerate(("values", "marks", "gaps"))
    )
    is_observed = graph.node("Greater", [marks, graph.number(0.5)], "is_observed")
    mean = graph.weight("x_mean", layer.x_mean)
    carried = _last_observed(graph, values, is_observed, mean, I)
    exponent = graph.node("Mul", [gaps, graph.weight("decay_x_weight", layer.decay_x_weight)], "wx")
    exponent = graph.node("Add", [exponent, graph.weight("decay_x_bias", layer.decay_x_bias)], "ux")
    decay = _decay(graph, exponent, "decay_x")
    to_mean = graph.node("Sub", [carried, mean], "above_mean")
    to_mean = graph.node("Mul", [decay, to_mean], "decayed_above_mean")
    estimated = graph.node("Add", [to_mean, mean], "estimated")
    filled = graph.node("Where", [is_observed, values, estimated], "filled")
    ones, zeros = graph.number(1.0), graph.number(0.0)
    observed = graph.node("Where", [is_observed, ones, zeros], "observed")
    read = graph.node("Concat", [filled, observed], "filled_and_observed", axis=2)
    matrix = graph.weight("decay_h_weight", layer.decay_h_weight.T)
    product = graph.node("MatMul", [gaps, matrix], "wh")
    product = graph.node("Add", [product, graph.weight("decay_h_bias", layer.decay_h_bias)], "uh")
    inputs = {"x": read, "decay": _decay(graph, product, "decay_h")}
    h, _ = run_layers(graph, layer.recurrent, inputs, lengths, "layers", "Classifier")
    return graph.node("Transpose", [h], "layers_batch_first", perm=[1, 0, 2])


def _decay(graph: GraphWriter, exponent: str, name: str) -> str:
    """exp(-max(0, exponent))."""
    positive = graph.node("Relu", [exponent], f"{name}_positive")
    return graph.node("Exp", [graph.node("Neg", [positive], f"{name}_negative")], name)


def _last_observed(graph: GraphWriter, values: str, mask: str, start: str, width: int) -> str:
    """The last observed value (T, B, I) of each feature at each step, by a Scan.

    Args:
        values, mask: the values, and whether they are observed (T, B, I).
        start: the values (I) before the first observation.
        width: I.
    """
    shape = graph.node("Concat", [size(graph, values, 1), graph.integers(width)], "row", axis=0)
    start = graph.node("Expand", [start, shape], "carried_at_first")
    body = graph.body()
    before, value, is_observed = (
        body.name(n) for n in ("carried_before", "value_now", "is_observed_now")
    )
    after = body.node("Where", [is_observed, value, before], "carried_after")
    written = body.node("Identity", [after], "carried_now")
    rows = [None, None]
    ins = [
        body.value(before, rows),
        body.value(value, rows),
        body.value(is_observed, rows, torch.bool),
    ]
    outs = [body.value(after, rows), body.value(written, rows)]
    step = graph.onnx.helper.make_graph(body.nodes, "carry", ins, outs, body.initializers)
    names = ["carried_at_end", "carried"]
    return graph.nodes_of("Scan", [start, values, mask], names, body=step, num_scan_inputs=2)[1]

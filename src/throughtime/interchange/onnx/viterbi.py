"""The likeliest label sequence of a conditional random field, as two Scan nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from throughtime.interchange.onnx.pieces import size
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.layers.crf import CRF

__all__ = ["likeliest_labels"]


def likeliest_labels(graph: GraphWriter, crf: CRF, scores: str, mask: str) -> str:
    """The labels (B, T) of int64, zero past the end of a row; see :meth:`CRF.viterbi`.

    It computes in float64, as the field does.

    Args:
        scores: the name of the scores (B, T, K).
        mask: the name of the mask (B, T) of the valid steps.
    """
    kinds = graph.onnx.TensorProto
    start, transitions, end = (part.detach() for part in crf._potentials())
    batch, T = size(graph, scores, 0), size(graph, scores, 1)
    wide = graph.node("Cast", [scores], "scores_as_double", to=kinds.DOUBLE)
    emitted = graph.node("Transpose", [wide], "emitted", perm=[1, 0, 2])  # (T, B, K)
    turned = graph.node("Transpose", [mask], "valid_time_first", perm=[1, 0])
    valid = graph.node("Unsqueeze", [turned, graph.integers(2)], "valid_labels")  # (T, B, 1)
    zero, one = graph.number(0, torch.int64), graph.number(1, torch.int64)
    steps = graph.node("Range", [zero, graph.node("Squeeze", [T], "count"), one], "label_steps")
    first = graph.node("Equal", [steps, zero], "first_label")
    first = graph.node("Unsqueeze", [first, graph.integers(1, 2)], "is_first_label")  # (T, 1, 1)
    K = crf.num_labels
    shape = graph.node("Concat", [batch, graph.integers(K)], "shape_of_best", axis=0)
    none = graph.node("Expand", [graph.number(0.0, torch.float64), shape], "best_at_first")
    best, origins = _forwards(graph, start, transitions, none, [emitted, valid, first])
    last = graph.node("Add", [best, graph.weight("crf_end", end)], "best_of_all")
    place = graph.node("ArgMax", [last], "last_label", axis=1, keepdims=1)  # (B, 1)
    labels = _backwards(graph, place, [origins, valid])  # (T, B, 1)
    labels = graph.node("Squeeze", [labels, graph.integers(2)], "labels_time_first")
    return graph.node("Transpose", [labels], "likeliest_labels", perm=[1, 0])


def _forwards(
    graph: GraphWriter, start: Tensor, transitions: Tensor, best: str, scanned: list[str]
) -> tuple[str, str]:
    """The score (B, K) of the best sequence that ends with each label, and the labels before.

    Args:
        start, transitions: the scores of the field.
        best: the name of the first state of the Scan, of which no step depends.
        scanned: the names of the scores (T, B, K), whether a step is valid (T, B, 1), and whether
            it is the first (T, 1, 1).
    """
    body = graph.body()
    before, e, valid, first = (
        body.name(n) for n in ("best_before", "emitted_now", "valid_now", "first_now")
    )
    begins = graph.weight("crf_start", start)
    moves = graph.weight("crf_transitions", transitions)
    K = len(start)
    each = graph.node("Unsqueeze", [graph.integers(*range(K)), graph.integers(0)], "each_label")
    column = body.node("Unsqueeze", [before, graph.integers(2)], "best_column")
    paths = body.node("Add", [column, moves], "paths")  # (B, K, K)
    top = body.node("ReduceMax", [paths], "top", axes=[1], keepdims=0)
    origin = body.node("ArgMax", [paths], "origin", axis=1, keepdims=0)  # (B, K)
    top = body.node("Where", [first, begins, top], "top_or_start")
    new = body.node("Add", [top, e], "best_with_label")
    after = body.node("Where", [valid, new, before], "best_after")
    # A row that has ended keeps its label.
    origin = body.node("Where", [valid, origin, each], "label_before")
    kinds = (torch.float64, torch.float64, torch.bool, torch.bool)
    names = (before, e, valid, first)
    inputs = list(zip(names, kinds, strict=True))
    outputs = [(after, torch.float64), (origin, torch.int64)]
    results = ["best_at_end", "labels_before"]
    node = _scan(graph, body, "viterbi", (inputs, outputs), [best, *scanned], results, 0)
    return node[0], node[1]


def _backwards(graph: GraphWriter, place: str, scanned: list[str]) -> str:
    """The labels (T, B, 1), from the last label of each row (B, 1) backwards."""
    body = graph.body()
    now, origin, valid = (body.name(n) for n in ("label_now", "label_before_now", "valid_here"))
    before = body.node("GatherElements", [origin, now], "place_before", axis=1)
    label = body.node("Where", [valid, now, body.number(0, torch.int64)], "label_written")
    inputs = [(now, torch.int64), (origin, torch.int64), (valid, torch.bool)]
    outputs = [(before, torch.int64), (label, torch.int64)]
    results = ["first_place", "labels_by_step"]
    return _scan(graph, body, "trace_back", (inputs, outputs), [place, *scanned], results, 1)[1]


def _scan(
    graph: GraphWriter,
    body: GraphWriter,
    name: str,
    declared: tuple[list[Any], list[Any]],
    inputs: list[str],
    outputs: list[str],
    direction: int,
) -> list[str]:
    """Writes a Scan with one state and one output for each step.

    Args:
        body: the nodes of a step.
        declared: the inputs and outputs of the body, as pairs of a name and a type.
        inputs, outputs: the names in the graph around it.
        direction: 1 from the last step to the first.
    """
    ins, outs = ([body.value(n, [None, None], kind) for n, kind in part] for part in declared)
    step = graph.onnx.helper.make_graph(body.nodes, name, ins, outs, body.initializers)
    count = len(inputs) - 1
    return graph.nodes_of(
        "Scan",
        inputs,
        outputs,
        body=step,
        num_scan_inputs=count,
        scan_input_directions=[direction] * count,
        scan_output_directions=[direction],
    )

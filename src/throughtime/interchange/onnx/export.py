"""Writes layers and models as ONNX files, with the states as inputs and outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from throughtime.interchange.computed_weights import with_plain_weights
from throughtime.interchange.onnx.installed import onnx_package
from throughtime.interchange.onnx.layers import further, write_layers
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.interchange.streamed import Streamed, parts_of, streamed
from throughtime.layers import Recurrent
from throughtime.layers.evaluation import evaluating

__all__ = ["save_onnx"]

# The first versions with the present LSTM, GRU and RNN operators. Newer ones change nothing that is
# used here, and fewer runtimes support them.
_OPSET, _IR = 14, 8


def save_onnx(module: nn.Module, path: str | Path, *, lengths: bool = False) -> None:
    """Writes a recurrent layer, or a model of recurrent layers, as an ONNX file.

    Each layer becomes a native RNN, GRU or LSTM node if ONNX has one for the cell, else a Scan node
    for each direction, with the graph of a step as its body.

    The file contains the module in evaluation mode: without dropout, and with a weight that is
    computed in each call, as by ``weight_norm``, as a stored tensor. Hooks are not written. The
    batch size and the number of steps stay variable. The initial states are required inputs. For a
    new sequence, they must have the values that the file's metadata states under their names (a
    number, or (L*D, H) for learned states); for the next piece of a sequence, those of the last
    states of the previous piece.

    Args:
        module: a ``Recurrent``, ``RNN``, ``LSTM`` or ``GRU``; or, in one direction, a
            ``LanguageModel``, ``StepwiseNetwork``, ``Classifier`` or ``Tagger``. It may be in
            float32 or float64. :func:`load_onnx` reads both; ONNX Runtime on a CPU does not support
            float64 for all nodes.
        path: the file.
        lengths: whether the graph of a layer has the input ``lengths``.

    Shapes:
        input: (T, B, I), or (B, T, I) if the layer is ``batch_first``, as in models; instead
            ``tokens`` (B, T) of int64 for a model that reads tokens.
        lengths: (B,) of int32, the valid steps of each row.
        h_0, and one for each state of the cell: (L*D, B, H).
        output: as the input with D*H features (H unless ``merge`` is ``concat``); zero past a row's
            end. For a model ``scores`` (B, T, K); for a classifier (B, K), of all steps until now.
        h_n, and one for each state: (L*D, B, H), after each row's last valid step. A classifier
            that reads the mean or the largest of all outputs has ``pooled`` (B, H) as a further
            state, and for the mean ``steps`` (B, 1).

    Raises:
        ValueError: for a module of another class, a cell whose step cannot be traced, another
            dtype, or a weight without a value.
        ImportError: if onnx is not installed.
    """
    parts_of("save_onnx", module)
    is_layer = isinstance(module, Recurrent)
    if lengths and not is_layer:
        name = type_before_parametrizations(module).__name__
        raise ValueError(f"save_onnx: a {name} takes no lengths; use lengths=False.")
    if not is_layer:
        streamed("save_onnx", module)
    # In training mode the step would draw random numbers, which no file can contain.
    with evaluating(module):
        model = _model(with_plain_weights("save_onnx", module), lengths)
    onnx = onnx_package("save_onnx")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _model(module: nn.Module, lengths: bool) -> Any:
    """Builds the ONNX model, which the caller must check."""
    parts = parts_of("save_onnx", module)
    further_names = further(parts.recurrent)
    if further_names and parts.head is not None:
        raise ValueError(
            f"save_onnx: a {type(module).__name__} gives its cell one input alone, and "
            f"{_cell_name(parts.recurrent)} also reads {', '.join(further_names)}."
        )
    graph = GraphWriter(onnx_package("save_onnx"), _dtype(module))
    return _Model(graph, parts, further_names, lengths).written(str(module))


class _Model:
    """Writes a whole model.

    Args:
        graph: the graph to write into.
        parts: the parts of the model.
        further_names: the names of the further inputs of the cell.
        lengths: whether the graph has the input ``lengths``.
    """

    def __init__(
        self, graph: GraphWriter, parts: Streamed, further_names: list[str], lengths: bool
    ) -> None:
        self.graph, self.parts, self.layer = graph, parts, parts.recurrent
        self.further_names, self.lengths = further_names, lengths
        self.onnx = graph.onnx
        # The states of the pooling by name: their width, and their value for a new sequence.
        self.pooled: dict[str, tuple[int, float]] = {}
        lowest = torch.finfo(graph.dtype).min
        if parts.pooling in ("mean", "max"):
            start = 0.0 if parts.pooling == "mean" else lowest
            self.pooled["pooled"] = (self.layer.output_size, start)
        if parts.pooling == "mean":
            self.pooled["steps"] = (1, 0.0)

    def written(self, about: str) -> Any:
        """The model with all nodes; ``about`` describes it."""
        inputs, outputs = self._declarations()
        states = list(self.layer.state_sizes)
        initial, last = [f"{name}_0" for name in states], [f"{name}_n" for name in states]
        source = "input"
        if self.parts.embedding is not None:
            self.table = self.graph.weight("embedding", self.parts.embedding.weight)
            source = self.graph.node("Gather", [self.table, "tokens"], "embedded", axis=0)
        names = {"x": source, **{name: name for name in self.further_names}}
        output = "output" if self.parts.head is None else "hidden"
        lengths = "lengths" if self.lengths else ""
        write_layers(self.graph, self.layer, names, lengths, initial, output, last)
        if self.parts.head is not None:
            self._head(self.parts.head, self._read_by_head())
        helper = self.onnx.helper
        content = helper.make_graph(
            self.graph.nodes, "recurrent", inputs, outputs, self.graph.initializers
        )
        starts = self._starts()
        short = "; ".join(f"{k}: {v if len(v) < 40 else 'learned'}" for k, v in starts.items())
        model = helper.make_model(
            content,
            producer_name="throughtime",
            doc_string=f"{about}\nA new sequence starts from {short}; see the metadata.",
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR,
        )
        helper.set_model_props(model, starts)
        return model

    def _declarations(self) -> tuple[list[Any], list[Any]]:
        """Declares the inputs and outputs of the file, and reserves the names of the inputs."""
        graph, layer, parts = self.graph, self.layer, self.parts
        steps = ["batch", "time"] if layer.batch_first else ["time", "batch"]
        inputs = [graph.value("input", [*steps, layer.input_size])]
        if parts.embedding is not None:
            inputs = [graph.value("tokens", steps, torch.int64)]
        outputs = [graph.value("output", [*steps, layer.output_size])]
        if parts.head is not None:
            rows = steps if parts.pooling == "every" else ["batch"]
            outputs = [graph.value("scores", [*rows, parts.head.out_features])]
        if self.lengths:
            inputs.append(graph.value("lengths", ["batch"], torch.int32))
        for name in self.further_names:
            width = layer.equations.input_specs[name].size or layer.hidden_size
            inputs.append(graph.value(name, [*steps, width]))
        rows = layer.num_layers * layer.num_directions
        shapes = {name: [rows, "batch", size] for name, size in layer.state_sizes.items()}
        shapes |= {name: ["batch", size] for name, (size, _) in self.pooled.items()}
        for name, shape in shapes.items():
            inputs.append(graph.value(f"{name}_0", shape))
            outputs.append(graph.value(f"{name}_n", shape))
        for value in inputs:
            if graph.name(value.name) != value.name:
                raise ValueError(
                    f"save_onnx: the file has an input {value.name} of its own; expected another "
                    f"name for that of {_cell_name(layer)}."
                )
        return inputs, outputs

    def _starts(self) -> dict[str, str]:
        """The value of each initial state for a new sequence, as JSON."""
        specs = self.layer.cell.state_specs
        values: dict[str, Any] = {name: spec.initial for name, spec in specs.items()}
        if self.layer.learned_state:
            learned = self.layer.learned_states()
            rows = [[row.tolist() for row in rows] for rows in learned]
            values = dict(zip(specs, rows, strict=True))
        values |= {name: start for name, (_, start) in self.pooled.items()}
        return {f"{name}_0": json.dumps(value) for name, value in values.items()}

    def _read_by_head(self) -> str:
        """The value that the head reads: all outputs (B, T, H), or one for each sequence (B, H)."""
        graph, pooling = self.graph, self.parts.pooling
        if pooling == "every":
            return "hidden"
        if pooling == "last":
            return graph.node("Gather", ["hidden", graph.number(-1, torch.int64)], "last", axis=1)
        if pooling == "max":
            largest = graph.node("ReduceMax", ["hidden"], "largest", axes=[1], keepdims=0)
            return graph.node("Max", ["pooled_0", largest], "pooled_n")
        sizes = graph.node("Shape", ["hidden"], "shape_of_hidden")
        count = graph.node("Gather", [sizes, graph.number(1, torch.int64)], "count", axis=0)
        kind = graph.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(str(graph.dtype)[6:]))
        steps = graph.node("Cast", [count], "count_as_number", to=kind)
        steps = graph.node("Add", ["steps_0", steps], "steps_n")
        total = graph.node("ReduceSum", ["hidden", graph.integers(1)], "total", keepdims=0)
        before = graph.node("Mul", ["pooled_0", "steps_0"], "total_before")
        total = graph.node("Add", [before, total], "total_until_now")
        return graph.node("Div", [total, steps], "pooled_n")

    def _head(self, head: nn.Linear, source: str) -> None:
        """Writes the linear layer after the recurrent layers."""
        graph, embedding = self.graph, self.parts.embedding
        is_tied = embedding is not None and head.weight is embedding.weight
        # A tied weight is stored once.
        weight = self.table if is_tied else graph.weight("scores_weight", head.weight)
        turned = graph.node("Transpose", [weight], "scores_weight_transposed", perm=[1, 0])
        product = graph.node("MatMul", [source, turned], "scores_without_bias")
        graph.node("Add", [product, graph.weight("scores_bias", head.bias)], "scores")


def _dtype(module: nn.Module) -> torch.dtype:
    """The one dtype of all weights, float32 or float64."""
    dtypes = {parameter.dtype for parameter in module.parameters()}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise ValueError(
            f"save_onnx: expected weights of torch.float32 or torch.float64, all of one type, got "
            f"{' and '.join(sorted(map(str, dtypes)))}. Convert the module, for example with "
            f".float()."
        )
    return dtypes.pop()


def _cell_name(layer: Recurrent) -> str:
    return layer.cell.name or type(layer.cell).__name__

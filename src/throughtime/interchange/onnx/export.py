"""Writes layers and language models as ONNX files, with the states as inputs and outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from throughtime.checks import unknown
from throughtime.interchange.computed_weights import with_plain_weights
from throughtime.interchange.onnx.installed import onnx_package
from throughtime.interchange.onnx.layers import further, write_layers
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.layers import GRU, LSTM, RNN, Recurrent
from throughtime.layers.evaluation import evaluating
from throughtime.models import LanguageModel

__all__ = ["save_onnx"]

# The first versions with the present LSTM, GRU and RNN operators. Newer ones change nothing that is
# used here, and fewer runtimes support them.
_OPSET, _IR = 14, 8
_CLASSES = (Recurrent, RNN, LSTM, GRU, LanguageModel)


def save_onnx(module: nn.Module, path: str | Path, *, lengths: bool = False) -> None:
    """Writes a recurrent layer, or a language model, as an ONNX file.

    Each layer becomes a native RNN, GRU or LSTM node if ONNX has one for the cell, else a Scan node
    for each direction, with the graph of a step as its body.

    The file contains the module in evaluation mode: without dropout, and with a weight that is
    computed in each call, as by ``weight_norm``, as a stored tensor. Hooks are not written. The
    batch size and the number of steps stay variable. The initial states are required inputs. For a
    new sequence, they must have the values that the file's metadata states under their names (a
    number, or (L*D, H) for learned states); for the next piece of a sequence, those of the last
    states of the previous piece.

    Args:
        module: a ``Recurrent``, ``RNN``, ``LSTM`` or ``GRU``, or a ``LanguageModel``; in float32 or
            float64. :func:`load_onnx` reads both; ONNX Runtime on a CPU does not support float64
            for all nodes.
        path: the file.
        lengths: whether the graph of a layer has the input ``lengths``.

    Shapes:
        input: (T, B, I), or (B, T, I) if the layer is ``batch_first``; for a language model
            ``tokens`` (B, T) of int64.
        lengths: (B,) of int32, the valid steps of each row.
        h_0, and one for each state of the cell: (L*D, B, H).
        output: as the input with D*H features (H unless ``merge`` is ``concat``); zero past a row's
            end. For a language model ``scores`` (B, T, V).
        h_n, and one for each state: (L*D, B, H), after each row's last valid step.

    Raises:
        ValueError: for a module of another class, a cell whose step cannot be traced, another
            dtype, or a weight without a value.
        ImportError: if onnx is not installed.
    """
    kind = type_before_parametrizations(module)
    if kind not in _CLASSES:
        raise unknown("class of module", kind.__name__, [k.__name__ for k in _CLASSES])
    if lengths and isinstance(module, LanguageModel):
        raise ValueError("save_onnx: a LanguageModel takes no lengths; use lengths=False.")
    # In training mode the step would draw random numbers, which no file can contain.
    with evaluating(module):
        model = _model(with_plain_weights("save_onnx", module), lengths)
    onnx = onnx_package("save_onnx")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _model(module: nn.Module, lengths: bool) -> Any:
    """Builds the ONNX model, which the caller must check."""
    layer = module.recurrent if isinstance(module, LanguageModel) else module
    assert isinstance(layer, Recurrent)
    further_names = further(layer)
    dtype = _dtype(module)
    if further_names and isinstance(module, LanguageModel):
        raise ValueError(
            f"save_onnx: a LanguageModel gives its cell tokens alone, and "
            f"{_cell_name(layer)} also reads {', '.join(further_names)}."
        )
    onnx = onnx_package("save_onnx")
    graph = GraphWriter(onnx, dtype)
    inputs, outputs = _declarations(graph, module, layer, further_names, lengths)
    states = layer.state_sizes
    initial, last = [f"{name}_0" for name in states], [f"{name}_n" for name in states]
    if isinstance(module, LanguageModel):
        _language_model(graph, module, initial, last)
    else:
        names = {"x": "input", **{name: name for name in further_names}}
        write_layers(graph, layer, names, "lengths" if lengths else "", initial, "output", last)
    content = onnx.helper.make_graph(graph.nodes, "recurrent", inputs, outputs, graph.initializers)
    starts = _starts(layer)
    about = "; ".join(f"{k}: {v if len(v) < 40 else 'learned'}" for k, v in starts.items())
    model = onnx.helper.make_model(
        content,
        producer_name="throughtime",
        doc_string=f"{module}\nA new sequence starts from {about}; see the metadata.",
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    onnx.helper.set_model_props(model, starts)
    return model


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


def _declarations(
    graph: GraphWriter, module: nn.Module, layer: Recurrent, further_names: list[str], lengths: bool
) -> tuple[list[Any], list[Any]]:
    """Declares the inputs and outputs of the file, and reserves the names of the inputs."""
    steps = ["batch", "time"] if layer.batch_first else ["time", "batch"]
    if isinstance(module, LanguageModel):
        inputs = [graph.value("tokens", steps, torch.int64)]
        outputs = [graph.value("scores", [*steps, module.scores.out_features])]
    else:
        inputs = [graph.value("input", [*steps, layer.input_size])]
        outputs = [graph.value("output", [*steps, layer.output_size])]
    if lengths:
        inputs.append(graph.value("lengths", ["batch"], torch.int32))
    for name in further_names:
        width = layer.equations.input_specs[name].size or layer.hidden_size
        inputs.append(graph.value(name, [*steps, width]))
    rows = layer.num_layers * layer.num_directions
    for name, size in layer.state_sizes.items():
        inputs.append(graph.value(f"{name}_0", [rows, "batch", size]))
        outputs.append(graph.value(f"{name}_n", [rows, "batch", size]))
    for value in inputs:
        if graph.name(value.name) != value.name:
            raise ValueError(
                f"save_onnx: the file has an input {value.name} of its own; expected another name "
                f"for that of {_cell_name(layer)}."
            )
    return inputs, outputs


def _starts(layer: Recurrent) -> dict[str, str]:
    """The value of each initial state for a new sequence, as JSON."""
    specs = layer.cell.state_specs
    values: list[Any] = [spec.initial for spec in specs.values()]
    if layer.learned_state:
        values = [[row.tolist() for row in rows] for rows in layer.learned_states()]
    return {f"{k}_0": json.dumps(value) for k, value in zip(specs, values, strict=True)}


def _language_model(
    graph: GraphWriter, model: LanguageModel, initial: list[str], last: list[str]
) -> None:
    """Writes embedding, recurrent layers and output layer of a language model."""
    table = graph.weight("embedding", model.embedding.weight)
    embedded = graph.node("Gather", [table, "tokens"], "embedded", axis=0)
    write_layers(graph, model.recurrent, {"x": embedded}, "", initial, "hidden", last)
    is_tied = model.scores.weight is model.embedding.weight
    # A tied weight is stored once.
    weight = table if is_tied else graph.weight("scores_weight", model.scores.weight)
    turned = graph.node("Transpose", [weight], "scores_weight_transposed", perm=[1, 0])
    product = graph.node("MatMul", ["hidden", turned], "scores_without_bias")
    graph.node("Add", [product, graph.weight("scores_bias", model.scores.bias)], "scores")

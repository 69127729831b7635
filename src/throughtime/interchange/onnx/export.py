"""Layers and models as ONNX files: time first inside, the state in and out."""

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

# The first version with today's LSTM, GRU and RNN; what is newer changes nothing for us, and
# fewer runtimes know it.
_OPSET, _IR = 14, 8
_CLASSES = (Recurrent, RNN, LSTM, GRU, LanguageModel)


def save_onnx(module: nn.Module, path: str | Path, *, lengths: bool = False) -> None:
    """Writes a recurrent layer, or a language model, as an ONNX file.

    Each layer is a native RNN, GRU or LSTM node where the cell has one, and else a Scan for each
    direction, whose body is the graph of a step.

    What is written is the module in evaluation mode: dropout is not in it, and a weight that is
    computed for each call, as by ``weight_norm``, is a number. Hooks are not written. The batch
    and the number of steps stay free. The initial states are inputs that must be given: for a new
    sequence what the file's metadata says under their names (a number, or (L*D, H) where they are
    learned), or else the last states of the piece before.

    Args:
        module: a ``Recurrent``, ``RNN``, ``LSTM`` or ``GRU``, or a ``LanguageModel``; in float32,
            or in float64, which ONNX and :func:`load_onnx` know, but ONNX Runtime on a CPU does
            not for all nodes.
        path: the file.
        lengths: whether the graph of a layer has the input ``lengths``.

    Shapes:
        input: (T, B, I), or (B, T, I) where the layer is ``batch_first``; of a language model
            ``tokens`` (B, T) of int64.
        lengths: (B,) of int32, the valid steps of each row.
        h_0, and one for each state of the cell: (L*D, B, H).
        output: as the input with D*H features, or H for the merges that are not ``concat``; zero
            past a row's end. Of a language model ``scores`` (B, T, V).
        h_n, and one for each state: (L*D, B, H), of each row's last valid step.

    Raises:
        ValueError: for a module that is none of these, a cell whose step cannot be traced, a
            dtype other than those two, or a weight without a value.
        ImportError: where onnx is not installed.
    """
    kind = type_before_parametrizations(module)
    if kind not in _CLASSES:
        raise unknown("class of module", kind.__name__, [k.__name__ for k in _CLASSES])
    if lengths and isinstance(module, LanguageModel):
        raise ValueError("save_onnx: a LanguageModel takes no lengths; use lengths=False.")
    # A layer in training mode draws numbers at random.
    with evaluating(module):
        made = _model(with_plain_weights("save_onnx", module), lengths)
    onnx = onnx_package("save_onnx")
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, str(path))


def _model(module: nn.Module, lengths: bool) -> Any:
    """The file, not yet checked."""
    layer = module.recurrent if isinstance(module, LanguageModel) else module
    assert isinstance(layer, Recurrent)
    more = further(layer)
    dtypes = {parameter.dtype for parameter in module.parameters()}
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        raise ValueError(
            f"save_onnx: expected weights of torch.float32 or torch.float64, all of one type, got "
            f"{' and '.join(sorted(map(str, dtypes)))}. Convert the module, for example with "
            f".float()."
        )
    (dtype,) = dtypes
    if more and isinstance(module, LanguageModel):
        raise ValueError(
            f"save_onnx: a LanguageModel gives its cell tokens alone, and "
            f"{layer.cell.name or type(layer.cell).__name__} also reads {', '.join(more)}."
        )
    onnx = onnx_package("save_onnx")
    graph = GraphWriter(onnx, dtype)
    steps = ["batch", "time"] if layer.batch_first else ["time", "batch"]
    if isinstance(module, LanguageModel):
        inputs = [graph.value("tokens", steps, torch.int64)]
        outputs = [graph.value("scores", [*steps, module.scores.out_features])]
    else:
        inputs = [graph.value("input", [*steps, layer.input_size])]
        outputs = [graph.value("output", [*steps, layer.output_size])]
    if lengths:
        inputs.append(graph.value("lengths", ["batch"], torch.int32))
    for name in more:
        width = layer.equations.input_specs[name].size or layer.hidden_size
        inputs.append(graph.value(name, [*steps, width]))
    rows = layer.num_layers * layer.num_directions
    states = layer.state_sizes
    initial, last = [f"{name}_0" for name in states], [f"{name}_n" for name in states]
    for before, after, size in zip(initial, last, states.values(), strict=True):
        inputs.append(graph.value(before, [rows, "batch", size]))
        outputs.append(graph.value(after, [rows, "batch", size]))
    for value in inputs:
        if graph.name(value.name) != value.name:
            raise ValueError(
                f"save_onnx: the file has an input {value.name} of its own; expected another name "
                f"for that of {layer.cell.name or type(layer.cell).__name__}."
            )

    if isinstance(module, LanguageModel):
        _language_model(graph, module, initial, last)
    else:
        seen = {"x": "input", **{name: name for name in more}}
        write_layers(graph, layer, seen, "lengths" if lengths else "", initial, "output", last)
    made = onnx.helper.make_graph(graph.nodes, "recurrent", inputs, outputs, graph.initializers)
    starts = _starts(layer)
    about = "; ".join(f"{k}: {v if len(v) < 40 else 'learned'}" for k, v in starts.items())
    model = onnx.helper.make_model(
        made,
        producer_name="throughtime",
        doc_string=f"{module}\nA new sequence starts from {about}; see the metadata.",
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    onnx.helper.set_model_props(model, starts)
    return model


def _starts(layer: Recurrent) -> dict[str, str]:
    """What each initial state is for a new sequence, as JSON."""
    specs = layer.cell.state_specs
    found: list[Any] = [spec.initial for spec in specs.values()]
    if layer.learned_state:
        found = [[row.tolist() for row in rows] for rows in layer.learned_states()]
    return {f"{k}_0": json.dumps(value) for k, value in zip(specs, found, strict=True)}


def _language_model(
    graph: GraphWriter, model: LanguageModel, initial: list[str], last: list[str]
) -> None:
    table = graph.weight("embedding", model.embedding.weight)
    embedded = graph.node("Gather", [table, "tokens"], "embedded", axis=0)
    write_layers(graph, model.recurrent, {"x": embedded}, "", initial, "hidden", last)
    is_tied = model.scores.weight is model.embedding.weight
    # A table that does both stands in the file once.
    weight = table if is_tied else graph.weight("scores_weight", model.scores.weight)
    turned = graph.node("Transpose", [weight], "scores_weight_transposed", perm=[1, 0])
    product = graph.node("MatMul", ["hidden", turned], "scores_without_bias")
    graph.node("Add", [product, graph.weight("scores_bias", model.scores.bias)], "scores")

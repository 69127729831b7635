"""Layers and models as ONNX files: one native node a layer, time first, the state in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from throughtime.checks import unknown
from throughtime.interchange.onnx.installed import onnx_package
from throughtime.interchange.onnx.native import native, tensors
from throughtime.layers import GRU, LSTM, RNN, Recurrent
from throughtime.models import LanguageModel

__all__ = ["save_onnx"]

# The first version with today's LSTM, GRU and RNN; what is newer changes nothing for us, and
# fewer runtimes know it.
_OPSET, _IR = 14, 8
_CLASSES = (Recurrent, RNN, LSTM, GRU, LanguageModel)


def save_onnx(module: nn.Module, path: str | Path, *, lengths: bool = False) -> None:
    """Writes a recurrent layer, or a language model, with native RNN, GRU or LSTM nodes.

    What is written is the module in evaluation mode: dropout is not in it. The batch and the
    number of steps stay free. The initial states are inputs that must be given: for a new
    sequence zeros, which is where all these cells start, or else the last states of the piece
    before.

    Args:
        module: a ``Recurrent``, ``RNN``, ``LSTM`` or ``GRU``, or a ``LanguageModel``; in float32,
            or in float64, which ONNX and :func:`load_onnx` know, but ONNX Runtime on a CPU does
            not.
        path: the file.
        lengths: whether the graph of a layer has the input ``lengths``.

    Shapes:
        input: (T, B, I), or (B, T, I) where the layer is ``batch_first``; of a language model
            ``tokens`` (B, T) of int64.
        lengths: (B,) of int32, the valid steps of each row.
        h_0, and c_0 for an LSTM: (L*D, B, H).
        output: as the input with D*H features, or H for the merges that are not ``concat``; zero
            past a row's end. Of a language model ``scores`` (B, T, V).
        h_n, c_n: (L*D, B, H), of each row's last valid step.

    Raises:
        ValueError: for a module that is none of these, a cell for which ONNX has no node, or a
            dtype other than those two.
        ImportError: where onnx is not installed.
    """
    if type(module) not in _CLASSES:
        raise unknown("class of module", type(module).__name__, [k.__name__ for k in _CLASSES])
    layer = module.recurrent if isinstance(module, LanguageModel) else module
    assert isinstance(layer, Recurrent)
    native(layer)
    dtype = next(layer.parameters()).dtype
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"save_onnx: expected weights of torch.float32 or torch.float64, got {dtype}. "
            f"Convert the module, for example with .float()."
        )
    if lengths and isinstance(module, LanguageModel):
        raise ValueError("save_onnx: a LanguageModel takes no lengths; use lengths=False.")
    onnx = onnx_package("save_onnx")
    graph = _Graph(onnx)
    initial = [f"{name}_0" for name in layer.cell.state_specs]
    last = [f"{name}_n" for name in layer.cell.state_specs]
    kinds = onnx.TensorProto
    kind = kinds.FLOAT if dtype == torch.float32 else kinds.DOUBLE
    value = onnx.helper.make_tensor_value_info
    steps = ["batch", "time"] if layer.batch_first else ["time", "batch"]
    if isinstance(module, LanguageModel):
        _language_model(graph, module, "tokens", initial, "scores", last)
        inputs = [value("tokens", kinds.INT64, steps)]
        outputs = [value("scores", kind, [*steps, module.scores.out_features])]
    else:
        _recurrent(graph, layer, "input", "lengths" if lengths else "", initial, "output", last)
        inputs = [value("input", kind, [*steps, layer.input_size])]
        outputs = [value("output", kind, [*steps, layer.output_size])]
    if lengths:
        inputs.append(value("lengths", kinds.INT32, ["batch"]))
    state = [layer.num_layers * layer.num_directions, "batch", layer.hidden_size]
    inputs += [value(name, kind, state) for name in initial]
    outputs += [value(name, kind, state) for name in last]
    made = onnx.helper.make_graph(graph.nodes, "recurrent", inputs, outputs, graph.initializers)
    model = onnx.helper.make_model(
        made,
        producer_name="throughtime",
        doc_string=f"{module}\nA new sequence starts from {' and '.join(initial)} of zeros.",
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


class _Graph:
    """Takes down nodes and constants, and names what they make."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._known: dict[Any, str] = {}

    def weight(self, name: str, value: Tensor) -> str:
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def constant(self, name: str, value: Tensor) -> str:
        """A value that nobody would train, unlike a weight."""
        made = self.onnx.numpy_helper.from_array(value.numpy(), name)
        return self.node("Constant", [], name, value=made)

    def numbers(self, *values: int) -> str:
        """A constant row of whole numbers, made once."""
        if values not in self._known:
            self._known[values] = f"numbers_{'_'.join(map(str, values))}"
            array = np.array(values, dtype=np.int64)
            self.initializers.append(self.onnx.numpy_helper.from_array(array, self._known[values]))
        return self._known[values]

    def node(self, op: str, inputs: list[str], outputs: list[str] | str, **more: Any) -> str:
        """Adds a node; gives its first output."""
        names = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(self.onnx.helper.make_node(op, inputs, names, name=names[0], **more))
        return names[0]

    def slice(self, value: str, start: int, stop: int, axis: int, output: str) -> str:
        bounds = [self.numbers(start), self.numbers(stop), self.numbers(axis)]
        return self.node("Slice", [value, *bounds], output)


def _recurrent(
    graph: _Graph,
    layer: Recurrent,
    x: str,
    lengths: str,
    initial: list[str],
    output: str,
    last: list[str],
) -> None:
    """The nodes of all layers, from the input to the named output and last states."""
    shape, L, D = native(layer), layer.num_layers, layer.num_directions
    attributes: dict[str, Any] = {"hidden_size": layer.hidden_size, **shape.attributes}
    if layer.bidirectional:
        attributes["direction"] = "bidirectional"
    if shape.activations:
        attributes["activations"] = list(shape.activations) * D
    if shape.alphas:
        attributes["activation_alpha"] = shape.alphas * D
        attributes["activation_beta"] = [0.0] * len(shape.alphas) * D
    if layer.batch_first:
        x = graph.node("Transpose", [x], "time_first", perm=[1, 0, 2])
    pieces: list[list[str]] = []
    for l in range(L):
        weights = tensors(layer, l)
        names = [graph.weight(f"W_l{l}", weights.W), graph.weight(f"R_l{l}", weights.R)]
        names.append("" if weights.B is None else graph.weight(f"B_l{l}", weights.B))
        states = [
            name if L == 1 else graph.slice(name, l * D, (l + 1) * D, 0, f"{name}_l{l}")
            for name in initial
        ]
        peephole = [] if weights.P is None else [graph.weight(f"P_l{l}", weights.P)]
        ends = [f"{name}_l{l}" if L > 1 or lengths else name for name in last]
        steps = graph.node(
            shape.op,
            [x, *names, lengths, *states, *peephole],
            [f"steps_l{l}", *ends],
            **attributes,
        )
        pieces.append(ends)
        goal = output if l == L - 1 and not layer.batch_first else f"output_l{l}"
        x = _merged(graph, layer, steps, f"_l{l}", goal)
    if layer.batch_first:
        graph.node("Transpose", [x], output, perm=[1, 0, 2])
    is_there = ""
    if lengths:
        # A row without steps keeps its state; runtimes give zero.
        none = graph.constant("no_steps", torch.tensor(0, dtype=torch.int32))
        has_steps = graph.node("Greater", [lengths, none], "has_steps")
        is_there = graph.node("Unsqueeze", [has_steps, graph.numbers(1)], "is_there")
    for name, first, parts in zip(last, initial, zip(*pieces, strict=True), strict=True):
        # (L*D, B, H)
        whole = parts[0]
        if L > 1:
            goal = f"{name}_of_rows" if lengths else name
            whole = graph.node("Concat", list(parts), goal, axis=0)
        if lengths:
            graph.node("Where", [is_there, whole, first], name)


def _merged(graph: _Graph, layer: Recurrent, steps: str, suffix: str, output: str) -> str:
    """The node's (T, D, B, H) as the layer's (T, B, …)."""
    one = graph.numbers(1)
    if not layer.bidirectional:
        return graph.node("Squeeze", [steps, one], output)
    if layer.merge == "concat":
        rows = graph.node("Transpose", [steps], f"rows{suffix}", perm=[0, 2, 1, 3])
        width = graph.numbers(0, 0, 2 * layer.hidden_size)
        return graph.node("Reshape", [rows, width], output)
    both = [
        graph.node(
            "Squeeze", [graph.slice(steps, d, d + 1, 1, f"{name}_only{suffix}"), one], name + suffix
        )
        for d, name in enumerate(("forward", "reverse"))
    ]
    if layer.merge == "mean":
        total = graph.node("Add", both, f"sum{suffix}")
        half = torch.tensor(0.5, dtype=next(layer.parameters()).dtype)
        return graph.node("Mul", [total, graph.constant(f"half{suffix}", half)], output)
    return graph.node({"sum": "Add", "product": "Mul"}[layer.merge], both, output)


def _language_model(
    graph: _Graph,
    model: LanguageModel,
    tokens: str,
    initial: list[str],
    scores: str,
    last: list[str],
) -> None:
    table = graph.weight("embedding", model.embedding.weight)
    embedded = graph.node("Gather", [table, tokens], "embedded", axis=0)
    _recurrent(graph, model.recurrent, embedded, "", initial, "hidden", last)
    is_tied = model.scores.weight is model.embedding.weight
    # A table that does both stands in the file once.
    weight = table if is_tied else graph.weight("scores_weight", model.scores.weight)
    turned = graph.node("Transpose", [weight], "scores_weight_transposed", perm=[1, 0])
    product = graph.node("MatMul", ["hidden", turned], "scores_without_bias")
    graph.node("Add", [product, graph.weight("scores_bias", model.scores.bias)], scores)

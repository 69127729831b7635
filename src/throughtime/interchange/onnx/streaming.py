"""Files of models that run step by step, with the states as inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from throughtime.interchange.onnx.forms import Form, Run, difference
from throughtime.interchange.onnx.graph_file import GraphFile
from throughtime.interchange.onnx.layers import further, write_layers
from throughtime.interchange.onnx.pieces import as_numbers, size, starts_of, with_constants
from throughtime.interchange.streamed import outputs_of, parts_of

__all__ = ["Streaming"]

_STEPS, _ROWS = 8, 2


class Streaming(Form):
    """A file of layers, or of a model in one direction, whose states are inputs and outputs.

    Args:
        module: the layers or the model.
        lengths: whether the file has the input ``lengths``.
    """

    def __init__(self, module: nn.Module, lengths: bool = False) -> None:
        self.module, self.lengths = module, lengths
        self.parts = parts_of("save_onnx", module)
        self.layer = self.parts.recurrent
        # The states of the pooling by name: their width, and their value for a new sequence.
        self.pooled: dict[str, tuple[int, float]] = {}
        if self.parts.pooling in ("mean", "max"):
            lowest = torch.finfo(self.layer.dtype).min
            start = 0.0 if self.parts.pooling == "mean" else lowest
            self.pooled["pooled"] = (self.layer.output_size, start)
        if self.parts.pooling == "mean":
            self.pooled["steps"] = (1, 0.0)

    def files(self) -> Mapping[str, Any]:
        """The models of ONNX by what their file names end in."""
        names = further(self.layer)
        constants = self.parts.constants("save_onnx", names)
        file = GraphFile(self.module)
        passed = [name for name in names if name not in constants]
        self._declare(file, passed)
        graph, parts, layer = file.graph, self.parts, self.layer
        source = "input"
        if parts.embedding is not None:
            self.table = graph.weight("embedding", parts.embedding.weight)
            source = graph.node("Gather", [self.table, "tokens"], "embedded", axis=0)
        inputs = with_constants(graph, layer, source, constants) | {n: n for n in passed}
        initial = [f"{name}_0" for name in layer.state_sizes]
        last = [f"{name}_n" for name in layer.state_sizes]
        output = "output" if parts.head is None else "hidden"
        lengths = "lengths" if self.lengths else ""
        write_layers(graph, layer, inputs, lengths, initial, output, last)
        if parts.head is not None:
            self._head(file, parts.head, self._read_by_head(file))
        starts = starts_of(layer) | {name: start for name, (_, start) in self.pooled.items()}
        short = "; ".join(
            f"{name}_0: {'learned' if isinstance(start, list) else start}"
            for name, start in starts.items()
        )
        about = f"{self.module}\nA new sequence starts from {short}; see the metadata."
        return {"": file.model(about, {f"{name}_0": start for name, start in starts.items()})}

    def _declare(self, file: GraphFile, passed: list[str]) -> None:
        """Declares the inputs and outputs.

        Args:
            file: the file.
            passed: the names of the further inputs of the cell that the caller passes.
        """
        layer, parts = self.layer, self.parts
        steps = ["batch", "time"] if layer.batch_first else ["time", "batch"]
        if parts.embedding is None:
            file.input("input", [*steps, layer.input_size])
        else:
            file.input("tokens", steps, torch.int64)
        if parts.head is None:
            file.declare("output", [*steps, layer.output_size])
        else:
            rows = steps if parts.pooling == "every" else ["batch"]
            file.declare("scores", [*rows, parts.head.out_features])
        if self.lengths:
            file.input("lengths", ["batch"], torch.int32)
        for name in passed:
            width = layer.equations.input_specs[name].size or layer.hidden_size
            file.input(name, [*steps, width])
        rows = layer.num_layers * layer.num_directions
        shapes: dict[str, list[Any]] = {
            name: [rows, "batch", width] for name, width in layer.state_sizes.items()
        }
        shapes |= {name: ["batch", width] for name, (width, _) in self.pooled.items()}
        for name, shape in shapes.items():
            file.input(f"{name}_0", shape)
            file.declare(f"{name}_n", shape)

    def _read_by_head(self, file: GraphFile) -> str:
        """The value that the head reads: all outputs (B, T, H), or one for each sequence (B, H)."""
        graph, pooling = file.graph, self.parts.pooling
        if pooling == "every":
            return "hidden"
        if pooling == "last":
            return graph.node("Gather", ["hidden", graph.number(-1, torch.int64)], "last", axis=1)
        if pooling == "max":
            largest = graph.node("ReduceMax", ["hidden"], "largest", axes=[1], keepdims=0)
            return graph.node("Max", ["pooled_0", largest], "pooled_n")
        steps = as_numbers(graph, size(graph, "hidden", 1), "count_as_number")
        steps = graph.node("Add", ["steps_0", steps], "steps_n")
        total = graph.node("ReduceSum", ["hidden", graph.integers(1)], "total", keepdims=0)
        before = graph.node("Mul", ["pooled_0", "steps_0"], "total_before")
        total = graph.node("Add", [before, total], "total_until_now")
        return graph.node("Div", [total, steps], "pooled_n")

    def _head(self, file: GraphFile, head: nn.Linear, source: str) -> None:
        """Writes the linear layer after the recurrent layers."""
        graph, embedding = file.graph, self.parts.embedding
        is_tied = embedding is not None and head.weight is embedding.weight
        # A tied weight is stored once.
        weight = self.table if is_tied else graph.weight("scores_weight", head.weight)
        turned = graph.node("Transpose", [weight], "scores_weight_transposed", perm=[1, 0])
        product = graph.node("MatMul", [source, turned], "scores_without_bias")
        graph.node("Add", [product, graph.weight("scores_bias", head.bias)], "scores")

    def difference(self, run: Run) -> float:
        """Runs the file on sequences in two pieces, and compares it with the module."""
        layer, parts = self.layer, self.parts
        generator = torch.Generator().manual_seed(0)
        shape = (_ROWS, _STEPS) if layer.batch_first else (_STEPS, _ROWS)
        passed: dict[str, np.ndarray] = {}
        if parts.embedding is not None:
            steps = torch.randint(parts.embedding.num_embeddings, shape, generator=generator)
            passed["tokens"] = steps.numpy()
        else:
            kind: dict[str, Any] = {"generator": generator, "dtype": layer.dtype}
            steps = torch.randn(*shape, layer.input_size, **kind)
            passed["input"] = steps.numpy()
            further_names = further(layer)
            if parts.reads_gaps:
                gap = torch.rand(*shape, 1, **kind)
                passed["gap"], steps = gap.numpy(), torch.cat([steps, gap], -1)
            else:
                # The module reads the default values, so the file is given them too.
                specs = layer.equations.input_specs
                for name in further_names:
                    width = specs[name].size or layer.hidden_size
                    value = np.full((*shape, width), specs[name].default)
                    passed[name] = value.astype(passed["input"].dtype)
        device = next(self.module.parameters()).device
        wanted = outputs_of(self.module, steps.to(device)).detach().cpu().numpy()
        time = 1 if layer.batch_first else 0
        values = self._first_states()
        outputs: list[np.ndarray] = []
        for start, stop in ((0, 3), (3, _STEPS)):
            piece = {name: value.take(range(start, stop), time) for name, value in passed.items()}
            results = run("", {**piece, **values})
            values = {name: results[f"{name[:-2]}_n"] for name in values}
            outputs.append(results["output" if parts.head is None else "scores"])
        got = outputs[-1] if wanted.ndim == 2 else np.concatenate(outputs, axis=time)
        return difference(got, wanted)

    def _first_states(self) -> dict[str, np.ndarray]:
        """The states of a new sequence, by the names of the inputs."""
        layer = self.layer
        kind = np.dtype(str(layer.dtype)[6:])
        rows = layer.num_layers * layer.num_directions
        states: dict[str, np.ndarray] = {}
        for name, start in starts_of(layer).items():
            value = np.array(start, kind)
            # A learned start is (L*D, H), the same for all rows of the batch.
            value = value[:, None] if value.ndim else value
            shape = (rows, _ROWS, layer.state_sizes[name])
            states[f"{name}_0"] = np.broadcast_to(value, shape).copy()
        for name, (width, start) in self.pooled.items():
            states[f"{name}_0"] = np.full((_ROWS, width), start, kind)
        return states

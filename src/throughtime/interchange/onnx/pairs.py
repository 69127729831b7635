"""Files of an encoder and a decoder, which write a target token by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from throughtime.interchange.onnx.forms import Form, Run, difference
from throughtime.interchange.onnx.graph_file import GraphFile
from throughtime.interchange.onnx.layers import further, write_layers
from throughtime.interchange.onnx.pieces import (
    attend,
    linear,
    looked_up,
    masked,
    run_layers,
    size,
    valid_steps,
    with_constants,
)
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.interchange.steps import default_inputs
from throughtime.layers import Attention, Recurrent
from throughtime.models.bridge import Bridge
from throughtime.models.encoder_decoder import EncoderDecoder
from throughtime.models.memory import EncodedSources, Memory
from throughtime.models.search import log_probabilities
from throughtime.models.transcriber import SignalEncoder

__all__ = ["Pair"]

LENGTHS = torch.tensor([5, 1, 3])
"""The lengths of the sources of an example."""


class Pair(Form):
    """Two files: an encoder of whole sources, and one step of a decoder.

    encoder: tokens (B, S), lengths (B) -> the memory (values, keys, mask), which stays the same,
    and the initial states.
    decoder: token (B), the states, the memory -> scores (B, V), the next states, weights (B, S).

    Args:
        module: the model.
    """

    ends = ("_encoder", "_decoder")

    def __init__(self, module: EncoderDecoder) -> None:
        if isinstance(module.encoder, SignalEncoder):
            raise ValueError(
                "save_onnx: EncoderDecoder: the encoder is a SignalEncoder, which reads the "
                "features of a signal; only encoders of tokens are written. Train with "
                "--readout ctc or frames, whose models are written."
            )
        if not isinstance(module.encoder, Recurrent):
            raise ValueError(
                f"save_onnx: the encoder is a {type(module.encoder).__name__} of your own, which "
                f"only its author can write. Export model.encoder by torch.onnx."
            )
        self.module = module

    def files(self) -> Mapping[str, Any]:
        """The two models of ONNX."""
        model = self.module
        specials = {"bos": model.bos, "eos": model.eos, "pad": model.pad}
        about = f"{model}\nThe first token is {model.bos}; {model.eos} ends a target."
        return {
            "_encoder": self._encoder().model(about, {}),
            "_decoder": self._decoder().model(about, specials),
        }

    def _encoder(self) -> GraphFile:
        model, file = self.module, GraphFile(self.module)
        graph, layer = file.graph, model.decoder.recurrent
        tokens, lengths = source_inputs(file)
        assert model.embedding is not None
        embedding = model.embedding.weight
        values, last = encoded(graph, embedding, model.encoder, tokens, lengths, "EncoderDecoder")
        states = bridged(graph, model.bridge, last, "bridge")
        for (name, width), state in zip(layer.state_sizes.items(), states, strict=True):
            file.output(f"{name}_0", state, [layer.num_layers, "batch", width])
        if model.input_feeding and not model.decoder.is_before:
            H = layer.output_size
            dims = [size(graph, tokens, 0), graph.integers(H)]
            shape = graph.node("Concat", dims, "shape_of_attended", axis=0)
            zeros = graph.node("Expand", [graph.number(0.0), shape], "nothing_attended")
            file.output("attended_0", zeros, ["batch", H])
        if model.decoder.attention is not None:
            remembered(file, model.decoder.attention, values, lengths)
        return file

    def _decoder(self) -> GraphFile:
        decoder, file = self.module.decoder, GraphFile(self.module)
        graph, layer, attention = file.graph, decoder.recurrent, decoder.attention
        H, names = layer.output_size, list(layer.state_sizes)
        token = file.input("token", ["batch"], torch.int64)
        for name, width in layer.state_sizes.items():
            file.input(f"{name}_0", [layer.num_layers, "batch", width])
        feeds = decoder.input_feeding and not decoder.is_before
        if feeds:
            file.input("attended_0", ["batch", H])
        memory: dict[str, str] = {}
        if attention is not None:
            for name, (shape, kind) in memory_shapes(attention).items():
                memory[name] = file.input(name, shape, kind)
        x = looked_up(graph, decoder.embedding.weight, token, "embedded")
        context, weights = "", ""
        if decoder.is_before:
            assert attention is not None
            state = f"{names[decoder._query]}_0"
            top = graph.number(-1, torch.int64)
            query = graph.node("Gather", [state, top], "state_of_top_layer", axis=0)
            context, weights = attend(graph, attention, query, memory)
            x = graph.node("Concat", [x, context], "embedded_and_context", axis=1)
        elif feeds:
            x = graph.node("Concat", [x, "attended_0"], "embedded_and_attended", axis=1)
        h = one_step(graph, layer, x, [f"{n}_0" for n in names], "step", "EncoderDecoder")
        attended = h.output
        if attention is not None:
            if not context:
                context, weights = attend(graph, attention, h.output, memory)
            assert decoder.combine is not None
            both = graph.node("Concat", [context, h.output], "context_and_output", axis=1)
            combined = linear(graph, both, decoder.combine, "combined")
            attended = graph.node("Tanh", [combined], "attended")
        scores = linear(graph, attended, decoder.scores, "scores_of_all")
        logs = graph.node("LogSoftmax", [scores], "logs", axis=1)
        never = torch.zeros(decoder.vocab_size, dtype=graph.dtype)
        never[[decoder.pad, decoder.bos]] = float("-inf")
        logs = graph.node("Add", [logs, graph.weight("never_written", never)], "logs_of_writable")
        file.output("scores", logs, ["batch", decoder.vocab_size])
        for name, state in zip(names, h.states, strict=True):
            shape = [layer.num_layers, "batch", layer.state_sizes[name]]
            file.output(f"{name}_n", state, shape)
        if feeds:
            file.output("attended_n", attended, ["batch", H])
        if weights:
            file.output("weights", weights, ["batch", "source"])
        return file

    def difference(self, run: Run) -> float:
        """Encodes sources and decodes two random tokens of each, and compares all outputs."""
        model = self.module
        generator = torch.Generator().manual_seed(0)
        assert model.source_size is not None
        inputs, source = example_source(model.source_size, generator)
        device = model.decoder.scores.weight.device
        memory = model.encode(source.to(device), LENGTHS)
        names = list(model.decoder.recurrent.state_sizes)

        def states(state: Any, end: str) -> dict[str, np.ndarray]:
            values = dict(zip((f"{n}_{end}" for n in names), state.recurrent, strict=True))
            if state.attended is not None:
                values[f"attended_{end}"] = state.attended
            return {name: array(value) for name, value in values.items()}

        remembered = memory_of(memory)
        wanted = states(memory.state, "0") | remembered
        got = run("_encoder", inputs)
        errors = [difference(got[name], value) for name, value in wanted.items()]
        state = memory.state
        for _ in range(2):
            shape = (len(LENGTHS),)
            token = torch.randint(model.target_size, shape, generator=generator)
            passed = {"token": array(token), **states(state, "0"), **remembered}
            got = run("_decoder", passed)
            scores, state = model.step(token.to(device), state, memory)
            wanted = {"scores": array(log_probabilities(model, scores)), **states(state, "n")}
            if state.weights is not None:
                wanted["weights"] = array(state.weights)
            errors += [difference(got[name], value) for name, value in wanted.items()]
        return max(errors)


def array(value: Tensor) -> np.ndarray:
    """The tensor as an array."""
    return value.detach().cpu().numpy()


def example_source(count: int, generator: torch.Generator) -> tuple[dict[str, np.ndarray], Tensor]:
    """The inputs of the encoder for random sources, and their tokens (B, S)."""
    source = torch.randint(count, (len(LENGTHS), int(LENGTHS.max())), generator=generator)
    return {"tokens": array(source), "lengths": array(LENGTHS.int())}, source


def source_inputs(file: GraphFile) -> tuple[str, str]:
    """Declares the tokens (B, S) and the lengths (B) of the sources."""
    tokens = file.input("tokens", ["batch", "source"], torch.int64)
    return tokens, file.input("lengths", ["batch"], torch.int32)


def encoded(
    graph: GraphWriter, table: Tensor, layer: Recurrent, tokens: str, lengths: str, title: str
) -> tuple[str, list[str]]:
    """The values (B, S, M) of recurrent layers over tokens, and their last states."""
    x = looked_up(graph, table, tokens, "source_embedded")
    return run_layers(graph, layer, {"x": x}, lengths, "encoder", title)


def bridged(graph: GraphWriter, bridge: Bridge, last: list[str], name: str) -> list[str]:
    """The initial states of a decoder from the last states of the encoder; see :class:`Bridge`."""
    if bridge.is_identity:
        return last
    D, first = bridge.num_directions, []
    states = dict(zip(bridge.names, last, strict=True))
    for state, width in bridge.states.items():
        if f"{state}_0" not in bridge.maps:
            batch = size(graph, last[0], 1)
            dims = [graph.integers(len(bridge.layers)), batch, graph.integers(width)]
            shape = graph.node("Concat", dims, f"{name}_shape_of_{state}", axis=0)
            start = graph.number(float(bridge.initial[state]))
            first.append(graph.node("Expand", [start, shape], f"{name}_{state}"))
            continue
        rows = []
        maps: Any = bridge.maps[f"{state}_0"]
        for i, (layer, affine) in enumerate(zip(bridge.layers, maps, strict=True)):
            read = []
            for key in bridge._inputs_of(state):
                each = f"{name}_{state}_{i}_{key}"
                part = graph.slice(states[key], layer * D, (layer + 1) * D, 0, each)  # (D, B, H)
                part = graph.node("Transpose", [part], f"{each}_rows", perm=[1, 0, 2])
                # A zero in the shape of a Reshape keeps a size.
                read.append(graph.node("Reshape", [part, graph.integers(0, -1)], f"{each}_side"))
            side = read[0]
            if len(read) > 1:
                side = graph.node("Concat", read, f"{name}_{state}_{i}_all", axis=1)
            mapped = linear(graph, side, affine, f"{name}_{state}_{i}_mapped")
            mapped = graph.node("Tanh", [mapped], f"{name}_{state}_{i}_tanh")
            axis = graph.integers(0)
            rows.append(graph.node("Unsqueeze", [mapped, axis], f"{name}_{state}_{i}_row"))
        first.append(graph.node("Concat", rows, f"{name}_{state}", axis=0))
    return first


def memory_shapes(attention: Attention) -> dict[str, tuple[list[Any], torch.dtype | None]]:
    """The arrays that attention reads, with their shapes and types."""
    rows: list[Any] = ["batch", "source"]
    shapes: dict[str, tuple[list[Any], torch.dtype | None]] = {
        "values": ([*rows, attention.memory_size], None)
    }
    if attention.kind != "dot":
        shapes["keys"] = ([*rows, attention.key.out_features], None)
    return shapes | {"mask": (rows, torch.bool)}


def remembered(file: GraphFile, attention: Attention, values: str, lengths: str) -> None:
    """Writes the memory that attention reads as outputs of the encoder."""
    graph = file.graph
    mask = valid_steps(graph, values, lengths)
    # A weight of zero is not enough: zero times NaN past a row's end is NaN.
    values = masked(graph, values, mask, 0.0, "values_of_valid_steps")
    computed = {"values": values, "mask": mask}
    if attention.kind != "dot":
        computed["keys"] = linear(graph, values, attention.key, "keys_of_values")
    for name, (shape, kind) in memory_shapes(attention).items():
        file.output(name, computed[name], shape, kind)


def memory_of(memory: EncodedSources[Any] | Memory) -> dict[str, np.ndarray]:
    """The arrays that attention reads, as the module computes them; those of dot have no keys."""
    look = memory.attention
    if look is None:
        return {}
    values = {"values": look.values, "mask": look.mask}
    if look.keys is not look.values:
        values["keys"] = look.keys
    return {name: array(value) for name, value in values.items()}


class _Step:
    """The output (B, H) of recurrent layers at one step, and their states (L, B, H)."""

    def __init__(self, output: str, states: list[str]) -> None:
        self.output, self.states = output, states


def one_step(
    graph: GraphWriter, layer: Recurrent, x: str, states: list[str], name: str, title: str
) -> _Step:
    """Runs recurrent layers one step.

    Args:
        x: the input (B, I).
        states: the states before the step, each (L, B, H).
        name: a name that the graph uses for these layers alone.
        title: the class of the model.
    """
    x = graph.node("Unsqueeze", [x, graph.integers(1)], f"{name}_input")  # (B, 1, I)
    constants = default_inputs("save_onnx", title, layer, further(layer))
    inputs = with_constants(graph, layer, x, constants)
    last = [f"{name}_last_{state}" for state in layer.state_sizes]
    write_layers(graph, layer, inputs, "", states, f"{name}_outputs", last)
    output = graph.node("Squeeze", [f"{name}_outputs", graph.integers(1)], f"{name}_output")
    return _Step(output, last)

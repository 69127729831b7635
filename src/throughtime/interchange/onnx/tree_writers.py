"""Files of an encoder and a decoder that writes trees node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from throughtime.interchange.onnx.forms import Form, Run, difference
from throughtime.interchange.onnx.graph_file import GraphFile
from throughtime.interchange.onnx.pairs import (
    LENGTHS,
    array,
    bridged,
    encoded,
    example_source,
    memory_of,
    memory_shapes,
    one_step,
    remembered,
    source_inputs,
)
from throughtime.interchange.onnx.pieces import attend, linear, looked_up
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.models.encoder_tree_decoder import EncoderTreeDecoder

__all__ = ["TreeWriter"]


class TreeWriter(Form):
    """Three files: an encoder of sequences, and the two halves of a step of the decoder.

    encoder: tokens (B, S), lengths (B) -> the memory, and the initial states of each recurrence,
    such as vertical_h_0.
    reader: label (R), move (R), the states after the nodes that it follows -> for each recurrence
    its output, such as vertical (R, H), and the next states.
    chooser: the outputs after the parent and after the previous sibling, move (R), is_root (R), the
    memory -> scores: the log-probability of each choice.

    Args:
        module: the model.
    """

    ends = ("_encoder", "_reader", "_chooser")

    def __init__(self, module: EncoderTreeDecoder) -> None:
        if module.embedding is None:
            raise ValueError(
                f"save_onnx: source={module.source} reads a tree from its leaves upwards, all "
                f"nodes of one height at once, and the number of these steps differs from tree to "
                f"tree, for which ONNX has no fixed graph. Train with source=sequence."
            )
        self.module = module

    def files(self) -> Mapping[str, Any]:
        """The three models of ONNX."""
        decoder, about = self.module.decoder, str(self.module)
        told = {
            "topology": decoder.topology,
            "num_labels": decoder.num_labels,
            "begin": decoder.num_labels,
            "first_child": 0,
            "next_sibling": 1,
        }
        return {
            "_encoder": self._encoder().model(about, {}),
            "_reader": self._reader().model(about, told),
            "_chooser": self._chooser().model(about, told),
        }

    def _encoder(self) -> GraphFile:
        model, file = self.module, GraphFile(self.module)
        graph = file.graph
        tokens, lengths = source_inputs(file)
        assert model.embedding is not None
        table = model.embedding.weight
        values, last = encoded(graph, table, model.encoder, tokens, lengths, "EncoderTreeDecoder")
        bridges: Any = model.bridges
        for name, layer in model.decoder.layers():
            states = bridged(graph, bridges[name], last, f"bridge_to_{name}")
            for (state, width), value in zip(layer.state_sizes.items(), states, strict=True):
                file.output(f"{name}_{state}_0", value, [layer.num_layers, "batch", width])
        if model.decoder.attention is not None:
            remembered(file, model.decoder.attention, values, lengths)
        return file

    def _reader(self) -> GraphFile:
        decoder, file = self.module.decoder, GraphFile(self.module)
        graph = file.graph
        label = file.input("label", ["batch"], torch.int64)
        if decoder.read_moves is not None:
            file.input("move", ["batch"], torch.int64)
        for name, layer in decoder.layers():
            for state, width in layer.state_sizes.items():
                file.input(f"{name}_{state}_0", [layer.num_layers, "batch", width])
        embedded = looked_up(graph, decoder.embedding.weight, label, "embedded")
        for name, layer in decoder.layers():
            x = embedded
            if name == "horizontal":
                assert decoder.read_moves is not None
                moved = looked_up(graph, decoder.read_moves.weight, "move", "moved")
                x = graph.node("Add", [embedded, moved], "embedded_and_moved")
            states = [f"{name}_{state}_0" for state in layer.state_sizes]
            step = one_step(graph, layer, x, states, f"step_of_{name}", "EncoderTreeDecoder")
            file.output(name, step.output, ["batch", layer.output_size])
            for (state, width), value in zip(layer.state_sizes.items(), step.states, strict=True):
                file.output(f"{name}_{state}_n", value, [layer.num_layers, "batch", width])
        return file

    def _chooser(self) -> GraphFile:
        decoder, file = self.module.decoder, GraphFile(self.module)
        graph = file.graph
        for name, layer in decoder.layers():
            file.input(name, ["batch", layer.output_size])
        if decoder.moves is not None:
            file.input("move", ["batch"], torch.int64)
        is_root = file.input("is_root", ["batch"], torch.bool)
        memory: dict[str, str] = {}
        if decoder.attention is not None:
            for name, (shape, kind) in memory_shapes(decoder.attention).items():
                memory[name] = file.input(name, shape, kind)
        merges: Any = decoder.merges
        terms = [linear(graph, name, merges[name], f"term_of_{name}") for name in merges]
        total = terms[0] if len(terms) == 1 else graph.node("Add", terms, "sum_of_terms")
        if decoder.moves is not None:
            moved = looked_up(graph, decoder.moves.weight, "move", "moved")
            total = graph.node("Add", [total, moved], "sum_with_move")
        merged = graph.node("Tanh", [total], "merged")
        if decoder.attention is not None:
            assert decoder.combine is not None
            context, weights = attend(graph, decoder.attention, merged, memory)
            both = graph.node("Concat", [context, merged], "context_and_merged", axis=1)
            merged = graph.node("Tanh", [linear(graph, both, decoder.combine, "combined")], "m")
            file.output("weights", weights, ["batch", "source"])
        labels = linear(graph, merged, decoder.scores, "label_scores")
        if decoder.decisions is None:
            self._with_ends(file, labels, is_root)
        else:
            self._with_decisions(file, labels, merged, is_root)
        return file

    def _with_ends(self, file: GraphFile, labels: str, is_root: str) -> None:
        """The log-probabilities (R, V + 1) of the labels and of the end of siblings."""
        graph, V = file.graph, self.module.num_labels
        is_end = torch.zeros(V + 1, dtype=torch.bool)
        is_end[V] = True
        column = graph.node("Unsqueeze", [is_root, graph.integers(1)], "is_root_column")
        forbidden = graph.node("And", [column, graph.weight("is_end", is_end)], "is_forbidden")
        lowest = graph.number(float("-inf"))
        labels = graph.node("Where", [forbidden, lowest, labels], "allowed_scores")
        logs = graph.node("LogSoftmax", [labels], "logs", axis=1)
        file.output("scores", logs, ["batch", V + 1])

    def _with_decisions(self, file: GraphFile, labels: str, merged: str, is_root: str) -> None:
        """The log-probabilities (R, 2, 2, V), by has children, has a next sibling, and label."""
        graph, decoder = file.graph, self.module.decoder
        assert decoder.decisions is not None
        assert decoder.shifts is not None
        flags = decoder.shifts.new_tensor([0, 1]).view(2, 1)
        down, on = decoder.shifts.detach()
        shifts = (flags * down).unsqueeze(1) + flags * on  # (2, 2, V)
        wide = graph.node("Unsqueeze", [labels, graph.integers(1, 2)], "scores_of_labels")
        shifted = graph.node("Add", [wide, graph.weight("shifts", shifts)], "shifted")
        logs = graph.node("LogSoftmax", [shifted], "logs_of_labels", axis=3)
        odds = linear(graph, merged, decoder.decisions, "odds")
        negative = graph.node("Neg", [odds], "odds_against")
        # log sigmoid(a) = -softplus(-a): of no, and of yes.
        sides = [
            graph.node("Neg", [graph.node("Softplus", [of], f"{name}_soft")], name)
            for of, name in ((odds, "log_no"), (negative, "log_yes"))
        ]
        stacked = [
            graph.node("Unsqueeze", [s, graph.integers(1)], f"{s}_row") for s in sides
        ]  # (R, 1, 2)
        both = graph.node("Concat", stacked, "log_decisions", axis=1)  # (R, 2 of no/yes, 2 kinds)
        children = _kind(graph, both, 0, "log_children")  # (R, 2)
        following = _kind(graph, both, 1, "log_next")
        certain = torch.tensor([0.0, float("-inf")], dtype=graph.dtype)
        column = graph.node("Unsqueeze", [is_root, graph.integers(1)], "is_root_column")
        of_root = graph.weight("log_next_of_root", certain)
        following = graph.node("Where", [column, of_root, following], "log_next_or_root")
        children = graph.node("Unsqueeze", [children, graph.integers(2, 3)], "log_children_4")
        following = graph.node("Unsqueeze", [following, graph.integers(1, 3)], "log_next_4")
        topology = graph.node("Add", [children, following], "log_topology")  # (R, 2, 2, 1)
        total = graph.node("Add", [logs, topology], "logs")
        file.output("scores", total, ["batch", 2, 2, self.module.num_labels])

    def difference(self, run: Run) -> float:
        """Encodes sources, reads two nodes and decides after each, and compares all outputs."""
        model, decoder = self.module, self.module.decoder
        generator = torch.Generator().manual_seed(0)
        inputs, source = example_source(model.source_size, generator)
        device = decoder.scores.weight.device
        memory = model.encode(source.to(device), LENGTHS)
        R = len(LENGTHS)

        def named(states: Mapping[str, Any], end: str) -> dict[str, np.ndarray]:
            return {
                f"{name}_{state}_{end}": array(value)
                for name, layer in decoder.layers()
                for state, value in zip(layer.state_sizes, states[name], strict=True)
            }

        look = memory_of(memory)
        states: Any = memory.state.recurrent
        got = run("_encoder", inputs)
        wanted = named(states, "0") | look
        errors = [difference(got[name], value) for name, value in wanted.items()]
        for step in range(2):
            labels = torch.randint(decoder.num_labels + 1, (R,), generator=generator)
            moves = torch.randint(2, (R,), generator=generator)
            is_root = torch.tensor([step == 0] * R)
            move = {"move": array(moves)} if decoder.moves is not None else {}
            got = run("_reader", {"label": array(labels), **move, **named(states, "0")})
            outputs, states = decoder.read(labels.to(device), moves.to(device), states)
            read = {name: array(value) for name, value in outputs.items()}
            wanted = read | named(states, "n")
            errors += [difference(got[name], value) for name, value in wanted.items()]
            got = run("_chooser", {**read, **move, "is_root": array(is_root), **look})
            logs, weights = decoder.decide(outputs, moves.to(device), is_root.to(device), memory)
            logs = logs.flatten(1) if decoder.decisions is None else logs
            wanted = {"scores": array(logs)}
            wanted |= {} if weights is None else {"weights": array(weights)}
            errors += [difference(got[name], value) for name, value in wanted.items()]
        return max(errors)


def _kind(graph: GraphWriter, both: str, index: int, name: str) -> str:
    """The log-probabilities (R, 2) of no and yes of one of the two decisions."""
    return graph.node("Gather", [both, graph.number(index, torch.int64)], name, axis=2)

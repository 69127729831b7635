"""Files of models that read whole sequences, with the input ``lengths``."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.interchange.onnx.filled import run_marked
from throughtime.interchange.onnx.forms import Form, Run, difference
from throughtime.interchange.onnx.graph_file import GraphFile
from throughtime.interchange.onnx.pieces import (
    END,
    as_numbers,
    linear,
    looked_up,
    masked,
    pooled_by_attention,
    run_layers,
    size,
    stacked_steps,
    valid_steps,
)
from throughtime.interchange.onnx.viterbi import likeliest_labels
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.layers import Recurrent
from throughtime.layers.crf import CRF
from throughtime.models.classifier import Classifier
from throughtime.models.cloze import Cloze
from throughtime.models.letters import LetterFeature
from throughtime.models.marked import GappedRecurrent, MarkedGRUD
from throughtime.models.stepwise import WindowLayers, WindowNetwork
from throughtime.models.tagger import Spelling, Tagger
from throughtime.models.transcriber import Transcriber, num_steps
from throughtime.models.verifier import Verifier

__all__ = ["WHOLE", "Whole"]

_LENGTHS = torch.tensor([7, 1, 4])
_ROWS, _STEPS = 3, 7

Values = dict[str, Tensor]
"""Inputs or outputs of a file by name."""


class Whole(Form):
    """A file that reads whole sequences.

    Args:
        module: the model.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def files(self) -> Mapping[str, Any]:
        """The model of ONNX."""
        file = GraphFile(self.module)
        self.write(file)
        return {"": file.model(str(self.module), self.metadata())}

    def metadata(self) -> Mapping[str, Any]:
        """What the metadata of the file tells, by name."""
        return {}

    @abstractmethod
    def write(self, file: GraphFile) -> None:
        """Declares the inputs, writes all nodes, and declares the outputs."""

    @abstractmethod
    def example(self, generator: torch.Generator) -> tuple[Values, Values]:
        """Inputs, and the outputs that the module gives for them."""

    def difference(self, run: Run) -> float:
        """Compares the outputs of the file with those of the module on an example."""
        inputs, wanted = self.example(torch.Generator().manual_seed(0))
        got = run("", {name: value.numpy() for name, value in inputs.items()})
        return max(difference(got[n], value.cpu().numpy()) for n, value in wanted.items())

    # What several models need.

    @property
    def device(self) -> torch.device:
        """Where the weights of the module are."""
        return next(self.module.parameters()).device

    def tokens(self, count: int, generator: torch.Generator) -> Tensor:
        """Random tokens (B, T)."""
        return torch.randint(count, (_ROWS, _STEPS), generator=generator)

    def features(self, width: int, generator: torch.Generator) -> Tensor:
        """Random features (B, T, I) from 0 to 1."""
        dtype = next(self.module.parameters()).dtype
        return torch.rand(_ROWS, _STEPS, width, generator=generator, dtype=dtype)


def _recurrent(graph: GraphWriter, layer: nn.Module, x: str, lengths: str, title: str) -> str:
    """The output (B, T, H) of the recurrent layers of a classifier or tagger."""
    if isinstance(layer, MarkedGRUD):
        return run_marked(graph, layer, x, lengths)
    inputs = {"x": x}
    if isinstance(layer, GappedRecurrent):
        inputs = {
            "x": graph.slice(x, 0, -1, 2, "features"),
            "gap": graph.slice(x, -1, END, 2, "gaps"),
        }
        layer = layer.layer
    assert isinstance(layer, Recurrent)
    return run_layers(graph, layer, inputs, lengths, "layers", title)[0]


def _at_ends(graph: GraphWriter, h: str, lengths: str, width: int, both: bool, name: str) -> str:
    """The output h (B, T, F) of the last valid step; of a second direction that of the first step.

    Args:
        width: F.
        both: whether the second half of the features is a second direction.
    """
    mask = valid_steps(graph, h, lengths)
    # The last valid step is the one after which no other is.
    later = graph.slice(mask, 1, END, 1, f"{name}_later")
    pads = graph.integers(0, 0, 0, 1)
    kinds = graph.onnx.TensorProto
    later = graph.node("Cast", [later], f"{name}_later_whole", to=kinds.INT32)
    later = graph.node("Pad", [later, pads, graph.number(0, torch.int32)], f"{name}_later_padded")
    later = graph.node("Cast", [later], f"{name}_is_later", to=kinds.BOOL)
    last = graph.node("Xor", [mask, later], f"{name}_is_last")
    at_last = masked(graph, h, last, 0.0, f"{name}_at_last")
    ends = graph.node("ReduceSum", [at_last, graph.integers(1)], f"{name}_last", keepdims=0)
    if not both:
        return ends
    half = width // 2
    first = graph.node("Gather", [h, graph.number(0, torch.int64)], f"{name}_first", axis=1)
    parts = [
        graph.slice(ends, 0, half, 1, f"{name}_forwards"),
        graph.slice(first, half, width, 1, f"{name}_backwards"),
    ]
    return graph.node("Concat", parts, f"{name}_ends", axis=1)


def _mean(graph: GraphWriter, h: str, lengths: str) -> str:
    """The mean (B, F) of the valid steps of h (B, T, F), which is zero past a row's end."""
    count = graph.node("Max", [lengths, graph.number(1, torch.int32)], "num_steps_or_one")
    count = as_numbers(graph, count, "num_steps_as_number")
    count = graph.node("Unsqueeze", [count, graph.integers(1)], "num_steps_column")
    total = graph.node("ReduceSum", [h, graph.integers(1)], "sum_of_steps", keepdims=0)
    return graph.node("Div", [total, count], "mean_of_steps")


def _window(graph: GraphWriter, layers: WindowLayers, x: str) -> str:
    """The layers of a feed-forward network on x (B, T, I)."""
    x = graph.node("Transpose", [x], "signal", perm=[0, 2, 1])
    first = layers.first
    assert first.bias is not None
    weights = [graph.weight(f"first_{n}", p) for n, p in first.named_parameters()]
    x = graph.node("Conv", [x, *weights], "filtered", pads=[first.kernel_size[0] - 1, 0])
    x = graph.node("Transpose", [x], "filtered_steps", perm=[0, 2, 1])
    for i, part in enumerate(layers.rest):
        if isinstance(part, nn.Linear):
            x = linear(graph, x, part, f"layer_{i}")
        else:
            assert isinstance(part, nn.ReLU)
            x = graph.node("Relu", [x], f"rectified_{i}")
    return x


class _ClassifierFile(Whole):
    """tokens (B, T) or input (B, T, I), lengths (B) -> scores (B, K)."""

    module: Classifier

    def write(self, file: GraphFile) -> None:
        file.output("scores", self.scores(file), ["batch", self.module.num_classes])

    def scores(self, file: GraphFile) -> str:
        """Declares the inputs, and writes the nodes of the scores (B, K)."""
        model, graph = self.module, file.graph
        if model.embedding is not None:
            x = file.input("tokens", ["batch", "time"], torch.int64)
        else:
            x = file.input("input", ["batch", "time", self._width])
        lengths = file.input("lengths", ["batch"], torch.int32)
        if model.embedding is not None:
            x = looked_up(graph, model.embedding.weight, x, "embedded")
        if model.window_layers is not None:
            h = _window(graph, model.window_layers, x)
            # The layers write over the end of a row.
            h = masked(graph, h, valid_steps(graph, h, lengths), 0.0, "within_the_row")
        else:
            assert model.recurrent is not None
            h = _recurrent(graph, model.recurrent, x, lengths, "Classifier")
        return linear(graph, self._pooled(graph, h, lengths), model.output, "class_scores")

    @property
    def _width(self) -> int:
        """The number of features of the input."""
        model = self.module
        assert model.input_size is not None
        if isinstance(model.recurrent, MarkedGRUD):
            return 3 * model.input_size
        return model.input_size + model.has_gaps

    def _pooled(self, graph: GraphWriter, h: str, lengths: str) -> str:
        model = self.module
        if model.pooling == "last":
            both = bool(model.options.get("bidirectional"))
            return _at_ends(graph, h, lengths, model.output.in_features, both, "pooled")
        if model.pooling == "mean":
            return _mean(graph, h, lengths)
        mask = valid_steps(graph, h, lengths)
        if model.attention is not None:
            return pooled_by_attention(graph, h, mask, model.attention)
        valid = masked(graph, h, mask, float("-inf"), "of_valid_steps")
        return graph.node("ReduceMax", [valid], "largest", axes=[1], keepdims=0)

    def example(self, generator: torch.Generator) -> tuple[Values, Values]:
        model = self.module
        if model.embedding is not None:
            name, x = "tokens", self.tokens(model.embedding.num_embeddings, generator)
        else:
            name, x = "input", self.features(self._width, generator)
        scores = model(x.to(self.device), _LENGTHS)
        return {name: x, "lengths": _LENGTHS.int()}, {"scores": scores}


class _VerifierFile(Whole):
    """input (B, T, I), lengths (B) -> vector (B, E), of length one."""

    module: Verifier

    def __init__(self, module: Verifier) -> None:
        super().__init__(module)
        self.reader = _ClassifierFile(module.reader)

    def write(self, file: GraphFile) -> None:
        graph, scores = file.graph, self.reader.scores(file)
        length = graph.node("ReduceL2", [scores], "length", axes=[1], keepdims=1)
        # As nn.functional.normalize, which leaves the vector of zeros as it is.
        length = graph.node("Max", [length, graph.number(1e-12)], "length_above_zero")
        vector = graph.node("Div", [scores, length], "unit_vector")
        file.output("vector", vector, ["batch", self.module.reader.num_classes])

    def metadata(self) -> Mapping[str, Any]:
        threshold = self.module.threshold.item()
        return {"threshold": None if math.isnan(threshold) else threshold}

    def example(self, generator: torch.Generator) -> tuple[Values, Values]:
        inputs, _ = self.reader.example(generator)
        vector = self.module(inputs["input"].to(self.device), _LENGTHS)
        return inputs, {"vector": vector}


class _TaggerFile(Whole):
    """tokens (B, T), lengths (B) -> scores (B, T, K), and labels (B, T) of a CRF.

    With letters also letters (U, N), letter_lengths (U) and spelling (B, T) as inputs. With labels
    of sentences also intents (B, M) as an output.
    """

    module: Tagger

    def write(self, file: GraphFile) -> None:
        model, graph = self.module, file.graph
        rows = ["batch", "time"]
        tokens = file.input("tokens", rows, torch.int64)
        lengths = file.input("lengths", ["batch"], torch.int32)
        if model.letters is not None:
            letters = file.input("letters", ["words", "letters"], torch.int64)
            ends = file.input("letter_lengths", ["words"], torch.int32)
            spelling = file.input("spelling", rows, torch.int64)
            feature = _letters(graph, model.letters, letters, ends)
            feature = graph.node("Gather", [feature, spelling], "spelled", axis=0)
            words = looked_up(graph, model.embedding.weight, tokens, "words")
            x = graph.node("Concat", [words, feature], "words_and_letters", axis=2)
        else:
            x = looked_up(graph, model.embedding.weight, tokens, "words")
        h = _recurrent(graph, model.recurrent, x, lengths, "Tagger")
        scores = linear(graph, h, model.scores, "label_scores")
        file.output("scores", scores, [*rows, model.num_labels])
        if model.intents is not None:
            intents = linear(graph, _mean(graph, h, lengths), model.intents, "intent_scores")
            file.output("intents", intents, ["batch", model.num_intents])
        if isinstance(model.labels, CRF):
            mask = valid_steps(graph, scores, lengths)
            labels = likeliest_labels(graph, model.labels, scores, mask)
            file.output("labels", labels, rows, torch.int64)

    def example(self, generator: torch.Generator) -> tuple[Values, Values]:
        model = self.module
        tokens, spelling = self.tokens(model.vocab_size, generator), None
        inputs = {"tokens": tokens, "lengths": _LENGTHS.int()}
        if model.letters is not None:
            ends = torch.tensor([3, 5, 1, 2])
            letters = torch.randint(1, model.num_letters, (4, 5), generator=generator)
            letters = letters.masked_fill(torch.arange(5) >= ends[:, None], 0)
            words = torch.randint(4, tokens.shape, generator=generator)
            inputs |= {"letters": letters, "letter_lengths": ends.int(), "spelling": words}
            spelling = Spelling(*(part.to(self.device) for part in (letters, ends, words)))
        output = model(tokens.to(self.device), _LENGTHS, spelling)
        wanted = {"scores": output.words}
        return inputs, wanted | ({} if output.sentences is None else {"intents": output.sentences})

    def difference(self, run: Run) -> float:
        error = super().difference(run)
        if not isinstance(self.module.labels, CRF):
            return error
        inputs, _ = self.example(torch.Generator().manual_seed(0))
        got = run("", {name: value.numpy() for name, value in inputs.items()})
        # Of the scores of the file itself: labels may change where scores differ by rounding.
        scores = torch.from_numpy(got["scores"]).to(self.device)
        labels, _ = self.module.labels.viterbi(scores, _LENGTHS)
        return max(error, difference(got["labels"], labels.cpu().numpy()))


def _letters(graph: GraphWriter, feature: LetterFeature, letters: str, lengths: str) -> str:
    """The feature (U, F) of each word of its letters (U, N)."""
    x = looked_up(graph, feature.embedding.weight, letters, "letters_embedded")
    if feature.kind == "recurrent":
        layer = feature.recurrent
        h, _ = run_layers(graph, layer, {"x": x}, lengths, "letter_layers", "Tagger")
        return _at_ends(graph, h, lengths, feature.output_size, True, "letters")
    mask = valid_steps(graph, x, lengths)
    x = masked(graph, x, mask, 0.0, "valid_letters")
    x = graph.node("Transpose", [x], "letters_as_signal", perm=[0, 2, 1])
    kernel = graph.weight("letter_filters", feature.convolution.weight)
    assert feature.convolution.bias is not None
    bias = graph.weight("letter_filters_bias", feature.convolution.bias)
    filtered = graph.node("Conv", [x, kernel, bias], "letters_filtered", pads=[1, 1])
    filtered = graph.node("Transpose", [filtered], "letter_features", perm=[0, 2, 1])
    filtered = masked(graph, filtered, mask, float("-inf"), "valid_letter_features")
    return graph.node("ReduceMax", [filtered], "letter_feature", axes=[1], keepdims=0)


class _ClozeFile(Whole):
    """tokens (B, T), lengths (B) -> scores (B, T, V), those of x_t given all other words."""

    module: Cloze

    def write(self, file: GraphFile) -> None:
        model, graph = self.module, file.graph
        tokens = file.input("tokens", ["batch", "time"], torch.int64)
        lengths = file.input("lengths", ["batch"], torch.int32)
        kind = torch.int64
        mask = valid_steps(graph, tokens, lengths)
        rest = graph.node("Where", [mask, tokens, graph.number(model.eos, kind)], "words_and_end")
        shape = graph.node("Concat", [size(graph, tokens, 0), graph.integers(1)], "column", axis=0)
        first, last = (
            graph.node("Expand", [graph.number(token, kind), shape], name)
            for token, name in ((model.bos, "begin"), (model.eos, "end"))
        )
        framed = graph.node("Concat", [first, rest, last], "framed", axis=1)
        x = looked_up(graph, model.embedding.weight, framed, "embedded")
        longer = graph.node("Add", [lengths, graph.number(2, torch.int32)], "framed_lengths")
        h = _recurrent(graph, model.recurrent, x, longer, "Cloze")
        H = model.recurrent.output_size // 2
        before = graph.slice(graph.slice(h, 0, -2, 1, "before"), 0, H, 2, "before_forwards")
        after = graph.slice(graph.slice(h, 2, END, 1, "after"), H, END, 2, "after_backwards")
        context = graph.node("Concat", [before, after], "context", axis=2)
        if isinstance(model.projection, nn.Linear):
            context = linear(graph, context, model.projection, "projected")
        scores = linear(graph, context, model.scores, "word_scores")
        file.output("scores", scores, ["batch", "time", model.vocab_size])

    def example(self, generator: torch.Generator) -> tuple[Values, Values]:
        tokens = self.tokens(self.module.vocab_size, generator)
        scores = self.module(tokens.to(self.device), _LENGTHS)
        return {"tokens": tokens, "lengths": _LENGTHS.int()}, {"scores": scores}


class _TranscriberFile(Whole):
    """input (B, T, I), lengths (B) -> scores (B, T', C), and score_lengths (B)."""

    module: Transcriber

    def write(self, file: GraphFile) -> None:
        model, graph = self.module, file.graph
        x = file.input("input", ["batch", "time", model.input_size])
        lengths = file.input("lengths", ["batch"], torch.int32)
        for i, block in enumerate(model.blocks):
            count = 2 if i else model.stack
            x = stacked_steps(graph, x, count, f"joined_{i}")
            lengths = self._fewer(graph, lengths, count, i)
            assert isinstance(block, Recurrent)
            x, _ = run_layers(graph, block, {"x": x}, lengths, f"block_{i}", "Transcriber")
        scores = linear(graph, x, model.output, "symbol_scores")
        file.output("scores", scores, ["batch", "steps", model.num_classes])
        file.output("score_lengths", lengths, ["batch"], torch.int32)

    def _fewer(self, graph: GraphWriter, lengths: str, count: int, i: int) -> str:
        """The lengths divided by ``count`` and rounded up."""
        if count == 1:
            return lengths
        kind = torch.int32
        more = graph.node("Add", [lengths, graph.number(count - 1, kind)], f"lengths_{i}_more")
        return graph.node("Div", [more, graph.number(count, kind)], f"lengths_{i}")

    def example(self, generator: torch.Generator) -> tuple[Values, Values]:
        model = self.module
        x = self.features(model.input_size, generator)
        scores = model(x.to(self.device), _LENGTHS)
        steps = num_steps(_LENGTHS, model.stack, model.pyramid).int()
        inputs = {"input": x, "lengths": _LENGTHS.int()}
        return inputs, {"scores": scores, "score_lengths": steps}


class _WindowFile(Whole):
    """input (B, T, I) -> output (B, T, O)."""

    module: WindowNetwork

    def write(self, file: GraphFile) -> None:
        model, graph = self.module, file.graph
        x = file.input("input", ["batch", "time", model.first.in_channels])
        x = _window(graph, model, x)
        last = model.rest[-1]
        assert isinstance(last, nn.Linear)
        file.output("output", x, ["batch", "time", last.out_features])

    def example(self, generator: torch.Generator) -> tuple[Values, Values]:
        x = self.features(self.module.first.in_channels, generator)
        return {"input": x}, {"output": self.module(x.to(self.device))}


WHOLE: dict[type[nn.Module], type[Whole]] = {
    Classifier: _ClassifierFile,
    Verifier: _VerifierFile,
    Tagger: _TaggerFile,
    Cloze: _ClozeFile,
    Transcriber: _TranscriberFile,
    WindowNetwork: _WindowFile,
}
"""The models that are written as whole sequences where they cannot run step by step."""

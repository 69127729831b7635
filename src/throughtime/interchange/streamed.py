"""Which models can run one step at a time, and what they consist of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from throughtime.checks import unknown
from throughtime.interchange.computed_weights import is_computing
from throughtime.interchange.steps import default_inputs
from throughtime.layers import GRU, LSTM, RNN, Recurrent
from throughtime.layers.evaluation import evaluating
from throughtime.models.classifier import Classifier
from throughtime.models.cloze import Cloze
from throughtime.models.encoder_decoder import EncoderDecoder
from throughtime.models.encoder_tree_decoder import EncoderTreeDecoder
from throughtime.models.frame_model import FrameModel
from throughtime.models.key_heads import KEY_HEADS, IndependentKeys
from throughtime.models.language_model import LanguageModel
from throughtime.models.marked import GappedRecurrent, MarkedGRUD
from throughtime.models.one_network import OneNetwork
from throughtime.models.performer_model import PerformerModel
from throughtime.models.step_codings import STEP_CODINGS, ProductCoding
from throughtime.models.stepwise import StepwiseNetwork, WindowNetwork
from throughtime.models.tagger import Tagger
from throughtime.models.transcriber import Transcriber
from throughtime.models.verifier import Verifier

__all__ = ["Streamed", "outputs_of", "parts_of", "refuse_replaced", "streamed", "streams"]


@dataclass(frozen=True)
class Streamed:
    """A model as a chain that reads one step at a time.

    Args:
        recurrent: the recurrent layers.
        embedding: the table of the tokens; None if the model reads numbers.
        head: the linear layer after the recurrent layers; None if there is none.
        pooling: what the head reads. ``every``: each output of the recurrent layers, as do models
            with an output for every step. In a model with one output for a sequence: ``last``, the
            last one; ``mean`` or ``max``, the mean or the largest of all steps until now.
        writes: what the outputs are, for a comment.
        title: the class of the model.
        reads_gaps: whether the model reads the time since the step before as its last feature, and
            passes it to the cell as the input ``gap``.
    """

    recurrent: Recurrent
    embedding: nn.Embedding | None = None
    head: nn.Linear | None = None
    pooling: str = "every"
    writes: str = "the output of the step"
    title: str = "layer"
    reads_gaps: bool = False

    def constants(self, who: str, further: Sequence[str]) -> dict[str, float]:
        """The further inputs of the cell that are the same in each step, with their values.

        A model of tokens passes its cell nothing but x, so all others have their default values.

        Args:
            who: the name of the writing function, with which error messages begin.
            further: the names of the further inputs that the step reads.

        Raises:
            ValueError: if an input has no default value.
        """
        if self.embedding is None:
            return {}
        return default_inputs(who, self.title, self.recurrent, further)


def streamed(who: str, module: nn.Module) -> Streamed:
    """The parts of a layer or model that can run one step at a time.

    Raises:
        ValueError: if the module cannot, with the reason.
    """
    parts = _parts(module)
    reason = parts if isinstance(parts, str) else _reason_of_directions(parts)
    if reason:
        raise ValueError(f"{who}: {reason}")
    assert isinstance(parts, Streamed)
    return parts


def streams(module: nn.Module) -> bool:
    """Whether the layer or model can run one step at a time."""
    parts = _parts(module)
    return isinstance(parts, Streamed) and not _reason_of_directions(parts)


def parts_of(who: str, module: nn.Module) -> Streamed:
    """The parts of a layer or model, which may read in both directions.

    Args:
        who: the name of the writing function, with which error messages begin.
        module: the layer or model.

    Raises:
        ValueError: if the module is none of these parts alone, with the reason.
    """
    parts = _parts(module)
    if isinstance(parts, str):
        raise ValueError(f"{who}: {parts}")
    return parts


def refuse_replaced(who: str, module: nn.Module) -> None:
    """Raises a ValueError if a call computes something else than the classes of the parts say.

    That is, if the ``forward`` of a part has been replaced by an attribute of the object, or a part
    has a hook that is called before or after its forward, other than one that computes a weight.
    """
    for name, part in module.named_modules():
        where = name or "the module"
        if "forward" in vars(part):
            raise ValueError(
                f"{who}: the forward of {where} has been replaced by an attribute of the object, "
                f"which is not written. Delete the attribute."
            )
        hooks = [*part._forward_pre_hooks.values(), *part._forward_hooks.values()]
        others = [hook for hook in hooks if not is_computing(hook)]
        if others:
            title = getattr(others[0], "__qualname__", type(others[0]).__name__)
            raise ValueError(
                f"{who}: {where} has the forward hook {title}, which may change what is computed "
                f"and is not written. Remove it with the remove() of the handle that "
                f"register_forward_hook or register_forward_pre_hook has returned."
            )


def _parts(module: nn.Module) -> Streamed | str:
    """The parts of a layer or model, or the reason why it has not these parts alone."""
    # A subclass may compute something else.
    kind = type_before_parametrizations(module)
    if kind in _WHOLE:
        return f"{kind.__name__}: {_WHOLE[kind]}"
    if kind not in _PARTS:
        names = [k.__name__ for k in (*_PARTS, *_WHOLE)]
        why = unknown("class of module", kind.__name__, names)
        return (
            f"{why} Other models read a whole sequence before they write, or compute more than "
            f"layers with a linear output."
        )
    parts = _PARTS[kind](module)
    return parts if isinstance(parts, str) else replace(parts, title=kind.__name__)


def _reason_of_directions(parts: Streamed) -> str:
    """The reason why the parts cannot run step by step; empty if they can."""
    if not parts.recurrent.bidirectional:
        return ""
    return (
        f"{parts.title}: bidirectional=True reads a sequence from its end too, which a program "
        f"that runs step by step does not know. Use one direction."
    )


def _classifier(model: Classifier) -> Streamed | str:
    if isinstance(model.recurrent, MarkedGRUD):
        return (
            "Classifier: the layer GRUD, which fills in missing values, cannot be exported to run "
            "step by step. Use another cell; or --to onnx, whose file reads whole sequences."
        )
    if model.pooling == "attention":
        return (
            'Classifier: pooling="attention" weighs the states of all steps, which a program that '
            'runs step by step does not keep. Train with pooling="last", "mean" or "max".'
        )
    if model.recurrent is None:
        return (
            "Classifier: network=window reads the steps of a window, and has no state. Use a "
            "recurrent network; or --to onnx, whose file reads whole sequences."
        )
    writes = "the score of each class, after the steps until now"
    layer = model.recurrent
    layer = layer.layer if isinstance(layer, GappedRecurrent) else layer
    parts = Streamed(layer, model.embedding, model.output, model.pooling, writes)
    return replace(parts, reads_gaps=model.has_gaps)


def _tagger(model: Tagger) -> Streamed | str:
    reasons = {
        "output=crf chooses the labels of all words together": model.output == "crf",
        f"letter_feature={model.letter_feature} reads the letters of each word": model.letters,
        "num_intents labels the whole sentence": model.intents,
    }
    for reason, is_so in reasons.items():
        if is_so:
            return (
                f"Tagger: {reason}, which a program that runs step by step cannot. Train with "
                f"output=softmax, letter_feature=none and num_intents=0."
            )
    writes = "the score of each label of the word"
    return Streamed(model.recurrent, model.embedding, model.scores, writes=writes)


def _language_model(model: LanguageModel) -> Streamed:
    writes = "the score of each token as the next one"
    embedding = model.embedding
    if not isinstance(embedding, nn.Embedding):
        embedding = nn.Embedding.from_pretrained(embedding.weight)  # the rows of the identity
    return Streamed(model.recurrent, embedding, model.scores, writes=writes)


def _cloze(model: Cloze) -> Streamed:
    head = model.scores
    if isinstance(model.projection, nn.Linear):
        # E (P h) + c as one layer.
        weight = head.weight @ model.projection.weight
        head = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        head.weight = nn.Parameter(weight.detach(), requires_grad=False)
        head.bias = model.scores.bias
    writes = f"the score of each word as the next one. A sentence begins with the token {model.bos}"
    return Streamed(model.recurrent, model.embedding, head, writes=writes)


def _one_network(model: OneNetwork) -> Streamed:
    writes = (
        f"the score of each token of the target, after the source has been read, and then the "
        f"token {model.bos} for each token to write"
    )
    return Streamed(model.recurrent, model.embedding, model.scores, writes=writes)


def _frame_model(model: FrameModel) -> Streamed | str:
    if not isinstance(model.head, IndependentKeys):
        head = next(name for name, kind in KEY_HEADS.items() if isinstance(model.head, kind))
        return (
            f"FrameModel: head={head} draws the keys of a frame one after the other, "
            f"and each depends on those drawn before, which one step without random numbers "
            f"cannot. Train with head=independent."
        )
    writes = "for each key the log-odds that it sounds in the next frame"
    return Streamed(model.recurrent, head=model.head.scores, writes=writes)


def _transcriber(model: Transcriber) -> Streamed | str:
    if model.pyramid:
        return (
            f"Transcriber: pyramid={model.pyramid} joins steps between its layers, but a program "
            f"that runs step by step writes an output for each step. Train with pyramid=0."
        )
    (block,) = model.blocks
    assert isinstance(block, Recurrent)
    side = f" of {model.stack} frames, which x holds side by side" if model.stack > 1 else ""
    return Streamed(block, head=model.output, writes=f"the score of each symbol{side}")


def _performer_model(model: PerformerModel) -> Streamed | str:
    coding = model.coding
    if not isinstance(coding, ProductCoding):
        name = next(name for name, kind in STEP_CODINGS.items() if type(coding) is kind)
        return (
            f"PerformerModel: coding={name} reads and writes several integers in a step, but a "
            f"program that runs step by step reads one token and writes its scores. Train with "
            f"coding=product."
        )
    sizes = " x ".join(map(str, coding.sizes))
    writes = (
        f"the score of each symbol as the next step. A symbol stands for one combination of the "
        f"performers' {sizes} values, and those of the last performer change fastest"
    )
    return Streamed(model.recurrent, coding.embedding, coding.scores, writes=writes)


_PARTS: dict[type[nn.Module], Callable[[Any], Streamed | str]] = {
    **dict.fromkeys((Recurrent, RNN, LSTM, GRU), Streamed),
    LanguageModel: _language_model,
    StepwiseNetwork: lambda model: Streamed(model.recurrent, head=model.output),
    Classifier: _classifier,
    Tagger: _tagger,
    Cloze: _cloze,
    OneNetwork: _one_network,
    FrameModel: _frame_model,
    PerformerModel: _performer_model,
    Transcriber: _transcriber,
}

# The models that read a whole sequence before they write, each with what it needs.
_WHOLE: dict[type[nn.Module], str] = {
    EncoderDecoder: "it reads a whole source before it writes, and its memory grows with the "
    "source; a program that runs step by step has a state of a fixed size. --to onnx writes it as "
    "an encoder and a decoder.",
    EncoderTreeDecoder: "it reads a whole source before it writes, and a tree has no order of "
    "steps with one state; a program that runs step by step has one state of a fixed size.",
    Verifier: "its vector has the length one only after the last step, and is compared with the "
    "vector of another sequence. --to onnx writes a file that reads whole sequences.",
    WindowNetwork: "it has no recurrent layer: it reads the steps of a window, and has no state. "
    "Train with network=recurrent.",
}


def outputs_of(module: nn.Module, steps: Tensor) -> Tensor:
    """The outputs of a module for whole sequences, in evaluation mode.

    Args:
        module: one of the classes that have parts.
        steps: tokens (B, T), of a PerformerModel the symbols of its coding; or features in the
            layout of the module. A Transcriber reads the features of the steps that it joins side
            by side.

    Returns:
        The outputs of all steps in the layout of the module; of a classifier (B, K).
    """
    lengths = torch.full((len(steps),), steps.shape[1])
    with evaluating(module):
        if isinstance(module, (Recurrent, LanguageModel)):
            return module(steps)[0]
        if isinstance(module, StepwiseNetwork):
            return module(steps)
        if isinstance(module, FrameModel):
            assert isinstance(module.head, IndependentKeys)
            return module.head.scores(module(steps)[0])
        if isinstance(module, PerformerModel):
            coding = module.coding
            assert isinstance(coding, ProductCoding)
            return coding.scores(module(coding.radix.decode(steps))[0])
        if isinstance(module, (Cloze, OneNetwork)):
            hidden, _ = module.recurrent(module.embedding(steps))
            hidden = module.projection(hidden) if isinstance(module, Cloze) else hidden
            return module.scores(hidden)
        if isinstance(module, Transcriber):
            B, T, _ = steps.shape
            return module(steps.reshape(B, T * module.stack, -1), lengths * module.stack)
        output = module(steps, lengths)
        return output.words if isinstance(module, Tagger) else output

"""Which models can run one step at a time, and what they consist of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from throughtime.checks import unknown
from throughtime.layers import GRU, LSTM, RNN, Recurrent
from throughtime.layers.evaluation import evaluating
from throughtime.models.classifier import Classifier
from throughtime.models.language_model import LanguageModel
from throughtime.models.stepwise import StepwiseNetwork
from throughtime.models.tagger import Tagger

__all__ = ["Streamed", "outputs_of", "parts_of", "streamed"]


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
    """

    recurrent: Recurrent
    embedding: nn.Embedding | None = None
    head: nn.Linear | None = None
    pooling: str = "every"
    writes: str = "the output of the step"


def streamed(who: str, module: nn.Module) -> Streamed:
    """The parts of a layer or model that can run one step at a time.

    Raises:
        ValueError: as :func:`parts_of` does, or if the module reads in both directions.
    """
    parts = parts_of(who, module)
    if parts.recurrent.bidirectional:
        raise ValueError(
            f"{who}: {type_before_parametrizations(module).__name__}: bidirectional=True reads a "
            f"sequence from its end too, which a program that runs step by step does not know. Use "
            f"one direction."
        )
    return parts


def parts_of(who: str, module: nn.Module) -> Streamed:
    """The parts of a layer or model.

    Args:
        who: the name of the writing function, with which error messages begin.
        module: the layer or model.

    Raises:
        ValueError: if the module is none of these parts alone, with the reason.
    """
    # A subclass may compute something else.
    kind = type_before_parametrizations(module)
    if kind not in _PARTS:
        names = [k.__name__ for k in _PARTS]
        raise ValueError(
            f"{who}: {unknown('class of module', kind.__name__, names)} Other models read a whole "
            f"sequence before they write, or compute more than layers with a linear output."
        )
    for name, part in module.named_modules():
        if "forward" in vars(part):
            raise ValueError(
                f"{who}: the forward of {name or 'the module'} has been replaced by an "
                f"attribute of the object, which is not written. Delete the attribute."
            )
    return _PARTS[kind](who, module)


def _classifier(who: str, model: Classifier) -> Streamed:
    if not isinstance(model.recurrent, Recurrent):
        raise ValueError(
            f"{who}: the layer GRUD, which fills in missing values, cannot be exported. Use "
            f"another cell."
        )
    if model.pooling == "attention":
        raise ValueError(
            f'{who}: pooling="attention" weighs the states of all steps, which a program that runs '
            f'step by step does not keep. Train with pooling="last", "mean" or "max".'
        )
    writes = "the score of each class, after the steps until now"
    return Streamed(model.recurrent, model.embedding, model.output, model.pooling, writes)


def _tagger(who: str, model: Tagger) -> Streamed:
    reasons = {
        "output=crf chooses the labels of all words together": model.output == "crf",
        f"letter_feature={model.letter_feature} reads the letters of each word": model.letters,
        "num_intents labels the whole sentence": model.intents,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise ValueError(
                f"{who}: {reason}, which a program that runs step by step cannot. Train with "
                f"output=softmax, letter_feature=none and num_intents=0."
            )
    writes = "the score of each label of the word"
    return Streamed(model.recurrent, model.embedding, model.scores, writes=writes)


def _language_model(who: str, model: LanguageModel) -> Streamed:
    writes = "the score of each token as the next one"
    embedding = model.embedding
    if not isinstance(embedding, nn.Embedding):
        embedding = nn.Embedding.from_pretrained(embedding.weight)  # the rows of the identity
    return Streamed(model.recurrent, embedding, model.scores, writes=writes)


_PARTS: dict[type[nn.Module], Callable[[str, Any], Streamed]] = {
    **dict.fromkeys((Recurrent, RNN, LSTM, GRU), lambda who, layer: Streamed(layer)),
    LanguageModel: _language_model,
    StepwiseNetwork: lambda who, model: Streamed(model.recurrent, head=model.output),
    Classifier: _classifier,
    Tagger: _tagger,
}


def outputs_of(module: nn.Module, steps: Tensor) -> Tensor:
    """The outputs of a module for whole sequences, in evaluation mode.

    Args:
        module: one of the classes that have parts.
        steps: tokens (B, T), or features in the layout of the module.

    Returns:
        The outputs of all steps in the layout of the module; of a classifier (B, K).
    """
    lengths = torch.full((len(steps),), steps.shape[1])
    with evaluating(module):
        if isinstance(module, (Recurrent, LanguageModel)):
            return module(steps)[0]
        if isinstance(module, StepwiseNetwork):
            return module(steps)
        output = module(steps, lengths)
        return output.words if isinstance(module, Tagger) else output

"""Which models can run one step at a time, and what they consist of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from throughtime.layers import Recurrent
from throughtime.models.classifier import Classifier
from throughtime.models.language_model import LanguageModel
from throughtime.models.stepwise import StepwiseNetwork
from throughtime.models.tagger import Tagger

__all__ = ["Streamed", "streamed"]


@dataclass(frozen=True)
class Streamed:
    """A model as a chain that reads one step at a time.

    Args:
        recurrent: the recurrent layers.
        embedding: the table of the tokens; None if the model reads numbers.
        head: the linear layer after the recurrent layers; None if there is none.
        pooling: what stands between the two. ``last``: nothing; ``mean`` or ``max``: the mean or
            the largest output of all steps until now.
        writes: what the outputs are, for a comment.
    """

    recurrent: Recurrent
    embedding: nn.Embedding | None = None
    head: nn.Linear | None = None
    pooling: str = "last"
    writes: str = "the output of the step"


def streamed(who: str, module: nn.Module) -> Streamed:
    """The parts of a layer or model.

    Args:
        who: the name of the writing function, with which error messages begin.
        module: the layer or model.

    Raises:
        ValueError: if the module cannot run one step at a time, with the reason.
    """
    parts = _parts(who, module)
    if parts.recurrent.bidirectional:
        raise ValueError(
            f"{who}: {type(module).__name__}: bidirectional=True reads a sequence from its end "
            f"too, which a program that runs step by step does not know. Use one direction."
        )
    return parts


def _parts(who: str, module: nn.Module) -> Streamed:
    kind = type_before_parametrizations(module)
    if isinstance(module, Recurrent):
        return Streamed(module)
    if isinstance(module, LanguageModel):
        writes = "the score of each token as the next one"
        return Streamed(module.recurrent, module.embedding, module.scores, writes=writes)
    if isinstance(module, StepwiseNetwork):
        return Streamed(module.recurrent, head=module.output)
    if isinstance(module, Classifier):
        return _classifier(who, module)
    if isinstance(module, Tagger):
        return _tagger(who, module)
    raise ValueError(
        f"{who}: expected a module that runs one step at a time, a Recurrent, RNN, LSTM, GRU, "
        f"LanguageModel, StepwiseNetwork, Classifier or Tagger, got {kind.__name__}."
    )


def _classifier(who: str, model: Classifier) -> Streamed:
    if not isinstance(model.recurrent, Recurrent):
        raise ValueError(
            f"{who}: the layer GRUD reads marks and time gaps as well, for which the C file has no "
            f"code. Use another cell."
        )
    if model.pooling == "attention":
        raise ValueError(
            f'{who}: pooling="attention" weighs the states of all steps, which a program that runs '
            f'step by step does not keep. Train with pooling="last", "mean" or "max".'
        )
    writes = "the score of each class, after the steps until now"
    return Streamed(model.recurrent, model.embedding, model.output, model.pooling, writes)


def _tagger(who: str, model: Tagger) -> Streamed:
    wrong = {
        'output="crf" chooses the labels of all words together': model.output == "crf",
        f'letter_feature="{model.letter_feature}" reads the letters of each word': (
            model.letters is not None
        ),
        "num_intents labels the whole sentence": model.intents is not None,
    }
    for why, is_so in wrong.items():
        if is_so and not model.bidirectional:
            raise ValueError(
                f"{who}: {why}, for which a program that runs step by step has no code. Train with "
                f'output="softmax", letter_feature="none" and without intents.'
            )
    writes = "the score of each label"
    return Streamed(model.recurrent, model.embedding, model.scores, writes=writes)

"""What tasks share whose language model reads rows of tokens, each from its begin to its end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data import RaggedBatch
from throughtime.data.splits import Cut
from throughtime.layers.evaluation import evaluating
from throughtime.models.decoding import Sampling
from throughtime.models.language_model import LanguageModel
from throughtime.tasks.network import MAY_BE_MISSING, NetworkConfig
from throughtime.tasks.task import BatchTask, Loss
from throughtime.tasks.uses import Observation

_PADDING = -100
"""The target that stands for none."""

__all__ = ["NextTokenConfig", "NextTokenTask", "SamplingOptions", "observed"]


@dataclass
class NextTokenConfig(NetworkConfig):
    """The splits of the rows, and the language model.

    Args:
        split: how rows are cut into splits: order, one after the other; random; or blocks, parts of
            ten blocks (default: random).
        embedding_size: width of the embedding of a token (default: 64).
        one_hot: read tokens as vectors of zeros with a single 1, without an embedding.
        dropout: probability to drop a unit between the layers and before the scores.
        tied: use the embedding as the weights of the output layer, too.
    """

    _: KW_ONLY
    split: Cut | None = field(default=None, metadata=MAY_BE_MISSING)
    num_layers: int = 2
    embedding_size: int | None = None
    one_hot: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.one_hot and (self.tied or self.embedding_size is not None):
            raise ValueError(
                "--one_hot: there is no embedding, so --embedding_size and --tied would have no "
                "effect. Leave them out."
            )


@dataclass
class SamplingOptions:
    """How a token is drawn from its scores.

    Args:
        temperature: divisor of the scores: below 1 favours likely tokens, above 1 unlikely ones; 0
            always takes the likeliest.
        top_k: number of likeliest tokens to draw from (default: all).
        top_p: probability of the smallest set of likeliest tokens to draw from (default: all).
    """

    _: KW_ONLY
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        self.sampling = Sampling(self.temperature, self.top_k, self.top_p)


class NextTokenTask(BatchTask):
    """A task whose model predicts each token of a row from those before it.

    The settings are a :class:`NextTokenConfig`, and the batches are rows (B, T + 1), each with a
    first token that is only read.
    """

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """V, the number of different tokens."""

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.assets['data']}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def model(self) -> LanguageModel:
        c = self.config
        return LanguageModel(
            self.num_tokens,
            embedding_size=c.embedding_size,
            tied=c.tied,
            one_hot=c.one_hot,
            **c.recurrent(),
        )

    def loss(
        self, model: nn.Module, batch: RaggedBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        rows, lengths = batch
        scores, _ = model(rows[:, :-1])  # (B, T, V)
        is_padding = torch.arange(scores.shape[1], device=rows.device) >= lengths[:, None] - 1
        # To leave padding out of the sum is faster than to copy the scores of all other tokens.
        targets = rows[:, 1:].masked_fill(is_padding, _PADDING).flatten()
        total = F.cross_entropy(
            scores.flatten(0, 1), targets, reduction="sum", ignore_index=_PADDING
        )
        return Loss(total, int((lengths - 1).sum()))

    def total_loss(self, model: nn.Module, batches: Iterable[RaggedBatch]) -> tuple[float, int]:
        """The loss of all batches, in evaluation mode, and the number of predicted tokens."""
        device = next(model.parameters()).device
        total, count = 0.0, 0
        with evaluating(model):
            for batch in batches:
                loss = self.loss(model, RaggedBatch(*(tensor.to(device) for tensor in batch)))
                total, count = total + loss.total.item(), count + loss.count
        return total, count


def observed(model: nn.Module, tokens: Tensor, names: Sequence[str]) -> Observation:
    """Prepares a language model to be watched while it reads.

    Args:
        model: maps tokens (B, T) to scores (B, T, V) and a state.
        tokens: (T), what it reads.
        names: the text of each of the V tokens.
    """

    def run() -> Tensor:
        with evaluating(model):
            device = next(model.parameters()).device
            return model(tokens[None].to(device))[0][0].float().softmax(-1).cpu()

    return Observation({"": tuple(names[int(token)] for token in tokens)}, run, names)

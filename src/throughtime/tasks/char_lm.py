"""char-lm: read a text character by character, learn what comes next, and write on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data import (
    TEXT_SETS,
    ContiguousBatches,
    Corpus,
    Vocabulary,
    fingerprint,
    load,
    rows_for_scoring,
)
from throughtime.layers.evaluation import evaluating
from throughtime.layers.recurrent import RecurrentState
from throughtime.models.decoding import Sampling, generate
from throughtime.models.language_model import LanguageModel
from throughtime.tasks.task import Task

__all__ = ["CharLM", "CharLMConfig", "log_likelihood"]


@dataclass
class CharLMConfig:
    """The text, the model, and how the text is cut.

    Args:
        data: a data set (tinyshakespeare, warpeace, ptb-char), or the path of a text file or
            folder; without it, the source of Python's standard library.
        encoding: of the text at that path, as Python names it.
        valid_fraction: how much of a text without splits of its own, at its end, is kept for
            validation (0.1 where not given).
        test_fraction: likewise for the test, behind the validation text (0 where not given).
        cell: the recurrence; `throughtime cells` lists them.
        hidden_size: units of each recurrent layer.
        num_layers: recurrent layers.
        embedding_size: width of the character embedding; where not given, hidden_size if tied,
            else 64.
        dropout: probability to drop a unit between the layers and before the scores.
        tied: score with the embedding itself.
        forget_bias: the bias from which the forget gates start.
        backend: auto, or the one backend that must run (reference, torch).
        batch_size: rows of text that are read side by side, in all processes together.
        num_steps: characters between two updates, over which the gradient flows back.
        sample_length: characters of the samples that are written along the way.
    """

    data: str | None = None
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    cell: str = "lstm"
    hidden_size: int = 256
    num_layers: int = 2
    embedding_size: int | None = None
    dropout: float = 0.0
    tied: bool = False
    forget_bias: float | None = None
    backend: str = "auto"
    batch_size: int = 32
    num_steps: int = 100
    sample_length: int = 300

    def __post_init__(self) -> None:
        # A run is opened from other folders too.
        if self.data and self.data not in TEXT_SETS and Path(self.data).exists():
            self.data = str(Path(self.data).resolve())
        if self.sample_length < 0:
            raise ValueError(f"--sample_length: expected 0 or more, got {self.sample_length}.")


class CharLM(Task):
    r"""Next-character prediction with truncated backpropagation through time:

        L = -1/T sum_t log P(x_{t+1} | x_1 … x_t)

    The text is read in ``batch_size`` rows, ``num_steps`` characters at a time; the state of one
    batch is where the next goes on, but the gradient ends at the batch's start.

    Units: the loss is in nats per character; bits per character are nats / ln 2.

    Source: Karpathy, "The unreasonable effectiveness of recurrent neural networks" (2015).
    """

    name = "char-lm"
    Config = CharLMConfig
    unit = "characters"

    def __init__(self, config: CharLMConfig, assets: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._assets = assets

    @cached_property
    def corpus(self) -> Corpus:
        """The text; of a run that was loaded, only if it is still the text of its training."""
        c = self.config
        corpus = load(
            c.data,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
        )
        if self._assets is not None and self._assets["data_sha256"] != fingerprint(corpus):
            raise ValueError(
                f"char-lm: the text {corpus.name} is no longer the one of the training "
                f"({self._assets['data']}): its checksum differs. Restore it, or train "
                f"another run on the new one."
            )
        return corpus

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """All characters of the text."""
        if self._assets is not None:
            return Vocabulary.from_json(self._assets["vocabulary"])
        return Vocabulary.from_text(*self.corpus.splits.values())

    @property
    def start(self) -> str:
        """What is read before the first character, where nothing is given: a line's end."""
        return "\n" if "\n" in self.vocabulary else self.vocabulary.tokens[0]

    @property
    def assets(self) -> dict[str, Any]:
        return self._assets or {
            "vocabulary": self.vocabulary.to_json(),
            "data": self.corpus.name,
            "data_sha256": fingerprint(self.corpus),
            "num_characters": {name: len(text) for name, text in self.corpus.splits.items()},
        }

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.corpus.name}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def tokens(self, split: str) -> Tensor:
        """A split of the text as numbers (N)."""
        if split not in self.corpus.splits:
            raise ValueError(
                f'char-lm: {self.corpus.name} has no split "{split}", only '
                f"{', '.join(self.corpus.splits)}."
            )
        return self.vocabulary.encode(self.corpus.splits[split])

    def check(self) -> None:
        super().check()
        if len(self.tokens("valid")) < 2:
            raise ValueError(
                f"char-lm: expected at least 2 characters to validate on, got "
                f"{len(self.tokens('valid'))} of {self.corpus.name}. Give more text, or a larger "
                f"--valid_fraction."
            )

    def data(self, split: str, rank: int = 0, world_size: int = 1) -> ContiguousBatches:
        return ContiguousBatches(
            self.tokens(split),
            self.config.batch_size,
            self.config.num_steps,
            rank=rank,
            world_size=world_size,
        )

    def model(self) -> LanguageModel:
        c = self.config
        return LanguageModel(
            len(self.vocabulary),
            cell=c.cell,
            embedding_size=c.embedding_size,
            hidden_size=c.hidden_size,
            num_layers=c.num_layers,
            dropout=c.dropout,
            tied=c.tied,
            forget_bias=c.forget_bias,
            backend=c.backend,
        )

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, Tensor], state: RecurrentState | None
    ) -> tuple[Tensor, RecurrentState]:
        x, y = batch
        scores, last = model(x, state)  # (B, T, V)
        return F.cross_entropy(scores.flatten(0, 1), y.flatten()), last

    def count(self, batch: tuple[Tensor, Tensor]) -> int:
        return batch[0].numel()

    def readable(self, loss: float) -> dict[str, float]:
        return {"loss": loss, "bits_per_character": loss / math.log(2)}

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        tokens = self.tokens(split)
        total, count = log_likelihood(model, tokens, rows_for_scoring(len(tokens)))
        return self.readable(-total / count)

    def score(
        self, model: nn.Module, text: str, unknown: Literal["error", "skip"] = "error"
    ) -> dict[str, float]:
        """The likelihood of any text.

        Args:
            unknown: what to do with characters that the training never saw.
        """
        tokens = self.vocabulary.encode(text, unknown=unknown)
        total, count = log_likelihood(model, tokens, rows_for_scoring(len(tokens)))
        return {
            **self.readable(-total / count),
            "log_likelihood": total,
            "characters": count,
            "skipped": len(text) - len(tokens),
        }

    def sample(self, model: nn.Module) -> str:
        prime = self.vocabulary.encode(self.start)
        drawn = generate(model, prime, self.config.sample_length, Sampling(), seed=0)
        return self.vocabulary.decode(list(drawn))


def log_likelihood(model: nn.Module, tokens: Tensor, rows: int = 1) -> tuple[float, int]:
    """The log-likelihood of a text under the model, and of how many characters it is the sum.

    The first character of the text is given. A text in several rows is scored faster, but each
    row begins with no memory of what stands before it.

    Args:
        tokens: (N) int64.
        rows: in how many parts, one below the other, the text is read.

    Units: nats.

    Raises:
        ValueError: for a text of fewer than two characters.
    """
    if len(tokens) < 2:
        raise ValueError(
            f"expected a text of at least 2 characters to score, as the first is given, "
            f"got {len(tokens)}."
        )
    device = next(model.parameters()).device
    total, state = 0.0, None
    count = len(tokens) - 1
    # Rows of one length; the characters that are left over follow the last row, whose state they
    # go on from. So each character but the first of the text is scored exactly once.
    length, left_over = divmod(count, rows)
    main = count - left_over
    x, y = tokens[:main].view(rows, length), tokens[1 : main + 1].view(rows, length)
    parts = [(x[:, a : a + 512], y[:, a : a + 512]) for a in range(0, length, 512)]
    with evaluating(model):
        for x, y in parts:
            scores, state = model(x.to(device), state)
            total -= _summed_loss(scores, y)
        if left_over:
            state = _last_row(state)
            scores, _ = model(tokens[main:-1].unsqueeze(0).to(device), state)
            total -= _summed_loss(scores, tokens[main + 1 :].unsqueeze(0))
    return total, count


def _summed_loss(scores: Tensor, targets: Tensor) -> float:
    targets = targets.to(scores.device)
    loss = F.cross_entropy(scores.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return loss.double().sum().item()


def _last_row(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state[:, -1:].contiguous()
    return None if state is None else tuple(_last_row(s) for s in state)

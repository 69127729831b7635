"""What all tasks from one sequence to another share: encoder and decoder, loss, and search."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data import (
    PAD,
    Pair,
    PairBatch,
    PairBatches,
    PairSet,
    Tokeniser,
    collate,
    fit_tokeniser,
    in_words,
    tokeniser_from_json,
    warn_of_long_sources,
)
from throughtime.layers.evaluation import evaluating
from throughtime.models import EncoderDecoder, Hypothesis, Writer
from throughtime.tasks.linear_cross_entropy import linear_cross_entropy
from throughtime.tasks.rewriting import hypotheses
from throughtime.tasks.task import Task

__all__ = ["SequenceToSequence", "SequenceToSequenceConfig"]

_log = logging.getLogger(__name__)


@dataclass
class SequenceToSequenceConfig:
    """The model, what it is fed, and the batches.

    Args:
        cell: the recurrence; `throughtime cells` lists them.
        hidden_size: units of each recurrent layer.
        num_layers: recurrent layers of encoder and decoder, each.
        embedding_size: width of the embeddings; where not given, hidden_size.
        bidirectional: read the source from its end, too.
        attention: how the decoder looks at the source; none leaves it the last state alone.
        input_feeding: let the decoder read what it saw in the step before.
        dropout: probability to drop a unit of embeddings, between layers, and before the scores.
        tied: score with the embedding of the target itself.
        feed: what the decoder reads in training: teacher, the true token; scheduled, its own
            with probability 1 - forcing; free, its own expectation.
        forcing: the probability of the true token in the end, for --feed scheduled.
        forcing_decay: how it falls to that from 1 over the training (with --max_time, within its
            minutes); none is at once.
        label_smoothing: how much of the probability is spread over all tokens in training.
        forget_bias: the bias from which the forget gates start.
        backend: auto, or the one backend that must run.
        batch_size: pairs of a batch, in all processes together; or its tokens, see batch_by.
        batch_by: pairs, or tokens: the padded length of the longer side times the pairs.
        data_seed: of the order of the pairs, and of pairs that are made up.
        beam_width: hypotheses that are followed when a split is judged; 1 is greedy.
    """

    cell: str = "lstm"
    hidden_size: int = 256
    num_layers: int = 1
    embedding_size: int | None = None
    bidirectional: bool = True
    attention: Literal["none", "dot", "general", "additive"] = "general"
    input_feeding: bool = False
    dropout: float = 0.0
    tied: bool = False
    feed: Literal["teacher", "scheduled", "free"] = "teacher"
    forcing: float | None = None
    forcing_decay: Literal["linear", "exponential", "sigmoid", "none"] = "linear"
    label_smoothing: float = 0.0
    forget_bias: float | None = None
    backend: str = "auto"
    batch_size: int = 64
    batch_by: Literal["pairs", "tokens"] = "pairs"
    data_seed: int = 0
    beam_width: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"--label_smoothing: expected 0 to less than 1, got {self.label_smoothing}."
            )
        for name in ("batch_size", "beam_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected at least 1, got {getattr(self, name)}.")
        self._check_forcing()

    def _check_forcing(self) -> None:
        for name, usual in {"forcing": None, "forcing_decay": "linear"}.items():
            if self.feed != "scheduled" and getattr(self, name) != usual:
                raise ValueError(
                    f"--{name} {getattr(self, name)}: is for --feed scheduled, and would have no "
                    f"effect with --feed {self.feed}. Leave it out."
                )
        if self.feed == "scheduled" and (self.forcing is None or not 0 <= self.forcing <= 1):
            raise ValueError(
                f"--forcing: expected a probability from 0 to 1, as --feed scheduled needs one, "
                f"got {self.forcing}."
            )
        if self.forcing in (0, 1) and self.forcing_decay == "exponential":
            raise ValueError(
                f"--forcing {self.forcing:g}: no exponential falls to it from 1. Use "
                f"--forcing_decay linear."
            )


class SequenceToSequence(Task):
    r"""One sequence from another:

        L = -1/N sum_pairs sum_t log P(y_t | y_1 … y_{t-1}, x)

    The sum goes over the tokens of the targets and their ends, N of them. The state of a batch is
    not that of the next.

    A task of this kind says where its pairs come from and how an output is judged.

    Args:
        config: the settings.
        assets: the tokenisers of a training, to open its run without its data.

    Attributes:
        figures: the names of what `judge` gives.
        outputs: what the model made of each split that `metrics` judged, the last time it did.

    Units: the loss is in nats per token.
    """

    unit = "tokens"

    def __init__(
        self, config: SequenceToSequenceConfig, assets: dict[str, Any] | None = None
    ) -> None:
        super().__init__(config)
        self._assets = assets
        self._ids: dict[str, tuple[list[list[int]], list[list[int]]]] = {}
        self.outputs: dict[str, list[str]] = {}

    @abstractmethod
    def read_pairs(self) -> PairSet:
        """The pairs, from wherever they come."""

    @abstractmethod
    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        """What the outputs are worth, by the names of `figures`."""

    def fit_tokenisers(self) -> tuple[Tokeniser, Tokeniser]:
        """The tokenisers of source and target, learned from the training split."""
        source, target = self.pairs.kinds
        pairs = self.pairs.splits["train"]
        return (
            fit_tokeniser(source, [pair.source for pair in pairs]),
            fit_tokeniser(target, [pair.target for pair in pairs]),
        )

    @cached_property
    def pairs(self) -> PairSet:
        """The pairs; of a run that was loaded, only if they are still those of its training."""
        pairs = self.read_pairs()
        if self._assets is not None and self._assets["data_sha256"] != pairs.fingerprint():
            raise ValueError(
                f"{self.name}: the pairs of {pairs.name} are no longer those of the training "
                f"({self._assets['data']}): their checksum differs. Restore them, or train "
                f"another run on the new ones."
            )
        return pairs

    @cached_property
    def tokenisers(self) -> tuple[Tokeniser, Tokeniser]:
        """Those of source and target."""
        if self._assets is not None:
            source, target = (self._assets[f"{side}_tokeniser"] for side in ("source", "target"))
            return tokeniser_from_json(source), tokeniser_from_json(target)
        return self.fit_tokenisers()

    @property
    def assets(self) -> dict[str, Any]:
        return self._assets if self._assets is not None else self._new_assets

    @cached_property
    def _new_assets(self) -> dict[str, Any]:
        source, target = self.tokenisers
        sources, targets = self.ids("train")
        return {
            "data": self.pairs.name,
            "data_sha256": self.pairs.fingerprint(),
            "num_pairs": {split: len(pairs) for split, pairs in self.pairs.splits.items()},
            "num_left_out": self.pairs.num_left_out,
            "longest_source": max(map(len, sources)),
            "longest_target": max(map(len, targets)),
            "source_tokeniser": source.to_json(),
            "target_tokeniser": target.to_json(),
            "signatures": self.signatures,
        }

    @property
    def signatures(self) -> dict[str, str]:
        """How the libraries that measure `figures` name what they measure, where there are any."""
        return {}

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.pairs.name}-{c.cell}-{c.num_layers}x{c.hidden_size}".replace(",", "-")

    def split(self, split: str) -> list[Pair]:
        """The pairs of a split."""
        if split not in self.pairs.splits:
            hint = " No training goes without it: raise --valid_fraction."
            raise ValueError(
                f'{self.name}: {self.pairs.name} has no split "{split}", only '
                f"{', '.join(self.pairs.splits)}.{hint if split == 'valid' else ''}"
            )
        return self.pairs.splits[split]

    def ids(self, split: str) -> tuple[list[list[int]], list[list[int]]]:
        """The sources and the targets of a split as ids, without pairs whose source is empty."""
        if split not in self._ids:
            source, target = self.tokenisers
            coded = [(source.encode(p.source), target.encode(p.target)) for p in self.split(split)]
            coded = [sides for sides in coded if sides[0]]
            if not coded:
                raise ValueError(f'{self.name}: {self.pairs.name} has no pairs in "{split}".')
            self._ids[split] = ([s for s, _ in coded], [t for _, t in coded])
        return self._ids[split]

    def check(self) -> None:
        super().check()
        model = self.model()
        sources, targets = self.ids("train")
        # What the decoder refuses is answered before anything is written.
        with torch.no_grad():
            self.loss(model, collate(sources[:2], targets[:2]), None)
        self.ids("valid")
        self.judge(self.split("valid")[:1], [""])
        self.warn("valid")

    def warn(self, split: str) -> None:
        """Tells for which of its tokens and sources the training could not prepare a model."""
        for side, told in self.unknown(split).items():
            _log.warning('%s: of the %ss of "%s" %s.', self.pairs.name, side, split, told)
        self._warn_of_long([self.tokenisers[0].encode(pair.source) for pair in self.split(split)])

    def _warn_of_long(self, sources: Sequence[Sequence[int]]) -> None:
        unit = self.tokenisers[0].unit
        warn_of_long_sources(list(map(len, sources)), self.assets["longest_source"], unit)

    def unknown(self, split: str) -> dict[str, str]:
        """What the tokenisers do not know of a split, in words, by the side; only what there is."""
        told = {}
        for place, side in enumerate(("source", "target")):
            tokeniser = self.tokenisers[place]
            counts = tokeniser.count_unknown(pair[place] for pair in self.split(split))
            if counts:
                total = sum(map(len, self.ids(split)[place]))
                told[side] = in_words(counts, total, tokeniser.unit)
        return told

    def data(self, split: str, rank: int = 0, world_size: int = 1) -> PairBatches:
        c = self.config
        return PairBatches(
            *self.ids(split),
            c.batch_size,
            by=c.batch_by,
            seed=c.data_seed,
            rank=rank,
            world_size=world_size,
        )

    def model(self) -> Writer:
        c = self.config
        source, target = self.tokenisers
        return EncoderDecoder(
            len(source),
            len(target),
            cell=c.cell,
            hidden_size=c.hidden_size,
            num_layers=c.num_layers,
            embedding_size=c.embedding_size,
            bidirectional=c.bidirectional,
            attention=c.attention,
            input_feeding=c.input_feeding,
            dropout=c.dropout,
            tied=c.tied,
            forget_bias=c.forget_bias,
            backend=c.backend,
        )

    def loss(self, model: nn.Module, batch: PairBatch, state: Any) -> tuple[Tensor, tuple[()]]:
        c = self.config
        if c.feed == "teacher" and c.forcing is None:
            total = _loss(model, batch, c.label_smoothing)
        else:
            given = (batch.source, batch.source_lengths, batch.target_in, batch.target_lengths)
            scores = model(*given, feed=c.feed, forcing=self.forcing)  # (B, T, V)
            total = F.cross_entropy(
                scores.flatten(0, 1),
                batch.target_out.flatten(),
                ignore_index=PAD,
                reduction="sum",
                label_smoothing=c.label_smoothing,
            )
        return total / self.count(batch), ()

    @property
    def forcing(self) -> float | None:
        r"""The probability p of the true token, u of the training done and p_1 that of its end:

            linear:       p = 1 - (1 - p_1) u
            exponential:  p = p_1^u
            sigmoid:      p = p_1 + (1 - p_1) / (1 + exp(12 u - 6))

        Source: Bengio et al., arXiv 1506.03099, section 2.4. Differs: the curves go by the part of
            the training that is done, not by its steps, so that they need no constants.
        """
        last, u = self.config.forcing, self.fraction
        if last is None:
            return None
        return {
            "linear": lambda: 1 - (1 - last) * u,
            "exponential": lambda: last**u,
            "sigmoid": lambda: last + (1 - last) / (1 + math.exp(12 * u - 6)),
            "none": lambda: last,
        }[self.config.forcing_decay]()

    def count(self, batch: PairBatch) -> int:
        return int(batch.target_lengths.sum())

    def readable(self, loss: float) -> dict[str, float]:
        return {"loss": loss}

    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        device = next(model.parameters()).device
        total, count = 0.0, 0
        with evaluating(model):
            for batch in PairBatches(*self.ids(split), 2048, by="tokens", is_shuffled=False):
                batch = PairBatch(*(part.to(device) for part in batch))
                total += _loss(model, batch).item()
                count += self.count(batch)
        pairs = self.split(split)
        sources = [self.tokenisers[0].encode(pair.source) for pair in pairs]
        outputs = self.written(model, sources, self.config.beam_width)
        self.outputs[split] = outputs
        return {"loss": total / count, **self.judge(pairs, outputs)}

    def rewrite(
        self, model: nn.Module, sources: Sequence[str], *, beam_width: int = 1
    ) -> list[str]:
        """What the model makes of each source; of an empty one, an empty text.

        Args:
            sources: texts; one that is far longer than those of the training is warned of.
            model, beam_width: see :meth:`search`.
        """
        coded = [self.tokenisers[0].encode(text) for text in sources]
        self._warn_of_long(coded)
        return self.written(model, coded, beam_width)

    def written(
        self, model: nn.Module, sources: Sequence[Sequence[int]], beam_width: int
    ) -> list[str]:
        """The texts of the best targets of each source."""
        found = self.search(model, sources, beam_width=beam_width, keep_attention=False)
        return [self.tokenisers[1].decode(best[0].tokens) if best else "" for best in found]

    def search(
        self, model: nn.Module, sources: Sequence[Sequence[int]], **how: Any
    ) -> list[list[Hypothesis]]:
        """The best targets of each source; see :func:`throughtime.tasks.rewriting.hypotheses`."""
        lengths = {
            "longest_source": self.assets["longest_source"],
            "longest_target": self.longest_target,
        }
        return hypotheses(model, sources, **lengths, **how)

    @property
    def longest_target(self) -> int:
        """The tokens of the longest target that is expected."""
        return self.assets["longest_target"]

    def sample(self, model: nn.Module) -> str:
        pairs = self.split("valid")[:4]
        sources = [self.tokenisers[0].encode(pair.source) for pair in pairs]
        outputs = self.written(model, sources, beam_width=1)
        return "\n".join(
            f"{self.shown(pair.source)} → {output}"
            + ("" if output == pair.target else f" ({pair.target})")
            for pair, output in zip(pairs, outputs, strict=True)
        )

    def shown(self, source: str) -> str:
        """A source as people read it."""
        return source

    def read(self, text: str) -> str:
        """The source that a text of a person is; of the pairs' own the inverse of `shown`."""
        return text


def _loss(model: nn.Module, batch: PairBatch, label_smoothing: float = 0.0) -> Tensor:
    """The loss of all tokens together, the true ones given."""
    assert isinstance(model, Writer)
    given = (batch.source, batch.source_lengths, batch.target_in, batch.target_lengths)
    is_token = batch.target_out != PAD
    h = model.unscored(*given)[is_token]  # (N, H)
    return linear_cross_entropy(h, model.head, batch.target_out[is_token], label_smoothing)

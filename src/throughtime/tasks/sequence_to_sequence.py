"""The base class of all sequence-to-sequence tasks: data, model, loss and evaluation."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data import (
    PAD,
    Pair,
    PairBatch,
    PairBatches,
    PairSet,
    Tokeniser,
    fit_tokeniser,
    in_words,
    tokeniser_from_json,
    warn_of_long_sources,
)
from throughtime.layers.evaluation import evaluating
from throughtime.models import EncoderDecoder, Hypothesis, Writer
from throughtime.reading import Entries, Whole
from throughtime.tasks.alignments import align, shortened
from throughtime.tasks.linear_cross_entropy import linear_cross_entropy
from throughtime.tasks.network import check_range
from throughtime.tasks.pair_predictions import SearchOptions, predict_lines
from throughtime.tasks.rewriting import character_error_rate, hypotheses, match_figures
from throughtime.tasks.run_data import COUNTS, LONGEST, check_unchanged, split_of
from throughtime.tasks.sequence_settings import MOST_BEAMS, SequenceToSequenceConfig
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.task import WHOLE, BatchTask, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import AttentionMap, Prediction

__all__ = ["JudgingOptions", "SequenceToSequence", "SequenceToSequenceConfig"]

_log = logging.getLogger(__name__)

# The report shows the attention of a few pairs of the validation split, whose sources are short
# enough to be readable.
_NUM_MAPS, _MAX_TOKENS_OF_MAP = 4, 40


@dataclass
class JudgingOptions:
    """How a split is evaluated.

    Args:
        beam_width: width of the beam; 1 is greedy search (default: the setting of the run).
    """

    beam_width: int | None = None

    def __post_init__(self) -> None:
        check_range(self, ("beam_width",), most=MOST_BEAMS)


class SequenceToSequence(BatchTask):
    r"""The prediction of a target sequence y from a source sequence x:

        L = -1/N sum_pairs sum_t log P(y_t | y_1 … y_{t-1}, x)

    The sum goes over the N tokens of all targets, including the end token of each.

    A subclass defines where the pairs come from (:meth:`read_pairs`) and how its outputs are
    evaluated (:attr:`judged` and :meth:`judge`).

    Args:
        config: the settings.
        assets: the assets of an earlier training, whose model can then be used without its data.

    Units: the loss is in nats per token.
    """

    Assets = Entries(
        {
            "data": str,
            "data_sha256": str,
            "longest_source": Whole(1, LONGEST),
            "longest_target": Whole(0, LONGEST),
            "source_tokeniser": tokeniser_from_json,
            "target_tokeniser": tokeniser_from_json,
        },
        {"num_pairs": COUNTS, "num_left_out": Whole(0), "signatures": dict[str, str]},
    )
    EvaluationOptions = JudgingOptions
    PredictionOptions = SearchOptions
    has_outputs = True
    reads = "a source"
    writes = "the target that the model predicts"
    unit = "tokens"

    def __init__(
        self, config: SequenceToSequenceConfig, assets: dict[str, Any] | None = None
    ) -> None:
        super().__init__(config, assets)
        self.figures = {"loss": Figure("nats per token"), **self.judged}
        self._ids: dict[str, tuple[list[list[int]], list[list[int]]]] = {}

    # What a subclass defines.

    @abstractmethod
    def read_pairs(self) -> PairSet:
        """Reads or generates the pairs of all splits."""

    judged: Mapping[str, Figure]
    """The figures that :meth:`judge` returns, by name."""

    @abstractmethod
    def judge(self, pairs: Sequence[Pair], outputs: Sequence[str]) -> dict[str, float]:
        """The values of the figures of :attr:`judged`, for an output per pair."""

    @property
    def signatures(self) -> dict[str, str]:
        """The exact variants of measures that a library computes; see :class:`Evaluation`."""
        return {}

    def shown(self, source: str) -> str:
        """Converts a source of the pairs into the form that people read."""
        return source

    def read(self, text: str) -> str:
        """Converts a user's text into a source; for sources of the pairs the inverse of `shown`."""
        return text

    # The data.

    @cached_property
    def pairs(self) -> PairSet:
        """The pairs. Raises a ValueError if they are not those that a loaded run was trained on."""
        pairs = self.read_pairs()
        sha256 = pairs.fingerprint()
        check_unchanged(self.name, "the pairs", pairs.name, sha256, self._assets)
        return pairs

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        return dict(zip(("source", "target"), self.tokenisers, strict=True))

    @property
    def tokenisers(self) -> tuple[Tokeniser, Tokeniser]:
        """The tokenisers of source and target."""
        return self._tokenisers

    @cached_property
    def _tokenisers(self) -> tuple[Tokeniser, Tokeniser]:
        if self._assets is not None:
            source, target = (self._assets[f"{side}_tokeniser"] for side in ("source", "target"))
            return tokeniser_from_json(source), tokeniser_from_json(target)
        return self.fit_tokenisers()

    def fit_tokenisers(self) -> tuple[Tokeniser, Tokeniser]:
        """Creates the tokenisers of source and target from the training split."""
        source, target = self.pairs.kinds
        pairs = self.pairs.splits["train"]
        return (
            fit_tokeniser(source, [pair.source for pair in pairs]),
            fit_tokeniser(target, [pair.target for pair in pairs]),
        )

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
    def longest_target(self) -> int:
        """The length in tokens up to which targets are expected; limits the outputs of a search."""
        return self.assets["longest_target"]

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.pairs.name}-{c.cell}-{c.num_layers}x{c.hidden_size}".replace(",", "-")

    def split(self, split: str) -> list[Pair]:
        """The pairs of a split."""
        return split_of(self.name, self.pairs.name, self.pairs.splits, split)

    def ids(self, split: str) -> tuple[list[list[int]], list[list[int]]]:
        """The sources and the targets of a split as token ids, without pairs of empty source."""
        if split not in self._ids:
            source, target = self.tokenisers
            ids = [(source.encode(p.source), target.encode(p.target)) for p in self.split(split)]
            ids = [sides for sides in ids if sides[0]]
            if not ids:
                raise ValueError(f'{self.name}: {self.pairs.name} has no pairs in "{split}".')
            self._ids[split] = ([s for s, _ in ids], [t for _, t in ids])
        return self._ids[split]

    def batches(self, split: str, share: Share = WHOLE) -> PairBatches:
        c = self.config
        size = c.batch_size
        return PairBatches(
            *self.ids(split), size, by=c.batch_by, seed=c.data_seed, **share._asdict()
        )

    # Checks and warnings before a training.

    def check(self) -> None:
        super().check()
        self.ids("valid")
        # A missing library should be reported now, and not after the first epoch.
        self.judge(self.split("valid")[:1], [""])
        self.warn("valid")

    def warn(self, split: str) -> None:
        """Logs which tokens of a split are unknown and which sources are unusually long."""
        for side, summary in self.unknown(split).items():
            _log.warning('%s: of the %ss of "%s" %s.', self.pairs.name, side, split, summary)
        self._warn_of_long([self.tokenisers[0].encode(pair.source) for pair in self.split(split)])

    def _warn_of_long(self, sources: Sequence[Sequence[int]]) -> None:
        unit = self.tokenisers[0].unit
        warn_of_long_sources(list(map(len, sources)), self.assets["longest_source"], unit)

    def unknown(self, split: str) -> dict[str, str]:
        """A sentence about the unknown tokens of each side of a split that has any, by side."""
        summaries = {}
        for i, side in enumerate(("source", "target")):
            tokeniser = self.tokenisers[i]
            counts = tokeniser.count_unknown(pair[i] for pair in self.split(split))
            if counts:
                total = sum(map(len, self.ids(split)[i]))
                summaries[side] = in_words(counts, total, tokeniser.unit)
        return summaries

    # The model and its loss.

    def model(self) -> Writer:
        c = self.config
        source, target = self.tokenisers
        return EncoderDecoder(
            len(source),
            len(target),
            embedding_size=c.embedding_size,
            attention=c.attention,
            input_feeding=c.input_feeding,
            tied=c.tied,
            encoder_options=c.override("encoder", c.encoder),
            decoder_options=c.override("decoder", c.decoder),
            **{"bidirectional": c.bidirectional} | c.recurrent(),
        )

    def loss(
        self, model: nn.Module, batch: PairBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        c = self.config
        count = int(batch.target_lengths.sum())
        if c.feed == "teacher":
            return Loss(_teacher_loss(model, batch, c.label_smoothing), count)
        source, source_lengths, target_in, target_out, target_lengths = batch
        scores = model(
            source,
            source_lengths,
            target_in,
            target_lengths,
            feed=c.feed,
            forcing=c.forcing_at(progress),
        )  # (B, T, V)
        total = F.cross_entropy(
            scores.flatten(0, 1),
            target_out.flatten(),
            ignore_index=PAD,
            reduction="sum",
            label_smoothing=c.label_smoothing,
        )
        return Loss(total, count)

    # Evaluation.

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: JudgingOptions | None = None
    ) -> Evaluation:
        split = split or "valid"
        pairs = self.split(split)
        if options is not None:
            self.warn(split)
        beam_width = (options and options.beam_width) or self.config.beam_width
        outputs = self.outputs(model, split, beam_width)
        figures = {"loss": self._mean_loss(model, split), **self.judge(pairs, outputs)}
        if options is not None:
            further = {"exact_match": match_figures(pairs, outputs)["exact_match"]}
            # The characters of a symbol's name mean nothing (I_JUMP, AH).
            if self.tokenisers[1].kind != "symbols":
                further["character_error_rate"] = character_error_rate(pairs, outputs)
            figures |= {name: value for name, value in further.items() if name not in figures}
        about = {"split": split, "pairs": len(pairs), "beam_width": beam_width}
        return Evaluation(figures, about, outputs, self.signatures if options else {})

    def _mean_loss(self, model: nn.Module, split: str) -> float:
        total, count, device = 0.0, 0, next(model.parameters()).device
        with evaluating(model):
            for batch in PairBatches(*self.ids(split), 2048, by="tokens", is_shuffled=False):
                batch = PairBatch(*(part.to(device) for part in batch))
                total += _teacher_loss(model, batch).item()
                count += int(batch.target_lengths.sum())
        return total / count

    def outputs(self, model: nn.Module, split: str, beam_width: int) -> list[str]:
        """The model's output for each source of a split."""
        sources = [self.tokenisers[0].encode(pair.source) for pair in self.split(split)]
        return self.written(model, sources, beam_width)

    def rewrite(
        self, model: nn.Module, sources: Sequence[str], *, beam_width: int = 1
    ) -> list[str]:
        """The model's output for each source; for an empty source, an empty text.

        Args:
            sources: texts. A warning is logged if one is far longer than those of the training.
            model, beam_width: see :func:`throughtime.tasks.rewriting.hypotheses`.
        """
        ids = [self.tokenisers[0].encode(text) for text in sources]
        self._warn_of_long(ids)
        return self.written(model, ids, beam_width)

    def written(
        self, model: nn.Module, sources: Sequence[Sequence[int]], beam_width: int
    ) -> list[str]:
        """The text of the best target of each source, which is given as token ids."""
        results = self.search(model, sources, beam_width=beam_width, keep_attention=False)
        return [self.tokenisers[1].decode(best[0].tokens) if best else "" for best in results]

    def search(
        self, model: nn.Module, sources: Sequence[Sequence[int]], **how: Any
    ) -> list[list[Hypothesis]]:
        """The best targets of each source, which is given as token ids.

        Args:
            model, sources, how: see :func:`throughtime.tasks.rewriting.hypotheses`.
        """
        lengths = {
            "longest_source": self.assets["longest_source"],
            "longest_target": self.longest_target,
        }
        return hypotheses(model, sources, **lengths, **how)

    # Uses of a trained model.

    def show(self, model: nn.Module) -> list[Shown]:
        pairs = self.split("valid")[:4]
        sources = [self.tokenisers[0].encode(pair.source) for pair in pairs]
        outputs = self.written(model, sources, beam_width=1)
        lines = (
            f"{self.shown(pair.source)} → {output}"
            + ("" if output == pair.target else f" ({pair.target})")
            for pair, output in zip(pairs, outputs, strict=True)
        )
        return [Text("\n".join(lines))]

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: SearchOptions,
        say: Callable[[str], None],
        explain: bool = False,
    ) -> Iterator[Prediction]:
        return predict_lines(self, model, inputs, options, say, explain)

    @property
    def nothing_to_explain(self) -> str:
        return "attention=none" if self.config.attention == "none" else ""

    def explanations(self, model: nn.Module) -> list[AttentionMap]:
        source_tokeniser, target_tokeniser = self.tokenisers
        pairs, sources = [], []
        for pair in self.split("valid")[:50]:
            ids = source_tokeniser.encode(pair.source)
            if 0 < len(ids) <= _MAX_TOKENS_OF_MAP and len(pairs) < _NUM_MAPS:
                pairs.append(pair)
                sources.append(ids)
        maps = []
        for pair, (hypothesis,) in zip(pairs, self.search(model, sources), strict=True):
            attention = align(self.tokenisers, pair.source, hypothesis, self.shown(pair.source))
            if attention is not None:
                is_right = target_tokeniser.decode(hypothesis.tokens) == pair.target
                title = attention.title if is_right else f"{attention.title} ({pair.target})"
                maps.append(shortened(attention, _MAX_TOKENS_OF_MAP)._replace(title=title))
        return maps


def _teacher_loss(model: nn.Module, batch: PairBatch, label_smoothing: float = 0.0) -> Tensor:
    """The sum of the losses of all tokens under teacher forcing."""
    assert isinstance(model, Writer)
    source, source_lengths, target_in, target_out, target_lengths = batch
    is_token = target_out != PAD
    h = model.unscored(source, source_lengths, target_in, target_lengths)[is_token]  # (N, H)
    return linear_cross_entropy(h, model.head, target_out[is_token], label_smoothing)

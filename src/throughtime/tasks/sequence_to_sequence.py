"""The base class of all sequence-to-sequence tasks: data, model, loss and evaluation."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch.nn.functional as F
from torch import nn

from throughtime.counted import counted
from throughtime.data import (
    PAD,
    PAIR_SETS,
    Pair,
    PairBatch,
    PairBatches,
    PairSet,
    Tokeniser,
    fit_tokeniser,
    load_pairs,
    read_pairs,
    suspicions,
    tokeniser_from_json,
    warn_of_long_sources,
)
from throughtime.layers.evaluation import evaluating
from throughtime.models import EncoderDecoder, Hypothesis, Writer
from throughtime.models.repetition import longest_repeats
from throughtime.reading import Each, Entries, Number, Whole
from throughtime.tasks.alignments import maps_of_pairs, observation_of_pair
from throughtime.tasks.linear_cross_entropy import teacher_loss
from throughtime.tasks.network import check_range
from throughtime.tasks.pair_predictions import SearchOptions, predict_lines
from throughtime.tasks.pair_warnings import unknown_by_side, warn_of_round_trip
from throughtime.tasks.rewriting import Usual, character_error_rate, hypotheses, match_figures
from throughtime.tasks.run_data import (
    COUNTS,
    LONGEST,
    check_unchanged,
    first_of,
    split_of,
    splits_joined,
)
from throughtime.tasks.sequence_settings import MOST_BEAMS, SequenceToSequenceConfig
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import AttentionMap, Observation, Prediction

__all__ = ["JudgingOptions", "SequenceToSequence", "SequenceToSequenceConfig"]

_log = logging.getLogger(__name__)


@dataclass
class JudgingOptions:
    """What is evaluated, and how.

    Args:
        data: your own pairs, if no split of the run's own data is meant: a file with source, tab
            and target on each line, SOURCE,TARGET, a folder, or a data set; all of its pairs are
            evaluated, or the split of --split.
        languages: file name endings of source and target at the prefix or in the folder of --data
            (for example de-en).
        encoding: encoding of the files of --data (default: utf-8).
        beam_width: width of the beam; 1 is greedy search (default: the setting of the run).
    """

    data: str | None = None
    languages: str | None = None
    encoding: str | None = None
    beam_width: int | None = None

    def __post_init__(self) -> None:
        check_range(self, ("beam_width",), most=MOST_BEAMS)
        for name in ("languages", "encoding"):
            if getattr(self, name) is not None and self.data is None:
                raise ValueError(f"--{name} is that of --data, which is not given")


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
        {
            "num_pairs": COUNTS,
            "num_left_out": Whole(0),
            "signatures": dict[str, str],
            # Older runs lack these.
            "mean_target": Number(0),
            "longest_repeats": Each(Whole(0, LONGEST)),
        },
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
        self._ids: dict[str, tuple[list[list[int]], list[list[int]]]] = {}

    # Which figures there are may depend on the data, so the first use of them may read it.

    @cached_property
    def figures(self) -> Mapping[str, Figure]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return {"loss": Figure("nats per token"), **self.judged}

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

    def shown_target(self, target: str) -> str:
        """Converts a target of the pairs, or an output, into the form that people read."""
        return target

    def read(self, text: str) -> str:
        """Converts a user's text into a source; for sources of the pairs the inverse of `shown`."""
        return text

    def read_target(self, text: str) -> str:
        """Converts a target of the user's own pairs into the form of the training's targets."""
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

    def new_assets(self) -> dict[str, Any]:
        source, target = self.tokenisers
        sources, targets = self.ids("train")
        return {
            "data": self.pairs.name,
            "data_sha256": self.pairs.fingerprint(),
            "num_pairs": {split: len(pairs) for split, pairs in self.pairs.splits.items()},
            "num_left_out": self.pairs.num_left_out,
            "longest_source": max(map(len, sources)),
            "longest_target": max(map(len, targets)),
            "mean_target": sum(map(len, targets)) / len(targets),
            "longest_repeats": longest_repeats(targets),
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
            self._ids[split] = self._encoded(self.split(split))
            if not self._ids[split][0]:
                raise ValueError(f'{self.name}: {self.pairs.name} has no pairs in "{split}".')
        return self._ids[split]

    def _encoded(self, pairs: Iterable[Pair]) -> tuple[list[list[int]], list[list[int]]]:
        source, target = self.tokenisers
        ids = [(source.encode(p.source), target.encode(p.target)) for p in pairs]
        ids = [sides for sides in ids if sides[0]]
        return [s for s, _ in ids], [t for _, t in ids]

    def defaults(self) -> dict[str, Default]:
        amount, c = len(self.split("train")), self.config
        defaults = defaults_for(c, amount, "pairs", per_row=1, least=8, few=5000)
        if c.batch_by != "pairs":
            defaults.pop("batch_size", None)
        return defaults

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
        self._warn(f"{self.pairs.name}, valid", self.split("valid"), self.ids("valid"))
        lines = {
            split: [f"{pair.source}\t{pair.target}" for pair in pairs]
            for split, pairs in self.pairs.splits.items()
        }
        for warning in suspicions(self.pairs.name, lines, self.pairs.cut, "pairs"):
            _log.warning(warning)
        targets = [pair.target for pair in self.pairs.splits["train"]]
        warn_of_round_trip(self.pairs.name, self.tokenisers[1], targets)

    def _warn(
        self, name: str, pairs: Sequence[Pair], ids: tuple[list[list[int]], list[list[int]]]
    ) -> None:
        """Logs which tokens of pairs are unknown and which sources are unusually long."""
        for side, summary in unknown_by_side(self.tokenisers, pairs, ids).items():
            _log.warning("%s: of the %ss %s.", name, side, summary)
        self._warn_of_long([self.tokenisers[0].encode(pair.source) for pair in pairs])

    def _warn_of_long(self, sources: Sequence[Sequence[int]]) -> None:
        unit = self.tokenisers[0].unit
        warn_of_long_sources(list(map(len, sources)), self.assets["longest_source"], unit)

    def unknown(self, split: str) -> dict[str, str]:
        """A sentence about the unknown tokens of each side of a split that has any, by side."""
        return unknown_by_side(self.tokenisers, self.split(split), self.ids(split))

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
            return Loss(teacher_loss(model, batch, c.label_smoothing), count)
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
        about: dict[str, Any] = {"split": split or "valid"}
        if options is not None and options.data is not None:
            about = {"data": options.data, **({"split": split} if split else {})}
            pairs = self.own_pairs(split, options)
            name, ids = options.data, self._encoded(pairs)
            if not ids[0]:
                raise ValueError(f"{self.name}: expected pairs in {options.data}, got none.")
        else:
            name, pairs, ids = (
                self.pairs.name,
                self.split(split or "valid"),
                self.ids(split or "valid"),
            )
        if options is not None:
            self._warn(f"{name}, {split}" if split else name, pairs, ids)
        beam_width = (options and options.beam_width) or self.config.beam_width
        outputs = self.written(
            model, [self.tokenisers[0].encode(pair.source) for pair in pairs], beam_width
        )
        figures = {"loss": self._mean_loss(model, ids), **self.judge(pairs, outputs)}
        if options is not None:
            further = {"exact_match": match_figures(pairs, outputs)["exact_match"]}
            # The characters of a symbol's name mean nothing (I_JUMP, AH).
            if self.tokenisers[1].kind != "symbols":
                further["character_error_rate"] = character_error_rate(pairs, outputs)
            figures |= {name: value for name, value in further.items() if name not in figures}
        about |= {"pairs": len(pairs), "beam_width": beam_width}
        shown = [self.shown_target(output) for output in outputs]
        return Evaluation(figures, about, shown, self.signatures if options else {})

    def own_pairs(self, split: str | None, options: JudgingOptions) -> list[Pair]:
        """The pairs that the options name, in the form of the pairs of the training."""
        assert options.data is not None
        if options.data in PAIR_SETS:
            name, splits = options.data, load_pairs(options.data).splits
        else:
            encoding = options.encoding or "utf-8"
            name, splits = read_pairs(options.data, options.languages, encoding)
        pairs = splits_joined(self.name, name, splits, split)
        return [Pair(self.read(pair.source), self.read_target(pair.target)) for pair in pairs]

    def _mean_loss(self, model: nn.Module, ids: tuple[list[list[int]], list[list[int]]]) -> float:
        total, count, device = 0.0, 0, next(model.parameters()).device
        with evaluating(model):
            batches = PairBatches(*ids, 2048, by="tokens", is_shuffled=False)
            for batch in counted("scoring", batches):
                batch = PairBatch(*(part.to(device) for part in batch))
                total += teacher_loss(model, batch).item()
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
        return hypotheses(
            model,
            sources,
            longest_source=self.assets["longest_source"],
            longest_target=self.longest_target,
            usual=self._usual,
            **how,
        )

    @cached_property
    def _usual(self) -> Usual | None:
        a = self.assets
        if "longest_repeats" not in a:
            return None
        return Usual(a["longest_target"], a["mean_target"], a["longest_repeats"])

    # Uses of a trained model.

    def show(self, model: nn.Module) -> list[Shown]:
        pairs = self.split("valid")[:4]
        sources = [self.tokenisers[0].encode(pair.source) for pair in pairs]
        outputs = self.written(model, sources, beam_width=1)
        lines = (
            f"{self.shown(pair.source)} → {self.shown_target(output)}"
            + ("" if output == pair.target else f" ({self.shown_target(pair.target)})")
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

    def held_out(self, most: int) -> list[str]:
        sources = [pair.source for pair in self.split("valid")]
        return first_of(sources, lambda text: len(self.tokenisers[0].encode(text)), most)

    def observe(self, model: nn.Module, input: str) -> Observation:
        return observation_of_pair(
            self.tokenisers, model, input, lambda ids: self.search(model, ids)
        )

    @property
    def nothing_to_explain(self) -> str:
        return "attention=none" if self.config.attention == "none" else ""

    def explanations(self, model: nn.Module) -> list[AttentionMap]:
        return maps_of_pairs(
            self.tokenisers,
            self.split("valid")[:50],
            lambda sources: self.search(model, sources),
            self.shown,
        )

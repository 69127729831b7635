"""tagging: labels every word of a sentence: names, phrases, slots, parts of speech."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.data import SPECIALS, UNK, RaggedBatches, suspicions
from throughtime.data.characters import CharacterTokeniser, SymbolTokeniser
from throughtime.data.label_schemes import (
    Span,
    allowed_labels,
    spans_of,
    strict_spans_of,
)
from throughtime.data.tagged import TaggedSet, load_tagged, read_tagged
from throughtime.data.tagged_batches import CodedSentence, TaggedBatch, collate_tagged
from throughtime.data.tagged_sets import TAGGED_SETS, Sentence
from throughtime.data.word_vectors import read_word_vectors
from throughtime.data.words import split_words
from throughtime.layers.evaluation import evaluating
from throughtime.models.tagger import Tagger
from throughtime.reading import Entries, Whole
from throughtime.tasks.labelling import judged, labelled, losses_of, scores_of
from throughtime.tasks.labels import UNSEEN, LabelCounts, Labels
from throughtime.tasks.run_data import COUNTS, LONGEST, check_unchanged, first_of, split_of
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.tag_coding import TagCoding, looked_up
from throughtime.tasks.tag_predictions import nothing_read, of_sentence
from throughtime.tasks.tagging_settings import LabellingOptions, SentencesToJudge, TaggingConfig
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import Observation, Prediction

__all__ = ["Tagging", "TaggingConfig"]

_log = logging.getLogger(__name__)


class Tagging(BatchTask):
    r"""The prediction of a label y_t for every word x_t of a sentence:

        L = -1/N sum over sentences of log P(y_1 … y_T | x_1 … x_T)

    with N the number of words. With ``intents`` the log-probability of the label of the sentence is
    added.

    Figures of labels that mark spans: ``precision``, ``recall`` and ``f1`` of spans, of which
    words and type must be right, as the scorer of CoNLL-2000 counts them (the default mode of
    seqeval); ``f1_strict``, for which the labels of a span must also be written exactly as the
    scheme demands. For all labels: ``accuracy``, the fraction of words with the right label, and
    ``intent_accuracy``, the fraction of sentences with the right one.

    Units: the loss is in nats per word.

    Source: Lample et al., Neural architectures for named entity recognition, arXiv 1603.01360.
    """

    name = "tagging"
    Config = TaggingConfig
    Assets = Entries(
        {
            "words": SymbolTokeniser.from_json,
            "letters": CharacterTokeniser.from_json,
            "labels": Labels.from_json,
            "has_spans": bool,
            "embedding_size": Whole(1, 2**31 - 1),
            "longest": Whole(1, LONGEST),
            "data": str,
            "data_sha256": str,
        },
        {"intents": Labels.from_json, "num_sentences": COUNTS, "num_words": COUNTS},
    )
    EvaluationOptions = SentencesToJudge
    PredictionOptions = LabellingOptions
    reads = "a sentence"
    writes = "its words, each on a line with its label, and an empty line"
    unit = "words"
    has_outputs = True

    def __init__(self, config: TaggingConfig, assets: dict[str, Any] | None = None) -> None:
        super().__init__(config, assets)
        self._coded: dict[str, list[CodedSentence]] = {}

    # Which figures there are depends on the data, so the first use of them reads it.

    @cached_property
    def figures(self) -> Mapping[str, Figure]:  # pyright: ignore[reportIncompatibleVariableOverride]
        shares = {name: Figure(better="higher") for name in self._names_of_shares}
        return {"loss": Figure("nats per word"), **shares}

    @property
    def monitor(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._names_of_shares[0]

    @cached_property
    def _names_of_shares(self) -> list[str]:
        names = ["f1", "precision", "recall", "f1_strict"] if self.coding.has_spans else []
        return [*names, "accuracy", *(["intent_accuracy"] if self.config.intents else [])]

    # The data.

    @cached_property
    def sentences(self) -> TaggedSet:
        """The data. Raises a ValueError if it is not that of the training of a loaded run."""
        c = self.config
        sentences = load_tagged(
            c.data,
            encoding=c.encoding,
            word_column=c.word_column,
            label_column=c.label_column,
            labels=c.labels,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )
        sha256 = sentences.fingerprint()
        check_unchanged(self.name, "the sentences", sentences.name, sha256, self._assets)
        return sentences

    def _looked_up(self, word: str) -> str:
        return looked_up(word, self.config.lower_case, self.config.zero_digits)

    @cached_property
    def _counts(self) -> Counter[str]:
        """How often each word occurs in the training split."""
        train = self.sentences.splits["train"]
        return Counter(self._looked_up(word) for row in train for word in row.words)

    @cached_property
    def _vectors(self) -> dict[str, Any]:
        """The pretrained vectors of the words of all splits; empty if there are none.

        A word without a vector has that of its lower case, if there is one.
        """
        if self.config.vectors is None:
            return {}
        splits = self.sentences.splits.values()
        words = {self._looked_up(word) for part in splits for row in part for word in row.words}
        vectors = read_word_vectors(self.config.vectors, words | {w.lower() for w in words})
        sources = {word: word if word in vectors else word.lower() for word in words}
        return {word: vectors[s] for word, s in sources.items() if s in vectors}

    @cached_property
    def coding(self) -> TagCoding:
        """The words, letters and labels of the training split, as numbers."""
        c = self.config
        options = (c.scheme, c.lower_case, c.zero_digits)
        if self._assets is not None:
            known = self._assets
            return TagCoding(
                SymbolTokeniser.from_json(known["words"]),
                CharacterTokeniser.from_json(known["letters"]),
                Labels.from_json(known["labels"]),
                Labels.from_json(known.get("intents")) if c.intents else None,
                known["has_spans"],
                *options,
            )
        train, has_spans = self.sentences.splits["train"], self.sentences.has_spans
        fitted = SymbolTokeniser.fit(self._counts.elements(), min_count=c.min_count)
        # Words with a pretrained vector are known, whether the training split has them or not.
        further = sorted(self._vectors.keys() - set(fitted.tokens))
        without_labels = TagCoding(
            SymbolTokeniser([*fitted.tokens[len(SPECIALS) :], *further]),
            CharacterTokeniser.fit(sorted({word for row in train for word in row.words})),
            Labels.of(label for row in train for label in row.labels),
            self._new_intents() if c.intents else None,
            has_spans,
            *options,
        )
        labels = Labels.of(y for row in train for y in without_labels.in_scheme(row.labels))
        return replace(without_labels, labels=labels)

    def _new_intents(self) -> Labels:
        if not self.sentences.has_intents:
            raise ValueError(
                f"--intents: the sentences of {self.sentences.name} have no labels of their own. "
                "Leave it out."
            )
        return Labels.of(row.intent for row in self.sentences.splits["train"])

    def new_assets(self) -> dict[str, Any]:
        splits = self.sentences.splits
        return {
            "data": self.sentences.name,
            "data_sha256": self.sentences.fingerprint(),
            "num_sentences": {split: len(rows) for split, rows in splits.items()},
            "num_words": {s: sum(len(row.words) for row in rows) for s, rows in splits.items()},
            "longest": max(len(row.words) for row in self.coded("train")),
            "embedding_size": self._embedding_size,
            **self.coding.to_json(),
        }

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.sentences.name}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def coded(self, split: str) -> list[CodedSentence]:
        """The sentences of a split as numbers; those of the training are cut at ``longest``."""
        if split not in self._coded:
            rows = split_of(self.name, self.sentences.name, self.sentences.splits, split)
            if split == "train":
                rows = self._cut(rows)
            self._coded[split] = [self.coding.encode(row) for row in rows]
        return self._coded[split]

    def _cut(self, rows: Sequence[Sentence]) -> list[Sentence]:
        longest = self.config.longest
        too_long = [number for number, row in enumerate(rows, 1) if len(row.words) > longest]
        if too_long:
            _log.warning(
                "%s: %d of %d sentences of the training have more than %d words and are cut "
                "(the first is sentence %d, with %s words). See --longest.",
                *(self.sentences.name, len(too_long), len(rows), longest, too_long[0]),
                f"{len(rows[too_long[0] - 1].words):,}",
            )
        return [
            Sentence(row.words[i : i + longest], row.labels[i : i + longest], row.intent)
            for row in rows
            for i in range(0, len(row.words), longest)
        ]

    def check(self) -> None:
        c = self.config
        for option, is_set in (("scheme", c.scheme != "iob2"), ("constrained", c.constrained)):
            if is_set and not self.sentences.has_spans:
                raise ValueError(
                    f"--{option} {getattr(c, option)}: the labels of {self.sentences.name} do not "
                    "mark spans, so it would have no effect. Leave it out."
                )
        for what, labels in (("labels", self.coding.labels), ("intents", self.coding.intents)):
            if labels is not None and len(labels) < 2:
                raise ValueError(
                    f"{self.sentences.name}: expected at least two {what} in the training split, "
                    f"got only {labels.names[0]!r}. Nothing can be learned from one."
                )
        super().check()
        # A faulty validation split should not end a training after its first epoch.
        for split in ("valid", "test"):
            if split == "valid" or split in self.sentences.splits:
                self._warn_of_unseen(split)
        self._warn_of_splits()

    def _warn_of_splits(self) -> None:
        # A published data set has the splits that it has.
        if self.config.data in TAGGED_SETS:
            return
        data = self.sentences
        lines = {
            split: [" ".join(row.words) for row in rows] for split, rows in data.splits.items()
        }
        for warning in suspicions(data.name, lines, data.cut, "sentences"):
            _log.warning(warning)

    def defaults(self) -> dict[str, Default]:
        amount = len(self.coded("train"))
        return defaults_for(self.config, amount, "sentences", per_row=1, least=8, few=5_000)

    def _warn_of_unseen(self, split: str) -> None:
        """Logs how many words have labels that the training split lacks, and names them."""
        coded, rows = self.coded(split), self.sentences.splits[split]
        unseen = Counter(
            label
            for row, numbers in zip(rows, coded, strict=True)
            for label, number in zip(self.coding.in_scheme(row.labels), numbers.labels, strict=True)
            if number == UNSEEN
        )
        if unseen:
            _log.warning(
                "%s: %d words of the %s split have labels that the training split lacks, so they "
                "count as errors: %s.",
                *(self.sentences.name, unseen.total(), split),
                ", ".join(f"{label} ({count})" for label, count in unseen.most_common(5)),
            )

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[TaggedBatch]:
        c = self.config
        rows = self.coded(split)
        return RaggedBatches(
            [len(row.words) for row in rows],
            lambda indices: collate_tagged([rows[i] for i in indices]),
            c.batch_size,
            seed=c.data_seed,
            **share._asdict(),
        )

    # The model.

    @property
    def _embedding_size(self) -> int:
        if self._assets is not None:
            return self._assets["embedding_size"]
        asked = self.config.embedding_size
        if not self._vectors:
            return 100 if asked is None else asked
        size = len(next(iter(self._vectors.values())))
        if asked not in (None, size):
            raise ValueError(
                f"--embedding_size: expected {size}, the width of the vectors of --vectors, got "
                f"{asked}. Leave it out."
            )
        return size

    def model(self) -> Tagger:
        c = self.config
        model = Tagger(
            len(self.coding.words),
            len(self.coding.labels),
            num_letters=len(self.coding.letters),
            letter_feature=c.letters,
            letter_embedding_size=c.letter_embedding_size,
            letter_size=c.letter_size,
            embedding_size=self._embedding_size,
            output=c.output,
            allowed=allowed_labels(self.coding.labels.names, c.scheme) if c.constrained else None,
            num_intents=len(self.coding.intents or ()),
            **c.recurrent(),
        )
        # A loaded run has the embeddings in its checkpoint.
        if self._assets is None and self._vectors:
            weight = model.embedding.weight
            if not weight.is_meta:
                with torch.no_grad():
                    for word, vector in self._vectors.items():
                        weight[self.coding.ids[word]] = torch.from_numpy(vector)
        return model

    @cached_property
    def _is_rare(self) -> Tensor:
        """(V), True for the words that training reads as unknown ones at random."""
        tokens = self.coding.words.tokens
        return torch.tensor([self._counts[token] <= self.config.rare_count for token in tokens])

    def loss(
        self, model: nn.Module, batch: TaggedBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        assert isinstance(model, Tagger)
        words = batch.words
        if model.training and self.config.rare_dropout > 0:
            is_replaced = self._is_rare.to(words.device)[words]
            is_replaced &= torch.rand(words.shape, device=words.device) < self.config.rare_dropout
            words = words.masked_fill(is_replaced, UNK)
        total = losses_of(model, batch, scores_of(model, batch, words)).sum()
        return Loss(total.float(), int(batch.lengths.sum()))

    # Judgement.

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: SentencesToJudge | None = None
    ) -> Evaluation:
        assert isinstance(model, Tagger)
        coding = self.coding
        if options is not None and options.data is not None:
            if split is not None:
                raise ValueError("--split is of the run's own data; leave it or --data out")
            about: dict[str, Any] = {"data": options.data}
            rows = self._own_rows(options)
        else:
            split = split or "valid"
            about = {"split": split}
            rows = split_of(self.name, self.sentences.name, self.sentences.splits, split)
        # Those of the training split are cut for the training alone.
        loss, results = judged(model, coding, [coding.encode(row) for row in rows])
        counts, strict = LabelCounts(), LabelCounts()
        num_right, num_words, num_right_intents = 0, 0, 0
        for row, result in zip(rows, results, strict=True):
            true = coding.in_scheme(row.labels)
            right = [a for a, b in zip(true, result.labels, strict=True) if a == b]
            num_right, num_words = num_right + len(right), num_words + len(true)
            num_right_intents += result.intent is not None and result.intent[0] == row.intent
            if coding.has_spans:
                _count_spans(counts, spans_of(true), spans_of(result.labels))
                written = strict_spans_of(result.labels, coding.scheme)
                _count_spans(strict, spans_of(true), written)
            else:
                counts.add(true, result.labels, right)
        figures = {"loss": loss}
        if coding.has_spans:
            figures |= {**counts.figures(), "f1_strict": strict.figures()["f1"]}
        figures["accuracy"] = num_right / num_words
        if coding.intents is not None:
            figures["intent_accuracy"] = num_right_intents / len(rows)
        about |= {"sentences": len(rows), "words": num_words}
        outputs = [" ".join(result.labels) for result in results]
        tables = [] if options is None else [counts.table("labels")]
        return Evaluation(figures, about, outputs, tables=tables)

    def _own_rows(self, options: SentencesToJudge) -> list[Sentence]:
        """The sentences of a file of the user."""
        c = self.config
        rows, _ = read_tagged(
            Path(options.data or "").expanduser(),
            options.encoding or "utf-8",
            c.word_column if options.word_column is None else options.word_column,
            c.label_column if options.label_column is None else options.label_column,
            "spans" if self.coding.has_spans else "tags",
        )
        return rows

    def show(self, model: nn.Module) -> list[Shown]:
        assert isinstance(model, Tagger)
        rows, coded, lines = self.sentences.splits["valid"][:4], self.coded("valid")[:4], []
        for row, result in zip(rows, judged(model, self.coding, coded)[1], strict=True):
            written, true = (self._bracketed(row.words, y) for y in (result.labels, row.labels))
            lines.append(written if written == true else f"{written} ({true})")
        return [Text("\n".join(lines))]

    def _bracketed(self, words: Sequence[str], labels: Sequence[str]) -> str:
        """The words with their labels on a line: ``[EU ORG] rejects``, or ``EU/PROPN``."""
        if not self.coding.has_spans:
            return " ".join(map("{}/{}".format, words, labels))
        pieces = list(words)
        for span in spans_of(labels):
            pieces[span.begin] = f"[{pieces[span.begin]}"
            pieces[span.end - 1] += f" {span.type}]"
        return " ".join(pieces)

    def held_out(self, most: int) -> list[Sequence[str]]:
        return first_of([row.words for row in self.sentences.splits["valid"]], len, most)

    def observe(self, model: nn.Module, input: str | Sequence[str]) -> Observation:
        assert isinstance(model, Tagger)
        words = tuple(input.split() if isinstance(input, str) else input)
        if not words:
            raise ValueError("expected at least one word, got an empty sentence.")
        batch = collate_tagged([self.coding.encode(Sentence(words, ()))])
        device = next(model.parameters()).device
        batch = TaggedBatch(*(tensor.to(device) for tensor in batch))

        def run() -> Tensor:
            with evaluating(model):
                scores = scores_of(model, batch).words
                return model.labels.marginals(scores)[0].float().cpu()

        return Observation({"recurrent": words}, run, self.coding.labels.names)

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: LabellingOptions,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        if options.scheme != "iob2" and not self.coding.has_spans:
            raise ValueError(
                f"--scheme {options.scheme}: the labels of this run do not mark spans, so it would "
                "have no effect. Leave it out."
            )
        assert isinstance(model, Tagger)
        number, longest = 0, self.assets["longest"]
        for lines in inputs:
            split = split_words if options.tokenisation == "words" else str.split
            sentences = [tuple(split(line)) for line in lines]
            rows = [self.coding.encode(Sentence(words, ())) for words in sentences if words]
            results = iter(labelled(model, self.coding, rows))
            for words in sentences:
                number += 1
                if len(words) > max(2 * longest, 100):
                    say(
                        f"line {number}: has {len(words):,} words, the longest sentence of the "
                        f"training {longest:,}. Its labels may be poor; give a sentence per line."
                    )
                if words:
                    yield of_sentence(words, next(results), self.coding.has_spans, options.scheme)
                else:
                    yield nothing_read()


def _count_spans(counts: LabelCounts, true: Sequence[Span], predicted: Sequence[Span]) -> None:
    right = set(true) & set(predicted)
    counts.add(*([span.type for span in spans] for spans in (true, predicted, right)))

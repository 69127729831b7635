"""tagging: labels every word of a sentence: names, phrases, slots, parts of speech."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data import UNK, RaggedBatches
from throughtime.data.characters import CharacterTokeniser, SymbolTokeniser
from throughtime.data.label_schemes import (
    Span,
    allowed_labels,
    label_parts,
    spans_of,
    strict_spans_of,
    to_labels,
)
from throughtime.data.tagged import TaggedSet, load_tagged
from throughtime.data.tagged_batches import CodedSentence, TaggedBatch, collate_tagged
from throughtime.data.tagged_sets import TAGGED_SETS, Sentence
from throughtime.data.word_vectors import read_word_vectors
from throughtime.data.words import split_words
from throughtime.layers.evaluation import evaluating
from throughtime.models.tagger import LabelScores, Spelling, Tagger
from throughtime.reading import Entries, Whole
from throughtime.tasks.labels import UNSEEN, LabelCounts, Labels
from throughtime.tasks.network import NetworkConfig, check_range
from throughtime.tasks.run_data import COUNTS, LONGEST, absolute, check_unchanged, split_of
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.task import WHOLE, BatchTask, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import Prediction

__all__ = ["Tagging", "TaggingConfig"]

_LONGEST_SPELLING = 30
_TOKENS_OF_EVALUATION = 4096
_log = logging.getLogger(__name__)


@dataclass
class TaggingConfig(NetworkConfig):
    """The sentences, the model, and the batches.

    Args:
        data: name of a data set (conll2003, conll2000, conll2002-es, conll2002-nl, wnut17,
            ewt-upos, ewt-xpos, atis); or path of a file with a word on each line, or of a folder
            with such files for train, valid and test.
        encoding: encoding of the files at that path, as Python names it.
        word_column: column of the word in these files, from 1 (default: the first, and the second
            of CoNLL-U).
        label_column: column of the label, from 1 (default: the last, and the fourth of CoNLL-U).
        labels: what the labels are: spans in IOB1, IOB2 or IOBES, or tags of single words; auto is
            spans if a label looks like B-PER.
        valid_fraction: fraction of the sentences of a single file that is kept for validation
            (default: 0.1).
        test_fraction: fraction of the sentences that is kept for the test (default: 0).
        lower_case: look words up in lower case; their letters keep the case.
        zero_digits: look words up with 0 for each digit; their letters keep the digits.
        min_count: how often a word must occur in the training split to have an embedding.
        rare_count: words that occur at most so often in the training split are rare.
        rare_dropout: probability that a rare word is read as an unknown one in training.
        vectors: file with pretrained word vectors with which the embeddings start (GloVe, word2vec
            or fastText .vec; .gz too).
        letters: how the letters of a word are read: by a bidirectional layer of the same cell, by a
            convolution, or not at all.
        letter_embedding_size: width of the embedding of a letter.
        letter_size: units of each direction of the layer over letters; a convolution has twice as
            many filters.
        output: crf, which scores whole label sequences, or softmax, which scores each label alone.
        scheme: scheme in which spans are learned: iob2 or iobes.
        constrained: let the CRF predict only sequences that the scheme allows.
        intents: also predict the label of the whole sentence, if the data has one.
        hidden_size: number of units of each recurrent layer over words, in each direction.
        embedding_size: width of the embedding of a word (default: that of the vectors, else 100).
        bidirectional: read the words in both directions.
        dropout: probability to drop a unit of the inputs of each layer, and before the scores.
        longest: largest number of words of a sentence of the training; a longer one is cut.
        batch_size: sentences of a batch, summed over all processes.
        data_seed: seed of the order of the sentences.
    """

    data: str = "conll2003"
    encoding: str = "utf-8"
    word_column: int | None = None
    label_column: int | None = None
    labels: Literal["auto", "spans", "tags"] = "auto"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    lower_case: bool = True
    zero_digits: bool = True
    min_count: int = 1
    rare_count: int = 1
    rare_dropout: float = 0.5
    vectors: str | None = None
    letters: Literal["recurrent", "convolution", "none"] = "recurrent"
    letter_embedding_size: int = 25
    letter_size: int = 25
    output: Literal["crf", "softmax"] = "crf"
    scheme: Literal["iob2", "iobes"] = "iob2"
    constrained: bool = False
    intents: bool = False
    hidden_size: int = 100
    embedding_size: int | None = None
    bidirectional: bool = True
    dropout: float = 0.5
    longest: int = 1000
    batch_size: int = 32
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, TAGGED_SETS)
        if self.vectors is not None:
            self.vectors = absolute(self.vectors, ())
        sizes = ("word_column", "label_column", "min_count", "letter_embedding_size", "letter_size")
        check_range(self, (*sizes, "longest", "batch_size"), most=2**31 - 1)
        check_range(self, ("rare_count",), least=0, most=2**31 - 1)
        if not 0 <= self.rare_dropout <= 1:
            raise ValueError(f"--rare_dropout: expected 0 to 1, got {self.rare_dropout}.")
        if self.constrained and self.output != "crf":
            raise ValueError(
                "--constrained: labels that are scored alone cannot be constrained. Leave it out, "
                "or use --output crf."
            )
        if self.letters == "none":
            for name, default in (("letter_embedding_size", 25), ("letter_size", 25)):
                if getattr(self, name) != default:
                    raise ValueError(
                        f"--{name}: no letters are read with --letters none, so it would have no "
                        "effect. Leave it out."
                    )


@dataclass
class LabellingOptions:
    """How a sentence is labelled.

    Args:
        tokenisation: how a line is split into words: spaces, for a text that is tokenised already,
            or words, which also separates punctuation marks.
        scheme: scheme in which spans are written: iob1, iob2 or iobes.
    """

    tokenisation: Literal["spaces", "words"] = "spaces"
    scheme: Literal["iob1", "iob2", "iobes"] = "iob2"


class Labelled(NamedTuple):
    """What the model makes of a sentence.

    Args:
        labels: the likeliest label sequence, in the scheme of the training.
        chances: for each span, or for each word if labels are tags, its probability; empty if they
            were not asked for.
        intent: the likeliest label of the sentence, and its probability; None if it has none.
    """

    labels: list[str]
    chances: list[float]
    intent: tuple[str, float] | None


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
    PredictionOptions = LabellingOptions
    reads = "a sentence"
    writes = "its words, each on a line with its label, and an empty line"
    unit = "words"
    has_outputs = True

    def __init__(self, config: TaggingConfig, assets: dict[str, Any] | None = None) -> None:
        super().__init__(config, assets)
        self._coded: dict[str, list[CodedSentence]] = {}
        self.figures = _figures_of(has_spans=True, has_intents=config.intents)
        if assets is not None:
            self._choose_figures(assets["has_spans"])

    def _choose_figures(self, has_spans: bool) -> None:
        self.figures = _figures_of(has_spans, self.config.intents)
        self.monitor = "f1" if has_spans else "accuracy"

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
        )
        sha256 = sentences.fingerprint()
        check_unchanged(self.name, "the sentences", sentences.name, sha256, self._assets)
        return sentences

    @cached_property
    def has_spans(self) -> bool:
        """Whether the labels mark spans."""
        return self.sentences.has_spans if self._assets is None else self._assets["has_spans"]

    @cached_property
    def _counts(self) -> Counter[str]:
        """How often each word occurs in the training split."""
        train = self.sentences.splits["train"]
        return Counter(self._looked_up(word) for row in train for word in row.words)

    @cached_property
    def words(self) -> SymbolTokeniser:
        """The words that have an embedding."""
        if self._assets is not None:
            return SymbolTokeniser.from_json(self._assets["words"])
        c = self.config
        fitted = SymbolTokeniser.fit(self._counts.elements(), min_count=c.min_count)
        return SymbolTokeniser([*fitted.tokens[4:], *self._further_words(set(fitted.tokens))])

    def _further_words(self, known: set[str]) -> list[str]:
        """Words of the other splits that have a pretrained vector, sorted."""
        return sorted(self._vectors.keys() - known - self._counts.keys())

    @cached_property
    def _vectors(self) -> dict[str, Any]:
        """The pretrained vectors of the words of all splits; empty if there are none."""
        if self.config.vectors is None:
            return {}
        splits = self.sentences.splits.values()
        words = {self._looked_up(word) for part in splits for row in part for word in row.words}
        return read_word_vectors(self.config.vectors, words)

    @cached_property
    def letters(self) -> CharacterTokeniser:
        """The letters of the words of the training split."""
        if self._assets is not None:
            return CharacterTokeniser.from_json(self._assets["letters"])
        train = self.sentences.splits["train"]
        return CharacterTokeniser.fit({word for row in train for word in row.words})

    @cached_property
    def labels(self) -> Labels:
        """The labels of the training split, in the scheme that is learned."""
        if self._assets is not None:
            return Labels.from_json(self._assets["labels"])
        train = self.sentences.splits["train"]
        if self.config.scheme != "iob2" and not self.has_spans:
            raise ValueError(
                f"--scheme {self.config.scheme}: the labels of {self.sentences.name} do not mark "
                "spans, so it would have no effect. Leave it out."
            )
        return Labels.of(label for row in train for label in self._in_scheme(row.labels))

    @cached_property
    def intents(self) -> Labels | None:
        """The labels of sentences in the training split; None if they are not predicted."""
        if not self.config.intents:
            return None
        if self._assets is not None:
            return Labels.from_json(self._assets["intents"])
        if not self.sentences.has_intents:
            raise ValueError(
                f"--intents: the sentences of {self.sentences.name} have no labels of their own. "
                "Leave it out."
            )
        return Labels.of(row.intent for row in self.sentences.splits["train"])

    @property
    def assets(self) -> dict[str, Any]:
        return self._assets if self._assets is not None else self._new_assets

    @cached_property
    def _new_assets(self) -> dict[str, Any]:
        splits = self.sentences.splits
        intents = {} if self.intents is None else {"intents": self.intents.to_json()}
        return {
            "data": self.sentences.name,
            "data_sha256": self.sentences.fingerprint(),
            "num_sentences": {split: len(rows) for split, rows in splits.items()},
            "num_words": {s: sum(len(row.words) for row in rows) for s, rows in splits.items()},
            "longest": max(len(row.words) for row in self.coded("train")),
            "has_spans": self.has_spans,
            "embedding_size": self._embedding_size,
            "labels": self.labels.to_json(),
            **intents,
            "letters": self.letters.to_json(),
            "words": self.words.to_json(),
        }

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.sentences.name}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def _looked_up(self, word: str) -> str:
        """The form in which a word is looked up in the vocabulary; it has no spaces."""
        word = "_".join(word.split()) or "_"
        word = word.lower() if self.config.lower_case else word
        if self.config.zero_digits and any(map(str.isdigit, word)):
            word = "".join("0" if letter.isdigit() else letter for letter in word)
        return word

    def _in_scheme(self, labels: Sequence[str]) -> Sequence[str]:
        """Labels, which are in IOB2 if they mark spans, in the scheme that is learned."""
        if not self.has_spans or self.config.scheme == "iob2":
            return labels
        return to_labels(spans_of(labels), len(labels), self.config.scheme)

    def _code(self, sentence: Sentence) -> CodedSentence:
        spellings = [
            # Of a very long word, a URL, the middle is left out.
            word if len(word) <= _LONGEST_SPELLING else f"{word[:15]}{word[-15:]}"
            for word in sentence.words
        ]
        return CodedSentence(
            [self._id_of[word] for word in map(self._looked_up, sentence.words)],
            [tuple(self.letters.encode(word)) for word in spellings],
            self.labels.numbers(self._in_scheme(sentence.labels)),
            self.intents.numbers([sentence.intent])[0] if self.intents is not None else 0,
        )

    @cached_property
    def _id_of(self) -> dict[str, int]:
        words = self.words
        ids = {token: number for number, token in enumerate(words.tokens) if number > UNK}
        return _WithUnknown(ids)

    def coded(self, split: str) -> list[CodedSentence]:
        """The sentences of a split as numbers; those of the training are cut at ``longest``."""
        if split not in self._coded:
            rows = split_of(self.name, self.sentences.name, self.sentences.splits, split)
            if split == "train":
                rows = self._cut(rows)
            self._coded[split] = [self._code(row) for row in rows]
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
        self._choose_figures(self.has_spans)
        super().check()
        # A faulty validation split should not end a training after its first epoch.
        for split in ("valid", "test"):
            if split == "valid" or split in self.sentences.splits:
                self._warn_of_unseen(split)

    def _warn_of_unseen(self, split: str) -> None:
        """Logs how many words have labels that the training split lacks, and names them."""
        rows, coded = self.sentences.splits[split], self.coded(split)
        unseen = Counter(
            label
            for row, numbers in zip(rows, coded, strict=True)
            for label, number in zip(self._in_scheme(row.labels), numbers.labels, strict=True)
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
        is_free = not (c.constrained and self.has_spans)
        model = Tagger(
            len(self.words),
            len(self.labels),
            num_letters=len(self.letters),
            letters=c.letters,
            letter_embedding_size=c.letter_embedding_size,
            letter_size=c.letter_size,
            embedding_size=self._embedding_size,
            output=c.output,
            allowed=None if is_free else allowed_labels(self.labels.names, c.scheme),
            num_intents=0 if self.intents is None else len(self.intents),
            **c.recurrent(),
        )
        # A loaded run has the embeddings in its checkpoint.
        if self._assets is None and self._vectors:
            weight = model.embedding.weight
            if not weight.is_meta:
                with torch.no_grad():
                    for word, vector in self._vectors.items():
                        if word in self._id_of:
                            weight[self._id_of[word]] = torch.from_numpy(vector)
        return model

    @cached_property
    def _is_rare(self) -> Tensor:
        """(V), True for the words that training replaces at random."""
        rare = [self._counts[token] <= self.config.rare_count for token in self.words.tokens]
        return torch.tensor(rare)

    def _scores(self, model: nn.Module, batch: TaggedBatch) -> LabelScores:
        assert isinstance(model, Tagger)
        words = batch.words
        if model.training and self.config.rare_dropout > 0:
            is_replaced = self._is_rare.to(words.device)[words]
            is_replaced &= torch.rand(words.shape, device=words.device) < self.config.rare_dropout
            words = words.masked_fill(is_replaced, UNK)
        spelling = Spelling(batch.letters, batch.letter_lengths, batch.spelling)
        return model(words, batch.lengths, spelling)

    def loss(
        self, model: nn.Module, batch: TaggedBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        assert isinstance(model, Tagger)
        scores = self._scores(model, batch)
        total = -model.labels.log_likelihood(scores.words, batch.labels, batch.lengths).sum()
        if scores.sentences is not None:
            total = total + F.cross_entropy(scores.sentences, batch.intents, reduction="sum")
        return Loss(total.to(scores.words.dtype), int(batch.lengths.sum()))

    # Judgement.

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: Any = None
    ) -> Evaluation:
        split = split or "valid"
        rows = split_of(self.name, self.sentences.name, self.sentences.splits, split)
        figures = {"loss": self._mean_loss(model, split)}
        coded = [self._code(row) for row in rows] if split == "train" else self.coded(split)
        labelled = list(self._labelled(model, coded))
        counts, strict = LabelCounts(), LabelCounts()
        num_right, num_words, num_right_intents = 0, 0, 0
        for row, result in zip(rows, labelled, strict=True):
            true = self._in_scheme(row.labels)
            num_right += sum(map(str.__eq__, true, result.labels))
            num_words += len(true)
            num_right_intents += result.intent is not None and result.intent[0] == row.intent
            if self.has_spans:
                _count_spans(counts, spans_of(true), spans_of(result.labels))
                written = strict_spans_of(result.labels, self.config.scheme)
                _count_spans(strict, spans_of(true), written)
            else:
                right = [a for a, b in zip(true, result.labels, strict=True) if a == b]
                counts.add(true, result.labels, right)
        if self.has_spans:
            figures |= {**counts.figures(), "f1_strict": strict.figures()["f1"]}
        figures["accuracy"] = num_right / num_words
        if self.intents is not None:
            figures["intent_accuracy"] = num_right_intents / len(rows)
        outputs = [" ".join(result.labels) for result in labelled]
        about = {"split": split, "sentences": len(rows), "words": num_words}
        tables = [] if options is None else [counts.table("labels")]
        return Evaluation(figures, about, outputs, tables=tables)

    def _mean_loss(self, model: nn.Module, split: str) -> float:
        """The loss per word of the sentences whose labels the training split has."""
        rows = [row for row in self.coded(split) if UNSEEN not in (*row.labels, row.intent)]
        total, count = 0.0, 0
        if not rows:
            return math.nan
        with evaluating(model):
            for batch in self._in_order(rows, range(len(rows))):
                loss = self.loss(model, _on_device_of(model, batch[1]))
                total, count = total + loss.total.item(), count + loss.count
        return total / count

    def _in_order(
        self, rows: Sequence[CodedSentence], indices: Sequence[int]
    ) -> Iterator[tuple[Sequence[int], TaggedBatch]]:
        """Batches of a limited number of words, each with the indices of its rows."""
        return iter(
            RaggedBatches(
                [len(rows[i].words) for i in indices],
                lambda chosen: (
                    [indices[k] for k in chosen],
                    collate_tagged([rows[indices[k]] for k in chosen]),
                ),
                _TOKENS_OF_EVALUATION,
                by="tokens",
                is_shuffled=False,
            )
        )

    def _labelled(
        self, model: nn.Module, rows: Sequence[CodedSentence], with_chances: bool = False
    ) -> list[Labelled]:
        """What the model makes of sentences, none of which is empty."""
        assert isinstance(model, Tagger)
        results: list[Labelled | None] = [None] * len(rows)
        with evaluating(model):
            for indices, batch in self._in_order(rows, range(len(rows))):
                moved = _on_device_of(model, batch)
                scores = self._scores(model, moved)
                best, _ = model.labels.viterbi(scores.words, moved.lengths)
                intents = self._likeliest_intents(scores)
                for k, i in enumerate(indices):
                    length = len(rows[i].words)
                    y = best[k, :length]
                    names = [self.labels.names[n] for n in y.tolist()]
                    chances: list[float] = []
                    if with_chances:
                        windows = (
                            self._windows(names)
                            if self.has_spans
                            else _single_words(y, len(self.labels))
                        )
                        chances = model.labels.window_chances(scores.words[k, :length], windows)
                    results[i] = Labelled(names, chances, intents[k] if intents else None)
        return [result for result in results if result is not None]

    def _windows(self, labels: Sequence[str]) -> list[tuple[int, Tensor]]:
        """For each span the labels with which it is exactly this span, for ``window_chances``.

        The words of the span have their labels, the word after it has none that would go on with
        it, and the word before it none that it would go on with.
        """
        parts = [label_parts(name) for name in self.labels.names]
        windows = []
        for begin, end, kind in spans_of(labels):
            rows = [[name == labels[t] for name in self.labels.names] for t in range(begin, end)]
            if end < len(labels):
                rows.append([part not in (("I", kind), ("E", kind)) for part in parts])
            begins_by_mark = labels[begin][0] in "BS"
            if begin > 0 and not begins_by_mark:
                rows.insert(0, [part not in (("B", kind), ("I", kind)) for part in parts])
                begin -= 1
            windows.append((begin, torch.tensor(rows)))
        return windows

    def _likeliest_intents(self, scores: LabelScores) -> list[tuple[str, float]]:
        if self.intents is None or scores.sentences is None:
            return []
        chances, best = scores.sentences.softmax(1).max(1)
        names = [self.intents.names[n] for n in best.tolist()]
        return list(zip(names, chances.tolist(), strict=True))

    def show(self, model: nn.Module) -> list[Shown]:
        rows = self.sentences.splits["valid"][:4]
        lines = []
        coded = self.coded("valid")[:4]
        for row, result in zip(rows, self._labelled(model, coded), strict=True):
            written, true = (self._bracketed(row.words, y) for y in (result.labels, row.labels))
            lines.append(written if written == true else f"{written} ({true})")
        return [Text("\n".join(lines))]

    def _bracketed(self, words: Sequence[str], labels: Sequence[str]) -> str:
        """The words with their labels on a line: ``[EU ORG] rejects``, or ``EU/PROPN``."""
        if not self.has_spans:
            return " ".join(map("{}/{}".format, words, labels))
        pieces = list(words)
        for span in spans_of(labels):
            pieces[span.begin] = f"[{pieces[span.begin]}"
            pieces[span.end - 1] += f" {span.type}]"
        return " ".join(pieces)

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: LabellingOptions,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        if options.scheme != "iob2" and not self.has_spans:
            raise ValueError(
                f"--scheme {options.scheme}: the labels of this run do not mark spans, so it would "
                "have no effect. Leave it out."
            )
        number, longest = 0, self.assets["longest"]
        for lines in inputs:
            split = split_words if options.tokenisation == "words" else str.split
            sentences = [tuple(split(line)) for line in lines]
            rows = [self._code(Sentence(words, ())) for words in sentences if words]
            results = iter(self._labelled(model, rows, with_chances=True) if rows else [])
            for words in sentences:
                number += 1
                if len(words) > max(2 * longest, 100):
                    say(
                        f"line {number}: has {len(words):,} words, the longest sentence of the "
                        f"training {longest:,}. Its labels may be poor; give a sentence per line."
                    )
                yield self._written(words, next(results), options) if words else _nothing()

    def _written(
        self, words: Sequence[str], result: Labelled, options: LabellingOptions
    ) -> Prediction:
        labels: Sequence[str] = result.labels
        record: dict[str, Any] = {"words": list(words)}
        if self.has_spans:
            spans = spans_of(labels)
            labels = to_labels(spans, len(words), options.scheme)
            record |= {
                "labels": labels,
                "spans": [
                    {
                        "text": " ".join(words[begin:end]),
                        "type": kind,
                        "begin": begin,
                        "end": end,
                        "probability": chance,
                    }
                    for (begin, end, kind), chance in zip(spans, result.chances, strict=True)
                ],
            }
        else:
            record |= {"labels": labels, "probabilities": result.chances}
        lines = [f"{word}\t{label}" for word, label in zip(words, labels, strict=True)]
        if result.intent is not None:
            intent, chance = result.intent
            lines.insert(0, f"# intent = {intent}")
            record["intent"] = {"label": intent, "probability": chance}
        return Prediction([*lines, ""], record)


def _nothing() -> Prediction:
    """The prediction for a line without words."""
    return Prediction([""], {"words": [], "labels": []})


def _single_words(y: Tensor, num_labels: int) -> list[tuple[int, Tensor]]:
    """A window for each word, in which it has its label."""
    return [(t, row.unsqueeze(0)) for t, row in enumerate(F.one_hot(y, num_labels).bool())]


def _count_spans(counts: LabelCounts, true: Sequence[Span], predicted: Sequence[Span]) -> None:
    right = set(true) & set(predicted)
    counts.add(*([span.type for span in spans] for spans in (true, predicted, right)))


def _figures_of(has_spans: bool, has_intents: bool) -> dict[str, Figure]:
    names = ["f1", "precision", "recall", "f1_strict"] if has_spans else []
    names += ["accuracy", *(["intent_accuracy"] if has_intents else [])]
    shares = {name: Figure(better="higher") for name in names}
    return {"loss": Figure("nats per word"), **shares}


def _on_device_of(model: nn.Module, batch: TaggedBatch) -> TaggedBatch:
    device = next(model.parameters()).device
    return TaggedBatch(*(tensor.to(device) for tensor in batch))


class _WithUnknown(dict[str, int]):
    """The ids of words; that of any other word is that of the unknown one."""

    def __missing__(self, word: str) -> int:
        return UNK

"""cloze: predicts a missing word of a sentence from the words before it, or from both sides."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from throughtime.counted import counted
from throughtime.data import (
    PAD,
    UNK,
    RaggedBatch,
    RaggedBatches,
    Tokeniser,
    in_words,
    pad_rows,
    suspicions,
    tokeniser_from_json,
)
from throughtime.data.sentences import SENTENCE_SETS, Sentences, load_sentences, read_sentences
from throughtime.data.splits import Cut
from throughtime.layers.evaluation import evaluating
from throughtime.models.cloze import Cloze
from throughtime.reading import Entries
from throughtime.tasks.linear_cross_entropy import linear_cross_entropy
from throughtime.tasks.network import MAY_BE_MISSING, NetworkConfig, check_range
from throughtime.tasks.run_data import (
    COUNTS,
    absolute,
    check_unchanged,
    first_of,
    split_of,
    splits_joined,
)
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.text_tokenisers import tokeniser_of_texts
from throughtime.tasks.unknown_tokens import UnknownTokens
from throughtime.tasks.uses import Observation, Prediction

__all__ = ["GAP", "ClozeConfig", "MissingWord"]

GAP = "___"
"""The placeholder of the missing word in a text."""

_log = logging.getLogger(__name__)


@dataclass
class ClozeConfig(NetworkConfig):
    """The text, the context of a missing word, the model, and the batches.

    Args:
        data: ptb, the words of the Penn Treebank; or the name of another data set, or the path of
            a text with a sentence on each line, or of a folder with train.txt, valid.txt and
            test.txt (the last two may be missing).
        encoding: encoding of the text at that path, as Python names it.
        valid_fraction: fraction of the sentences that is kept for validation, if the data set has
            no splits (default: 0.1).
        test_fraction: fraction of the sentences that is kept for the test (default: 0).
        split: how one text is cut into training, validation and test: order, one after the other;
            random, single sentences (equal ones together); blocks, parts of ten blocks.
        tokenisation: how a line is split into words; symbols splits at spaces only; auto is
            symbols for ptb, which is tokenised already, and words for other texts.
        lower_case: convert words to lower case.
        min_count: how often a word must occur in the training split to be in the vocabulary
            (default: 2, so that the model also learns about unknown words; 1 for ptb, whose rare
            words are replaced by <unk> already).
        vocab_size: largest size of the vocabulary, with its four special tokens (default: no
            limit).
        longest: largest number of words of a sentence; a longer line is cut into several.
        direction: context of a word: forward, the words before it; both, those on both sides.
        hidden_size: number of units of each recurrent layer, in each direction.
        embedding_size: width of the embeddings (default: hidden_size).
        dropout: probability to drop a unit of embeddings, between layers, and before the scores.
        tied: use the embedding as the weights of the output layer, too.
        batch_size: words of a batch, padding included, summed over all processes.
        data_seed: seed of the order of the sentences.
    """

    REFUSED: ClassVar = {
        "bidirectional": "--direction selects the sides that are read",
        "merge": "the two sides of a missing word are never merged",
        "independent": "the two sides of a missing word are always read separately",
    }

    data: str = "ptb"
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    split: Cut = field(default="order", metadata=MAY_BE_MISSING)
    tokenisation: Literal["auto", "words", "symbols"] = "auto"
    lower_case: bool = False
    min_count: int | None = None
    vocab_size: int | None = None
    longest: int = 100
    direction: Literal["forward", "both"] = "both"
    hidden_size: int = 200
    embedding_size: int | None = None
    tied: bool = False
    batch_size: int = 1024
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, SENTENCE_SETS)
        check_range(self, ("longest", "batch_size"), most=2**31 - 1)


@dataclass
class SentencesToScore:
    """The sentences to score, if they are not a split of the run's own data.

    Args:
        data: name of a data set or path of a text; all of its sentences are scored, or the split of
            --split.
        encoding: encoding of the text at --data (default: utf-8).
    """

    data: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.encoding is not None and self.data is None:
            raise ValueError("--encoding is that of the text at --data, which is not given")


@dataclass
class FillingOptions:
    """How a gap is filled.

    Args:
        n_best: number of words to write for each line, instead of the filled line; the likeliest
            first, each as line number, probability and word, separated by tabs.
    """

    n_best: int | None = None

    def __post_init__(self) -> None:
        if self.n_best is not None and self.n_best < 1:
            raise ValueError(f"--n_best: expected at least 1, got {self.n_best}")


class MissingWord(BatchTask):
    r"""The prediction of every word of a sentence from its context:

        L = -1/N sum_t log P(x_t | x_1 … x_{t-1})                        direction forward
        L = -1/N sum_t log P(x_t | x_1 … x_{t-1}, x_{t+1} … x_T)         direction both

    All words that are not in the vocabulary are read, predicted and counted as one unknown word.

    Metrics: ``accuracy``, the fraction of words whose likeliest prediction is right, from 0 to 1;
    ``accuracy_of_known``, the same fraction for the words in the vocabulary; ``perplexity``,
    exp(L). Neither perplexity can be compared with that of a language model, which also reads the
    sentences before and predicts where a sentence ends. The one of ``both`` is not derived from
    the probability of a text at all, since it conditions each word on the words after it.

    Units: the loss is in nats per word.

    Source: Schuster and Paliwal (1997); Taylor, "Cloze procedure" (1953); the lecture notes.
    """

    name = "cloze"
    Config = ClozeConfig
    EvaluationOptions = SentencesToScore
    Assets = Entries(
        {"tokeniser": tokeniser_from_json, "data": str, "data_sha256": str},
        dict.fromkeys(("num_sentences", "num_words", "num_unknown"), COUNTS),
    )
    PredictionOptions = FillingOptions
    reads = f"a line with {GAP} where a word is missing"
    writes = "the line with the likeliest word in its place"
    unit = "words"
    figures: Mapping[str, Figure] = {
        "loss": Figure("nats per word"),
        "perplexity": Figure("perplexity"),
        "accuracy": Figure(better="higher"),
        "accuracy_of_known": Figure(better="higher"),
    }

    def __init__(self, config: ClozeConfig, assets: dict[str, Any] | None = None) -> None:
        super().__init__(config, assets)
        self._ids: dict[str, list[list[int]]] = {}

    @cached_property
    def sentences(self) -> Sentences:
        """The text. Raises a ValueError if it is not the one that a loaded run was trained on."""
        c = self.config
        sentences = load_sentences(
            c.data,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )
        sha256 = sentences.fingerprint()
        check_unchanged(self.name, "the text", sentences.name, sha256, self._assets)
        return sentences

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        return {"text": self.tokeniser}

    @cached_property
    def tokeniser(self) -> Tokeniser:
        """The tokeniser, with the vocabulary of the training split."""
        if self._assets is not None:
            return tokeniser_from_json(self._assets["tokeniser"])
        c = self.config
        usual = 1 if c.data == "ptb" else 2
        min_count = usual if c.min_count is None else c.min_count
        train = self.sentences.splits["train"]
        return tokeniser_of_texts(c, self.sentences.kind, train, min_count)

    def new_assets(self) -> dict[str, Any]:
        splits = self.sentences.splits
        coded = {split: self.ids(split) for split in splits}
        return {
            "data": self.sentences.name,
            "data_sha256": self.sentences.fingerprint(),
            "num_sentences": {split: len(rows) for split, rows in coded.items()},
            "num_words": {split: sum(map(len, rows)) for split, rows in coded.items()},
            "num_unknown": {
                split: sum(row.count(UNK) for row in rows) for split, rows in coded.items()
            },
            "tokeniser": self.tokeniser.to_json(),
        }

    @property
    def title(self) -> str:
        c = self.config
        return f"{self.sentences.name}-{c.direction}-{c.cell}-{c.num_layers}x{c.hidden_size}"

    def ids(self, split: str) -> list[list[int]]:
        """The sentences of a split as token ids; empty ones are left out, long ones are cut."""
        if split not in self._ids:
            lines = split_of(self.name, self.sentences.name, self.sentences.splits, split)
            self._ids[split] = self._coded(lines)
            if not self._ids[split]:
                raise ValueError(f'cloze: {self.sentences.name} has no words in "{split}".')
        return self._ids[split]

    def _coded(self, lines: Iterable[str]) -> list[list[int]]:
        longest = self.config.longest
        return [
            row[begin : begin + longest]
            for row in map(self.tokeniser.encode, lines)
            for begin in range(0, len(row), longest)
        ]

    def _own_ids(self, split: str | None, options: SentencesToScore) -> list[list[int]]:
        """The sentences that the options name, as token ids."""
        assert options.data is not None
        splits = read_sentences(options.data, encoding=options.encoding or "utf-8")
        lines = splits_joined(self.name, options.data, splits, split)
        rows = self._coded(lines)
        if not rows:
            raise ValueError(f"cloze: expected sentences in {options.data}, got none.")
        counts = self.tokeniser.count_unknown(lines)
        if counts:
            summary = in_words(counts, sum(map(len, rows)), "words")
            _log.warning("%s: of its %s.", options.data, summary)
        return rows

    def check(self) -> None:
        super().check()
        # A faulty validation split should not end a training after its first epoch.
        self.ids("valid")
        sentences = self.sentences
        for warning in suspicions(sentences.name, sentences.splits, sentences.cut, "sentences"):
            _log.warning(warning)
        counts = self.tokeniser.count_unknown(sentences.splits["valid"])
        if counts:
            total = self.assets["num_words"]["valid"]
            summary = in_words(counts, total, "words")
            _log.warning("%s: of the validation %s.", self.sentences.name, summary)

    def defaults(self) -> dict[str, Default]:
        amount = sum(map(len, self.ids("train")))
        return defaults_for(self.config, amount, "words", per_row=1, least=64, few=100_000)

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[RaggedBatch]:
        c = self.config
        return self._batches(split, c.batch_size, seed=c.data_seed, **share._asdict())

    def _batches(self, split: str, size: int, **options: Any) -> RaggedBatches[RaggedBatch]:
        return self._batches_of(self.ids(split), size, **options)

    def _batches_of(
        self, rows: list[list[int]], size: int, **options: Any
    ) -> RaggedBatches[RaggedBatch]:
        return RaggedBatches(
            [len(row) for row in rows],
            lambda indices: pad_rows([rows[i] for i in indices]),
            size,
            by="tokens",
            **options,
        )

    def model(self) -> Cloze:
        c = self.config
        return Cloze(
            len(self.tokeniser),
            bidirectional=c.direction == "both",
            embedding_size=c.embedding_size,
            tied=c.tied,
            **c.recurrent(),
        )

    def loss(
        self, model: nn.Module, batch: RaggedBatch, carried: Any = None, progress: float = 0.0
    ) -> Loss:
        assert isinstance(model, Cloze)
        is_word = batch.rows != PAD
        h = model.unscored(batch.rows, batch.lengths)[is_word]
        total = linear_cross_entropy(h, model.scores, batch.rows[is_word])
        return Loss(total, int(batch.lengths.sum()))

    def figures_of_loss(self, loss: float) -> dict[str, float]:
        return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: SentencesToScore | None = None
    ) -> Evaluation:
        about: dict[str, Any] = {"split": split or "valid"}
        if options is not None and options.data is not None:
            rows = self._own_ids(split, options)
            about = {"data": options.data, **({"split": split} if split else {})}
        else:
            rows = self.ids(split or "valid")
        total, count, num_right, num_known, num_known_right = 0.0, 0, 0, 0, 0
        device = next(model.parameters()).device
        with evaluating(model):
            batches = self._batches_of(rows, 2048, is_shuffled=False)
            for batch in counted("scoring", batches):
                rows, lengths = batch.rows.to(device), batch.lengths
                loss = self.loss(model, RaggedBatch(rows, lengths))
                total, count = total + loss.total.item(), count + loss.count
                is_right = (model(rows, lengths).argmax(-1) == rows) & (rows != PAD)
                is_known = (rows != PAD) & (rows != UNK)
                num_right += int(is_right.sum())
                num_known += int(is_known.sum())
                num_known_right += int((is_right & is_known).sum())
        figures = {
            **self.figures_of_loss(total / count),
            "accuracy": num_right / count,
            "accuracy_of_known": num_known_right / max(1, num_known),
        }
        return Evaluation(figures, about)

    def guesses(self, model: nn.Module, text: str, most: int = 5) -> list[tuple[str, float]]:
        """The likeliest words for the gap of a text, with their probabilities.

        Args:
            model: the model.
            text: a text with one ``___`` in place of a word.
            most: how many words to return, at most.

        Raises:
            ValueError: if the text has no gap or several.
        """
        sides = text.split(GAP)
        if len(sides) != 2:
            raise ValueError(f"expected a text with one {GAP}, got {len(sides) - 1}: {text!r}.")
        before, after = map(self.tokeniser.encode, sides)
        # Any id will do in the gap, because the model predicts a word without reading it.
        ids = torch.tensor([[*before, UNK, *after]], device=next(model.parameters()).device)
        assert isinstance(model, Cloze)
        with evaluating(model):
            # Only the gap is scored: the scores of all words of a long line would fill the memory.
            scores = model.scores(model.unscored(ids)[0, len(before)])
        probabilities, words = scores.softmax(-1).topk(min(most, len(self.tokeniser)))
        return [
            (self.tokeniser.decode([word]), probability)
            for word, probability in zip(words.tolist(), probabilities.tolist(), strict=True)
        ]

    def show(self, model: nn.Module) -> list[Shown]:
        lines = []
        for row in self.ids("valid")[:4]:
            gap = len(row) // 2
            before, word, after = (
                self.tokeniser.decode(part) for part in (row[:gap], [row[gap]], row[gap + 1 :])
            )
            text = f"{before} {GAP} {after}".strip()
            words = [guess for guess, _ in self.guesses(model, text, min(3, len(self.tokeniser)))]
            lines.append(f"{text} → {', '.join(words)} ({word})")
        return [Text("\n".join(lines))]

    def held_out(self, most: int) -> list[str]:
        rows = first_of(self.ids("valid"), len, most)
        return [self.tokeniser.decode(row) for row in rows]

    def observe(self, model: nn.Module, input: str) -> Observation:
        assert isinstance(model, Cloze)
        ids = self.tokeniser.encode(input)
        if not ids:
            raise ValueError("expected at least one word, got an empty text.")
        tokens = torch.tensor([ids], device=next(model.parameters()).device)

        def run() -> torch.Tensor:
            with evaluating(model):
                words = model(tokens)[0].float().softmax(-1).cpu()  # (T, V)
            # The network reads a mark before and after the words, where nothing is predicted.
            return torch.nn.functional.pad(words, (0, 0, 1, 1))

        names = [self.tokeniser.decode([i]) for i in range(len(self.tokeniser))]
        steps = ("^", *(names[i] for i in ids), "$")
        return Observation({"recurrent": steps}, run, names)

    def predictions(
        self,
        model: nn.Module,
        inputs: Iterable[Sequence[str]],
        options: FillingOptions,
        say: Callable[[str], None],
    ) -> Iterator[Prediction]:
        unknown, most = UnknownTokens(self.tokeniser), options.n_best
        try:
            for number, line in enumerate((line for lines in inputs for line in lines), 1):
                if not line.strip():
                    yield Prediction([""] if most is None else [], {"text": "", "words": []})
                    continue
                try:
                    words = self.guesses(model, line, most or 1)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error
                for side in line.split(GAP):
                    unknown.add(side)
                text = line.replace(GAP, words[0][0])
                best = [f"{number}\t{probability:.4f}\t{word}" for word, probability in words]
                yield Prediction(
                    [text] if most is None else best,
                    {"text": text, "words": [{"word": w, "probability": p} for w, p in words]},
                )
        finally:
            if warning := str(unknown):
                say(warning)

"""char-lm: a language model that predicts and generates text character by character."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.data import (
    TEXT_SETS,
    ContiguousBatches,
    Corpus,
    Vocabulary,
    fingerprint,
    load,
    read_text,
    rows_for_scoring,
    suspicions,
)
from throughtime.data.splits import Cut
from throughtime.layers.recurrent import RecurrentState
from throughtime.models.decoding import Sampling, generate
from throughtime.models.language_model import LanguageModel
from throughtime.models.likelihood import log_likelihood
from throughtime.reading import Entries
from throughtime.tasks.network import (
    MAY_BE_MISSING,
    NetworkConfig,
    check_range,
    forwards_only,
    free,
)
from throughtime.tasks.next_token import SamplingOptions, observed
from throughtime.tasks.run_data import COUNTS, absolute, check_unchanged, split_of
from throughtime.tasks.shown import Shown, Text
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.task import WHOLE, BatchTask, Default, Evaluation, Figure, Loss, Share
from throughtime.tasks.uses import Language, Observation

__all__ = ["CharLM", "CharLMConfig"]

_log = logging.getLogger(__name__)


@dataclass
class CharLMConfig(NetworkConfig):
    """The text, the model, and the batches.

    Args:
        data: name of a data set (tinyshakespeare, warpeace, ptb-char), path of a text file, or path
            of a folder: its train.txt, valid.txt and test.txt (the last two may be missing), or, if
            it has no train.txt, all its *.txt and *.py files as one text (default: the source of
            Python's standard library, which needs no download).
        encoding: encoding of the text at that path, as Python names it.
        valid_fraction: fraction of the text, near its end, that is kept for validation, if the
            data set has no splits (default: 0.1).
        test_fraction: fraction of the text, after the validation text, that is kept for the test
            (default: 0).
        split: how one text is cut into training, validation and test: order, one after the other;
            random, single lines (equal ones together), for lists; blocks, parts of ten blocks.
        embedding_size: width of the character embedding (default: hidden_size if tied, else 64).
        dropout: probability to drop a unit between the layers and before the scores.
        tied: use the embedding as the weights of the output layer, too.
        batch_size: rows of text that are read in parallel, summed over all processes.
        num_steps: steps of truncated backpropagation: characters between two updates.
        sample_length: characters of each sample that is generated during the training.
    """

    REFUSED: ClassVar = forwards_only("characters", "a language model")

    data: str | None = None
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    split: Cut = field(default="order", metadata=MAY_BE_MISSING)
    num_layers: int = 2
    embedding_size: int | None = None
    tied: bool = False
    batch_size: int = 32
    num_steps: int = 100
    sample_length: int = free(300)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data:
            self.data = absolute(self.data, TEXT_SETS)
        if self.sample_length < 0:
            raise ValueError(f"--sample_length: expected 0 or more, got {self.sample_length}.")
        check_range(self, ("sample_length",), least=0, most=10**7)
        check_range(self, ("batch_size", "num_steps"), most=2**31 - 1)


@dataclass
class ScoringOptions:
    """The text to score, if it is not a split of the run's own data.

    Args:
        data: name of a data set or path of a text to score; all of it, or the split of --split.
        text: a text to score.
        encoding: encoding of the text at --data (default: utf-8).
        unknown: what to do with characters that the training never saw: error or skip (default:
            error).
    """

    data: str | None = None
    text: str | None = None
    encoding: str | None = None
    unknown: Literal["error", "skip"] | None = None

    def __post_init__(self) -> None:
        if self.text is not None and self.data is not None:
            raise ValueError("--text is scored by itself; leave out --data and --split")
        if self.encoding is not None and self.data is None:
            raise ValueError("--encoding is that of the text at --data, which is not given")
        if self.unknown is not None and self.data is None and self.text is None:
            raise ValueError("--unknown is for --data and --text; the run knows its own characters")


@dataclass
class WritingOptions(SamplingOptions):
    """How a text is generated.

    Args:
        length: number of characters to generate, of each sample.
        num_samples: number of samples, each of which begins anew, for example the items of a list.
        stop: text at which a sample ends, without it; \\n is a line end and \\t a tab.
        prime: text to continue.
        seed: seed of the random generator (default: a different text each time).
        temperature: divisor of the scores: below 1 favours likely characters, above 1 unlikely
            ones; 0 always takes the likeliest (greedy).
        top_k: number of likeliest characters to draw from (default: all).
        top_p: probability of the smallest set of likeliest characters to draw from (nucleus
            sampling; default: all characters).
    """

    length: int = 500
    num_samples: int = 1
    stop: str | None = None
    prime: str = ""
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.length < 0:
            raise ValueError(f"--length: expected 0 or more, got {self.length}")
        if self.num_samples < 1:
            raise ValueError(f"--num_samples: expected at least 1, got {self.num_samples}")
        if self.stop is not None:
            # A shell passes "\n" as two characters.
            self.stop = self.stop.replace("\\n", "\n").replace("\\t", "\t")
            if not self.stop:
                raise ValueError("--stop: expected at least one character, got none")
        if self.num_samples > 1 and self.temperature == 0:
            raise ValueError(
                "--num_samples: at temperature 0 all samples are equal; raise --temperature"
            )
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed: expected 0 to {2**32 - 1}, got {self.seed}")
        super().__post_init__()


def _vocabulary(tokens: object) -> Vocabulary:
    vocabulary = Vocabulary.from_json(tokens)
    if not len(vocabulary):
        raise ValueError("expected at least one character, got none.")
    return vocabulary


class CharLM(BatchTask):
    r"""Next-character prediction with truncated backpropagation through time:

        L = -1/T sum_t log P(x_{t+1} | x_1 … x_t)

    The text is cut into ``batch_size`` rows, which are read in parallel, ``num_steps`` characters
    at a time. The final state of one batch is the initial state of the next, but the gradient ends
    at the start of the batch.

    Units: the loss is in nats per character; bits per character are nats / ln 2.

    Source: Karpathy, "The unreasonable effectiveness of recurrent neural networks" (2015).
    """

    name = "char-lm"
    Config = CharLMConfig
    Assets = Entries(
        {"vocabulary": _vocabulary, "data": str, "data_sha256": str},
        {"num_characters": COUNTS},
    )
    EvaluationOptions = ScoringOptions
    ContinuationOptions = WritingOptions
    unit = "characters"
    figures: Mapping[str, Figure] = {
        "loss": Figure("nats per character"),
        "bits_per_character": Figure("bits per character"),
    }

    @cached_property
    def corpus(self) -> Corpus:
        """The text. Raises a ValueError if it is not the one that a loaded run was trained on."""
        c = self.config
        corpus = load(
            c.data,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )
        check_unchanged(self.name, "the text", corpus.name, fingerprint(corpus), self._assets)
        return corpus

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        return {"text": self.vocabulary}

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """All characters of the text."""
        if self._assets is not None:
            return Vocabulary.from_json(self._assets["vocabulary"])
        return Vocabulary.from_text(*self.corpus.splits.values())

    @property
    def start(self) -> str:
        """The character that the model reads first if there is no prime: a line end, if any."""
        return "\n" if "\n" in self.vocabulary else self.vocabulary.tokens[0]

    def new_assets(self) -> dict[str, Any]:
        return {
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
        """A split of the text as token ids (N)."""
        text = split_of(self.name, self.corpus.name, self.corpus.splits, split)
        return self.vocabulary.encode(text)

    def check(self) -> None:
        super().check()
        if len(self.tokens("valid")) < 2:
            raise ValueError(
                f"char-lm: expected at least 2 characters to validate on, got "
                f"{len(self.tokens('valid'))} of {self.corpus.name}. Give more text, or a larger "
                f"--valid_fraction."
            )
        corpus = self.corpus
        lines = {split: text.split("\n") for split, text in corpus.splits.items()}
        for warning in suspicions(corpus.name, lines, corpus.cut):
            _log.warning(warning)

    def defaults(self) -> dict[str, Default]:
        c = self.config
        amount = len(split_of(self.name, self.corpus.name, self.corpus.splits, "train"))
        return defaults_for(c, amount, "characters", per_row=c.num_steps, least=4, few=200_000)

    def batches(self, split: str, share: Share = WHOLE) -> ContiguousBatches:
        c = self.config
        return ContiguousBatches(self.tokens(split), c.batch_size, c.num_steps, **share._asdict())

    def model(self) -> LanguageModel:
        c = self.config
        return LanguageModel(
            len(self.vocabulary), embedding_size=c.embedding_size, tied=c.tied, **c.recurrent()
        )

    def loss(
        self,
        model: nn.Module,
        batch: tuple[Tensor, Tensor],
        carried: RecurrentState | None = None,
        progress: float = 0.0,
    ) -> Loss:
        x, y = batch
        scores, last = model(x, carried)  # (B, T, V)
        total = F.cross_entropy(scores.flatten(0, 1), y.flatten(), reduction="sum")
        return Loss(total, y.numel(), last)

    def figures_of_loss(self, loss: float) -> dict[str, float]:
        return {"loss": loss, "bits_per_character": loss / math.log(2)}

    def evaluate(
        self, model: nn.Module, split: str | None = None, options: ScoringOptions | None = None
    ) -> Evaluation:
        o = options or ScoringOptions()
        if o.text is not None and split is not None:
            raise ValueError("--text is scored by itself; leave out --data and --split")
        if o.text is not None:
            return self.score(model, o.text, o.unknown or "error")
        if o.data is not None:
            encoding = o.encoding or "utf-8"
            if split is None:
                text = "".join(read_text(o.data, encoding).values())
            else:
                splits = load(o.data, encoding=encoding).splits
                text = split_of(self.name, o.data, splits, split)
            return self.score(model, text, o.unknown or "error")
        tokens = self.tokens(split or "valid")
        total, count = log_likelihood(model, tokens, rows_for_scoring(len(tokens)))
        return Evaluation(self.figures_of_loss(-total / count), {"split": split or "valid"})

    def score(
        self, model: nn.Module, text: str, unknown: Literal["error", "skip"] = "error"
    ) -> Evaluation:
        """The likelihood of any text.

        Args:
            model: the model.
            text: the text to score.
            unknown: what to do with characters that the training never saw.
        """
        tokens = self.vocabulary.encode(text, unknown=unknown)
        total, count = log_likelihood(model, tokens, rows_for_scoring(len(tokens)))
        figures = {**self.figures_of_loss(-total / count), "log_likelihood": total}
        return Evaluation(figures, {"characters": count, "skipped": len(text) - len(tokens)})

    def held_out(self, most: int) -> list[str]:
        return [split_of(self.name, self.corpus.name, self.corpus.splits, "valid")[:most]]

    @property
    def language(self) -> Language:
        return Language(self.vocabulary.tokens, self.start, self.vocabulary.encode)

    def observe(self, model: nn.Module, input: str) -> Observation:
        tokens = self.vocabulary.encode(input)
        if not len(tokens):
            raise ValueError("expected at least one character, got an empty text.")
        return observed(model, tokens, self.vocabulary.tokens)

    def show(self, model: nn.Module) -> list[Shown]:
        prime = self.vocabulary.encode(self.start)
        tokens = generate(model, prime, self.config.sample_length, Sampling(), seed=0)
        return [Text(self.vocabulary.decode(list(tokens)))]

    def continuation(
        self, model: nn.Module, options: WritingOptions, say: Callable[[str], None] = _log.info
    ) -> Iterator[str]:
        samples = []
        for number in range(options.num_samples):
            if number:
                yield "\n"
            pieces = []
            for piece in self._sample(model, options, number):
                pieces.append(piece)
                yield piece
            samples.append("".join(pieces))
        if options.num_samples > 1 or options.stop is not None:
            say(self._novelty(samples, options.stop))

    def _sample(self, model: nn.Module, options: WritingOptions, number: int) -> Iterator[str]:
        """The pieces of one sample, up to the text at which it stops."""
        start = options.prime or self._start_of_samples(options.stop)
        seed = None if options.seed is None else options.seed + number
        tokens = generate(
            model, self.vocabulary.encode(start), options.length, options.sampling, seed
        )
        yield options.prime
        # What may be the beginning of the stop is held back until it is known not to be.
        stop, pending = options.stop or "", ""
        for token in tokens:
            pending += self.vocabulary.tokens[token]
            if stop and pending.endswith(stop):
                yield pending.removesuffix(stop)
                return
            num_open = next(
                (n for n in range(len(stop) - 1, 0, -1) if stop.startswith(pending[-n:])), 0
            )
            sure = len(pending) - num_open
            yield pending[:sure]
            pending = pending[sure:]
        yield pending

    def _start_of_samples(self, stop: str | None) -> str:
        """What the model reads before a sample: the stop, after which the next item begins."""
        is_known = stop is not None and set(stop) <= set(self.vocabulary.tokens)
        return stop if stop is not None and is_known else self.start

    def _novelty(self, samples: Sequence[str], stop: str | None) -> str:
        """A sentence on how many of the samples are copies of the training text."""
        number, num_different = len(samples), len(set(samples))
        drawn = f"{number:,} {'sample' if number == 1 else 'samples'}, {num_different:,} different"
        try:
            train = self.corpus.splits["train"]
        except (ValueError, OSError) as error:
            return f"{drawn}. How many are copies is unknown, as the training text is not: {error}"
        # An item of a list is a copy of a whole item; other samples may stand anywhere in the text.
        items = set(train.split(stop)) if stop is not None else set()
        copies = sum(s in items if stop is not None else s in train for s in samples)
        return (
            f"{drawn}; {copies:,} ({100 * copies / number:.0f} %) "
            f"{'is a copy' if copies == 1 else 'are copies'} of the training text."
        )

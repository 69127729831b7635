"""tune: a language model of tunes in ABC notation, token by token."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from throughtime.data import EOS, RaggedBatch, RaggedBatches, SymbolTokeniser, pad_rows
from throughtime.data.music import (
    TUNE_SETS,
    ABCError,
    Note,
    Tune,
    TuneSet,
    abc_text,
    load_tunes,
    score_of,
    tunes_of,
)
from throughtime.data.tokeniser import BOS, SPECIALS
from throughtime.layers.evaluation import evaluating
from throughtime.models.decoding import Sampling, draw, seeded
from throughtime.reading import Entries
from throughtime.tasks.audible import OutputOptions, shown_music, write_music
from throughtime.tasks.network import check_range, forwards_only, free
from throughtime.tasks.next_token import (
    NextTokenConfig,
    NextTokenTask,
    SamplingOptions,
    observed,
)
from throughtime.tasks.run_data import COUNTS, absolute, check_unchanged, first_of, split_of
from throughtime.tasks.shown import Shown, Table, Text
from throughtime.tasks.small_data import defaults_for
from throughtime.tasks.task import WHOLE, Default, Evaluation, Figure, Share
from throughtime.tasks.uses import Observation

__all__ = ["TuneConfig", "TuneTask"]

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_TUNES = 1.0
_TEMPO = 300.0
"""The eighth notes per minute of tunes that are played."""
_TEMPERATURES = (0.6, 0.8, 1.0)
"""The temperatures at which tunes are judged."""
_COLUMN_SECONDS = 0.1


@dataclass
class TuneConfig(NextTokenConfig):
    """The tunes, the model, and the batches.

    Args:
        data: name of a data set (oneill, nottingham-abc, ryan, aird, essen; folk, the first four
            together), path of an ABC file, or path of a folder with train.abc, valid.abc and
            test.abc or with other ABC files.
        encoding: encoding of these files, as Python names it.
        valid_fraction: fraction of the tunes that is kept for validation, if they come in no splits
            (default: 0.1).
        test_fraction: fraction of the tunes that is kept for the test (default: 0; 0.1 for a data
            set of that name).
        split: how tunes are cut into splits: order, one after the other; random, equal ones
            together; or blocks, parts of ten blocks (default: random).
        longest: largest number of tokens of a tune of the training; a longer one is left out.
        batch_size: tunes of a batch, summed over all processes.
        data_seed: seed of the order of the tunes.
        sample_temperature: temperature of the tune that is written during the training.
    """

    REFUSED: ClassVar = forwards_only("tokens")

    data: str = "oneill"
    encoding: str = "utf-8"
    valid_fraction: float | None = None
    test_fraction: float | None = None
    _: KW_ONLY
    longest: int = 1000
    batch_size: int = 32
    data_seed: int = 0
    sample_temperature: float = free(0.8)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = absolute(self.data, TUNE_SETS)
        check_range(self, ("longest", "batch_size"), most=2**31 - 1)
        check_range(self, ("data_seed",), least=0, most=2**32 - 1)
        Sampling(self.sample_temperature)


@dataclass
class TuneJudgingOptions:
    """What is measured besides the likelihood.

    Args:
        num_tunes: number of tunes that are drawn at each temperature, and checked: bars that match
            the metre, repeats that match, notes in the key. 0 draws none.
        temperatures: these temperatures (default: 0.6, 0.8 and 1).
        seed: seed of the random generator (default: 0).
    """

    num_tunes: int = 0
    temperatures: list[float] | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        check_range(self, ("num_tunes",), least=0, most=100_000)
        check_range(self, ("seed",), least=0, most=2**32 - 1)
        for name in ("temperatures", "seed"):
            if self.num_tunes == 0 and getattr(self, name) is not None:
                raise ValueError(
                    f"--{name} {getattr(self, name)}: no tunes are drawn, so it would have no "
                    "effect. Give --num_tunes, or leave it out."
                )
        if self.temperatures is not None and not self.temperatures:
            raise ValueError("--temperatures: expected at least one temperature, got none.")
        for temperature in self.temperatures or ():
            Sampling(temperature)
            if temperature == 0 and self.num_tunes > 1:
                raise ValueError(
                    f"--temperatures: at 0 all {self.num_tunes} tunes are the same. Give "
                    "temperatures above 0, or --num_tunes 1."
                )


@dataclass
class ComposingOptions(SamplingOptions, OutputOptions):
    """How tunes are written.

    Args:
        num_tunes: number of tunes.
        metre: metre with which a tune begins, such as 6/8 (default: the model chooses).
        key: key with which it begins, such as G or Ador (default: the model chooses).
        prime: first notes and bars, in ABC with a unit of an eighth; needs metre and key.
        output: file for the tunes, which ends in .abc, .mid or .wav (default: none).
        tempo: eighth notes per minute, for .mid and .wav (default: 300).
        longest: largest number of tokens of a tune.
        seed: seed of the random generator (default: different tunes each time).
    """

    FORMATS: ClassVar = ("abc", "mid", "wav")

    num_tunes: int = 1
    metre: str | None = None
    key: str | None = None
    prime: str = ""
    tempo: float | None = None
    longest: int = 1000
    seed: int | None = None

    def __post_init__(self) -> None:
        check_range(self, ("num_tunes", "longest"), most=100_000)
        check_range(self, ("seed",), least=0, most=2**32 - 1)
        SamplingOptions.__post_init__(self)
        OutputOptions.__post_init__(self)
        if self.tempo is not None:
            if not 1 <= self.tempo <= 10_000:
                raise ValueError(
                    f"--tempo: expected 1 to 10,000 eighths a minute, got {self.tempo}."
                )
            if self.output is None or self.output.endswith(".abc"):
                raise ValueError(
                    f"--tempo {self.tempo:g}: tokens have no tempo, so it would have no effect. "
                    "Write a .mid or a .wav with --output, or leave it out."
                )
        if self.key is not None and self.metre is None:
            raise ValueError("--key: a tune begins with its metre; give --metre, too.")
        if self.prime and self.key is None:
            raise ValueError(
                "--prime: notes come after metre and key; give --metre and --key, too."
            )

    @property
    def tokens(self) -> list[str]:
        """The first tokens of each tune."""
        if self.metre is None:
            return []
        text = f"X:1\nM:{self.metre}\nL:1/8\nK:{self.key or 'C'}\n{self.prime or 'C'}"
        (tune,) = tunes_of("--prime", text)
        if isinstance(tune, ABCError):
            raise ValueError(f"--metre, --key, --prime: {tune}")
        # The melody of a tune without one is only there because a tune needs one.
        return list(tune.tokens[: None if self.prime else 1 if self.key is None else 2])


class TuneTask(NextTokenTask):
    r"""Next-token prediction of tunes, each read from its begin token to its end token:

        L = -1/N sum_n log P(x_n | x_1 … x_{n-1})

    Tokens are the metre, the key, pitches, durations in eighth notes, bar lines, repeats, tuplets,
    ties and broken rhythms.

    Metrics (with ``--num_tunes``): the share of drawn tunes that are valid, for each temperature;
    see :func:`throughtime.data.music.score_of`.

    Units: the loss is in nats per token; the end of a tune counts as a token.

    Source: Sturm et al., "Music transcription modelling and composition using deep learning",
        arXiv 1604.08723. Differs: durations count eighth notes, and the vocabulary is that of the
        data.
    """

    name = "tune"
    Config = TuneConfig
    Assets = Entries(
        {"data": str, "data_sha256": str, "tokeniser": SymbolTokeniser.from_json},
        {"num_tunes": COUNTS},
    )
    EvaluationOptions = TuneJudgingOptions
    ContinuationOptions = ComposingOptions
    unit = "tokens"
    figures: Mapping[str, Figure] = {"loss": Figure("nats per token")}

    @cached_property
    def tunes(self) -> TuneSet:
        """The tunes. Raises a ValueError if they are not those of a loaded run's training."""
        c = self.config
        tunes = load_tunes(
            c.data,
            encoding=c.encoding,
            valid_fraction=c.valid_fraction,
            test_fraction=c.test_fraction,
            cut=c.split,
        )
        check_unchanged(self.name, "the tunes", tunes.name, tunes.fingerprint(), self._assets)
        return tunes

    def new_assets(self) -> dict[str, Any]:
        tunes = self.tunes
        texts = (" ".join(tune.tokens) for tune in tunes.splits["train"])
        return {
            "data": tunes.name,
            "data_sha256": tunes.fingerprint(),
            "tokeniser": SymbolTokeniser.fit(texts).to_json(),
            "num_tunes": {split: len(items) for split, items in tunes.splits.items()},
        }

    @cached_property
    def tokeniser(self) -> SymbolTokeniser:
        """The tokens of the training split."""
        return SymbolTokeniser.from_json(self.assets["tokeniser"])

    @property
    def tokenisers_by_name(self) -> Mapping[str, Any]:
        return {"text": self.tokeniser}

    def items(self, split: str) -> list[Tune]:
        """The tunes of a split."""
        return split_of(self.name, self.tunes.name, self.tunes.splits, split)

    def rows(self, tunes: Sequence[Tune]) -> list[list[int]]:
        """The token ids of tunes, each from its begin to its end."""
        return [[BOS, *self.tokeniser.encode(" ".join(t.tokens)), EOS] for t in tunes]

    def defaults(self) -> dict[str, Default]:
        amount = len(self.items("train"))
        return defaults_for(self.config, amount, "tunes", per_row=1, least=4, few=10_000)

    def check(self) -> None:
        self.items("valid")
        lengths = [len(tune.tokens) for tune in self.items("train")]
        num_long = sum(length > self.config.longest for length in lengths)
        if num_long == len(lengths):
            raise ValueError(
                f"--longest {self.config.longest}: expected a number that some tunes do not "
                f"exceed, but the shortest has {min(lengths)} tokens. Raise it."
            )
        if num_long:
            what = f"{num_long} {'tune is' if num_long == 1 else 'tunes are'}"
            _log.warning("%s longer than --longest %d, and left out.", what, self.config.longest)
        super().check()

    def batches(self, split: str, share: Share = WHOLE) -> RaggedBatches[RaggedBatch]:
        c = self.config
        tunes = [tune for tune in self.items(split) if len(tune.tokens) <= c.longest]
        return self._batches(tunes, c.batch_size, seed=c.data_seed, **share._asdict())

    def _batches(
        self, tunes: Sequence[Tune], size: int, **options: Any
    ) -> RaggedBatches[RaggedBatch]:
        rows = self.rows(tunes)
        return RaggedBatches(
            list(map(len, rows)),
            lambda chosen: pad_rows([rows[i] for i in chosen]),
            size,
            **options,
        )

    @property
    def num_tokens(self) -> int:
        return len(self.tokeniser)

    def evaluate(
        self,
        model: nn.Module,
        split: str | None = None,
        options: TuneJudgingOptions | None = None,
    ) -> Evaluation:
        split = split or "valid"
        tunes = self.items(split)
        total, count = self.total_loss(model, self._batches(tunes, 32, is_shuffled=False))
        tables = []
        if options is not None and options.num_tunes:
            tables = [self._validity(model, tunes, split, options)]
        about = {"split": split, "tunes": len(tunes), "tokens": count}
        return Evaluation({"loss": total / count}, about, tables=tables)

    def _validity(
        self, model: nn.Module, tunes: Sequence[Tune], split: str, options: TuneJudgingOptions
    ) -> Table:
        """The share of valid tunes among those of a split, and among drawn ones."""
        sets = {f"the split {split}": [tune.tokens for tune in tunes]}
        for temperature in options.temperatures or _TEMPERATURES:
            seed = options.seed or 0
            how = ComposingOptions(options.num_tunes, seed=seed, temperature=temperature)
            sets[f"temperature {temperature:g}"] = self.drawn(model, how)
        known = {tune.tokens for tune in self.items("train")}
        rows = []
        for name, drawn in sets.items():
            num_valid = sum(not score_of(tokens).problems for tokens in drawn)
            copies = sum(tuple(tokens) in known for tokens in drawn)
            rows.append([name, len(drawn), round(num_valid / len(drawn), 4), copies])
        return Table(["tunes", "number", "valid", "copies"], rows, "valid tunes")

    # Music.

    def drawn(self, model: nn.Module, options: ComposingOptions) -> list[tuple[str, ...]]:
        """Draws tunes, side by side."""
        device, generator = next(model.parameters()).device, seeded(options.seed)
        prime = options.tokens
        ids = self.tokeniser.encode(" ".join(prime))
        unknown = self.tokeniser.unknown(" ".join(prime))
        if unknown:
            raise ValueError(
                f"expected tokens that occur in the training tunes, got {unknown[0]!r}. Choose "
                "another metre, key or prime."
            )
        if len(prime) > options.longest:
            raise ValueError(
                f"--longest {options.longest}: expected at least the {len(prime)} tokens with "
                "which the tune begins (metre, key and prime). Raise it."
            )
        N = options.num_tunes
        tokens = torch.tensor([[BOS, *ids]], device=device).expand(N, -1)
        columns: list[Tensor] = []
        is_over = torch.zeros(N, dtype=torch.bool)
        state = None
        for _ in range(options.longest - len(ids)):
            with evaluating(model):
                scores, state = model(tokens, state)
            scores = scores[:, -1].float().cpu()
            # No tune has a padding, a begin, or an unknown token in it.
            scores[:, [i for i in range(len(SPECIALS)) if i != EOS]] = -torch.inf
            token = draw(scores, options.sampling, generator)
            # What follows the end of a tune is not decoded.
            is_over |= token == EOS
            columns.append(token)
            if is_over.all():
                break
            tokens = token[:, None].to(device)
        drawn = torch.stack(columns, 1).tolist() if columns else [[]] * N
        return [(*prime, *self.tokeniser.decode(row).split()) for row in drawn]

    def show(self, model: nn.Module) -> list[Shown]:
        options = ComposingOptions(seed=0, temperature=self.config.sample_temperature)
        (tokens,) = self.drawn(model, options)
        notes, seconds = _played([tokens], 60 / _TEMPO)
        shown: list[Shown] = [Text(abc_text(tokens))]
        return shown + (shown_music([notes], seconds, _COLUMN_SECONDS) if notes else [])

    def continuation(
        self, model: nn.Module, options: ComposingOptions, say: Callable[[str], None] = _log.info
    ) -> Iterator[str]:
        drawn = self.drawn(model, options)
        texts = [abc_text(tokens, number) for number, tokens in enumerate(drawn, 1)]
        yield "\n\n".join(texts)
        problems = [score_of(tokens).problems for tokens in drawn]
        num_valid = sum(not p for p in problems)
        first = Counter(p[0].partition(": ")[2] or p[0] for p in problems if p).most_common(1)
        reason = f" The most frequent problem: {first[0][0]}." if first else ""
        number = f"{len(drawn)} {'tune' if len(drawn) == 1 else 'tunes'}"
        say(f"{number}, {num_valid} valid ({100 * num_valid / len(drawn):.0f} %).{reason}")
        if options.output is None:
            return
        if options.output.endswith(".abc"):
            Path(options.output).expanduser().write_text("\n\n".join(texts) + "\n", "utf-8")
            say(f"{options.output}: {number}.")
            return
        notes, seconds = _played(drawn, 60 / (options.tempo or _TEMPO))
        say(write_music(options, [notes], seconds))

    # The lens.

    def held_out(self, most: int) -> list[Tune]:
        return first_of(self.items("valid"), lambda tune: len(tune.tokens), most)

    def observe(self, model: nn.Module, input: str | Tune) -> Observation:
        # A tune of the data may have tokens that the training never saw; a text may be misspelt.
        text = input if isinstance(input, str) else " ".join(input.tokens)
        unknown = self.tokeniser.unknown(text) if isinstance(input, str) else []
        if unknown or not text.split():
            got = f"{unknown[0]!r}" if unknown else "an empty text"
            raise ValueError(f"expected tokens of a tune with spaces between them, got {got}.")
        return observed(model, torch.tensor(self.tokeniser.encode(text)), self.tokeniser.tokens)


def _played(tunes: Sequence[Sequence[str]], eighth: float) -> tuple[list[Note], float]:
    """The notes of tunes, one after the other, and the seconds that they take.

    Args:
        tunes: the tokens of each tune.
        eighth: the seconds of an eighth note.
    """
    notes: list[Note] = []
    now = 0.0
    for tokens in tunes:
        own = score_of(tokens).notes(eighth)
        notes += [note._replace(start=now + note.start, end=now + note.end) for note in own]
        last = max((note.end for note in own), default=0.0)
        now += last + _SECONDS_BETWEEN_TUNES
    return notes, max(0.0, now - _SECONDS_BETWEEN_TUNES)

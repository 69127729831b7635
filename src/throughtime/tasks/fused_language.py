"""A trained language model that takes part in the search of a transcript."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.layers.evaluation import evaluating
from throughtime.tasks.loading import load_run
from throughtime.tasks.uses import Language, Streams

__all__ = ["FusedLanguage", "FusionOptions", "fused_language"]

_USUAL_WIDTH = 16
_MOST_STATES = 20_000


@dataclass
class FusionOptions:
    """How a transcript is searched.

    Args:
        beam_width: number of beginnings that the search keeps; 1 takes the best symbol of each
            step (default: 1, or 16 with --lm).
        lm: the run folder of a language model (char-lm) that takes part in the search. It must know
            all symbols of the transcripts.
        lm_weight: factor of the logarithms of its probabilities (default: 0.5).
        length_bonus: what each symbol adds to the score of a transcript, because a language model
            favours short ones (default: 0).
    """

    beam_width: int | None = None
    lm: str | None = None
    lm_weight: float | None = None
    length_bonus: float | None = None

    def check_fusion(self) -> None:
        """Raises a ValueError for an option that is out of its range or has no effect."""
        for name, least in (("lm_weight", 0.0), ("length_bonus", -math.inf)):
            value = getattr(self, name)
            if value is None:
                continue
            if self.lm is None:
                raise ValueError(f"--{name} is of --lm, which is missing")
            if not math.isfinite(value) or value < least:
                bounds = "of 0 or more" if least == 0 else "that is finite"
                raise ValueError(f"--{name}: expected a number {bounds}, got {value}")

    @property
    def width(self) -> int:
        """The width of the beam."""
        return self.beam_width or (_USUAL_WIDTH if self.lm is not None else 1)


@dataclass
class FusedLanguage:
    r"""Scores the symbols of a transcript by a language model:

        r(k | l) = w log P(text of k | text of l) + b,    e(l) = w log P(line end | text of l)

    A symbol may be several tokens of the model, such as the letters of a word and a space before
    it. e(l) is 0 if the model has no line ends.

    Args:
        model: maps tokens (B, T) and a state to scores (B, T, V) and the next state.
        first, later: for each class the tokens of its symbol at the beginning of a transcript, and
            after other symbols; none for class 0.
        start: the tokens that the model reads before a transcript.
        end_token: the token of a line end; None if the model has none.
        weight: w.
        bonus: b.
    """

    model: nn.Module
    first: Sequence[Sequence[int]]
    later: Sequence[Sequence[int]]
    start: Sequence[int]
    end_token: int | None
    weight: float
    bonus: float
    # The state after each beginning, with the log-probabilities (V) of the next token.
    _states: dict[tuple[int, ...], tuple[Any, Tensor]] = field(default_factory=dict, init=False)
    _scores: dict[tuple[int, ...], list[float]] = field(default_factory=dict, init=False)

    def scores(self, symbols: tuple[int, ...]) -> Sequence[float]:
        """What each class adds to the score if it follows these symbols, (C); not of class 0."""
        if not symbols and len(self._states) > _MOST_STATES:
            # A search begins; what is known of earlier ones takes memory.
            self._states.clear()
            self._scores.clear()
        if symbols not in self._scores:
            state, logs = self._after(symbols)
            values = [0.0]
            for tokens in (self.later if symbols else self.first)[1:]:
                total = float(logs[tokens[0]])
                if len(tokens) > 1:
                    _, further = self._read(tokens[:-1], state)
                    total += sum(float(row[k]) for row, k in zip(further, tokens[1:], strict=True))
                values.append(self.weight * total + self.bonus)
            self._scores[symbols] = values
        return self._scores[symbols]

    def end(self, symbols: tuple[int, ...]) -> float:
        """What it adds to the score if the transcript ends after these symbols."""
        if self.end_token is None:
            return 0.0
        return self.weight * float(self._after(symbols)[1][self.end_token])

    def _after(self, symbols: tuple[int, ...]) -> tuple[Any, Tensor]:
        if symbols not in self._states:
            tokens, before = self.start, None
            if len(symbols) > 0:
                tokens = (self.later if len(symbols) > 1 else self.first)[symbols[-1]]
                before, _ = self._after(symbols[:-1])
            state, logs = self._read(tokens, before)
            self._states[symbols] = state, logs[-1]
        return self._states[symbols]

    def _read(self, tokens: Sequence[int], state: Any) -> tuple[Any, Tensor]:
        """The state after tokens, and the log-probabilities (T, V) of the token after each."""
        device = next(self.model.parameters()).device
        with evaluating(self.model):
            scores, state = self.model(torch.tensor([list(tokens)], device=device), state)
        return state, scores[0].double().log_softmax(-1).cpu()


def fused_language(
    options: FusionOptions, num_classes: int, text_of: Callable[[Sequence[int]], str]
) -> FusedLanguage | None:
    """The language model of ``--lm``; None without one.

    Args:
        options: the options of the search.
        num_classes: C, the number of symbols, with class 0.
        text_of: the text of symbols.

    Raises:
        ValueError: if the run is none of a language model, or does not know a symbol.
    """
    if options.lm is None:
        return None
    run = load_run(Path(options.lm).expanduser())
    if not isinstance(run.task, Streams):
        raise ValueError(
            f"--lm {options.lm}: expected a run of a language model (char-lm), got one of "
            f"{run.task.name}."
        )
    language = run.task.language
    symbols = range(1, num_classes)
    first: list[list[int]] = [[]]
    later: list[list[int]] = [[]]
    unknown: list[str] = []
    for k in symbols:
        # What a symbol adds to a text depends on whether it is the first: a word has a space.
        alone = text_of([k])
        for texts, tokens in ((alone, first), (text_of([k, k]).removeprefix(alone), later)):
            known = _tokens(language, texts)
            tokens.append(known or [0])
            if known is None and alone not in unknown:
                unknown.append(alone)
    if unknown:
        raise ValueError(
            f"--lm {options.lm}: does not know {len(unknown)} of the {len(symbols)} symbols of the "
            f"transcripts ({', '.join(map(repr, unknown[:8]))}{', …' if unknown[8:] else ''}), or "
            "the space between them. Train a language model on transcripts such as those of this "
            "run, one on each line."
        )
    is_line = language.start == "\n"
    start = language.encode(language.start).tolist()
    return FusedLanguage(
        run.model,
        first,
        later,
        start,
        start[0] if is_line else None,
        0.5 if options.lm_weight is None else options.lm_weight,
        options.length_bonus or 0.0,
    )


def _tokens(language: Language, text: str) -> list[int] | None:
    """The tokens of a text; None if it is empty or the model does not know it."""
    try:
        return language.encode(text).tolist() or None
    except ValueError:
        return None

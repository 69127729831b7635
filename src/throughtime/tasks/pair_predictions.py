"""The predictions of a sequence-to-sequence model, one for each line of an input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from throughtime.data import Tokeniser, num_read
from throughtime.models import Hypothesis
from throughtime.tasks.alignments import align
from throughtime.tasks.unknown_tokens import UnknownTokens
from throughtime.tasks.uses import Prediction

__all__ = ["SearchOptions", "Searches", "predict_lines"]

_MAX_WARNINGS = 5


@dataclass
class SearchOptions:
    """How outputs are searched.

    Args:
        beam_width: width of the beam; 1 is greedy search (default: the setting of the run, or
            --n_best if that is more).
        n_best: number of outputs to write for each line, the best first, each as line number,
            score and output, separated by tabs (default: only the best output).
        length_power: exponent a of the score log P / n^a by which outputs of n tokens are ranked;
            0 prefers short outputs, 1 compares the mean per token (default: 1).
    """

    beam_width: int | None = None
    n_best: int | None = None
    length_power: float | None = None

    def __post_init__(self) -> None:
        for name in ("beam_width", "n_best"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name}: expected at least 1, got {value}")
        if self.length_power is not None and not 0 <= self.length_power < math.inf:
            raise ValueError(f"--length_power: expected 0 or more, got {self.length_power}")

    def search(self, usual_width: int) -> dict[str, Any]:
        """The arguments of :func:`throughtime.tasks.rewriting.hypotheses`.

        Args:
            usual_width: the width of the beam without ``--beam_width``.
        """
        n_best = self.n_best or 1
        width = self.beam_width or max(usual_width, n_best)
        if n_best > width:
            raise ValueError(f"--n_best: expected at most --beam_width {width}, got {n_best}")
        if self.length_power is not None and width == 1 and self.n_best is None:
            raise ValueError(
                "--length_power ranks the hypotheses of a beam, and would have no effect on one. "
                "Leave it out, or use --beam_width of 2 or more"
            )
        power = 1.0 if self.length_power is None else self.length_power
        return {"beam_width": width, "n_best": n_best, "length_power": power}


class Searches(Protocol):
    """The part of a sequence-to-sequence task that its predictions use.

    A protocol and not the class itself, which imports this module.
    """

    config: Any

    @property
    def tokenisers(self) -> tuple[Tokeniser, Tokeniser]: ...

    @property
    def assets(self) -> dict[str, Any]: ...

    def read(self, text: str) -> str: ...

    def shown(self, source: str) -> str: ...

    def search(
        self, model: nn.Module, sources: Sequence[Sequence[int]], **how: Any
    ) -> list[list[Hypothesis]]: ...


def predict_lines(
    task: Searches,
    model: nn.Module,
    inputs: Iterable[Sequence[str]],
    options: SearchOptions,
    say: Callable[[str], None],
    explain: bool = False,
) -> Iterator[Prediction]:
    """Yields the prediction of each line; see :meth:`throughtime.tasks.uses.Predicts.predictions`.

    The user is warned of sources that are longer than twice the longest one of the training, and
    of unknown tokens.
    """
    search = {**options.search(task.config.beam_width), "keep_attention": explain}
    source_tokeniser, target_tokeniser = task.tokenisers
    unit, unknown = source_tokeniser.unit, UnknownTokens(source_tokeniser)
    longest = task.assets["longest_source"]
    limit = num_read(longest)
    number = num_long = num_cut = 0
    try:
        for lines in inputs:
            sources = [task.read(line) if line else "" for line in lines]
            for line_number, source in enumerate(sources, number + 1):
                length = unknown.add(source)
                num_long += length > 2 * longest
                num_cut += length > limit
                result = "The output may be poor"
                if length > limit:
                    result = f"Only its first {limit:,} are read"
                if length > 2 * longest and num_long <= _MAX_WARNINGS:
                    say(
                        f"line {line_number}: has {length:,} {unit}, the longest of the training "
                        f"{longest:,}. {result}; cut it into shorter ones."
                    )
            ids = [source_tokeniser.encode(source)[:limit] for source in sources]
            for source, hypotheses in zip(sources, task.search(model, ids, **search), strict=True):
                number += 1
                texts = [target_tokeniser.decode(h.tokens) for h in hypotheses] or [""]
                # The score includes the end token of a finished hypothesis, so the length does too.
                scores = [
                    h.score / (len(h.tokens) + h.is_finished) ** search["length_power"]
                    for h in hypotheses
                ] or [0.0]
                outputs = list(zip(texts, scores, strict=True))
                ranked = [f"{number}\t{score:.4f}\t{text}" for text, score in outputs]
                shown = task.shown(source)
                yield Prediction(
                    texts if options.n_best is None else ranked,
                    {
                        "text": texts[0],
                        "outputs": [{"text": text, "score": score} for text, score in outputs],
                    },
                    align(task.tokenisers, source, hypotheses[0], shown) if hypotheses else None,
                )
    finally:
        if num_long > _MAX_WARNINGS:
            say(f"{num_long - _MAX_WARNINGS} more lines are as long.")
            if num_cut:
                say(f"Of {num_cut:,} in all only the first {limit:,} {unit} were read.")
        if warning := str(unknown):
            say(warning)

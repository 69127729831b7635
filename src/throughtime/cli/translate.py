"""throughtime translate RUN: from each line of the input to what the model makes of it."""

from __future__ import annotations

import io
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import nn

from throughtime.cli.lines import read_lines
from throughtime.cli.parser import Parser
from throughtime.data import in_words, num_read, one_line
from throughtime.inspection.alignments import align, has_attention
from throughtime.inspection.attention_map import (
    AttentionMap,
    can_write_attention,
    write_attention,
)
from throughtime.models import Hypothesis
from throughtime.tasks.run import Run
from throughtime.tasks.sequence_to_sequence import SequenceToSequence

__all__ = ["main"]

_MOST_MAPS = 50
_MOST_WARNINGS = 5
_MOST_UNKNOWN = 10_000
_LONGEST_UNKNOWN = 100


def main(argv: Sequence[str]) -> int:
    parser = _parser()
    given = parser.parse(argv)
    args = parser.complete(given)
    for name in ("beam_width", "n_best", "batch_size"):
        if args[name] is not None and args[name] < 1:
            parser.error(f"--{name}: expected at least 1, got {args[name]}")
    if not 0 <= args["length_power"] < math.inf:
        parser.error(f"--length_power: expected 0 or more, got {args['length_power']}")
    if args["text"] is not None:
        try:
            args["text"] = one_line(args["text"])
        except ValueError as error:
            parser.error(f"--text: {error}; several are read from the input")
    if args["text"] is not None and "batch_size" in given:
        parser.error("--batch_size is for the lines of the input, and would have no effect on one")
    picture = Path(args["attention"]) if args["attention"] is not None else None
    if picture is not None:
        can_write_attention(picture)

    run = Run(Path(args["run"]))
    task = run.task()
    if not isinstance(task, SequenceToSequence):
        raise ValueError(
            f"{run.folder}: expected a run from one sequence to another, got one of {task.name}. "
            "Let a language model write with throughtime generate."
        )
    search = _search(parser, task, args, given)
    if picture is not None and not has_attention(task):
        raise ValueError(
            f"{run.folder}: was trained with attention={task.config.attention}, so there is "
            "nothing to draw. Leave --attention out."
        )
    translation = _Translation(task, run.load_model(task), search, args["n_best"], picture)

    if isinstance(sys.stdout, io.TextIOWrapper):
        # What is read as UTF-8 is written so, whatever the terminal is set to.
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    if args["text"] is not None:
        batches: Iterable[list[str]] = [[args["text"]]]
    else:
        if sys.stdin is None:
            raise ValueError("expected lines on the input, got a closed one. Use --text.")
        if sys.stdin.isatty():
            _say("a line, Enter, and its output follows; Ctrl-D ends")
        batches = read_lines(cast(io.BufferedIOBase, sys.stdin.buffer), args["batch_size"])
    try:
        for lines in batches:
            sys.stdout.write("".join(translation.of(lines)))
            sys.stdout.flush()
    except BrokenPipeError:
        # Who has read enough wants no summary.
        raise
    except BaseException:
        translation.conclude()
        raise
    translation.conclude()
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="throughtime translate",
        description="Reads lines (UTF-8), and writes for each what the model makes of it: as soon "
        "as it is known, in the same order, an empty line for an empty line.",
    )
    parser.add_argument("run", type=str, help="the run folder of a task of sequence to sequence")
    parser.add_argument("--text", type=str, help="one line, instead of those of the input")
    parser.add_argument(
        "--beam_width",
        type=int | None,
        help="hypotheses that are followed, 1 is greedy; where not given that of the run, or "
        "--n_best, where that is more",
    )
    parser.add_argument(
        "--n_best",
        type=int | None,
        help="write so many outputs for each line, the best first, each as the number of its "
        "line, a tab, its score, a tab, and the output",
    )
    parser.add_argument(
        "--length_power",
        type=float,
        default=1.0,
        help="hypotheses are ranked by log P / n ** length_power, n the tokens; 0 prefers short "
        "ones, 1 compares the means. That is the score",
    )
    parser.add_argument(
        "--batch_size", type=int, default=64, help="lines that are read together, at most"
    )
    parser.add_argument(
        "--attention",
        type=str | None,
        help=f"a file (.html or .png) for where the model looked, of the first {_MOST_MAPS} lines",
    )
    return parser


def _search(
    parser: Parser, task: SequenceToSequence, args: dict[str, Any], given: dict[str, Any]
) -> dict[str, Any]:
    """The options of the search, which must fit one another."""
    n_best = args["n_best"] or 1
    width = args["beam_width"] or max(task.config.beam_width, n_best)
    if n_best > width:
        parser.error(f"--n_best: expected at most --beam_width {width}, got {n_best}")
    if "length_power" in given and width == 1 and args["n_best"] is None:
        parser.error(
            "--length_power ranks the hypotheses of a beam, and would have no effect on one. "
            "Leave it out, or use --beam_width of 2 or more"
        )
    return {"beam_width": width, "n_best": n_best, "length_power": args["length_power"]}


@dataclass
class _Translation:
    """What is made of the lines, and what is to be said of them in the end.

    Args:
        task, model: of the run.
        search: the options of :func:`throughtime.tasks.rewriting.hypotheses`.
        n_best: as it was given; None writes the outputs alone.
        picture: where the attention is drawn.
    """

    task: SequenceToSequence
    model: nn.Module
    search: dict[str, Any]
    n_best: int | None = None
    picture: Path | None = None
    number: int = 0
    num_long: int = 0
    num_cut: int = 0
    num_tokens: int = 0
    num_more_unknown: int = 0
    num_drawable: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    maps: list[AttentionMap] = field(default_factory=list)

    def of(self, lines: Sequence[str]) -> list[str]:
        """The lines to write, with their ends."""
        sources = [self.task.read(line) if line else "" for line in lines]
        reads = self.task.tokenisers[0]
        coded: list[list[int]] = []
        for place, source in enumerate(sources, 1):
            ids = reads.encode(source)
            self._look_at(self.number + place, source, len(ids))
            coded.append(ids[: self.most])
        is_drawn = self.picture is not None and len(self.maps) < _MOST_MAPS
        found = self.task.search(self.model, coded, **self.search, keep_attention=is_drawn)
        written: list[str] = []
        for source, best in zip(sources, found, strict=True):
            self.number += 1
            written += self._written(best)
            if self.picture is not None and best:
                self._draw(source, best[0])
        return written

    @property
    def most(self) -> int:
        """How many tokens of a line are read."""
        return num_read(self.task.assets["longest_source"])

    def _look_at(self, number: int, source: str, length: int) -> None:
        reads, longest = self.task.tokenisers[0], self.task.assets["longest_source"]
        self.num_tokens += length
        for part in reads.unknown(source):
            part = part[:_LONGEST_UNKNOWN]
            # An endless input may hold an endless number of them.
            if part in self.unknown or len(self.unknown) < _MOST_UNKNOWN:
                self.unknown[part] += 1
            else:
                self.num_more_unknown += 1
        is_cut = length > self.most
        self.num_cut += is_cut
        if length > 2 * longest:
            self.num_long += 1
            result = (
                f"Only its first {self.most:,} are read" if is_cut else "The output may be poor"
            )
            if self.num_long <= _MOST_WARNINGS:
                _say(
                    f"line {number}: has {length:,} {reads.unit}, the longest of the training "
                    f"{longest:,}. {result}; cut it into shorter ones."
                )

    def _written(self, best: Sequence[Hypothesis]) -> list[str]:
        writes = self.task.tokenisers[1]
        texts = [writes.decode(found.tokens) for found in best] or [""]
        if self.n_best is None:
            return [f"{texts[0]}\n"]
        power = self.search["length_power"]
        # The end is a token, too, where there is one.
        scores = [h.score / (len(h.tokens) + h.is_finished) ** power for h in best] or [0.0]
        return [
            f"{self.number}\t{score:.4f}\t{text}\n"
            for score, text in zip(scores, texts, strict=True)
        ]

    def _draw(self, source: str, best: Hypothesis) -> None:
        self.num_drawable += bool(best.tokens)
        drawn = align(self.task, source, best) if len(self.maps) < _MOST_MAPS else None
        if drawn is not None:
            self.maps.append(drawn._replace(title=f"{self.number}: {drawn.title}"))

    def conclude(self) -> None:
        """Says what was not known, and writes the picture."""
        if self.num_long > _MOST_WARNINGS:
            _say(f"{self.num_long - _MOST_WARNINGS} more lines are as long.")
            unit = self.task.tokenisers[0].unit
            if self.num_cut:
                _say(f"Of {self.num_cut:,} in all only the first {self.most:,} {unit} were read.")
        if self.unknown:
            told = in_words(self.unknown, self.num_tokens, self.task.tokenisers[0].unit, most=10)
            more = f"; and {self.num_more_unknown:,} others" if self.num_more_unknown else ""
            _say(f"{told}{more}. The model cannot tell them apart.")
        if self.picture is None:
            return
        if not self.maps:
            _say(f"no line has an output with attention, so {self.picture} was not written.")
            return
        write_attention(self.picture, self.maps)
        if self.num_drawable > len(self.maps):
            _say(f"{self.picture}: shows the first {len(self.maps)} of {self.num_drawable} lines.")


def _say(text: str) -> None:
    print(f"throughtime translate: {text}", file=sys.stderr, flush=True)

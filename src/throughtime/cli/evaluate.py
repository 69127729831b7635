"""throughtime evaluate RUN: how likely a model finds a split, a file, or a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from throughtime.cli.parser import Parser
from throughtime.data import load
from throughtime.tasks.char_lm import CharLM
from throughtime.tasks.run import Run

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime evaluate",
        description="Scores the best model of a run: on its own validation split, or on what "
        "--data or --text give.",
    )
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument("--data", type=str | None, help="a data set or the path of a text")
    parser.add_argument("--text", type=str, help="a sentence")
    parser.add_argument(
        "--split", type=str | None, help="a split of the run's data (valid), or of --data (all)"
    )
    parser.add_argument("--encoding", type=str, default="utf-8", help="of the text at --data")
    parser.add_argument(
        "--unknown",
        type=Literal["error", "skip"],
        default="error",
        help="what to do with characters that the training never saw",
    )
    parser.add_argument("--json", type=bool, default=False, help="print JSON, and nothing else")
    given = parser.parse(argv)
    args = parser.complete(given)
    if args["text"] is not None and (args["data"] is not None or args["split"] is not None):
        parser.error("--text is scored by itself; leave out --data and --split")
    if "encoding" in given and args["data"] is None:
        parser.error("--encoding is that of the text at --data, which is not given")
    if "unknown" in given and args["data"] is None and args["text"] is None:
        parser.error("--unknown is for --data and --text; the run knows its own characters")

    run = Run(Path(args["run"]))
    task = run.task()
    model = run.load_model(task)
    if args["data"] is None and args["text"] is None:
        split = args["split"] or "valid"
        figures: dict[str, Any] = {"split": split, **task.metrics(model, split)}
    elif isinstance(task, CharLM):
        figures = task.score(model, _text(args), args["unknown"])
    else:
        raise ValueError(f"{run.folder}: a run of {task.name}, which scores its splits only.")
    print(json.dumps(figures) if args["json"] else _in_lines(figures))
    return 0


def _text(args: dict[str, Any]) -> str:
    if args["text"] is not None:
        return args["text"]
    splits = load(args["data"], encoding=args["encoding"]).splits
    if args["split"] is None:
        return "".join(splits.values())
    if args["split"] not in splits:
        raise ValueError(
            f'{args["data"]} has no split "{args["split"]}", only {", ".join(splits)}.'
        )
    return splits[args["split"]]


def _in_lines(figures: dict[str, Any]) -> str:
    width = max(map(len, figures))
    shown = {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in figures.items()}
    lines = [f"{k.replace('_', ' '):<{width}}  {v}" for k, v in shown.items()]
    if "loss" in figures:
        perplexity = math.exp(figures["loss"]) if figures["loss"] < 700 else math.inf
        lines.append(f"{'perplexity':<{width}}  {perplexity:.4f}")
    return "\n".join(lines)

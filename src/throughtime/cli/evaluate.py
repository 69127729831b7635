"""throughtime evaluate RUN: how well a model does on a split, a file, or a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from throughtime.cli.parser import Parser
from throughtime.data import load
from throughtime.tasks.char_lm import CharLM
from throughtime.tasks.rewriting import character_error_rate, match_figures
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.sequence_to_sequence import SequenceToSequence

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
    parser.add_argument(
        "--beam_width",
        type=int | None,
        help="hypotheses that are followed, where sequences are made of sequences; 1 is greedy, "
        "and where not given it is that of the run",
    )
    parser.add_argument(
        "--outputs", type=str | None, help="a file for what is made of the split, line by line"
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
    if args["beam_width"] is not None and args["beam_width"] < 1:
        parser.error(f"--beam_width: expected at least 1, got {args['beam_width']}")
    outputs = Path(args["outputs"]) if args["outputs"] is not None else None
    if outputs is not None and not outputs.parent.is_dir():
        parser.error(f"--outputs: there is no folder {outputs.parent}. Make it first")
    if outputs is not None and outputs.is_dir():
        parser.error(f"--outputs: expected the name of a file, got the folder {outputs}")

    run = Run(Path(args["run"]))
    task = run.task()
    for name in ("beam_width", "outputs"):
        if args[name] is not None and not isinstance(task, SequenceToSequence):
            raise ValueError(
                f"{run.folder}: --{name} is for runs from one sequence to another, and would have "
                f"no effect on one of {task.name}. Leave it out."
            )
    is_split = args["data"] is None and args["text"] is None
    if not is_split and not isinstance(task, CharLM):
        hint = " See what it makes of a text by throughtime translate."
        raise ValueError(
            f"{run.folder}: a run of {task.name}, which scores its splits only."
            f"{hint if isinstance(task, SequenceToSequence) else ''}"
        )
    model = run.load_model(task)
    split = args["split"] or "valid"
    if isinstance(task, SequenceToSequence):
        figures = _of_pairs(task, model, split, args["beam_width"], outputs)
    elif isinstance(task, CharLM) and not is_split:
        figures = task.score(model, _text(args), args["unknown"])
    else:
        figures = {"split": split, **task.metrics(model, split)}
    print(json.dumps(figures) if args["json"] else _in_lines(figures))
    return 0


def _of_pairs(
    task: SequenceToSequence,
    model: nn.Module,
    split: str,
    beam_width: int | None,
    file: Path | None,
) -> dict[str, Any]:
    """The task's own figures of a split, those that all such tasks have, and their signatures."""
    task.config.beam_width = beam_width or task.config.beam_width
    task.warn(split)
    pairs, own = task.split(split), task.metrics(model, split)
    outputs = task.outputs[split]
    if file is not None:
        text = "".join(f"{output}\n" for output in outputs)
        written_whole(
            file, lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace")
        )
    common = {"exact_match": match_figures(pairs, outputs)["exact_match"]}
    if task.tokenisers[1].kind != "symbols":
        # Symbols have names, not letters.
        common["character_error_rate"] = character_error_rate(pairs, outputs)
    figures = {"split": split, "pairs": len(pairs), "beam_width": task.config.beam_width, **own}
    figures |= {name: value for name, value in common.items() if name not in own}
    return figures | ({"signatures": task.signatures} if task.signatures else {})


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
    figures = dict(figures)
    signatures = figures.pop("signatures", {})
    width = max(map(len, figures))
    shown = {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in figures.items()}
    shown = {k: f"{v}  {signatures.get(k, '')}".rstrip() for k, v in shown.items()}
    lines = [f"{k.replace('_', ' '):<{width}}  {v}" for k, v in shown.items()]
    if "loss" in figures and "perplexity" not in figures:
        perplexity = math.exp(figures["loss"]) if figures["loss"] < 700 else math.inf
        lines.append(f"{'perplexity':<{width}}  {perplexity:.4f}")
    return "\n".join(lines)

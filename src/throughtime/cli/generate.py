"""throughtime generate RUN: let a trained language model write."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from throughtime.cli.parser import Parser
from throughtime.models.decoding import Sampling, generate
from throughtime.tasks.char_lm import CharLM
from throughtime.tasks.run import Run

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime generate",
        description="Writes on from a prime, each character as it is drawn.",
    )
    parser.add_argument("run", type=str, help="the run folder of a char-lm training")
    parser.add_argument("--length", type=int, default=500, help="characters to draw")
    parser.add_argument("--prime", type=str, default="", help="the text to go on from")
    parser.add_argument("--seed", type=int | None, help="the same seed draws the same text")
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        help="below 1 keeps to the likely, above 1 dares more; 0 takes the likeliest (greedy)",
    )
    parser.add_argument(
        "--top_k", type=int | None, help="draw among this many of the likeliest characters"
    )
    parser.add_argument(
        "--top_p",
        type=float | None,
        help="draw among the fewest characters whose probabilities sum to this (nucleus)",
    )
    args = parser.complete(parser.parse(argv))
    if args["length"] < 0:
        parser.error(f"--length: expected 0 or more, got {args['length']}")
    if args["seed"] is not None and not 0 <= args["seed"] < 2**32:
        parser.error(f"--seed: expected 0 to {2**32 - 1}, got {args['seed']}")
    sampling = Sampling(args["temperature"], args["top_k"], args["top_p"])

    run = Run(Path(args["run"]))
    task = run.task()
    if not isinstance(task, CharLM):
        raise ValueError(f"{run.folder}: a run of {task.name}, which writes no text.")
    model = run.load_model(task)
    prime = task.vocabulary.encode(args["prime"] or task.start)

    sys.stdout.write(args["prime"])
    for token in generate(model, prime, args["length"], sampling, args["seed"]):
        sys.stdout.write(task.vocabulary.tokens[token])
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0

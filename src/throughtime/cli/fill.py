"""throughtime fill RUN: the missing word of each line."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from throughtime.cli.lines import read_lines
from throughtime.cli.parser import Parser
from throughtime.data import in_words, one_line
from throughtime.tasks.cloze import GAP, MissingWord
from throughtime.tasks.run import Run

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="throughtime fill",
        description=f"Reads lines (UTF-8) with {GAP} where a word is missing, and writes each with "
        "the likeliest word in its place, in the same order; an empty line stays empty.",
    )
    parser.add_argument("run", type=str, help="the run folder of a cloze task")
    parser.add_argument("--text", type=str, help="one line, instead of those of the input")
    parser.add_argument(
        "--n_best",
        type=int | None,
        help="write so many words for each line instead, the likeliest first, each as the number "
        "of its line, a tab, its probability, a tab, and the word",
    )
    args = parser.complete(parser.parse(argv))
    if args["text"] is not None:
        try:
            args["text"] = one_line(args["text"])
        except ValueError as error:
            parser.error(f"--text: {error}; several are read from the input")
    if args["n_best"] is not None and args["n_best"] < 1:
        parser.error(f"--n_best: expected at least 1, got {args['n_best']}")
    run = Run(Path(args["run"]))
    task = run.task()
    if not isinstance(task, MissingWord):
        raise ValueError(
            f"{run.folder}: expected a run of cloze, got one of {task.name}. Train one by "
            f"throughtime train cloze."
        )
    model = run.load_model(task)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What is read as UTF-8 is written so, whatever the terminal is set to.
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    if args["text"] is not None:
        batches: Iterable[list[str]] = [[args["text"]]]
    elif sys.stdin is None:
        raise ValueError("expected lines on the input, got a closed one. Use --text.")
    else:
        batches = read_lines(cast(io.BufferedIOBase, sys.stdin.buffer), 64)

    unknown: Counter[str] = Counter()
    number = num_words = 0
    for line in (line for lines in batches for line in lines):
        number += 1
        if not line.strip():
            sys.stdout.write("\n" if args["n_best"] is None else "")
            continue
        try:
            found = task.guesses(model, line, args["n_best"] or 1)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        for side in line.split(GAP):
            unknown.update(task.tokeniser.unknown(side))
            num_words += len(task.tokeniser.encode(side))
        if args["n_best"] is None:
            sys.stdout.write(line.replace(GAP, found[0][0]) + "\n")
        else:
            sys.stdout.writelines(f"{number}\t{chance:.4f}\t{word}\n" for word, chance in found)
        sys.stdout.flush()
    if unknown:
        told = in_words(unknown, num_words, task.tokeniser.unit)
        print(f"throughtime fill: {told}. The model cannot tell them apart.", file=sys.stderr)
    return 0

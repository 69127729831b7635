"""throughtime generate RUN: writes a sequence with a trained model."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from throughtime.cli import completion
from throughtime.cli.opening import open_run, options_of
from throughtime.cli.parser import Parser
from throughtime.tasks.task import NoOptions
from throughtime.tasks.uses import Continues

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    run, task = open_run("generate", argv, Continues, "that creates sequences")
    parser = Parser(
        prog="throughtime generate",
        description="Writes a sequence with a trained model, each piece as soon as it is drawn.",
    )
    parser.completers = {"run": completion.run_folders}
    parser.add_argument("run", type=str, help="the run folder of a task that creates sequences")
    parser.add_argument(
        "--step", type=int | None, help="a model that --keep_best has kept, instead of the best"
    )
    kind = task.ContinuationOptions if isinstance(task, Continues) else NoOptions
    parser.add_class_arguments(kind)
    args = parser.complete(parser.parse(argv))
    assert run is not None
    assert isinstance(task, Continues)
    options = options_of(parser, kind, args)
    remarks: list[str] = []
    model = run.load_model(task, args["step"])
    begin, count = time.perf_counter(), 0
    for piece in task.continuation(model, options, remarks.append):
        sys.stdout.write(piece)
        sys.stdout.flush()
        count += len(piece)
    seconds = time.perf_counter() - begin
    remarks.append(f"{count:,} characters in {seconds:.2f} s: {count / seconds:,.0f} a second.")
    sys.stdout.write("\n")
    sys.stdout.flush()
    for remark in remarks:
        print(remark, file=sys.stderr)
    return 0

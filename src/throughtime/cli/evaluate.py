"""throughtime evaluate RUN: measures how well a trained model does."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from throughtime.cli import completion
from throughtime.cli.opening import open_run, options_of
from throughtime.cli.parser import Parser
from throughtime.inspection.report import write_report
from throughtime.inspection.shown_files import write_evaluated
from throughtime.reading import path_of
from throughtime.tasks.run import Run, written_whole
from throughtime.tasks.shown import as_text, table_of
from throughtime.tasks.task import Evaluation, Figure, NoOptions, Task
from throughtime.tasks.uses import Predicts
from throughtime.training.progress import Display

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    run, task = open_run("evaluate", argv)
    parser = Parser(
        prog="throughtime evaluate",
        description="Measures the best model of a run, on the validation split of its own data or "
        "on the data that the options name.",
    )
    if isinstance(task, Predicts):
        parser.hints = {"--text": "Use `throughtime predict` for the outputs of your own lines."}
    parser.completers = {"run": completion.run_folders}
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument("--split", type=str | None, help="a split of the data (default: valid)")
    parser.add_argument(
        "--step", type=int | None, help="a model that --keep_best has kept, instead of the best"
    )
    parser.add_argument(
        "--outputs",
        type=str | None,
        help="a file for the outputs of the model, one line for each example",
    )
    parser.add_argument("--json", type=bool, default=False, help="print JSON, and nothing else")
    kind = NoOptions if task is None else task.EvaluationOptions
    parser.add_class_arguments(kind)
    args = parser.complete(parser.parse(argv))
    assert run is not None
    assert task is not None
    outputs = path_of("--outputs", args["outputs"]) if args["outputs"] is not None else None
    if outputs is not None and not task.has_outputs:
        parser.error(
            f"--outputs: a run of {task.name} has no outputs to write, so it would have no "
            "effect. Leave it out"
        )
    if outputs is not None and not outputs.parent.is_dir():
        parser.error(f"--outputs: there is no folder {outputs.parent}. Create it first")
    if outputs is not None and outputs.is_dir():
        parser.error(f"--outputs: expected the name of a file, got the folder {outputs}")
    options = options_of(parser, kind, args)
    model = run.load_model(task, args["step"])
    evaluation = _evaluated(task, model, args["split"], options)
    if outputs is not None:
        text = "".join(f"{output}\n" for output in evaluation.outputs)
        written_whole(
            outputs, lambda path: path.write_text(text, encoding="utf-8", errors="backslashreplace")
        )
    print(_in_json(evaluation) if args["json"] else _in_lines(evaluation, task.figures))
    if evaluation.curves:
        _keep_curves(run, evaluation)
    return 0


def _keep_curves(run: Run, evaluation: Evaluation) -> None:
    """Shows the curves of an evaluation in the report, or warns if the run cannot be written."""
    try:
        write_evaluated(run, evaluation)
        write_report(run)
    except (OSError, ValueError) as error:
        print(
            f"Warning: the curves are not in the report of {run.folder}: {error}", file=sys.stderr
        )


def _evaluated(task: Task, model: nn.Module, split: str | None, options: Any) -> Evaluation:
    """The evaluation of a model, with its progress on the standard error."""
    display = Display(task.unit, is_stderr=True)
    display.start()
    try:
        with display.counting("evaluation"):
            return task.evaluate(model, split, options)
    finally:
        display.stop()


def _in_json(evaluation: Evaluation) -> str:
    record: dict[str, Any] = {**evaluation.about, **evaluation.figures}
    record |= {"signatures": evaluation.signatures} if evaluation.signatures else {}
    for table in evaluation.tables:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        record[table.title.replace(" ", "_")] = rows
    if evaluation.curves:
        record["curves"] = [asdict(item) for item in evaluation.curves]
    return json.dumps(record)


def _in_lines(evaluation: Evaluation, figures: Mapping[str, Figure]) -> str:
    values: dict[str, Any] = {**evaluation.about, **evaluation.figures}
    is_likelihood = "loss" in figures and figures["loss"].unit.startswith("nats per")
    if is_likelihood and "loss" in values and "perplexity" not in values:
        values["perplexity"] = math.exp(values["loss"]) if values["loss"] < 700 else math.inf
    width = max(map(len, values))
    shown = {k: f"{v:.4f}" if isinstance(v, float) else str(v) for k, v in values.items()}
    lines = "\n".join(
        f"{k.replace('_', ' '):<{width}}  {v}  {evaluation.signatures.get(k, '')}".rstrip()
        for k, v in shown.items()
    )
    tables = [*evaluation.tables, *map(table_of, evaluation.curves)]
    return "\n\n".join([lines, *map(as_text, tables)])

"""throughtime train TASK: from a text to a trained model, in a run folder."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from throughtime import tasks
from throughtime.cli.parser import Parser, fields, settings_of_file
from throughtime.tasks.run import Run, RunError
from throughtime.tasks.task import Task
from throughtime.training.config import GradientConfig

__all__ = ["main"]

# What a resumed run may change: how far and on what it runs, not what is learned.
_FREE_ON_RESUME = {
    "epochs", "max_time", "sample_every", "save_every", "log_every", "sample_length",
    "accelerator", "strategy", "backend", "learning_rate", "clip_norm",
}  # fmt: skip


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0].startswith("-"):
        print(_usage())
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    kind = tasks.get(argv[0])
    parser = _parser(kind, GradientConfig)
    given = parser.parse(argv[1:])
    folder, resume, recipe = (given.pop(k, None) for k in ("run", "resume", "config"))
    known = [*fields(kind.Config), *fields(GradientConfig)]
    if recipe:
        given = settings_of_file(recipe, known) | given
        # Of the type of the setting: YAML takes 4e-3 for a word.
        given = {k: v for k, v in parser.complete(given).items() if k in given}
    if resume and not folder:
        raise ValueError("--resume goes on with a run, so it needs --run FOLDER.")

    # A process that another has started beside itself finds the folder made.
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    folder = folder if is_first else os.environ.get("THROUGHTIME_RUN", folder)
    run = Run(Path(folder)) if folder else None
    assets = None
    if run is not None and resume and run.config_file.is_file():
        given, assets = _resumed(run, kind, given)
    elif run is not None and is_first and not run.is_free():
        raise RunError(_taken(run))

    values = parser.complete(given)
    task = kind(kind.Config(**{k: values[k] for k in fields(kind.Config)}), assets)
    config = GradientConfig(**{k: values[k] for k in fields(GradientConfig)})
    run = run or _new_run(task)
    os.environ["THROUGHTIME_RUN"] = str(run.folder)
    # Lightning takes seconds to import; a wrong word is answered without it.
    from throughtime.training.gradient import Diverged, check, fit

    lock = None
    try:
        if is_first:
            check(task, config)
            lock = run.lock()
            run.create(task, asdict(config))
            size = run.config()["parameters"]
            print(f"{task.name}: {task.title}, {size:,} parameters -> {run.folder}", flush=True)
        outcome = fit(task, config, run, resume=bool(resume))
    except Diverged as error:
        if is_first:
            print(f"throughtime train: {error}", file=sys.stderr, flush=True)
        return 1
    except RuntimeError:
        # The first process tells what has gone wrong; the others only lose it.
        if is_first:
            raise
        return 1
    finally:
        os.environ.pop("THROUGHTIME_RUN", None)
        if lock is not None:
            lock.release()
    if is_first:
        print(_conclusion(task, run, outcome))
    return 0


def _parser(kind: type[Task], config: type) -> Parser:
    parser = Parser(prog=f"throughtime train {kind.name}", description=_first_line(kind))
    parser.add_class_arguments(kind.Config)
    parser.add_class_arguments(config)
    group = parser.add_argument_group("The run")
    group.add_argument("--run", type=str, help="the folder to write; a new one, or with --resume")
    group.add_argument("--resume", type=bool, help="go on from the last checkpoint in the folder")
    group.add_argument("--config", type=str, help="settings from a recipe; options go before them")
    return parser


def _first_line(kind: type[Task]) -> str:
    return (kind.__doc__ or "").partition("\n")[0].rstrip(":.") + "."


def _resumed(
    run: Run, kind: type[Task], given: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the run, with what may change; refuses what may not."""
    saved = run.config()
    if saved["task"] != kind.name:
        raise RunError(f"{run.folder}: holds a run of {saved['task']}, not of {kind.name}.")
    # Tells of settings that it lacks.
    run.task()
    before = {**saved["settings"], **saved["training"]}
    # The time is that of each call.
    before.pop("max_time", None)
    for name, value in given.items():
        if name in _FREE_ON_RESUME or name not in before or before[name] == value:
            continue
        if name not in saved["settings"] or _settled(kind, saved, name, value) != before[name]:
            raise RunError(
                f"{run.folder}: the run has {name}={before[name]}, got {value}. A resumed run "
                f"keeps its settings; leave --{name} out, or train into another --run."
            )
    return before | given, saved["assets"]


def _settled(kind: type[Task], saved: dict[str, Any], name: str, value: Any) -> Any:
    """What becomes of a setting among those of a run; itself, where it does not go with them."""
    try:
        return getattr(kind.Config(**{**saved["settings"], name: value}), name)
    except ValueError:
        return value


def _taken(run: Run) -> str:
    if run.folder.is_file():
        return f"{run.folder}: is a file. Name a folder with --run."
    if run.config_file.is_file():
        return (
            f"{run.folder}: a run is there already. Go on with it by --resume, or name another "
            f"folder with --run."
        )
    return f"{run.folder}: is not empty, and holds no run. Name another folder with --run."


def _new_run(task: Task) -> Run:
    for number in itertools.count(1):
        run = Run(Path("runs") / task.name / (task.title + (f"-{number}" if number > 1 else "")))
        if run.is_free():
            return run
    raise AssertionError


def _conclusion(task: Task, run: Run, outcome: Any) -> str:
    figures = ", ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in outcome.figures.items())
    ended = {
        "complete": f"The run is complete after {outcome.step} steps.",
        "time": f"The time is over after {outcome.step} steps; go on with --resume.",
        "interrupted": f"Stopped at step {outcome.step}; go on with --resume.",
    }[outcome.reason]
    return f"{ended} Best validation: {figures}.\nReport: {run.report_file}"


def _usage() -> str:
    return "\n".join(
        [
            "usage: throughtime train TASK [options]",
            "",
            "tasks:",
            *(f"  {name:<12} {_first_line(tasks.get(name))}" for name in tasks.names()),
            "",
            "throughtime train TASK --help tells the options of a task.",
        ]
    )

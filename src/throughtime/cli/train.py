"""throughtime train TASK: trains a model and writes it into a run folder."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from throughtime import tasks
from throughtime.cli import completion
from throughtime.cli.parser import Parser, fields, learner_of_file, settings_of_file
from throughtime.cli.resuming import resumed
from throughtime.reading import kinds_of, path_of, typed
from throughtime.tasks.run import Run, RunError
from throughtime.tasks.task import BatchTask, Task
from throughtime.training.config import GradientConfig
from throughtime.training.learner import CONFIGS, Diverged, choose
from throughtime.training.processes import is_first_by_environment
from throughtime.training.signals import STATUS
from throughtime.training.small_data import suit

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0].startswith("-"):
        completion.complete_one_of("throughtime train", tasks.names())
        print(_usage())
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    kind = tasks.get(argv[0])
    learner = choose(kind, _learner_of(argv[1:]))
    parser = _parser(kind, CONFIGS[learner])
    options, call = _options(parser, argv[1:], kind, learner)
    is_print = bool(call["print_config"])

    # A process that the first one has started uses the folder that the first one has created.
    is_first = is_first_by_environment()
    folder = call["run"] if is_first else os.environ.get("THROUGHTIME_RUN", call["run"])
    run = Run(path_of("--run", folder)) if folder else None
    assets = None
    if run is not None and call["resume"]:
        options, assets = resumed(run, kind, learner, options)
    elif run is not None and is_first and not run.is_free() and not is_print:
        raise RunError(_taken(run))

    values = parser.complete(options)
    task = kind(kind.Config(**{k: values[k] for k in fields(kind.Config)}), assets)
    config = CONFIGS[learner](**{k: values[k] for k in fields(CONFIGS[learner])})
    if is_print:
        names = [*fields(kind.Config), *fields(CONFIGS[learner])]
        print(_recipe(kind.name, learner, {name: values[name] for name in names}), end="")
        return 0
    remarks = []
    if isinstance(config, GradientConfig) and isinstance(task, BatchTask) and not call["resume"]:
        # A recipe is a complete setting: what it leaves out has the documented default.
        config, remarks = suit(task, config, values if call["config"] else options)
    return _train(task, config, learner, run or _new_run(task), bool(call["resume"]), remarks)


def _options(
    parser: Parser, argv: Sequence[str], kind: type[Task], learner: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that command line and recipe make, and the options of the command itself.

    Raises:
        ValueError: for a setting of a wrong type, and for options of the command that do not fit.
    """
    options = parser.parse(argv)
    names = ("run", "resume", "config", "print_config", "learner")
    call = {name: options.pop(name, None) for name in names}
    kinds = {**kinds_of(kind.Config), **kinds_of(CONFIGS[learner])}
    for name, value in options.items():
        options[name] = typed(f"--{name}", value, kinds[name])
    if call["config"]:
        options = settings_of_file(call["config"], kinds) | options
    if call["resume"] and not call["run"]:
        raise ValueError("--resume goes on with a run, so it needs --run FOLDER.")
    if options.get("num_nodes", 1) > 1 and not call["run"]:
        raise ValueError(
            "--num_nodes needs --run FOLDER, on a disk that all nodes share, so that they agree "
            "on the run."
        )
    return options, call


def _train(
    task: Task, config: Any, learner: str, run: Run, resume: bool, remarks: Sequence[str]
) -> int:
    """Trains in the run folder, tells how it ends, and returns the exit status."""
    # Lightning and TensorBoard take seconds to import; a wrong word is answered without them.
    from throughtime.training.checkpoint import CheckpointError
    from throughtime.training.companions import Lost
    from throughtime.training.fit import check, fit

    is_first = is_first_by_environment()
    os.environ["THROUGHTIME_RUN"] = str(run.folder)
    lock = None
    try:
        if is_first:
            check(task, config)
            lock = run.lock()
            run.create(task, asdict(config), learner)
            print(_introduction(task, run, resume, remarks), flush=True)
        outcome = fit(task, config, run, resume=resume)
    except (Diverged, Lost) as error:
        if is_first if isinstance(error, Diverged) else error.is_told:
            print(f"throughtime train: {error}", file=sys.stderr, flush=True)
        return 1
    except (RunError, CheckpointError):
        # The first process tells what has gone wrong in all of them.
        if is_first:
            raise
        return 1
    finally:
        os.environ.pop("THROUGHTIME_RUN", None)
        if lock is not None:
            lock.release()
    if is_first:
        print(_conclusion(run, outcome), flush=True)
    return 1 if outcome.reason == "journal" else STATUS.get(outcome.reason, 0)


def _introduction(task: Task, run: Run, resume: bool, remarks: Sequence[str]) -> str:
    """What is trained, where, and with which settings that the user did not make."""
    size = run.config()["parameters"]
    lines = [f"{task.name}: {task.title}, {size:,} parameters -> {run.folder}"]
    if remarks:
        lines += ["Settings that suit the amount of data:", *remarks]
    if resume and not run.checkpoint_file.is_file():
        lines.append(
            "No step was saved yet, so the training starts at step 0, with the settings of the run."
        )
    return "\n".join(lines)


def _learner_of(argv: Sequence[str]) -> str | None:
    """The learner that the command line, the recipe or the resumed run names, if any.

    It is read before the other options, since each learner has its own.
    """
    options: dict[str, str] = {}
    for word, follower in zip(argv, [*argv, None][1:], strict=True):
        name, equals, value = word.partition("=")
        options.setdefault(name, value if equals else follower or "")
        if name == "--learner" and not equals and follower is None:
            # The parser refuses an option without its value.
            return None
    if "--learner" in options:
        return options["--learner"]
    if "--config" in options and path_of("--config", options["--config"]).is_file():
        return learner_of_file(options["--config"])
    run = Run(path_of("--run", options["--run"])) if "--run" in options else None
    if run is not None and "--resume" in options and run.config_file.is_file():
        return run.config().get("learner")
    return None


def _parser(kind: type[Task], config: type) -> Parser:
    parser = Parser(
        prog=f"throughtime train {kind.name}",
        # Every setting is an option, so that a complete line of usage would fill a screen.
        usage="%(prog)s [options]",
        description=_first_line(kind),
    )
    parser.completers = {
        "cell": completion.cell_names,
        "run": completion.run_folders,
        "config": completion.recipes(kind.name),
        "learner": lambda **_: CONFIGS,
    }
    parser.add_class_arguments(kind.Config)
    parser.add_class_arguments(config)
    group = parser.add_argument_group("The run")
    group.add_argument(
        "--learner", type=str, help=f"how it is learned: {', '.join(CONFIGS)}; has its own options"
    )
    group.add_argument("--run", type=str, help="the folder to write; a new one, or with --resume")
    group.add_argument(
        "--resume", type=bool, help="go on with the run in the folder, from its last checkpoint"
    )
    group.add_argument(
        "--config", type=str, help="a recipe with settings; options on the command line override it"
    )
    group.add_argument(
        "--print_config", type=bool, help="print all settings as a recipe, and train nothing"
    )
    return parser


def _recipe(task: str, learner: str, settings: Mapping[str, Any]) -> str:
    """All settings as a recipe, which ``--config`` reads."""
    content = {"task": task, "learner": learner, **settings}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _first_line(kind: type[Task]) -> str:
    return (kind.__doc__ or "").partition("\n")[0].rstrip(":.") + "."


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


def _conclusion(run: Run, outcome: Any) -> str:
    figures = ", ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in outcome.figures.items())
    ended = {
        "complete": f"The run is complete after {outcome.step} steps.",
        "patience": f"The run ends after {outcome.step} steps, because the last validations "
        "(--patience) brought no new best one.",
        "time": f"The time is over after {outcome.step} steps; go on with --resume.",
    }.get(
        outcome.reason,
        f"{outcome.reason}: Stopped at step {outcome.step}, saved in {run.checkpoint_file}; go on "
        "with --resume.",
    )
    judged = f"Best validation: {figures}." if figures else "No validation yet."
    report = f"\nReport: {run.report_file}" if run.report_file.is_file() else ""
    return f"{ended} {judged}{report}"


def _usage() -> str:
    width = max(map(len, tasks.names()))
    return "\n".join(
        [
            "usage: throughtime train TASK [options]",
            "",
            "tasks:",
            *(f"  {name:<{width}}  {_first_line(tasks.get(name))}" for name in tasks.names()),
            "",
            "throughtime train TASK --help lists the options of a task.",
        ]
    )

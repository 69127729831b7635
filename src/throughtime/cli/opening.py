"""A run as a command opens it: its options are those of its task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from throughtime.cli.parser import Parser
from throughtime.tasks.run import Run
from throughtime.tasks.task import Task

__all__ = ["open_run", "options_of"]


def open_run(
    command: str, argv: Sequence[str], use: type | None = None, words: str = ""
) -> tuple[Run | None, Task | None]:
    """The run that the command line names, and its task; neither if it names none.

    The first word that is no option names the run, unless only a later one is a run folder.

    Args:
        use: a protocol of :mod:`throughtime.tasks.uses` that the task must have.
        words: the kind of task that has it, for the message.

    Raises:
        RunError: if the folder is no run.
        ValueError: if the task is not of that use.
    """
    candidates = [word for word in argv if not word.startswith("-")]
    runs = [word for word in candidates if (Path(word) / "config.json").is_file()]
    names = runs or candidates
    if not names or (not runs and {"-h", "--help"} & set(argv)):
        return None, None
    run = Run(Path(names[0]))
    task = run.task()
    if use is not None and not isinstance(task, use):
        raise ValueError(
            f"{run.folder}: a run of {task.name}, got no task {words}, so `throughtime {command}` "
            "has nothing to do with it."
        )
    return run, task


def options_of(parser: Parser, kind: type, args: Mapping[str, Any]) -> Any:
    """The options of a use, from the arguments of the command; ends it if they do not fit."""
    names = [option.name for option in dataclasses.fields(kind) if option.init]
    try:
        return kind(**{name: args[name] for name in names})
    except ValueError as error:
        parser.error(str(error))

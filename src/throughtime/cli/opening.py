"""How commands open a run, whose task defines further options of the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from throughtime.cli.parser import Parser
from throughtime.reading import Entries, kinds_of, typed
from throughtime.tasks.run import Run
from throughtime.tasks.task import Task

__all__ = ["check_options", "open_run", "options_of"]


def open_run(
    command: str, argv: Sequence[str], use: type | None = None, words: str = ""
) -> tuple[Run | None, Task | None]:
    """The run on the command line and its task; None for both if there is no run.

    The run is the first word that names a run folder, or else the first word that is no option.

    Args:
        command: the name of the command.
        argv: its words.
        use: a protocol of :mod:`throughtime.tasks.uses` that the task must have.
        words: a description of the tasks that have it, for the message.

    Raises:
        RunError: if the folder is no run.
        ValueError: if the task does not have the protocol.
    """
    candidates = [word for word in argv if not word.startswith("-")]
    runs = [word for word in candidates if _is_run(word)]
    names = runs or candidates
    if not names or (not runs and {"-h", "--help"} & set(argv)):
        return None, None
    run = Run(Path(names[0]))
    task = run.task()
    if use is not None and not isinstance(task, use):
        raise ValueError(
            f"{run.folder}: `throughtime {command}` expected a run of a task {words}, got one of "
            f"{task.name}."
        )
    return run, task


def _is_run(word: str) -> bool:
    try:
        return (Path(word) / "config.json").is_file()
    except OSError:
        # A long text is no name that a file can have.
        return False


def options_of(parser: Parser, kind: type, args: Mapping[str, Any]) -> Any:
    """The options of a task, from the arguments of the command; a wrong one ends the program."""
    names = [option.name for option in dataclasses.fields(kind) if option.init]
    try:
        return kind(**{name: args[name] for name in names})
    except ValueError as error:
        parser.error(str(error))


def check_options(where: str, kind: type, values: Mapping[str, Any]) -> None:
    """Raises a ValueError if values are no options of a task.

    Args:
        where: what names the values, with which the message begins.
        kind: the dataclass of the options.
        values: the values by name.
    """
    options = typed(where, values, Entries({}, kinds_of(kind)))
    try:
        kind(**options)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error

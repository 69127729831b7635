"""throughtime: train, read, judge and look at recurrent networks."""

from __future__ import annotations

import errno
import importlib
import io
import sys
from collections.abc import Sequence
from importlib import metadata

from throughtime.checks import nearest

__all__ = ["main"]

_COMMANDS = {
    "train": "train a network on a task, into a run folder",
    "generate": "let a trained model create a sequence",
    "predict": "what a trained model makes of each line of the input",
    "evaluate": "score a trained model on a split, or on other data",
    "table": "train the runs of a table, and write one page with their figures",
    "cells": "list the recurrent cells",
    "equations": "print the equations of a cell, and its derived backward step",
    "bench": "measure speed and memory of the layers, beside their peers",
    "info": "versions, threads, and which backends can run here",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        print(f"throughtime {metadata.version('throughtime')}")
        return 0
    command, rest = argv[0], argv[1:]
    if command not in _COMMANDS:
        hint = nearest(command, _COMMANDS) or "."
        print(f'throughtime: unknown command "{command}"{hint}\n\n{_overview()}', file=sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot show ends no training.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        # A command imports only what it needs: Lightning alone takes seconds.
        module = importlib.import_module(f"throughtime.cli.{command}")
        return module.main(rest)
    except BrokenPipeError:
        # The reader of the output has gone, as `head` does.
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"throughtime {command}: {_in_words(error)}", file=sys.stderr)
        return 1


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f"{error.filename}: " if error.filename else ""
        return (
            f"{where}no space is left on the disk. What was saved before is untouched. "
            f"Make room, then go on with --resume."
        )
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _overview() -> str:
    lines = [
        "usage: throughtime COMMAND [options]",
        "",
        "Recurrent neural networks, from the equation to the kernel.",
        "",
        *(f"  {name:<10} {what}" for name, what in _COMMANDS.items()),
        "",
        "throughtime COMMAND --help tells the options of a command.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

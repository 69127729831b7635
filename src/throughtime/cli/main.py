"""throughtime: the command that runs all others."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from throughtime.cli import placeholders

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "train": "train a network on a task, into a run folder",
    "generate": "write a sequence with a trained model",
    "predict": "write the output of a trained model for each line of the input",
    "inspect": "show what a trained network does while it reads, or the equations of a cell",
    "evaluate": "measure a trained model on a split of its data or on other data",
    "export": "write a trained model as C or ONNX, for programs without Python",
    "table": "train the runs of a table and write one page with their figures",
    "cells": "list the recurrent cells",
    "equations": "print the equations of a cell and its derived backward step",
    "bench": "measure the speed and memory of the layers beside other libraries",
    "info": "print versions, threads, and which backends can run here",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, and returns the exit status.

    Args:
        argv: the words after ``throughtime``; None takes those of the process.
    """
    is_own_process = argv is None
    is_completion = is_own_process and "_ARGCOMPLETE" in os.environ
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    if is_completion or (is_own_process and placeholders.only_helps(argv)):
        placeholders.install()
    if is_completion:
        from throughtime.cli import completion

        argv = completion.words_before()
        if not argv:
            completion.complete_one_of("throughtime", COMMANDS)
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"throughtime {metadata.version('throughtime')}")
        return 0
    if argv[0].partition("=")[0].replace("-", "_") == "__print_completion":
        return _print_completion(argv)
    command, rest = argv[0], argv[1:]
    if command not in COMMANDS:
        from throughtime.checks import nearest

        hint = nearest(command, COMMANDS) or "."
        print(f'throughtime: unknown command "{command}"{hint}\n\n{_overview()}', file=sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot show must not end a training.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        # Each command is imported alone, because Lightning takes seconds.
        module = importlib.import_module(f"throughtime.cli.{command}")
        return module.main(rest)
    except BrokenPipeError:
        # The reader of the output has closed it, as `head` does.
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"throughtime {command}: {_in_words(error, command)}", file=sys.stderr)
        return 1


def _print_completion(argv: Sequence[str]) -> int:
    from throughtime.cli import completion

    option, _, shell = argv[0].partition("=")
    shell = shell or "".join(argv[1:2])
    if shell not in completion.SHELLS:
        shells = ", ".join(completion.SHELLS)
        print(f'throughtime: {option}: expected one of {shells}, got "{shell}".', file=sys.stderr)
        return 2
    print(completion.script(shell))
    return 0


def _in_words(error: Exception, command: str) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = f"{error.filename}: " if error.filename else ""
        again = "go on with --resume" if command == "train" else "call the command again"
        return (
            f"{where}no space is left on the disk. What was saved before is untouched. "
            f"Make room, then {again}."
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
        *(f"  {name:<10} {what}" for name, what in COMMANDS.items()),
        "",
        "throughtime COMMAND --help lists the options of a command.",
        "throughtime --version, -V prints the version.",
        "throughtime --print_completion bash|zsh|fish prints a script that completes words by Tab:",
        '  eval "$(throughtime --print_completion bash)"         in ~/.bashrc',
        '  eval "$(throughtime --print_completion zsh)"          in ~/.zshrc, after compinit',
        "  throughtime --print_completion fish | source          in ~/.config/fish/config.fish",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

"""Completion of the word under the cursor in bash, zsh and fish, by argcomplete.

The shell runs the command itself, with the line so far in its environment. The command builds its
parser as it does for a real call, and the parser offers what can follow; so the words to complete
are listed nowhere but in the parsers.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter

__all__ = ["SHELLS", "complete", "complete_one_of", "is_asked", "script", "words_before"]

SHELLS = ("bash", "zsh", "fish")

Completer = Callable[..., Iterable[str]]


def script(shell: str) -> str:
    """What the shell must evaluate so that it completes the words of ``throughtime``."""
    return argcomplete.shellcode(["throughtime"], shell=shell)  # pyright: ignore[reportPrivateImportUsage]


def is_asked() -> bool:
    """Whether a shell runs this process to complete a word."""
    return "_ARGCOMPLETE" in os.environ


def words_before() -> list[str]:
    """The words of the line after ``throughtime`` and before the one under the cursor."""
    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    words = argcomplete.split_line(line, point)[3]  # pyright: ignore[reportPrivateImportUsage]
    return words[1:]


def complete(parser: argparse.ArgumentParser, completers: Mapping[str, Completer]) -> None:
    """Ends the process with what can follow, if a shell asks for it; else does nothing.

    Args:
        parser: the parser of the command; its ``prog`` holds the words that select it.
        completers: by the name of an option or argument, a function that returns candidates.
    """
    if is_asked():
        plain = argparse.ArgumentParser(prog=parser.prog, add_help=False)
        for action in parser._actions:
            if action.help != argparse.SUPPRESS:
                _add(plain, action, completers.get(action.dest))
        _answer(plain)


def complete_one_of(prog: str, names: Iterable[str]) -> None:
    """Ends the process with the names that can follow ``prog``, if a shell asks for them."""
    if is_asked():
        parser = argparse.ArgumentParser(prog=prog)
        parser.add_argument("name", choices=list(names))
        _answer(parser)


def _answer(parser: argparse.ArgumentParser) -> None:
    os.environ["_ARGCOMPLETE"] = str(len(parser.prog.split()))
    argcomplete.autocomplete(parser, always_complete_options="long")


def _add(plain: argparse.ArgumentParser, action: argparse.Action, completer: Any) -> None:
    """Adds to argparse's own parser, which argcomplete understands, an action of jsonargparse."""
    kind = getattr(action, "_typehint", None)
    parts = [kind, *get_args(kind)]
    choices = [str(n) for part in parts if get_origin(part) is Literal for n in get_args(part)]
    nargs = action.nargs
    if bool in parts:
        choices, nargs = ["true", "false"], "?"
    names = [_spelt(name) for name in action.option_strings] or [action.dest]
    options: dict[str, Any] = {"dest": action.dest} if action.option_strings else {}
    if isinstance(action, argparse._HelpAction):
        options |= {"action": "store_true"}
    else:
        options |= {"nargs": nargs, "choices": choices or None}
    added = plain.add_argument(*names, **options)
    # One spelling is offered, and both are understood.
    plain._option_string_actions |= dict.fromkeys(action.option_strings, added)
    # A text may be the name of a file, which argcomplete offers where nothing else is said.
    if completer is None and not choices and str not in parts:
        completer = _nothing
    if completer is not None:
        setattr(added, "completer", completer)  # noqa: B010


def _spelt(option: str) -> str:
    """``--hidden-size`` for ``--hidden_size`` if the line so far has the name of such an option."""
    line, point = os.environ["COMP_LINE"], int(os.environ["COMP_POINT"])
    has_hyphens = any(re.match(r"--\w[^=]*-", word) for word in line[:point].split())
    return "--" + option[2:].replace("_", "-") if has_hyphens and option[:2] == "--" else option


def _nothing(**_: Any) -> Iterable[str]:
    return ()


# Candidates that more than one command offers.


def run_folders(prefix: str, **_: Any) -> list[str]:
    """The run folders below ``runs``, and the folders that can lead to others."""
    runs = [str(config.parent) for config in Path("runs").glob("*/*/config.json")]
    return runs + [
        folder.rstrip("/") if (Path(folder) / "config.json").is_file() else folder
        for folder in DirectoriesCompleter()(prefix)
    ]


def recipes(task: str) -> Completer:
    """The recipes of a task below ``recipes``, and all YAML and JSON files."""

    def candidates(prefix: str, **options: Any) -> list[str]:
        files = FilesCompleter(["yaml", "yml", "json"])(prefix, **options)
        return [*map(str, Path("recipes", task).glob("*.yaml")), *files]

    return candidates


def cell_names(**_: Any) -> list[str]:
    """The names of all cells."""
    from throughtime.cells import names

    return names()

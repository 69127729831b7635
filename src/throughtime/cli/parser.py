"""The argument parser of all commands, and the settings in files."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn, Optional

from jsonargparse import ArgumentParser

from throughtime.checks import nearest
from throughtime.cli import completion
from throughtime.reading import Entries, shown, typed, yaml_of

__all__ = ["Parser", "settings_of_file"]


_EPILOG = (
    "An option of type bool needs no value. The names of options may be written with hyphens in "
    "place of underscores."
)


class Parser(ArgumentParser):
    """The parser of a command, from jsonargparse.

    The name of an option may be written with hyphens or underscores, an option of type bool needs
    no value, and an error names the nearest option or value.

    Attributes:
        hints: for options that do not exist here, by name, what to use instead.
        completers: functions that return the candidates for the value of an option or argument, by
            its name; see :func:`throughtime.cli.completion.complete`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, print_config=None, epilog=_EPILOG, **options)
        self.hints: dict[str, str] = {}
        self.completers: dict[str, completion.Completer] = {}

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """The values on the command line, each of its type, without the defaults."""
        completion.complete(self, self.completers)
        argv = self._spelt_out(argv)
        try:
            values = vars(self.parse_args(argv, defaults=False).clone())
        except RecursionError:
            self.error("expected fewer brackets inside each other")
        return {k: v for k, v in values.items() if k != "help"} | self._texts(argv)

    def _texts(self, argv: Sequence[str]) -> dict[str, str]:
        """The values of options of type ``str | None``, unchanged: "null" is a text as well."""
        texts = {
            option: action.dest for action in self._text_actions for option in action.option_strings
        }
        values = {}
        for word, follower in zip(argv, [*argv[1:], ""], strict=False):
            name, equals, value = word.partition("=")
            if name in texts:
                values[texts[name]] = value if equals else follower
        return values

    def complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values, checked against their types, and the defaults for the rest."""
        texts = {action.dest for action in self._text_actions}
        words = {k: v for k, v in values.items() if k in texts and isinstance(v, str)}
        return vars(self.parse_object(dict(values)).clone()) | words

    @property
    def _text_actions(self) -> list[Any]:
        """The options of type ``str | None``."""
        kinds = (str | None, Optional[str])  # noqa: UP045
        return [a for a in self._actions if getattr(a, "_typehint", None) in kinds]

    def _spelt_out(self, argv: Sequence[str]) -> list[str]:
        """The words with underscores in the names of options, and ``true`` after lone switches.

        ``--cell-options.delay 2`` sets an entry of an option that is a dict; an entry without a
        value is a switch too.
        """
        actions = {option: a for a in self._actions for option in a.option_strings}
        kinds = {option: getattr(a, "_typehint", None) for option, a in actions.items()}
        words: list[str] = []
        for position, word in enumerate(argv):
            if word == "--":
                return [*words, *argv[position:]]
            name, equals, value = word.partition("=")
            underscored = "--" + name[2:].replace("-", "_")
            option, dot, _ = underscored.partition(".")
            if not name.startswith("--") or option not in actions:
                words.append(word)
                continue
            words.append(underscored + equals + value)
            follower = argv[position + 1] if position + 1 < len(argv) else "--"
            is_alone = not equals and follower.startswith("--")
            is_switch = kinds[option] in (bool, bool | None) and not dot and not equals
            if is_switch and follower.lower() not in ("true", "false", "yes", "no", "null"):
                words.append("true")
            elif dot and is_alone:
                words.append("true")
        return words

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Ends the program with the message, and the nearest option or value."""
        flags = [o for action in self._actions for o in action.option_strings]
        unknown = re.search(r"[Uu]nrecognized arguments: (\S+)", message)
        choice = re.search(r'key "(\w+)".*?Literal\[(.*?)\]. Got value: (.*)', message, re.DOTALL)
        typed = re.search(r'key "(\w+)":(.*)(?:Given|Got) value: (.*)', message, re.DOTALL)
        if unknown is not None:
            flag = unknown[1].split("=")[0]
            hint = f". {self.hints[flag]}" if flag in self.hints else nearest(flag, flags)
            message = f"unknown option {flag}{hint}"
        elif choice is not None:
            names = [name.strip(" '\"") for name in choice[2].split(",")]
            hint = nearest(choice[3].strip(), names)
            message = (
                f"--{choice[1]}: expected one of {', '.join(names)}, got {choice[3].strip()}{hint}"
            )
        elif typed is not None:
            kinds = re.findall(r"Expected an? <class '(\w+)'>", typed[2])
            kinds = [k for k in dict.fromkeys(kinds) if k != "NoneType"]
            message = f"--{typed[1]}: expected {' or '.join(kinds)}, got {typed[3].strip()}"
        print(f"{self.prog}: {message}\nSee {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def settings_of_file(path: str, known: Collection[str]) -> dict[str, Any]:
    """The settings in a recipe or in the config.json of a run.

    Args:
        path: a YAML or JSON file with settings by name; an ``about`` block is ignored.
        known: the names of all settings, or a mapping from them to kinds, by which the values are
            checked (see :func:`throughtime.reading.typed`).

    Raises:
        ValueError: if a setting is unknown (with the nearest) or of a wrong type, or if the file
            has another form.
    """
    content = _content(path)
    if "settings" in content:
        blocks = [content["settings"], content.get("training", {})]
        if not all(isinstance(block, dict) for block in blocks):
            raise ValueError(f"{path}: expected settings as `name: value`, got {shown(blocks)}.")
        content = {**blocks[0], **blocks[1]}
    settings = {k: v for k, v in content.items() if k not in ("about", "task", "learner")}
    for key in settings:
        if key not in known:
            raise ValueError(f'{path}: unknown key "{key}"{nearest(str(key), known) or "."}')
    return typed(path, settings, Entries({}, known)) if isinstance(known, Mapping) else settings


def learner_of_file(path: str) -> str | None:
    """The name of the learner in a recipe; None if there is none."""
    return typed(f"{path}: learner", _content(path).get("learner"), str | None)


def _content(path: str) -> dict[str, Any]:
    content = yaml_of(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected settings as `name: value` lines, got {shown(content)}.")
    return content


def fields(config: type) -> list[str]:
    """The names of a configuration's settings."""
    return [f.name for f in dataclasses.fields(config)]

"""Reads text, JSON, YAML and CSV files, with limits of their sizes and depths."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from throughtime.reading.errors import ReadError, entry, shown

__all__ = ["json_of", "json_value", "path_of", "rows_of", "text_of", "yaml_of", "yaml_value"]

MOST_BYTES = 1 << 28
"""The largest size of a file; throughtime writes no larger ones."""

MOST_BYTES_OF_ROWS = 1 << 30
"""The largest size of a CSV file; a long training writes a row every few steps."""

MOST_BYTES_OF_YAML = 1 << 20
"""The largest number of characters of YAML, which is slow to read; recipes are short."""

DEEPEST = 64
"""The largest depth of nested lists and objects."""


# Files.


def path_of(where: str, name: str) -> Path:
    """The path of a name that a person has given.

    Args:
        where: the option or entry of the name, for the message.
        name: the name of a file or folder.

    Raises:
        ReadError: if no file can have this name, because it holds NUL, or a lone surrogate that
            stands for no byte.
    """
    try:
        is_possible = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        is_possible = False
    if not is_possible:
        raise ReadError(
            where, f"expected a name that a file can have, got {shown(name)}. Name another one."
        )
    return Path(name)


def text_of(path: str | Path, most: int = MOST_BYTES, errors: str = "strict") -> str:
    """The text of a file in UTF-8, without a byte order mark.

    Args:
        path: the file.
        most: the largest number of bytes.
        errors: how to treat bytes that are not UTF-8, as in ``bytes.decode``.

    Raises:
        ReadError: if the file is larger, or has bytes that are not UTF-8.
    """
    with Path(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ReadError(str(path), f"expected at most {most:,} bytes, got more.")
    try:
        return content.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ReadError(
            str(path),
            f"expected UTF-8, got the byte 0x{content[error.start]:02x} in line {line}, byte "
            f"{error.start + 1} of the file.",
        ) from error


def json_of(path: str | Path, most: int = MOST_BYTES) -> Any:
    """The value of a JSON file; see :func:`json_value`."""
    return json_value(str(path), text_of(path, most))


def yaml_of(path: str | Path) -> Any:
    """The value of a YAML or JSON file; see :func:`yaml_value`."""
    return yaml_value(str(path), text_of(path))


def rows_of(path: str | Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a CSV file with a header, and its rows, each with the number of its line.

    A last line that has no line end and lacks cells was cut off while it was written, and is left
    out.

    Raises:
        ReadError: if a row does not have one cell for each column, or the header has a name twice.
    """
    text = text_of(path, MOST_BYTES_OF_ROWS)
    # Not splitlines, which takes further characters for line ends.
    reader = csv.reader(io.StringIO(text, newline=""))
    columns: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if not cells:
                continue
            if not columns:
                columns = cells
                if len(set(columns)) < len(columns):
                    raise ReadError(
                        where, f"expected each column once, got {shown(_repeated(columns))} again."
                    )
            elif len(cells) < len(columns) and _is_last(reader, text):
                break
            elif len(cells) != len(columns):
                raise ReadError(
                    where, f"expected {len(columns)} cells as in the header, got {len(cells)}."
                )
            else:
                rows.append((reader.line_num, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        raise ReadError(f"{path}, line {reader.line_num}", f"no CSV: {error}.") from error
    return columns, rows


# Values.


def json_value(where: str, text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ReadError: if the text is not JSON; for NaN and infinities; for an object that has a name
            twice; for values that are nested too deep.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ReadError(where, _too_deep()) from None
    except ReadError as error:
        raise ReadError(where, error.what) from error
    except ValueError as error:
        raise ReadError(where, f"not JSON: {error}.") from error
    _check_values(where, value)
    return value


def yaml_value(where: str, text: str) -> Any:
    """The value of a YAML text, which may have the types of JSON only.

    Raises:
        ReadError: as :func:`json_value`, and for tags (``!name``) and aliases (``*name``).
    """
    if text.lstrip().startswith("{"):
        # Nearly all JSON is YAML, and the JSON reader is a hundred times faster.
        try:
            return json_value(where, text)
        except ReadError as error:
            if not error.what.startswith("not JSON"):
                raise
    if len(text) > MOST_BYTES_OF_YAML:
        raise ReadError(where, f"expected at most {MOST_BYTES_OF_YAML:,} characters, got more.")
    try:
        value = yaml.load(text, _Loader)
    except RecursionError:
        raise ReadError(where, _too_deep()) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = where if mark is None else f"{where}, line {mark.line + 1}"
        raise ReadError(place, f"not YAML: {error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError, LookupError) as error:
        raise ReadError(where, f"not YAML: {error}.") from error
    _check_values(where, value)
    return value


class _Loader(yaml.SafeLoader):
    """A YAML reader without tags and aliases that knows the numbers of Python, such as 4e-3."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(
                problem=f"the alias *{event.anchor}; write the value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError) as error:
            raise yaml.MarkedYAMLError(
                problem=f"no value of {node.tag.rpartition(':')[2]} ({error})",
                problem_mark=node.start_mark,
            ) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        pairs = [
            (self.construct_object(key, True), self.construct_object(value, True))
            for key, value in node.value
        ]
        for (name, _), (key, _) in zip(pairs, node.value, strict=True):
            if not isinstance(name, str):
                raise yaml.MarkedYAMLError(
                    problem=f"expected a name before the colon, got {shown(name)}",
                    problem_mark=key.start_mark,
                )
        try:
            return _object(pairs)
        except ReadError as error:
            raise yaml.MarkedYAMLError(
                problem=error.what.removesuffix("."), problem_mark=node.start_mark
            ) from error


def _constructed(loader: Any, node: Any, name: str) -> Any:
    return getattr(loader, name)(node, deep=True)


_CORE = ("null", "bool", "int", "float", "str", "seq", "map")
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _CORE
}
for _kind, _construct in (("map", "construct_mapping"), ("seq", "construct_sequence")):
    # Deep construction: without aliases no list can contain itself.
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", partial(_constructed, name=_construct))
# Without the other resolvers, dates and the keys << and = are texts.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in resolvers if tag.rpartition(":")[2] in _CORE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        raise ReadError("", f"expected each name once, got {shown(_repeated(names))} again.")
    return entries


def _repeated(names: list[str]) -> str:
    """The first name that occurs more than once."""
    return next(name for name, count in Counter(names).items() if count > 1)


def _is_last(reader: Any, text: str) -> bool:
    """Whether the reader has reached the end of a text that has no final line end."""
    return not text.endswith("\n") and reader.line_num >= text.count("\n") + 1


def _too_deep() -> str:
    return f"expected brackets in brackets at most {DEEPEST} deep, got more."


def _check_values(where: str, value: Any) -> None:
    """Raises a ReadError for a number that is not finite, or values that are nested too deep."""
    # Level by level instead of by recursion, whose depth the interpreter limits.
    level: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    for depth in range(DEEPEST + 2):
        below: list[tuple[tuple[str | int, ...], Any]] = []
        for path, item in level:
            if isinstance(item, float) and not math.isfinite(item):
                raise ReadError(_named(where, path), f"expected a finite number, got {item}.")
            if isinstance(item, dict):
                below += [((*path, name), part) for name, part in item.items()]
            elif isinstance(item, list):
                below += [((*path, i), part) for i, part in enumerate(item)]
        if not below:
            return
        if depth > DEEPEST:
            raise ReadError(where, _too_deep())
        level = below


def _named(where: str, path: Iterable[str | int]) -> str:
    for part in path:
        where = entry(where, part)
    return where

"""Files in the UNIPEN 1.0 format: pen data with labels of their segments.

A statement begins with a keyword, a dot and a word at the begin of a line, and goes on to the next
keyword. These keywords are read:

    .COORD X Y T            the columns of the points; others than X, Y and T are left out
    .POINTS_PER_SECOND n    the rate of the points, if there is no column T
    .PEN_DOWN, .PEN_UP      the points of a stroke; the end of a stroke
    .DT n                   the milliseconds since the last point
    .INCLUDE path           another file, whose statements are read here
    .SEGMENT type components quality "label"

The components of a segment are the strokes ``.PEN_DOWN`` of the file, counted from 0: ``3``,
``0-5``, ``0:12-3:40`` (from the point 12 of the stroke 0 to the point 40 of the stroke 3), or
several of these with commas between them. The type is one of the file's ``.HIERARCHY``, such as
WORD or CHARACTER. T is in milliseconds, and y grows upwards.

Source: Guyon et al., "UNIPEN project of on-line data exchange and recognizer benchmarks" (1994).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from throughtime.checks import unknown
from throughtime.data.files import read_once
from throughtime.data.line_ends import with_line_feeds
from throughtime.data.pen.trajectory import Trajectory
from throughtime.data.pen.written import Written
from throughtime.data.text import decoded

__all__ = ["read_unipen"]

_SEGMENT = re.compile(r'(\S+)\s+(\S+)\s+(?:(\S+)\s+)?"((?:[^"\\]|\\.)*)"', re.DOTALL)
_COMPONENTS = re.compile(r"(\d+)(?::(\d+))?(?:-(\d+)(?::(\d+))?)?")
_LEAST_COLUMNS = {"X", "Y"}


@dataclass
class _Reading:
    """What has been read of a file and of those that it includes."""

    columns: list[str] = field(default_factory=lambda: ["X", "Y"])
    rate: float | None = None
    time: float | None = 0.0
    # The places and the times of each stroke.
    strokes: list[list[tuple[float, float]]] = field(default_factory=list)
    times: list[list[float]] = field(default_factory=list)
    # The place in the file, the type, the components and the label of each segment.
    segments: list[tuple[str, str, str, str]] = field(default_factory=list)
    is_down: bool = False


def read_unipen(path: Path, kind: str | None = None) -> list[Written]:
    """The segments of a file with their labels; without any segment, the whole file.

    Args:
        path: the file.
        kind: the type of the segments, such as WORD; None is that of the first segment.

    Raises:
        FileNotFoundError: for an included file that is missing.
        ValueError: for a malformed statement, with its line; a type that no segment has; or strokes
            that :class:`Trajectory` refuses.
    """
    reading = _Reading()
    _read(path, reading, ())
    if not reading.strokes:
        raise ValueError(f"{path}: expected strokes after .PEN_DOWN, got none.")
    if not reading.segments:
        if kind is not None:
            raise ValueError(f"{path}: expected segments of the type {kind}, got no .SEGMENT.")
        return [Written("", _trajectory(reading, None, str(path)))]
    kinds = list(dict.fromkeys(segment[1] for segment in reading.segments))
    if kind is not None and kind not in kinds:
        raise ValueError(f"{path}: {unknown('type of segments', kind, kinds)}")
    kind = kind or kinds[0]
    return [
        Written(label, _trajectory(reading, components, where))
        for where, own, components, label in reading.segments
        if own == kind
    ]


def _read(path: Path, reading: _Reading, above: tuple[Path, ...]) -> None:
    if path.resolve() in above:
        raise ValueError(f"{path}: includes itself.")
    content = read_once(path)
    if not content.strip():
        raise ValueError(f"{path}: expected pen data in the format UNIPEN, got an empty file.")
    for where, keyword, words in _statements(path, content):
        if keyword == "INCLUDE":
            _read(_included(path, words, where), reading, (*above, path.resolve()))
        elif keyword == "COORD":
            reading.columns = words.upper().split()
            if not set(reading.columns) >= _LEAST_COLUMNS:
                raise ValueError(f"{where}: expected the columns X and Y, got {words[:60]!r}.")
        elif keyword == "POINTS_PER_SECOND":
            (reading.rate,) = _numbers(words, where, 1)
            if not reading.rate > 0:
                raise ValueError(f"{where}: expected more than 0 points per second, got {words}.")
        elif keyword == "DT":
            (milliseconds,) = _numbers(words, where, 1)
            if reading.time is not None:
                reading.time += milliseconds / 1000
        elif keyword == "PEN_DOWN":
            _add_stroke(reading, words, where)
        elif keyword == "PEN_UP":
            # Points of a pen in the air take time, and are no part of a stroke.
            _pass_time(reading, len(_rows(reading, words, where)))
        elif keyword == "SEGMENT" and words:
            match = _SEGMENT.match(words)
            if match is None:
                raise ValueError(
                    f"{where}: expected a type, components such as 0-5, a quality and a label in "
                    f'quotes, got {words[:60]!r}. Write, for example: .SEGMENT WORD 0-5 OK "of".'
                )
            label = re.sub(r"\\(.)", r"\1", " ".join(match[4].split()))
            reading.segments.append((where, match[1].upper(), match[2], label))


def _statements(path: Path, content: bytes) -> Iterator[tuple[str, str, str]]:
    """The place, the keyword without its dot, and the arguments of each statement."""
    text = with_line_feeds(decoded(content, "latin-1", path))
    keyword, begin, words = "", 0, list[str]()
    for number, line in enumerate([*text.split("\n"), ".END"], 1):
        if not line.startswith("."):
            if not keyword and line.strip():
                raise ValueError(
                    f"{path}, line {number}: expected a keyword such as .PEN_DOWN, got "
                    f"{line.strip()[:40]!r}."
                )
            words.append(line)
            continue
        if keyword:
            yield f"{path}, line {begin}", keyword, "\n".join(words).strip()
        first, *rest = line[1:].split(None, 1) or [""]
        keyword, begin, words = first.upper(), number, rest


def _included(path: Path, words: str, where: str) -> Path:
    """The file that a statement names, beside the file or in a folder above it."""
    for folder in path.resolve().parents:
        for place in (folder / words, folder / "include" / words):
            if words and place.is_file():
                return place
    raise FileNotFoundError(
        f"{where}: there is no file {words!r} beside it, in a folder above, or in a folder include "
        "there."
    )


def _numbers(words: str, where: str, number: int | None = None) -> list[float]:
    try:
        values = [float(word) for word in words.split()]
    except ValueError as error:
        raise ValueError(f"{where}: expected numbers, got {words[:60]!r}.") from error
    if number is not None and len(values) != number:
        raise ValueError(f"{where}: expected {number} number, got {words[:60]!r}.")
    return values


def _rows(reading: _Reading, words: str, where: str) -> list[list[float]]:
    values, size = _numbers(words, where), len(reading.columns)
    if len(values) % size:
        raise ValueError(
            f"{where}: expected {size} numbers for each point ({' '.join(reading.columns)}), got "
            f"{len(values)} numbers in all."
        )
    return [values[i : i + size] for i in range(0, len(values), size)]


def _add_stroke(reading: _Reading, words: str, where: str) -> None:
    rows = _rows(reading, words, where)
    if not rows:
        raise ValueError(f"{where}: expected the points of a stroke, got none.")
    at_x, at_y = reading.columns.index("X"), reading.columns.index("Y")
    reading.strokes.append([(row[at_x], row[at_y]) for row in rows])
    if "T" in reading.columns:
        at = reading.columns.index("T")
        reading.times.append([row[at] / 1000 for row in rows])
        reading.time = reading.times[-1][-1]
        return
    stamps = []
    for _ in rows:
        _pass_time(reading, 1)
        if reading.time is not None:
            stamps.append(reading.time)
    reading.times.append(stamps)


def _pass_time(reading: _Reading, number: int) -> None:
    """Advances the time by that of a number of points; it is unknown without a rate."""
    if number and "T" not in reading.columns:
        is_timed = reading.rate is not None and reading.time is not None
        reading.time = reading.time + number / reading.rate if is_timed else None  # pyright: ignore


def _trajectory(reading: _Reading, components: str | None, where: str) -> Trajectory:
    """The strokes of components; None takes all."""
    strokes, times = reading.strokes, reading.times
    if components is not None:
        chosen = [part for word in components.split(",") for part in _parts(strokes, word, where)]
        strokes = [reading.strokes[i][part] for i, part in chosen]
        times = [reading.times[i][part] for i, part in chosen]
    is_timed = all(len(a) == len(b) for a, b in zip(strokes, times, strict=True))
    try:
        return Trajectory.of_strokes(strokes, times if is_timed else None)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _parts(strokes: list, word: str, where: str) -> list[tuple[int, slice]]:
    """The number of the stroke and its points, of each stroke of one part of the components."""
    match = _COMPONENTS.fullmatch(word)
    if match is None:
        raise ValueError(
            f"{where}: expected components such as 3, 0-5 or 0:12-3:40, got {word[:40]!r}."
        )
    first, from_point, last, to_point = (
        None if part is None else int(part) for part in match.groups()
    )
    assert first is not None
    if last is None:
        last, to_point = first, from_point
    if not first <= last < len(strokes):
        raise ValueError(
            f"{where}: expected components from 0 to {len(strokes) - 1} in their order, got {word}."
        )
    parts = []
    for i in range(first, last + 1):
        begin = from_point if i == first and from_point is not None else 0
        end = to_point + 1 if i == last and to_point is not None else len(strokes[i])
        if not 0 <= begin < end <= len(strokes[i]):
            raise ValueError(
                f"{where}: expected points from 0 to {len(strokes[i]) - 1} of the stroke {i}, got "
                f"{word}."
            )
        parts.append((i, slice(begin, end)))
    return parts

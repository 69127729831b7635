"""Reads tunes in ABC notation as tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

__all__ = ["BARS", "ABCError", "Tune", "duration_of", "is_ending", "tunes_of"]

UNIT = Fraction(1, 8)
"""The note length that a duration of 1 means in tokens: an eighth note."""

BARS = ("|", "||", "|:", ":|", "::", "|]", "[|")
"""The tokens of bar lines."""

_MODES = {
    **{"": "maj", "maj": "maj", "ion": "maj", "m": "min", "min": "min", "aeo": "min"},
    **{"dor": "dor", "mix": "mix", "phr": "phr", "lyd": "lyd", "loc": "loc"},
}
_KEY = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)")
_FIELD = re.compile(r"([A-Za-z]):\s*(.*)")
# What a body consists of; the first alternative that fits is taken.
_PART = re.compile(
    r"""
    (?P<inline>\[[A-Za-z]:[^\]]*\])
  | (?P<ignored>"[^"]*"|![^!\n]*!|!|\+[^+\n]*\+|\{[^}]*\}|\[\|\]|[\s`~.H-Wh-wy*\\$)]|\((?!\d))
  | (?P<bar>\[\||\|\]|:*\|+:*|::+|:\|:?)
  | (?P<ending>\[?(?P<numbers>[1-9](?:[,-][1-9])*)(?=[^/\d]|$))
  | (?P<tuplet>\((?P<p>\d)(?::(?P<q>\d?))?(?::(?P<r>\d?))?)
  | (?P<pitch>(?P<accidental>\^\^|__|[\^_=])?(?P<letter>[A-Ga-g])(?P<octave>[,']*))
  | (?P<rest>[zx])
  | (?P<open>\[)
  | (?P<close>\])
  | (?P<tie>-)
  | (?P<broken>>+|<+)
    """,
    re.VERBOSE,
)
_LENGTH = re.compile(r"(\d*)(/*)(\d*)")


class ABCError(ValueError):
    """A tune that cannot be read; the message begins with the line."""


class Tune(NamedTuple):
    """A tune as tokens.

    Args:
        title: its title.
        tokens: the metre (``M:6/8``), the key (``K:Gmaj``), and the melody. Durations count eighth
            notes.
        place: where it was read, for messages.
    """

    title: str
    tokens: tuple[str, ...]
    place: str


def tunes_of(where: str, text: str) -> Iterator[Tune | ABCError]:
    """The tunes of an ABC file; for each one that cannot be read, the error.

    A tune begins with a field X. Chord symbols, decorations, grace notes, slurs and lyrics are left
    out. A tune of several voices cannot be read.

    Args:
        where: the name of the file, for messages.
        text: its content.
    """
    lines = text.split("\n")
    starts = [n for n, line in enumerate(lines) if re.match(r"X:\s*\d", line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        try:
            yield _tune(where, lines[start:end], start + 1)
        except ABCError as error:
            yield error


def duration_of(token: str) -> Fraction | None:
    """The duration that a token is, in eighth notes; None if it is none.

    >>> duration_of("3/2"), duration_of("A")
    (Fraction(3, 2), None)
    """
    return Fraction(token) if re.fullmatch(r"[1-9]\d*(/[1-9]\d*)?", token) else None


def is_ending(token: str) -> bool:
    """Whether a token begins an ending of a repeat, which is for one or more of its times.

    >>> is_ending("[1"), is_ending("[1,3"), is_ending("[")
    (True, True, False)
    """
    return re.fullmatch(r"\[[1-9](,[1-9])*", token) is not None


def _tune(where: str, lines: Sequence[str], first: int) -> Tune:
    title, metre, key, unit = "", "M:none", None, None
    tokens: list[str] = []
    for number, line in enumerate(lines, first):
        place = f"{where}, line {number}"
        line = re.sub(r"(?<!\\)%.*", "", line).rstrip("\r")
        field = _FIELD.match(line)
        # A note before a bar line, such as "A:|", looks like a field.
        if field is None or (key is not None and re.match(r"[A-Ga-gz]:[|:]", line)):
            if key is not None:
                before = unit or _usual_unit(metre)
                parts, after = _parts(place, line, before)
                tokens += parts
                # A field L within a line holds for the lines after it, too.
                unit = unit if after == before else after
            elif line.strip():
                raise ABCError(f"{place}: expected a field K before the melody, got {line[:30]!r}.")
            continue
        name, value = field[1], field[2].strip()
        if name == "T" and not title:
            title = value
        elif name == "M":
            metre = _metre(place, value)
            tokens += [metre] if key is not None else []
        elif name == "L":
            unit = _unit(place, value)
        elif name == "K":
            token = _key(place, value)
            tokens += [token] if key is not None else []
            key = key or token
            if len(tokens) == 0:
                tokens = [metre, token]
        elif name == "V":
            raise ABCError(f"{place}: expected one voice, got a field V.")
    if key is None or len(tokens) < 3:
        raise ABCError(f"{where}, line {first}: expected a key and a melody, got none.")
    return Tune(title, tuple(_tidied(tokens)), f"{where}, line {first}")


def _tidied(tokens: Sequence[str]) -> Iterator[str]:
    """Without fields that change nothing, and with one bar line between two bars.

    Metre and key stand before the notes they hold for. A bar line that ends a line of text is often
    written again at the beginning of the next line.
    """
    holding: dict[str, str] = {}
    new: dict[str, str] = {}
    bar: str | None = None
    for token in tokens:
        if token[:2] in ("M:", "K:"):
            new[token[0]] = token
            continue
        if bar is not None:
            joined = _joined(bar, token) if token in BARS else None
            if joined is not None:
                bar = joined
                continue
            yield bar
        for name in "MK":
            if name in new and holding.get(name) != new[name]:
                yield new[name]
        holding |= new
        new.clear()
        bar = token if token in BARS else None
        if bar is None:
            yield token
    if bar is not None:
        yield bar


def _joined(first: str, second: str) -> str | None:
    """Two bar lines without a note between them as one; None for a repeat of nothing.

    >>> _joined("|", "|:"), _joined(":|", "|:"), _joined("||", "|"), _joined("|:", ":|")
    ('|:', '::', '||', None)
    """
    opens = [bar in ("|:", "::") for bar in (first, second)]
    closes = [bar in (":|", "::") for bar in (first, second)]
    if opens[0] and closes[1]:
        return None
    if any(opens) or any(closes):
        return "::" if any(opens) and any(closes) else "|:" if any(opens) else ":|"
    return first if second == "|" else second


def _parts(place: str, line: str, unit: Fraction) -> tuple[list[str], Fraction]:
    """The tokens of a line of melody, and the unit length after it."""
    tokens: list[str] = []
    position = 0
    while position < len(line):
        part = _PART.match(line, position)
        if part is None:
            raise ABCError(
                f"{place}, column {position + 1}: expected notes or bars, got "
                f"{line[position : position + 10]!r}."
            )
        position = part.end()
        kind = next(name for name in _KINDS if part[name] is not None)
        if kind == "inline":
            fields, unit = _inline(place, part[0], unit)
            tokens += fields
        elif kind == "bar":
            tokens.append(_bar(part[0]))
        elif kind == "ending":
            tokens.append(_ending(part["numbers"]))
        elif kind == "tuplet":
            p, q, r = part["p"], part["q"], part["r"]
            tokens.append(f"({p}" if not q and not r else f"({p}:{q or ''}:{r or ''}")
        elif kind in ("pitch", "rest", "close"):
            tokens.append("z" if kind == "rest" else part[0])
            length = _LENGTH.match(line, position)
            assert length is not None
            position = length.end()
            duration = _duration(place, length)
            if kind != "close":
                # The notes of a chord have the unit in them, and the chord multiplies them.
                duration *= unit / UNIT
            if duration != 1:
                tokens.append(str(duration))
        elif kind in ("open", "tie", "broken"):
            tokens.append(part[0])
    return tokens, unit


_KINDS = (
    *("inline", "ignored", "bar", "ending", "tuplet", "pitch", "rest", "open", "close"),
    *("tie", "broken"),
)


def _inline(place: str, text: str, unit: Fraction) -> tuple[list[str], Fraction]:
    """The tokens of a field in brackets, and the unit length after it."""
    name, value = text[1], text[3:-1].strip()
    if name == "V":
        raise ABCError(f"{place}: expected one voice, got a field V.")
    if name == "L":
        return [], _unit(place, value)
    return [{"M": _metre, "K": _key}[name](place, value)] if name in "MK" else [], unit


def _ending(numbers: str) -> str:
    """The token of an ending such as 1, 1,3 or 1-3, with each number once and in order."""
    times: set[int] = set()
    for part in numbers.split(","):
        first, last = int(part[0]), int(part[-1])
        times |= set(range(min(first, last), max(first, last) + 1))
    return f"[{','.join(map(str, sorted(times)))}"


def _bar(text: str) -> str:
    """A bar line as one of the tokens | || |: :| :: |] [|."""
    closes, opens = text.startswith(":"), text.endswith(":")
    if set(text) == {":"} or (closes and opens):
        return "::"
    if closes or opens:
        return ":|" if closes else "|:"
    return text if text in ("|", "|]", "[|") else "||"


def _duration(place: str, length: re.Match[str]) -> Fraction:
    """A duration such as 3/2, / or 2."""
    over, slashes, under = length.groups()
    if under and len(slashes) != 1:
        raise ABCError(f"{place}: expected a duration, got {length[0]!r}.")
    below = int(under) if under else 2 ** len(slashes)
    above = int(over) if over else 1
    if not (0 < above <= 64 and 0 < below <= 64):
        raise ABCError(f"{place}: expected a duration of 1/64 to 64, got {length[0]!r}.")
    return Fraction(above, below)


def _metre(place: str, value: str) -> str:
    value = {"C": "4/4", "C|": "2/2", "": "none"}.get(value, value.replace(" ", ""))
    if value != "none" and not re.fullmatch(r"[1-9]\d?/(1|2|4|8|16|32)", value):
        raise ABCError(f"{place}: expected a metre such as 6/8, got {value!r}.")
    return f"M:{value}"


def _usual_unit(metre: str) -> Fraction:
    """The unit of a tune without a field L, by the standard: 1/16 below a metre of 3/4."""
    is_short = metre != "M:none" and Fraction(metre[2:]) < Fraction(3, 4)
    return Fraction(1, 16) if is_short else Fraction(1, 8)


def _unit(place: str, value: str) -> Fraction:
    if not re.fullmatch(r"1/(1|2|4|8|16|32|64)", value.replace(" ", "")):
        raise ABCError(f"{place}: expected a unit length such as 1/8, got {value!r}.")
    return Fraction(value.replace(" ", ""))


def _key(place: str, value: str) -> str:
    if value.lower() in ("hp", "none", ""):
        # The scale of the Highland pipes has F and C sharp.
        return "K:Dmaj" if value.lower() == "hp" else "K:Cmaj"
    match = _KEY.match(value)
    mode = None if match is None else _MODES.get(match[3].lower()[:3], None)
    if match is None or mode is None:
        raise ABCError(f"{place}: expected a key such as G or Ador, got {value!r}.")
    return f"K:{match[1]}{match[2]}{mode}"

"""Properties of a text at each of its steps, with which the units of a network are compared.

A property says what is true after a step has been read, as a state does: inside quotes is 1 from
the opening quote on, and 0 at the closing one. Only :func:`pattern` may look ahead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

__all__ = [
    "PROPERTIES",
    "Property",
    "bracket_depth",
    "capitals",
    "indentation",
    "inside_quotes",
    "inside_string",
    "line_length",
    "pattern",
    "word_start",
]

Property = Callable[[Sequence[str]], Tensor]
"""Maps the texts of T steps to (T) float64. A step has one character, or several if it is a word.

A property of a step with several characters is that after its last character; :func:`word_start`,
:func:`capitals` and :func:`pattern` are 1 if they are 1 at any of its characters.
"""


def inside_quotes(steps: Sequence[str]) -> Tensor:
    """1 between double quotes, straight or curly, else 0.

    An empty line ends the quotation, so that a missing quote does not invert the rest of the text.
    Single quotes are not counted, because an apostrophe looks like one.

    >>> inside_quotes('a "b" c').int().tolist()
    [0, 0, 1, 1, 0, 0, 0]
    """
    return _last(steps, _quotes)


def inside_string(steps: Sequence[str]) -> Tensor:
    """1 inside a string literal of Python, of one or three quotes, else 0; comments have none.

    >>> inside_string("f('it')").int().tolist()
    [0, 0, 1, 1, 1, 0, 0]
    """
    return _last(steps, _strings)


def bracket_depth(steps: Sequence[str]) -> Tensor:
    """How many of the brackets ( [ { are open; a closing one too many is ignored.

    >>> bracket_depth("a[f(x)]").int().tolist()
    [0, 1, 1, 2, 2, 1, 0]
    """
    return _last(steps, _depths)


def line_length(steps: Sequence[str]) -> Tensor:
    r"""The number of characters of the present line so far; 0 at a line end.

    >>> line_length("ab\nc").int().tolist()
    [1, 2, 0, 1]
    """
    return _last(steps, _lengths)


def indentation(steps: Sequence[str]) -> Tensor:
    r"""The number of spaces before the first other character of the present line; 0 at a line end.

    A tab counts to the next multiple of 8. The spaces count while they are read.

    >>> indentation("  a b\nc").int().tolist()
    [1, 2, 2, 2, 2, 0, 0]
    """
    return _last(steps, _indentations)


def word_start(steps: Sequence[str]) -> Tensor:
    """1 at the first letter or digit of a word, else 0.

    >>> word_start("to be").int().tolist()
    [1, 0, 0, 1, 0]
    """
    return _any(steps, _word_starts)


def capitals(steps: Sequence[str]) -> Tensor:
    """1 at a capital letter, else 0.

    >>> capitals("aBc").int().tolist()
    [0, 1, 0]
    """
    return _any(steps, lambda text: (float(c.isupper()) for c in text))


def pattern(expression: str) -> Property:
    """The property that is 1 at each character of a match of a regular expression, else 0.

    Args:
        expression: a regular expression of Python; ``^`` and ``$`` match at each line.

    Raises:
        ValueError: if the expression is invalid.

    >>> pattern("b+")("abbc").int().tolist()
    [0, 1, 1, 0]
    """
    try:
        compiled = re.compile(expression, re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f'pattern: expected a regular expression, got "{expression}": {error}.'
        ) from error

    def matches(text: str) -> list[float]:
        values = [0.0] * len(text)
        for match in compiled.finditer(text):
            first, last = match.span()
            values[first:last] = [1.0] * (last - first)
        return values

    return lambda steps: _any(steps, matches)


PROPERTIES: Mapping[str, Property] = {
    "inside quotes": inside_quotes,
    "inside a string": inside_string,
    "bracket depth": bracket_depth,
    "line length so far": line_length,
    "indentation": indentation,
    "word start": word_start,
    "capitals": capitals,
}
"""All properties by the name that a user reads, except :func:`pattern`."""


def _last(steps: Sequence[str], per_character: Callable[[str], Iterator[float]]) -> Tensor:
    """The value after each step: that at its last character; an empty step keeps the value."""
    values = per_character("".join(steps))
    results, value = [], 0.0
    for step in steps:
        for _ in step:
            value = next(values)
        results.append(value)
    return torch.tensor(results, dtype=torch.float64)


def _any(steps: Sequence[str], per_character: Callable[[str], Iterable[float]]) -> Tensor:
    """The largest value of each step's characters; 0 for an empty step."""
    values = iter(per_character("".join(steps)))
    results = [max([next(values) for _ in step], default=0.0) for step in steps]
    return torch.tensor(results, dtype=torch.float64)


def _quotes(text: str) -> Iterator[float]:
    is_inside, before = False, ""
    for character in text:
        if character == "“" or character == "”":
            is_inside = character == "“"
        elif character == '"':
            is_inside = not is_inside
        elif character == before == "\n":
            is_inside = False
        before = character
        yield float(is_inside)


def _strings(text: str) -> Iterator[float]:
    # The quotes that end the string, "#" in a comment, and "" outside of both.
    end = ""
    # How many equal quotes were read in a row, and whether a backslash came before.
    run, is_escaped, before = 0, False, ""
    # Whether the last string was empty, so that one more quote opens one of three quotes.
    may_be_triple = False
    for character in text:
        was_triple, may_be_triple = may_be_triple, False
        if end == "#":
            end = "" if character == "\n" else end
        elif not end:
            if character in "'\"":
                end = character * 3 if was_triple and character == before else character
                run = 0
            elif character == "#":
                end = "#"
        elif is_escaped:
            is_escaped, run = False, 0
        elif character == "\\":
            is_escaped, run = True, 0
        elif character == end[0]:
            run += 1
            if run == len(end):
                may_be_triple = len(end) == 1 and before == character
                end = ""
        elif character == "\n" and len(end) == 1:
            end = ""
        else:
            run = 0
        before = character
        yield float(end not in ("", "#"))


def _depths(text: str) -> Iterator[float]:
    depth = 0
    for character in text:
        depth += character in "([{"
        depth -= character in ")]}" and depth > 0
        yield float(depth)


def _lengths(text: str) -> Iterator[float]:
    length = 0
    for character in text:
        length = 0 if character == "\n" else length + 1
        yield float(length)


def _indentations(text: str) -> Iterator[float]:
    width, is_before = 0, True
    for character in text:
        if character == "\n":
            width, is_before = 0, True
        elif is_before and character == " ":
            width += 1
        elif is_before and character == "\t":
            width += 8 - width % 8
        else:
            is_before = False
        yield float(width)


def _word_starts(text: str) -> Iterator[float]:
    was_in_word = False
    for character in text:
        is_in_word = character.isalnum()
        yield float(is_in_word and not was_in_word)
        was_in_word = is_in_word

r"""The rule for line ends, which all readers share: texts, sentences, pairs, command input."""

from __future__ import annotations

__all__ = ["lines", "one_line", "with_line_feeds"]


def with_line_feeds(text: str) -> str:
    r"""Converts all line ends of a text to ``\n``.

    A line ends with ``\n`` or ``\r\n``. A lone ``\r`` ends a line only if the text has no ``\n`` at
    all, as texts of old Macintosh computers; otherwise it is a character of its line. NEL, VT, FF,
    U+2028 and U+2029 never end a line.

    Args:
        text: the whole text, because a part may have no ``\n`` where the whole has one.

    >>> with_line_feeds("a\r\nb\rc\n"), with_line_feeds("a\rb\r")
    ('a\nb\rc\n', 'a\nb\n')
    """
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def lines(text: str) -> list[str]:
    r"""The lines of a text without their ends, by the rule of :func:`with_line_feeds`.

    The last line need not have an end. An empty text has no lines.

    >>> lines("a\r\n\nb\rc")
    ['a', '', 'b\rc']
    """
    return with_line_feeds(text).removesuffix("\n").split("\n") if text else []


def one_line(text: str) -> str:
    r"""The single line of a text without its end; an empty text is an empty line.

    Raises:
        ValueError: if the text has several lines.

    >>> one_line("a\x0cb\u2028c\n")
    'a\x0cb\u2028c'
    """
    all_lines = lines(text) or [""]
    if len(all_lines) > 1:
        raise ValueError(f"expected one line, got {len(all_lines)}")
    return all_lines[0]

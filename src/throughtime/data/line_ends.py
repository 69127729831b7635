r"""The lines of a text: what ends one, and what does not.

All readers of lines go by this one rule: pairs, sentences, texts, and the input of commands.
"""

from __future__ import annotations

__all__ = ["lines", "one_line", "with_line_feeds"]


def with_line_feeds(text: str) -> str:
    r"""The text with ``\n`` at the end of each line, whatever ended it before.

    A line ends with ``\n`` or ``\r\n``. A lone ``\r`` ends a line only in a text without any
    ``\n``, as Macintosh computers once wrote it; in any other text it is a character of its line.
    NEL, VT, FF, U+2028 and U+2029 are characters of their line everywhere.

    Args:
        text: all of it; what is read of a part is not what is read of the whole.

    >>> with_line_feeds("a\r\nb\rc\n"), with_line_feeds("a\rb\r")
    ('a\nb\rc\n', 'a\nb\n')
    """
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def lines(text: str) -> list[str]:
    r"""The lines of a text without their ends, by the rule of :func:`with_line_feeds`.

    The last line may lack an end; an empty text has no line.

    >>> lines("a\r\n\nb\rc")
    ['a', '', 'b\rc']
    """
    return with_line_feeds(text).removesuffix("\n").split("\n") if text else []


def one_line(text: str) -> str:
    r"""The line that a text consists of, without its end; an empty text is an empty line.

    Raises:
        ValueError: for several lines.

    >>> one_line("a\x0cb\u2028c\n")
    'a\x0cb\u2028c'
    """
    all_lines = lines(text) or [""]
    if len(all_lines) > 1:
        raise ValueError(f"expected one line, got {len(all_lines)}")
    return all_lines[0]

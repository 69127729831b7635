"""Lines of a stream of bytes, decoded as soon as they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedIOBase

__all__ = ["LONGEST_LINE", "read_lines"]

LONGEST_LINE = 1 << 20
"""The largest size of a line in bytes. Without it a stream without line ends would fill memory."""

_CHUNK = 1 << 16


def read_lines(stream: BufferedIOBase, most: int) -> Iterator[list[str]]:
    r"""Yields lists of lines: those that have arrived, without waiting for further ones.

    Lines end as :func:`throughtime.data.line_ends.lines` defines; a byte order mark at the start is
    removed. A ``\r`` ends a line only in a stream without any ``\n``, which is known at its end.

    Args:
        stream: bytes in UTF-8.
        most: the largest number of lines in a list.

    Raises:
        ValueError: for bytes that are not UTF-8 or a line of more than `LONGEST_LINE` bytes, after
            all lines before it have been yielded.
    """
    number = 0
    for raw in _raw_lines(stream, most):
        good: list[str] = []
        for line in raw:
            number += 1
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            try:
                if len(line) > LONGEST_LINE:
                    raise ValueError(
                        f"line {number}: expected at most {LONGEST_LINE:,} bytes in a line, got "
                        "more. Break it into lines, one text each."
                    )
                good.append(line.decode("utf-8"))
            except ValueError as error:
                if good:
                    yield good
                if isinstance(error, UnicodeDecodeError):
                    raise _not_utf8(number, error) from error
                raise
        yield good


def _raw_lines(stream: BufferedIOBase, most: int) -> Iterator[list[bytes]]:
    """Yields lists of undecoded lines; a line that is too long is yielded cut, and is the last."""
    # The pieces of the last line, whose end has not arrived yet, and their total size.
    unfinished: list[bytes] = []
    size, has_line_feed = 0, False
    while chunk := stream.read1(_CHUNK):
        *ended, rest = chunk.split(b"\n")
        if ended:
            ended[0] = b"".join([*unfinished, ended[0]])
            unfinished, size, has_line_feed = [], 0, True
        unfinished.append(rest)
        size += len(rest)
        for k in range(0, len(ended), most):
            yield [line.removesuffix(b"\r") for line in ended[k : k + most]]
        # One byte more may be the \r of a line end.
        if size > LONGEST_LINE + 1:
            yield [b"".join(unfinished)]
            return
    rest = b"".join(unfinished)
    if has_line_feed:
        ended = [rest] if rest else []
    else:
        ended = rest.removesuffix(b"\r").split(b"\r") if rest else []
    for k in range(0, len(ended), most):
        yield ended[k : k + most]


def _not_utf8(number: int, error: UnicodeDecodeError) -> ValueError:
    return ValueError(
        f"line {number}, byte {error.start + 1}: expected UTF-8, got the byte "
        f"0x{error.object[error.start]:02x}. Convert the text before, say by "
        "`iconv --from-code latin1 --to-code utf-8`."
    )

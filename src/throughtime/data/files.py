"""Files of the user that can be read again, and pipes that cannot."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_once", "reopenable"]


def reopenable(path: Path) -> Path:
    """The absolute path of a file or folder that exists, by which it can be opened at any time.

    Raises:
        ValueError: for what can be read only once, such as a pipe, or a file without a name, to
            which a shell turns ``<(command)`` and ``<<END``.
    """
    absolute = path.resolve()
    if absolute.is_file() or absolute.is_dir():
        return absolute
    raise ValueError(
        f"{path}: expected a file or folder, because a training reads its data again whenever it "
        "is resumed or evaluated, got a pipe or a device, which can be read only once. Write it "
        "into a file first (command > data.txt), and give --data that file."
    )


def read_once(path: Path) -> bytes:
    """All that a file or pipe holds; of a pipe nothing is left.

    Raises:
        ValueError: for a device or socket, which may have no end.
    """
    if not (path.is_file() or path.is_fifo()):
        raise ValueError(
            f"{path}: expected a file or a pipe, got a device or a socket, which may have no end. "
            "Write a part of it into a file first, and give --data that file."
        )
    return path.read_bytes()

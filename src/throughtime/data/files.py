"""Checks whether a user's path can be read again (a file, a folder) or only once (a pipe)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from throughtime.checks import unknown

__all__ = ["existing", "read_once", "reopenable"]


def existing(data: str, known: Iterable[str]) -> Path:
    """The path of the user's own data, which is no name of a data set.

    Args:
        data: a path.
        known: the names of the data sets, one of which may be meant.

    Raises:
        FileNotFoundError, ValueError: if there is no such path; a ValueError if it looks like a
            misspelt name.
    """
    path = Path(data).expanduser()
    if path.exists():
        return path
    if data != path.name:
        raise FileNotFoundError(f"{path}: no such file or folder. Give --data one that exists.")
    raise ValueError(
        f"{unknown('data set', data, known)} Nor is there a file or folder of that name here."
    )


def reopenable(path: Path) -> Path:
    """The absolute path of an existing file or folder, with which it can be opened again later.

    Raises:
        ValueError: for a pipe, a device, or a nameless file, which can be read only once. A shell
            creates these for ``<(command)`` and ``<<END``.
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
    """The whole content of a file or a pipe; a pipe is empty afterwards.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a folder; for a device or a socket, which may have no end.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    if path.is_dir():
        raise ValueError(f"{path}: expected a file or a pipe, got a folder.")
    if not (path.is_file() or path.is_fifo()):
        raise ValueError(
            f"{path}: expected a file or a pipe, got a device or a socket, which may have no end. "
            "Write a part of it into a file first, and give --data that file."
        )
    return path.read_bytes()

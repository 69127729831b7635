"""Writes a file, or several that belong together, as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["written_together", "written_whole"]


def written_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a file beside its place and moves it there when it is whole.

    Whatever happens meanwhile, a kill or a full disk, the file that was there before stays.
    """
    written_together({path: write})


def written_together(writes: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Writes several files beside their places and moves them there when all are whole.

    If one of them cannot be written, all files that were there before stay.

    Args:
        writes: for each path what writes the file; it is called with the path beside it.
    """
    partials = {path: path.with_name(f"{path.name}.partial") for path in writes}
    try:
        for path, write in writes.items():
            with _named_in_errors(path, partials[path]):
                write(partials[path])
                with partials[path].open("rb") as file:
                    os.fsync(file.fileno())
        for path, partial in partials.items():
            with _named_in_errors(path, partial):
                partial.replace(path)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


@contextmanager
def _named_in_errors(path: Path, partial: Path) -> Iterator[None]:
    """Names the file in errors: that of a write names none, and the user knows no partial one."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(partial)):
            error.filename = str(path)
        raise

"""Writes a file as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["written_whole"]


def written_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a file beside its place and moves it there when it is whole.

    Whatever happens meanwhile, a kill or a full disk, the file that was there before stays.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        # The error of a write names no file, and the user does not know the partial one.
        if error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)

"""Limits the size of the cache of compiled libraries.

Beyond :data:`MOST_BYTES` the entries are removed whose last use is the longest ago.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MOST_BYTES", "Entry", "entries", "remove", "size_text", "touch", "trim"]

MOST_BYTES = 256 << 20
"""The maximum size of all files of the cache together: several thousand kernels."""

_PAUSE = 60.0
_last_trims: dict[Path, float] = {}

# The names of an entry's files. No other file of the folder is ever removed.
_FILE_OF_KEY = re.compile("([0-9a-f]{64})[.](so|cpp|lock)")


@dataclass
class Entry:
    """The files of one key.

    Attributes:
        used: the time of the last use, in seconds since the epoch.
        size: the size of all files in bytes.
        files: their paths.
    """

    used: float = 0.0
    size: int = 0
    files: list[Path] = field(default_factory=list)

    @property
    def is_library(self) -> bool:
        """Whether there is a library; False for a source that the compiler refused."""
        return any(file.suffix == ".so" for file in self.files)


def entries(folder: Path) -> dict[str, Entry]:
    """The entries of the folder by key; the one whose last use is the longest ago comes first."""
    by_key: dict[str, Entry] = {}
    with os.scandir(folder) as files:
        for file in files:
            name = _FILE_OF_KEY.fullmatch(file.name)
            # Another process may remove the file meanwhile.
            with suppress(FileNotFoundError):
                if name and not file.is_dir(follow_symlinks=False):
                    status = file.stat(follow_symlinks=False)
                    entry = by_key.setdefault(name[1], Entry())
                    entry.used = max(entry.used, status.st_mtime)
                    entry.size += status.st_size
                    entry.files.append(Path(file.path))
    return dict(sorted(by_key.items(), key=lambda item: item[1].used))


def touch(folder: Path, key: str) -> None:
    """Sets the time of the last use of a library to now."""
    # The folder may be shared read-only; then the time stays.
    with suppress(OSError):
        os.utime(folder / f"{key}.so")


def trim(folder: Path, keep: Collection[str]) -> None:
    """Removes entries until the rest has at most :data:`MOST_BYTES`; the longest unused go first.

    It runs at most once a minute, because listing thousands of files takes a tenth of a second.

    Args:
        folder: the cache folder.
        keep: the keys of entries that stay, because they were compiled just now.
    """
    now = time.monotonic()
    if folder in _last_trims and now < _last_trims[folder] + _PAUSE:
        return
    _last_trims[folder] = now
    by_key = entries(folder)
    total = sum(entry.size for entry in by_key.values())
    for key, entry in by_key.items():
        if total <= MOST_BYTES:
            break
        if key not in keep:
            remove(entry.files)
            total -= entry.size


def remove(files: Iterable[Path]) -> None:
    """Removes files, some of which another process may have removed."""
    for file in files:
        file.unlink(missing_ok=True)


def size_text(by_key: Mapping[str, Entry]) -> str:
    """The number and the size of the entries as text."""
    count = sum(entry.is_library for entry in by_key.values())
    return f"{count} kernels, {sum(e.size for e in by_key.values()) / 2**20:.1f} MiB"

"""What the cache of compiled libraries holds, and what of it is removed first.

It holds :data:`MOST_BYTES`; beyond that, what was not loaded for longest is removed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["MOST_BYTES", "Entry", "entries", "in_words", "remove", "touch", "trim"]

MOST_BYTES = 256 << 20
"""What all files of the cache may hold together: several thousand kernels."""

_PAUSE = 60.0
_trimmed: dict[Path, float] = {}

# What the files of a key are named. Nothing else in the folder is ever removed.
_OF_A_KEY = re.compile("([0-9a-f]{64})[.](so|cpp|lock)")


@dataclass
class Entry:
    """The files of one key: when it was last used, and their size in bytes."""

    used: float = 0.0
    size: int = 0
    files: list[Path] = field(default_factory=list)

    @property
    def is_library(self) -> bool:
        """Whether there is more than a source that was refused."""
        return any(file.suffix == ".so" for file in self.files)


def entries(folder: Path) -> dict[str, Entry]:
    """What the folder holds by key, the one that was used longest ago first."""
    by_key: dict[str, Entry] = {}
    with os.scandir(folder) as files:
        for file in files:
            name = _OF_A_KEY.fullmatch(file.name)
            # Another process may remove it meanwhile.
            with suppress(FileNotFoundError):
                if name and not file.is_dir(follow_symlinks=False):
                    status = file.stat(follow_symlinks=False)
                    entry = by_key.setdefault(name[1], Entry())
                    entry.used = max(entry.used, status.st_mtime)
                    entry.size += status.st_size
                    entry.files.append(Path(file.path))
    return dict(sorted(by_key.items(), key=lambda one: one[1].used))


def touch(folder: Path, key: str) -> None:
    """Notes that a library was used."""
    # A folder that was shared read-only keeps its order.
    with suppress(OSError):
        os.utime(folder / f"{key}.so")


def trim(folder: Path, keep: Collection[str]) -> None:
    """Removes what was not used for longest, until the rest is at most :data:`MOST_BYTES`.

    To look through thousands of files takes a tenth of a second: it is done once a minute.

    Args:
        folder: the cache.
        keep: the keys that were compiled just now.
    """
    now = time.monotonic()
    if folder in _trimmed and now < _trimmed[folder] + _PAUSE:
        return
    _trimmed[folder] = now
    by_key = entries(folder)
    total = sum(entry.size for entry in by_key.values())
    for key, entry in by_key.items():
        if total <= MOST_BYTES:
            break
        if key not in keep:
            remove(entry.files)
            total -= entry.size


def remove(files: Iterable[Path]) -> None:
    """Removes files, which another process may do as well."""
    for file in files:
        file.unlink(missing_ok=True)


def in_words(by_key: Mapping[str, Entry]) -> str:
    """How much the entries are, for a person."""
    count = sum(entry.is_library for entry in by_key.values())
    return f"{count} kernels, {sum(e.size for e in by_key.values()) / 2**20:.1f} MiB"

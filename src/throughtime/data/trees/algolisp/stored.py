"""Keeps generated programs in the cache folder, because generating all takes a minute."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from importlib import resources
from pathlib import Path

import platformdirs
from filelock import FileLock

from throughtime.data.trees.algolisp.generating import generate_programs
from throughtime.data.trees.algolisp.records import (
    COMMUTATIVE,
    read_lines,
    read_records,
    record_of,
)
from throughtime.data.trees.examples import TreeSet

__all__ = ["stored_programs"]

_PACKAGE = "throughtime.data.trees.algolisp"
# What decides on the examples; a file of other programs is never read.
_SOURCES = (
    *("rules.txt", "grammar.py", "generating.py"),
    *("compiling.py", "machine.py", "units.py", "records.py"),
)


def stored_programs(
    num_train: int = 80_000,
    num_valid: int = 9_000,
    num_test: int = 11_000,
    *,
    seed: int = 0,
    folder: Path | None = None,
) -> TreeSet:
    """The result of :func:`throughtime.data.trees.generate_programs`, from files if they are there.

    Args:
        num_train, num_valid, num_test, seed: see there.
        folder: where the files are; None is the cache folder of the user.

    Raises:
        TreeError: if a file is damaged; it names the file and the line.
    """
    folder = folder or platformdirs.user_cache_path("throughtime") / "data" / "algolisp"
    folder = folder / f"{num_train}-{num_valid}-{num_test}-{seed}-{_version()}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The lock makes one process generate while the others wait.
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            programs = generate_programs(num_train, num_valid, num_test, seed=seed)
            _write(programs, folder)
            return programs
    splits = {
        split: list(read_records(read_lines(path := folder / f"{split}.jsonl.gz"), str(path)))
        for split in ("train", "valid", "test")
    }
    return TreeSet("algolisp", splits, "s-expression", COMMUTATIVE)


def _version() -> str:
    """Twelve letters that change with the code that generates."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(resources.files(_PACKAGE).joinpath(name).read_bytes())
    return digest.hexdigest()[:12]


def _write(programs: TreeSet, folder: Path) -> None:
    """Writes all files, which appear under their folder's name only when all are complete."""
    unfinished = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    unfinished.mkdir()
    for split, examples in programs.splits.items():
        content = io.BytesIO()
        # Without a time, equal programs give equal files.
        with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=5, mtime=0) as file:
            for example in examples:
                file.write(f"{record_of(example)}\n".encode())
        (unfinished / f"{split}.jsonl.gz").write_bytes(content.getvalue())
    unfinished.rename(folder)

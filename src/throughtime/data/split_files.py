"""Finds the files of the splits in a user's folder: train.tsv, valid.tsv, test.tsv."""

from __future__ import annotations

import logging
from pathlib import Path

__all__ = ["split_files", "split_name"]

_VALIDATION = ("valid", "val", "dev", "validation")
_log = logging.getLogger(__name__)


def split_name(stem: str) -> str | None:
    """The split that a file holds, by its name without endings; None if it is that of none.

    >>> split_name("train"), split_name("dev"), split_name("test2016"), split_name("readme")
    ('train', 'valid', 'test2016', None)
    """
    if stem in _VALIDATION:
        return "valid"
    return stem if stem == "train" or stem.startswith("test") else None


def split_files(folder: Path, ending: str) -> dict[str, Path]:
    """The files of the splits in a folder, by split; none if there is no file for training.

    They are named train, valid (or val, dev, validation), and test (or any name that begins with
    test). A warning says which other files are not read.

    Args:
        folder: the folder.
        ending: the ending of the file names, such as ``.tsv``; ``.gz`` may follow it.

    Raises:
        ValueError: if two files hold the same split.
    """
    files: dict[str, Path] = {}
    others = []
    for file in sorted(folder.iterdir()):
        plain = file.name.removesuffix(".gz")
        if not file.is_file() or not plain.endswith(ending):
            continue
        split = split_name(plain.removesuffix(ending))
        if split is None:
            others.append(file.name)
        elif split in files:
            raise ValueError(
                f'{folder}: expected one file for the split "{split}", got {files[split].name} and '
                f"{file.name}. Remove one of them."
            )
        else:
            files[split] = file
    if "train" not in files:
        return {}
    if others:
        _log.warning(
            "%s: only %s are read, and not %s.",
            *(folder, ", ".join(f.name for f in files.values()), ", ".join(others)),
        )
    return files

"""Folders of labelled files, sounds or the ways of a pen: a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from throughtime.data.audio import SOUND_SUFFIXES, read_recording, resampled
from throughtime.data.audio.recordings import Recording
from throughtime.data.labelled.example import Example
from throughtime.data.pen import PEN_SUFFIXES, read_trajectory
from throughtime.data.split_files import split_name

__all__ = ["at_rate", "has_class_folders", "read_class_folders"]

_SUFFIXES = {"audio": SOUND_SUFFIXES, "pen": PEN_SUFFIXES}


class _File(NamedTuple):
    """A file and its class; the content is a recording, or the array of a trajectory."""

    label: str
    content: Recording | np.ndarray
    path: Path


def has_class_folders(folder: Path) -> bool:
    """Whether a folder has folders of sounds or ways of a pen, one for each class or split.

    A folder with a file of the training, such as train.csv, has its examples in files.
    """
    if any(path.is_file() and split_name(path.stem) == "train" for path in folder.iterdir()):
        return False
    folders = [path for path in folder.iterdir() if path.is_dir()]
    return any(_kinds(path) for path in folders) or any(
        split_name(path.name) and has_class_folders(path) for path in folders
    )


def read_class_folders(
    folder: Path, rate: int | None = None
) -> tuple[str, int | None, dict[str, list[Example]]]:
    """The kind ("audio" or "pen"), the rate and the examples of a folder, by split.

    Args:
        folder: a folder for each class, which are the split "all"; or folders train, and perhaps
            valid and test, each with a folder for each class.
        rate: the number of samples per second of sounds; None is the lowest of the recordings.

    Returns:
        The rate is None for ways of a pen.

    Raises:
        ValueError: for a file that cannot be read (see `read_recording` and `read_trajectory`), a
            class without files, files of both kinds, or two folders of one split.
    """
    classes = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    splits: dict[str, Path] = {}
    if "train" in classes and not _kinds(classes["train"]):
        for name, path in classes.items():
            split = split_name(name)
            if split in splits:
                raise ValueError(
                    f'{folder}: expected one folder for the split "{split}", got '
                    f"{splits[split].name} and {name}. Remove one of them."
                )
            if split is not None:
                splits[split] = path
    else:
        splits["all"] = folder
    kinds = {
        kind: path
        for part in splits.values()
        for path in sorted(part.iterdir())
        if path.is_dir() and not path.name.startswith((".", "_"))
        for kind in _kinds(path)
    }
    if not kinds:
        endings = ", ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
        raise ValueError(
            f"{folder}: expected a folder of files ({endings}) for each class, got none."
        )
    if len(kinds) > 1:
        named = " and ".join(f"{kind} in {path}" for kind, path in kinds.items())
        raise ValueError(f"{folder}: expected sounds or ways of a pen, got both: {named}.")
    kind = next(iter(kinds))
    files = {split: _files(path, kind) for split, path in splits.items()}
    sounds = [one.content for part in files.values() for one in part]
    rates = {content.rate for content in sounds if isinstance(content, Recording)}
    rate = (rate or min(rates)) if rates else None
    return (
        kind,
        rate,
        {split: [_example(one, rate) for one in part] for split, part in files.items()},
    )


def at_rate(examples: Sequence[Example], rate: int, new_rate: int) -> list[Example]:
    """Sounds of one rate at another."""
    return [
        Example(label, resampled(Recording(np.asarray(samples), rate), new_rate).samples)
        for label, samples in examples
    ]


def _example(file: _File, rate: int | None) -> Example:
    if not isinstance(file.content, Recording):
        return Example(file.label, file.content)
    assert rate is not None  # Sounds have a rate.
    return Example(file.label, resampled(file.content, rate, str(file.path)).samples)


def _files(folder: Path, kind: str) -> list[_File]:
    files = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith((".", "_")):
            continue
        own = _named(path, _SUFFIXES[kind])
        if not own:
            raise ValueError(
                f"{path}: expected recordings ({', '.join(_SUFFIXES[kind])}) of the class "
                f"{path.name!r}, got none. Remove the folder, or put some into it."
            )
        files += [_File(path.name, _content(file, kind), file) for file in own]
    return files


def _content(file: Path, kind: str) -> Recording | np.ndarray:
    return read_recording(file) if kind == "audio" else read_trajectory(file).array


def _kinds(folder: Path) -> list[str]:
    """The kinds of files that a folder has."""
    return [kind for kind, suffixes in _SUFFIXES.items() if _named(folder, suffixes)]


def _named(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder with one of the endings, in the order of their names."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in suffixes and not file.name.startswith(".")
    )

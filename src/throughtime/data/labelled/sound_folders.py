"""Folders of labelled sounds: a folder for each class, with its recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from throughtime.data.audio import SOUND_SUFFIXES, read_recording, resampled
from throughtime.data.audio.recordings import Recording
from throughtime.data.labelled.example import Example
from throughtime.data.split_files import split_name

__all__ = ["at_rate", "has_sounds", "read_sounds"]


def has_sounds(folder: Path) -> bool:
    """Whether a folder has folders of sounds, one for each class or for each split."""
    folders = [path for path in folder.iterdir() if path.is_dir()]
    return any(_sounds(path) for path in folders) or any(
        split_name(path.name) and has_sounds(path) for path in folders
    )


def read_sounds(folder: Path, rate: int | None = None) -> tuple[int, dict[str, list[Example]]]:
    """The rate and the examples of a folder of sounds, by split.

    Args:
        folder: a folder for each class, which are the split "all"; or folders train, and perhaps
            valid and test, each with a folder for each class.
        rate: the number of samples per second; None is the lowest of the recordings.

    Raises:
        ValueError: for a file that is no sound (see `read_recording`), a class without sounds, or
            two folders of one split.
    """
    classes = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    splits: dict[str, Path] = {}
    if "train" in classes and not _sounds(classes["train"]):
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
    recordings = {split: _recordings(path) for split, path in splits.items()}
    rates = {sound.rate for part in recordings.values() for _, sound, _ in part}
    rate = rate or min(rates)
    return rate, {
        split: [
            Example(label, resampled(sound, rate, str(path)).samples) for label, sound, path in part
        ]
        for split, part in recordings.items()
    }


def at_rate(examples: Sequence[Example], rate: int, new_rate: int) -> list[Example]:
    """Sounds of one rate at another."""
    return [
        Example(label, resampled(Recording(np.asarray(samples), rate), new_rate).samples)
        for label, samples in examples
    ]


def _recordings(folder: Path) -> list[tuple[str, Recording, Path]]:
    recordings = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith((".", "_")):
            continue
        files = _sounds(path)
        if not files:
            raise ValueError(
                f"{path}: expected recordings ({', '.join(SOUND_SUFFIXES)}) of the class "
                f"{path.name!r}, got none. Remove the folder, or put some into it."
            )
        recordings += [(path.name, read_recording(file), file) for file in files]
    return recordings


def _sounds(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SOUND_SUFFIXES and not file.name.startswith(".")
    )

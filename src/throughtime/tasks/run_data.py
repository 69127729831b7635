"""Checks that a run that is opened again, from any folder, has the data of its training."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from throughtime.data import reopenable
from throughtime.reading import Entries, Whole

__all__ = [
    "COUNTS",
    "LONGEST",
    "absolute",
    "absolute_files",
    "check_unchanged",
    "first_of",
    "split_of",
    "splits_joined",
]

Split = TypeVar("Split")
Item = TypeVar("Item")

COUNTS = Entries(others=Whole(0))
"""The kind of an asset that counts something in each split."""

LONGEST = 1 << 20
"""The tokens that the longest text of a training may have; a model writes as many at least."""


def absolute(data: str, known: Container[str]) -> str:
    """The absolute path of the user's own data, so that a run can be opened from any folder.

    Args:
        data: the name of a data set, or a path.
        known: the names of the data sets. Such a name is returned unchanged, even if the current
            folder has a file of the same name.

    Raises:
        ValueError: for a pipe, which cannot be read a second time.
    """
    path = Path(data).expanduser()
    return str(reopenable(path)) if data not in known and path.exists() else data


def absolute_files(data: str, known: Container[str]) -> str:
    """The absolute path of the user's own data, or of the two files SOURCE,TARGET.

    What is neither a path nor two of them may be a misspelt name; it is returned unchanged, and the
    loader reports it.

    Args:
        data, known: see :func:`absolute`.
    """
    if data in known or Path(data).expanduser().exists() or "," not in data:
        return absolute(data, known)
    files = [Path(file.strip()).expanduser() for file in data.split(",")]
    paths = (reopenable(file) if file.exists() else file.resolve() for file in files)
    return ",".join(map(str, paths))


def check_unchanged(
    task: str, what: str, name: str, sha256: str, assets: Mapping[str, Any] | None
) -> None:
    """Raises a ValueError if the data of a run are no longer those of its training.

    Args:
        task: the name of the task.
        what: what the message calls the data ("the text", "the pairs").
        name, sha256: the name and the checksum of the data as they are now.
        assets: the assets of the run, with ``data`` and ``data_sha256``; None for a new training,
            which has nothing to compare with.
    """
    if assets is not None and assets["data_sha256"] != sha256:
        is_plural = what.endswith("s")
        raise ValueError(
            f"{task}: {what} {'of ' if is_plural else ''}{name} {'are' if is_plural else 'is'} no "
            f"longer {'those' if is_plural else 'the one'} of the training ({assets['data']}): "
            f"{'their' if is_plural else 'its'} checksum differs. Restore "
            f"{'them' if is_plural else 'it'}, or train another run on the new "
            f"{'ones' if is_plural else 'one'}."
        )


def splits_joined(
    task: str, name: str, splits: Mapping[str, list[Item]], split: str | None
) -> list[Item]:
    """The items of one split, or of all of them where ``split`` is None."""
    if split is not None and list(splits) == ["all"]:
        raise ValueError(f"{task}: {name} comes in no splits. Leave --split out.")
    if split is not None:
        return split_of(task, name, splits, split)
    return [item for items in splits.values() for item in items]


def split_of(task: str, name: str, splits: Mapping[str, Split], split: str) -> Split:
    """The split of that name; raises a ValueError with the names of all splits if there is none."""
    if split not in splits:
        hint = " A training needs it: raise --valid_fraction." if split == "valid" else ""
        raise ValueError(f'{task}: {name} has no split "{split}", only {", ".join(splits)}.{hint}')
    return splits[split]


def first_of(items: Sequence[Item], length: Callable[[Any], int], most: int) -> list[Item]:
    """The first items of at most ``most`` steps together, and at least one item.

    Items without a step are left out.

    Args:
        items: the sequences.
        length: the number of steps of one of them.
        most: the largest number of steps.
    """
    chosen, total = [], 0
    for item in items:
        num_steps = length(item)
        total += num_steps
        if chosen and total > most:
            break
        if num_steps:
            chosen.append(item)
    return chosen

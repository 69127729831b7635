"""The data of a run: the same when it is opened again, from whatever folder."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, TypeVar

from throughtime.data import reopenable
from throughtime.reading import Entries, Whole

__all__ = ["COUNTS", "LONGEST", "absolute", "check_unchanged", "split_of"]

Split = TypeVar("Split")

COUNTS = Entries(others=Whole(0))
"""The kind of an asset that counts something in each split."""

LONGEST = 1 << 20
"""The tokens that the longest text of a training may have; a model writes as many at least."""


def absolute(data: str, known: Container[str]) -> str:
    """The absolute path of the user's own data, so that a run can be opened from any folder.

    Args:
        data: the name of a data set, or a path.
        known: the names of the data sets; a name stays as it is, whatever lies in the folder.

    Raises:
        ValueError: for a pipe, which a run could not read again.
    """
    path = Path(data).expanduser()
    return str(reopenable(path)) if data not in known and path.exists() else data


def check_unchanged(
    task: str, what: str, name: str, sha256: str, assets: Mapping[str, Any] | None
) -> None:
    """Raises a ValueError if the data of a run are no longer those of its training.

    Args:
        task: its name.
        what: the data are ("the text", "the pairs").
        name, sha256: of the data as they are now.
        assets: of the run, which hold ``data`` and ``data_sha256``; None for a new training.
    """
    if assets is not None and assets["data_sha256"] != sha256:
        are = what.endswith("s")
        raise ValueError(
            f"{task}: {what} {'of ' if are else ''}{name} {'are' if are else 'is'} no longer "
            f"{'those' if are else 'the one'} of the training ({assets['data']}): "
            f"{'their' if are else 'its'} checksum differs. Restore {'them' if are else 'it'}, or "
            f"train another run on the new {'ones' if are else 'one'}."
        )


def split_of(task: str, name: str, splits: Mapping[str, Split], split: str) -> Split:
    """A split of the data; raises a ValueError with the names of those that exist."""
    if split not in splits:
        hint = " No training goes without it: raise --valid_fraction." if split == "valid" else ""
        raise ValueError(f'{task}: {name} has no split "{split}", only {", ".join(splits)}.{hint}')
    return splits[split]

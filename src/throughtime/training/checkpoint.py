"""The checkpoint file, which holds everything that a resumed training needs.

The file is a zip archive as ``torch.save`` writes it. The comment of the archive is a checksum of
all bytes before it, so a file in which a single byte has changed is refused before it is parsed.
"""

from __future__ import annotations

import errno
import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from throughtime.tasks.run import RunError, written_whole

__all__ = ["CheckpointError", "load", "random_state", "save", "set_random_state"]

# A zip archive ends with the length of its comment, in two bytes, and the comment itself.
_LABEL = b"throughtime blake2b "
_COMMENT_LENGTH = len(_LABEL) + 64


class CheckpointError(OSError):
    """A checkpoint could not be written."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; if that fails, the previous checkpoint stays.

    Raises:
        CheckpointError: for a full disk or a folder that cannot be written; the message says what
            to do.
    """
    try:
        # Into memory first: torch.save to a path hides the reason of a failure in a RuntimeError.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(-2, io.SEEK_END)
        buffer.write(_COMMENT_LENGTH.to_bytes(2, "little"))
        comment = _LABEL + _checksum(buffer.getbuffer())
        buffer.write(comment)
        written_whole(path, lambda partial: partial.write_bytes(buffer.getbuffer()))
    except OSError as error:
        full = error.errno == errno.ENOSPC
        why = "no space is left on the disk" if full else error.strerror or str(error)
        raise CheckpointError(
            f"{path}: the checkpoint of step {state['step']} could not be written: {why}. "
            f"What was saved before is untouched. {'Make room' if full else 'Put it right'}, then "
            f"go on with --resume."
        ) from error


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; no code that the file may hold is run.

    Raises:
        RunError: if the file is damaged.
    """
    content = path.read_bytes()
    archive, comment = content[:-_COMMENT_LENGTH], content[-_COMMENT_LENGTH:]
    if comment != _LABEL + _checksum(archive):
        raise RunError(_damaged(path, "its checksum is missing or differs"))
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # The checksum is right, so another version of torch or a forger has written the file.
    except Exception as error:
        raise RunError(_damaged(path, f"{type(error).__name__}: {error}")) from error


def _checksum(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=32).hexdigest().encode()


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path}: the checkpoint is damaged ({why.partition(chr(10))[0]}), so this run cannot be "
        f"resumed. The best model beside it can still be used; restore the file from a copy, "
        f"or train again with another --run."
    )


def random_state() -> dict[str, Any]:
    """The states of the random number generators of this process."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Restores the generators from the result of :func:`random_state`."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])

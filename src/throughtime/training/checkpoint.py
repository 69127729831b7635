"""The checkpoint: everything that a training goes on from, in one file."""

from __future__ import annotations

import errno
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from throughtime.tasks.run import RunError, written_whole

__all__ = ["CheckpointError", "load", "random_state", "save", "set_random_state"]


class CheckpointError(OSError):
    """A checkpoint cannot be written."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; if that fails, the one before it stays.

    Raises:
        CheckpointError: with what to do, for a full disk or a folder that cannot be written.
    """
    try:
        # torch.save to a path answers whatever goes wrong with one RuntimeError of its own writer.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        written_whole(path, lambda partial: partial.write_bytes(buffer.getbuffer()))
    except OSError as error:
        full = error.errno == errno.ENOSPC
        why = "no space is left on the disk" if full else str(error)
        raise CheckpointError(
            f"{path}: the checkpoint of step {state['step']} could not be written: {why}. "
            f"What was saved before is untouched. {'Make room' if full else 'Put it right'}, then "
            f"go on with --resume."
        ) from error


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; nothing but numbers is read, no code is run.

    Raises:
        RunError: where the file is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise RunError(
            f"{path}: the checkpoint is damaged ({type(error).__name__}), so this run cannot be "
            f"resumed. The best model beside it can still be used; restore the file from a copy, "
            f"or train again with another --run."
        ) from error


def random_state() -> dict[str, Any]:
    """The state of the random numbers of this process."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Goes back to what :func:`random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])

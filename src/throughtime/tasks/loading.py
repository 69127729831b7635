"""A finished training in Python: its model, its task, and what turns text into tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from throughtime.tasks.run import Run
from throughtime.tasks.task import Task

__all__ = ["LoadedRun", "load_run"]


@dataclass(frozen=True)
class LoadedRun:
    """What a training has left behind.

    Args:
        folder: the run folder.
        task: with the settings of the training: its data, ``loss`` and ``evaluate``.
        model: the best model by validation, in evaluation mode, on the CPU.
    """

    folder: Path
    task: Task
    model: nn.Module

    @property
    def tokenisers(self) -> Mapping[str, Any]:
        """What turns text into tokens and back, by what is read: ``text``, or ``source`` and
        ``target``; empty for a task without text."""
        return self.task.tokenisers_by_name

    @property
    def config(self) -> dict[str, Any]:
        """The configuration: task, settings, training, assets, versions."""
        return Run(self.folder).config()


def load_run(folder: str | Path) -> LoadedRun:
    """Reads a run folder, as ``throughtime train`` writes it.

    Args:
        folder: ``runs/demo``, for example.

    Raises:
        RunError: a ValueError, if the folder is no run, has no model yet, or is damaged.
    """
    run = Run(Path(folder))
    task = run.task()
    return LoadedRun(run.folder, task, run.load_model(task))

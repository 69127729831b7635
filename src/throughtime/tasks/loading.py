"""Loads a trained run in Python: its model, its task and its tokenisers."""

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
    """The contents of a run folder.

    Args:
        folder: the run folder.
        task: the task with the settings of the training. It provides the data, ``loss`` and
            ``evaluate``.
        model: the best model of all validations, in evaluation mode, on the CPU.
    """

    folder: Path
    task: Task
    model: nn.Module

    @property
    def tokenisers(self) -> Mapping[str, Any]:
        """The tokenisers of the task by name: ``text``, or ``source`` and ``target``.

        Empty for a task without text.
        """
        return self.task.tokenisers_by_name

    @property
    def config(self) -> dict[str, Any]:
        """The configuration file of the run: task, settings, training, assets and versions."""
        return Run(self.folder).config()


def load_run(folder: str | Path) -> LoadedRun:
    """Loads a run from the folder that ``throughtime train`` has written.

    Args:
        folder: the run folder, for example ``runs/demo``.

    Raises:
        RunError: a ValueError, if the folder is not a run, has no model yet, or is damaged.
    """
    run = Run(Path(folder))
    task = run.task()
    return LoadedRun(run.folder, task, run.load_model(task))

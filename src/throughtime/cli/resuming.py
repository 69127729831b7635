"""The settings of a run that a training goes on with, and which of them may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from throughtime.reading import Entries, kinds_of, typed
from throughtime.tasks.run import Run, RunError
from throughtime.tasks.task import Task
from throughtime.training.learner import CONFIGS

__all__ = ["resumed"]


def resumed(
    run: Run, kind: type[Task], learner: str, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the run, with the options that change them, and the assets of the run.

    Raises:
        RunError: if an option changes a setting that a resumed run must keep.
    """
    saved = run.config()
    _check(run, saved, kind, learner)
    free = {
        option.name
        for settings in (kind.Config, CONFIGS[learner])
        for option in dataclasses.fields(settings)
        if option.metadata.get("free_on_resume")
    }
    before = {**saved["settings"], **saved["training"]}
    # The limit of time is for one call.
    before.pop("max_time", None)
    for name, value in options.items():
        if name in free or name not in before or before[name] == value:
            continue
        if name not in saved["settings"] or _settled(kind, saved, name, value) != before[name]:
            raise RunError(
                f"{run.folder}: the run has {name}={before[name]}, got {value}. A resumed run "
                f"keeps its settings; leave --{name} out, or train into another --run."
            )
    return {**before, **options}, saved["assets"]


def _check(run: Run, saved: Mapping[str, Any], kind: type[Task], learner: str) -> None:
    """Raises a RunError if the run cannot be gone on with by this task and learner."""
    if not run.checkpoint_file.is_file() and run.model_file.is_file():
        raise RunError(
            f"{run.folder}: expected a checkpoint beside the model, got no "
            f"{run.checkpoint_file.name}. Bring it back, or train into another --run."
        )
    if saved["task"] != kind.name:
        raise RunError(f"{run.folder}: holds a run of {saved['task']}, not of {kind.name}.")
    if saved.get("learner", "gradient") != learner:
        raise RunError(
            f"{run.folder}: the run was learned by {saved.get('learner', 'gradient')}, got "
            f"--learner {learner}. Leave it out, or train into another --run."
        )
    # Raises an error for settings that are missing or wrong.
    run.task()
    where = f"{run.config_file}: training"
    training = typed(where, saved["training"], Entries({}, kinds_of(CONFIGS[learner])))
    try:
        CONFIGS[learner](**training)
    except ValueError as error:
        raise RunError(f"{where}: {error}") from error


def _settled(kind: type[Task], saved: dict[str, Any], name: str, value: Any) -> Any:
    """A setting as the task's configuration changes it beside the other settings of a run.

    A value that the configuration refuses is returned unchanged.
    """
    try:
        return getattr(kind.Config(**{**saved["settings"], name: value}), name)
    except ValueError:
        return value

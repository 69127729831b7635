"""Defaults that depend on the amount of data, for settings that the user did not make."""

from __future__ import annotations

import dataclasses
from collections.abc import Container

from throughtime.tasks.task import BatchTask, Share
from throughtime.training.config import GradientConfig

__all__ = ["suit"]

_LEAST_STEPS = 2000
_MOST_EPOCHS = 100


def suit(
    task: BatchTask, config: GradientConfig, settled: Container[str]
) -> tuple[GradientConfig, list[str]]:
    """Changes settings to defaults that suit the amount of data, and gives the reasons.

    The task chooses its own settings in :meth:`~throughtime.tasks.task.Task.defaults`. If the
    epochs of the configuration are fewer than 2,000 steps in total, their number is raised to
    reach 2,000 steps, but to at most 100. The number of warm-up steps is computed from the total.
    Data of the usual size change nothing.

    Args:
        task: the task, whose ``config`` is replaced.
        config: the settings of the training.
        settled: the names of the settings that the user made; they are not changed.

    Returns:
        The settings of the training, and a line for each setting that differs from its usual
        default.
    """
    world_size = config.devices * config.num_nodes
    lines = []
    for name, (value, reason) in task.defaults().items():
        # A batch size must be a multiple of the number of processes.
        if name in settled or (name == "batch_size" and value % world_size):
            continue
        lines.append(f"--{name} {value}: {reason}.")
        task.config = dataclasses.replace(task.config, **{name: value})
    steps = len(task.batches("train", Share(0, world_size)))
    if "epochs" not in settled and config.epochs * steps < _LEAST_STEPS:
        epochs = min(_MOST_EPOCHS, -(-_LEAST_STEPS // steps))
        advice = "" if config.patience else ", and --patience 5 would end the training early"
        lines.append(
            f"--epochs {epochs}: {config.epochs} epochs are only {config.epochs * steps} steps. "
            f"The best model is kept{advice}."
        )
        config = dataclasses.replace(config, epochs=epochs)
    usual, total = config.warmup(10**9), config.epochs * steps
    config = dataclasses.replace(config, warmup_steps=config.warmup(total))
    if config.warmup_steps != usual:
        lines.append(f"--warmup_steps {config.warmup_steps}: a tenth of all {total:,} steps.")
    return config, lines

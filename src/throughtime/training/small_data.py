"""Settings that suit the amount of data, where the user did not make them."""

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
    """Changes settings to defaults that suit the amount of data, and says why.

    The settings of the task are those of its :meth:`~throughtime.tasks.task.Task.defaults`. An
    amount of data for which ten epochs are less than 2,000 steps is read more often, at most 100
    times. The warm-up gets its number of steps. Data of the usual size change nothing.

    Args:
        task: the task, whose ``config`` is replaced.
        config: the settings of the training.
        settled: the names of the settings that the user made, which stay.

    Returns:
        The settings of the training, and a line for each setting that differs from its usual
        default.
    """
    world_size = config.devices * config.num_nodes
    said = []
    for name, (value, reason) in task.defaults().items():
        # Some batches must be shared equally by all processes.
        if name in settled or (name == "batch_size" and value % world_size):
            continue
        said.append(f"--{name} {value}: {reason}.")
        task.config = dataclasses.replace(task.config, **{name: value})
    steps = len(task.batches("train", Share(0, world_size)))
    if "epochs" not in settled and config.epochs * steps < _LEAST_STEPS:
        epochs = min(_MOST_EPOCHS, -(-_LEAST_STEPS // steps))
        advice = "" if config.patience else ", and --patience 5 would end the training early"
        said.append(
            f"--epochs {epochs}: {config.epochs} epochs are only {config.epochs * steps} steps. "
            f"The best model is kept{advice}."
        )
        config = dataclasses.replace(config, epochs=epochs)
    usual, total = config.warmup(10**9), config.epochs * steps
    config = dataclasses.replace(config, warmup_steps=config.warmup(total))
    if config.warmup_steps != usual:
        said.append(f"--warmup_steps {config.warmup_steps}: a tenth of all {total:,} steps.")
    return config, said

"""Trains a task with a learner in a run folder, from the settings to the end."""

from __future__ import annotations

import torch

from throughtime.tasks.run import Run
from throughtime.tasks.task import Share, Task
from throughtime.training import checkpoint
from throughtime.training.companions import companions
from throughtime.training.config import GradientConfig, LoopConfig
from throughtime.training.learner import CONFIGS, Diverged, HasLoss, learner_class
from throughtime.training.loop import Loop, Outcome

__all__ = ["check", "fit"]


def check(task: Task, config: LoopConfig) -> None:
    """Raises a ValueError, before anything is written, if this cannot be trained here."""
    if isinstance(config, GradientConfig):
        if config.accelerator == "gpu" and not torch.accelerator.is_available():
            raise ValueError(
                "--accelerator gpu: expected a GPU that torch can use, got none. Use "
                "--accelerator cpu."
            )
        if isinstance(task, HasLoss):
            # Raises if the batch cannot be divided among the processes.
            task.batches("train", Share(0, config.devices * config.num_nodes))
    task.check()


def fit(task: Task, config: LoopConfig, run: Run, resume: bool = False) -> Outcome:
    """Trains a task and writes everything into the run folder.

    Args:
        task: the task to learn.
        config: the settings; their class selects the learner.
        run: the run folder, as :meth:`throughtime.tasks.run.Run.create` creates it.
        resume: whether to continue from the checkpoint of the folder, if there is one.

    Raises:
        Diverged: if the loss is no longer finite; the last checkpoint stays.
        CheckpointError: if a checkpoint cannot be written.
        RunError: if the checkpoint is damaged or belongs to other settings.
        Lost: if another process of this training has died.
    """
    saved = None
    if resume and run.checkpoint_file.is_file():
        saved = checkpoint.load(run.checkpoint_file)
    (name,) = (name for name, settings in CONFIGS.items() if type(config) is settings)
    others, is_failed = companions(), True
    try:
        learner = learner_class(name)(task, config)
        outcome = Loop(task, learner, config, run, saved).train()
        is_failed = False
        return outcome
    except Diverged:
        raise
    except RuntimeError as error:
        # A meeting with a process that has died fails with an error of the communication library.
        lost = others.lost(error)
        if lost is not None:
            raise lost from error
        raise
    finally:
        others.finish(is_failed)

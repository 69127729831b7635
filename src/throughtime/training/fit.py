"""A training from its settings to its end."""

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
            # The processes share the rows.
            task.batches("train", Share(0, config.devices * config.num_nodes))
    task.check()


def fit(task: Task, config: LoopConfig, run: Run, resume: bool = False) -> Outcome:
    """Trains, and leaves everything in the run folder.

    Args:
        task: what is learned.
        config: how; its class says by which learner.
        run: the folder, made by :meth:`throughtime.tasks.run.Run.create`.
        resume: go on from the folder's checkpoint, if there is one.

    Raises:
        Diverged: if the loss is no longer finite; what was saved before stays.
        CheckpointError: if a checkpoint cannot be written.
        RunError: if the checkpoint to go on from is damaged, or of other settings.
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
        # A meeting with a process that has died fails with an error of the library beneath.
        lost = others.lost(error)
        if lost is not None:
            raise lost from error
        raise
    finally:
        others.finish(is_failed)

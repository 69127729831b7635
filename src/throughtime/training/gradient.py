"""Learning by gradient descent through time. The only home of Lightning.

Lightning moves the model to its device, runs the steps in the precision and over the processes
that are asked for, and steps the optimiser. The training is one long stream of batches to it;
where in the text the stream stands, and so epochs, validation and resuming, is known here.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn

from throughtime.tasks.run import Run, RunError
from throughtime.tasks.task import Batches, Task
from throughtime.training import checkpoint
from throughtime.training.config import GradientConfig
from throughtime.training.supervisor import Supervisor

__all__ = ["Diverged", "Outcome", "check", "clip_norm_", "fit"]


class Diverged(RuntimeError):
    """The loss or its gradient is no longer a finite number."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        reason: ``complete``, ``time`` or ``interrupted``.
        step: how many updates were made in all.
        figures: of the validation of the best model.
    """

    reason: str
    step: int
    figures: dict[str, float]


def clip_norm_(parameters: list[nn.Parameter], clip_norm: float) -> float:
    r"""Shortens the gradient g to the norm N where it is longer, and returns its norm before.

        ||g|| = sqrt(sum_i g_i^2);   g <- g * N / ||g||   where ||g|| > N

    The notes' code takes ``np.sum(grad * grad)`` for the norm: it forgets the square root, and so
    compares the square of the norm with the threshold, and shortens by the wrong factor.

    Source: Pascanu, Mikolov and Bengio, arXiv 1211.5063, section 3.2.
    """
    return float(nn.utils.clip_grad_norm_(parameters, clip_norm))


@dataclass
class Position:
    """Where a training stands; a checkpoint holds it.

    Args:
        step: updates made so far.
        seconds: spent so far, over all calls.
        best: the best validation yet, and its figures.
        since_row: sums since the last row of metrics.csv: losses, gradient norms, steps.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    best_figures: dict[str, float] = field(default_factory=dict)
    since_row: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])


class _Stream:
    """All batches that are still to come, over all epochs."""

    def __init__(self, batches: Batches, epochs: int, step: int) -> None:
        self.batches, self.remaining = batches, epochs * len(batches) - step
        epoch, position = divmod(step, len(batches))
        batches.load_state_dict(batches.state_dict() | {"position": position, "epoch": epoch})

    def __len__(self) -> int:
        return self.remaining

    def __iter__(self) -> Iterator[Any]:
        given = 0
        while given < self.remaining:
            for batch in self.batches:
                yield batch
                given += 1


class GradientTraining(lightning.LightningModule):
    """The steps of a training.

    Args:
        task: what is learned.
        settings: how.
        run: where it is written.
        saved: the checkpoint to go on from, or None.
    """

    def __init__(
        self, task: Task, settings: GradientConfig, run: Run, saved: dict[str, Any] | None
    ) -> None:
        super().__init__()
        self.task, self.settings, self.run_folder, self.saved = task, settings, run, saved
        self.model = task.model()
        self.position = Position()
        if saved is not None:
            if settings.precision == "64-true":
                # Lightning converts the model later, when the digits would be lost.
                self.model.double()
            self.model.load_state_dict(saved["model"])
            self.position = Position(**saved["position"])
        self.state: Any = None
        self.is_interrupted = False
        self.supervisor: Supervisor | None = None

    def train_dataloader(self) -> _Stream:
        batches = self.task.data("train", self.global_rank, self.num_processes)
        self.steps_per_epoch = len(batches)
        self.total_steps = self.settings.epochs * len(batches)
        return _Stream(batches, self.settings.epochs, self.position.step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        s = self.settings
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            s.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=s.weight_decay,
            fused=True,
        )
        if self.saved is not None:
            self.optimizer.load_state_dict(self.saved["optimizer"])
        return self.optimizer

    def on_train_start(self) -> None:
        self.started = time.monotonic()
        if self.saved is not None:
            mine = self.saved["processes"][self.global_rank]
            self.state = _moved(mine["state"], self.device)
            self.position.since_row = mine.get("since_row", self.position.since_row)
            checkpoint.set_random_state(mine["random"])
        else:
            # Every process drops other units.
            torch.manual_seed(self.settings.seed + self.global_rank)
        self.saved = None
        self.supervisor = Supervisor(self)

    # A step.

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        fraction = self.fraction
        if self.num_processes > 1 and self.settings.max_time is not None:
            # The clocks of the processes differ; their weights must not.
            fraction = self.trainer.strategy.broadcast(fraction)
        self.task.fraction = fraction
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(fraction)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.position.step % self.steps_per_epoch == 0:
            self.state = None
        loss, state = self.task.loss(self.model, batch, self.state)
        if self.num_processes > 1:
            # The mean of the processes shall be the mean of all units, however they are shared.
            count = self.task.count(batch)
            loss = loss * (count / self.mean_over_processes(count))
        self.state = _detached(state)
        self.last_loss = loss.detach()
        return loss

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        self.last_norm = clip_norm_(parameters, self.settings.clip_norm)
        if not math.isfinite(self.last_norm):
            raise Diverged(self._last_words())

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert self.supervisor is not None
        self.position.step += 1
        count = self.task.count(batch)
        if self.supervisor.after_step(float(self.last_loss), self.last_norm, count):
            self.trainer.should_stop = True

    def learning_rate(self, fraction: float) -> float:
        """The learning rate of the step that comes, with so much of the training done."""
        s = self.settings
        warm = min(1.0, (self.position.step + 1) / max(1, s.warmup_steps))
        left = {
            "cosine": 0.5 * (1 + math.cos(math.pi * fraction)),
            "linear": 1 - fraction,
            "none": 1.0,
        }[s.decay]
        return s.learning_rate * warm * left

    @property
    def fraction(self) -> float:
        """How much of the training is done, by steps or by time, whichever is further."""
        done = self.position.step / self.total_steps
        if self.settings.max_time is not None:
            done = max(done, self.seconds_of_call / (60 * self.settings.max_time))
        return min(1.0, done)

    @property
    def seconds_of_call(self) -> float:
        """How long this call trains already."""
        return time.monotonic() - self.started

    def _last_words(self) -> str:
        s, kept = self.settings, "keeps the last good checkpoint"
        if not self.run_folder.checkpoint_file.is_file():
            kept = "has no checkpoint yet"
        return (
            f"step {self.position.step + 1}: the loss is {float(self.last_loss):g} and the norm of "
            f"its gradient {self.last_norm:g}: the training has diverged and stops. "
            f"{self.run_folder.folder} {kept}. Go on with --resume and a lower --learning_rate "
            f"(now {s.learning_rate:g}) or a lower --clip_norm (now {s.clip_norm:g})."
        )

    # Several processes.

    @property
    def num_processes(self) -> int:
        """How many processes share each batch."""
        return self.trainer.world_size

    def any_process(self, mine: bool) -> bool:
        """Whether any process says so; all must ask."""
        if self.num_processes == 1:
            return mine
        return self.trainer.strategy.reduce_boolean_decision(mine, all=False)

    def mean_over_processes(self, mine: float) -> float:
        """The mean of what the processes have; all must ask."""
        if self.num_processes == 1:
            return mine
        value = torch.tensor(float(mine), device=self.device)
        return float(self.trainer.strategy.reduce(value, reduce_op="mean"))

    def whole_state(self) -> dict[str, Any]:
        """Everything that a checkpoint holds; all processes must ask."""
        mine = {
            "state": _moved(self.state, "cpu"),
            "random": checkpoint.random_state(),
            "since_row": self.position.since_row,
        }
        processes: list[Any] = [mine]
        if self.num_processes > 1:
            processes = [None] * self.num_processes
            torch.distributed.all_gather_object(processes, mine)
        return {
            "step": self.position.step,
            "steps_per_epoch": self.steps_per_epoch,
            "position": asdict(self.position),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "processes": processes,
        }


def check(task: Task, config: GradientConfig) -> None:
    """Raises a ValueError, before anything is written, where this cannot be trained here."""
    if config.accelerator == "gpu" and not torch.accelerator.is_available():
        raise ValueError(
            "--accelerator gpu: expected a GPU that torch can use, got none. Use --accelerator cpu."
        )
    task.check()
    # The processes share the rows.
    task.data("train", world_size=config.devices)


def fit(task: Task, config: GradientConfig, run: Run, resume: bool = False) -> Outcome:
    """Trains, and leaves everything in the run folder.

    Args:
        task: what is learned.
        config: how.
        run: the folder, made by :meth:`throughtime.tasks.run.Run.create`.
        resume: go on from the folder's checkpoint, if there is one.

    Raises:
        Diverged: where the loss is no longer finite; what was saved before stays.
        CheckpointError: where a checkpoint cannot be written.
        RunError: where the checkpoint to go on from is damaged, or of other settings.
    """
    saved = None
    if resume and run.checkpoint_file.is_file():
        saved = checkpoint.load(run.checkpoint_file)
        _check_checkpoint(saved, config, run)
        if saved["step"] >= config.epochs * saved["steps_per_epoch"]:
            return Outcome("complete", saved["step"], saved["position"]["best_figures"])
    torch.manual_seed(config.seed)
    training = GradientTraining(task, config, run, saved)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with _interruptible(training), warnings.catch_warnings():
        # Lightning's advice on loaders and on its own deprecations is not for the user's ears.
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning|torch.utils.data")
        trainer = lightning.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            strategy=config.strategy,
            precision=config.precision,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(training)
        finally:
            if training.supervisor is not None:
                training.supervisor.close()
    assert training.supervisor is not None
    position = training.position
    return Outcome(training.supervisor.outcome, position.step, position.best_figures)


def _check_checkpoint(saved: dict[str, Any], config: GradientConfig, run: Run) -> None:
    if len(saved["processes"]) != config.devices:
        raise RunError(
            f"{run.checkpoint_file}: was written by {len(saved['processes'])} process(es), each "
            f"with the state of its rows; resume with --devices {len(saved['processes'])}, got "
            f"{config.devices}."
        )


@contextmanager
def _interruptible(training: GradientTraining) -> Iterator[None]:
    """The first Ctrl-C stops after the step at hand, with everything saved; the second at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: Any) -> None:
        training.is_interrupted = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _detached(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach()
    return None if state is None else tuple(_detached(s) for s in state)


def _moved(state: Any, device: Any) -> Any:
    if isinstance(state, Tensor):
        return state.to(device)
    return None if state is None else tuple(_moved(s, device) for s in state)

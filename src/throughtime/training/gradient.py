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

from throughtime.inspection.report import write_report
from throughtime.tasks.run import Run, RunError
from throughtime.tasks.task import Batches, Task
from throughtime.training import checkpoint
from throughtime.training.config import GradientConfig
from throughtime.training.journal import Journal
from throughtime.training.progress import Display

__all__ = ["Diverged", "Outcome", "clip_norm_", "fit"]


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
        batches.load_state_dict(batches.state_dict() | {"position": step % len(batches)})

    def __len__(self) -> int:
        return self.remaining

    def __iter__(self) -> Iterator[Any]:
        given = 0
        while given < self.remaining:
            for batch in self.batches:
                yield batch
                given += 1


class GradientTraining(lightning.LightningModule):
    """The steps of a training, and what happens between them."""

    def __init__(
        self, task: Task, config: GradientConfig, run: Run, saved: dict[str, Any] | None
    ) -> None:
        super().__init__()
        self.task, self.settings, self.run_folder, self.saved = task, config, run, saved
        self.model = task.model()
        self.position = Position()
        if saved is not None:
            self.model.load_state_dict(saved["model"])
            self.position = Position(**saved["position"])
        self.state: Any = None
        self.outcome = "complete"
        self.is_interrupted = False
        self.display = Display(task.unit, is_quiet=True)
        self.journal: Journal | None = None

    # The stream of batches.

    def train_dataloader(self) -> _Stream:
        batches = self.task.data("train", self.global_rank, self._world_size)
        self.steps_per_epoch = len(batches)
        self.total_steps = self.settings.epochs * len(batches)
        return _Stream(batches, self.settings.epochs, self.position.step)

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size

    # One step.

    def configure_optimizers(self) -> torch.optim.Optimizer:
        s = self.settings
        optimizer = torch.optim.AdamW(
            self.model.parameters(), s.learning_rate, betas=(0.9, 0.99), weight_decay=s.weight_decay
        )
        if self.saved is not None:
            optimizer.load_state_dict(self.saved["optimizer"])
        return optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.position.step % self.steps_per_epoch == 0:
            self.state = None
        loss, state = self.task.loss(self.model, batch, self.state)
        self.state = _detached(state)
        self.last_loss, self.last_count = loss.detach(), self.task.count(batch)
        return loss

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        self.last_norm = clip_norm_(parameters, self.settings.clip_norm)
        if not math.isfinite(self.last_norm):
            kept = "keeps the last good checkpoint"
            if not self.run_folder.checkpoint_file.is_file():
                kept = "has no checkpoint yet"
            raise Diverged(
                f"step {self.position.step + 1}: the loss is {float(self.last_loss):g} and the "
                f"norm of its gradient {self.last_norm:g}: the training has diverged and stops. "
                f"{self.run_folder.folder} {kept}. Try a lower --learning_rate (now "
                f"{self.settings.learning_rate:g}) or a lower --clip_norm (now "
                f"{self.settings.clip_norm:g})."
            )

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer

    @property
    def fraction(self) -> float:
        """How much of the training is done, by steps or by time, whichever is further."""
        done = self.position.step / self.total_steps
        if self.settings.max_time:
            done = max(done, self._seconds_of_call / (60 * self.settings.max_time))
        return min(1.0, done)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the step that comes."""
        s = self.settings
        warm = min(1.0, (self.position.step + 1) / max(1, s.warmup_steps))
        left = {
            "cosine": 0.5 * (1 + math.cos(math.pi * self.fraction)),
            "linear": 1 - self.fraction,
            "none": 1.0,
        }[s.decay]
        return s.learning_rate * warm * left

    # Between the steps.

    def on_train_start(self) -> None:
        task, s = self.task, self.settings
        self.started = self.row_started = self.shown = self.saved_at = time.monotonic()
        self.sampled = self.started
        self.seconds_before = self.position.seconds
        self.fraction_before = self.fraction
        self.paused, self.speed, self.units_since_row = 0.0, 0.0, 0
        self.display = Display(task.unit, is_quiet=not self.trainer.is_global_zero)
        if self.trainer.is_global_zero:
            speed = f"{task.unit}_per_second"
            columns = [*task.readable(0.0), "gradient_norm", "learning_rate", speed]
            self.journal = Journal(self.run_folder, columns, self.position.step)
        if self.saved is not None:
            mine = self.saved["processes"][self.global_rank]
            self.state = _moved(mine["state"], self.device)
            checkpoint.set_random_state(mine["random"])
        else:
            # Every process drops other units.
            torch.manual_seed(s.seed + self.global_rank)
        self.saved = None
        self.display.start()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        p, s = self.position, self.settings
        p.step += 1
        loss = float(self.last_loss)
        p.since_row = [a + b for a, b in zip(p.since_row, (loss, self.last_norm, 1), strict=True)]
        self.units_since_row += self.last_count * self._world_size
        now = time.monotonic()
        p.seconds = self.seconds_before + now - self.started

        is_last = p.step == self.total_steps
        if self._agreed(self.is_interrupted):
            self.outcome = "interrupted"
        elif not is_last and s.max_time and self._agreed(self._seconds_of_call >= 60 * s.max_time):
            self.outcome = "time"
        stops = self.outcome != "complete"

        if p.step % s.log_every == 0 or is_last:
            self._write_row()
        if now - self.shown >= 0.25:
            self._show()
        every = s.validate_every or self.steps_per_epoch
        if p.step % every == 0 or is_last or stops:
            self._validate()
        elif self._agreed(now - self.sampled >= 60 * s.sample_every):
            with self._pause():
                self._sample(f"epoch {self._epoch:.2f} · a sample")
        if stops or is_last or self._agreed(time.monotonic() - self.saved_at >= 60 * s.save_every):
            self._save()
        if stops:
            self.trainer.should_stop = True

    def _agreed(self, mine: bool) -> bool:
        """Whether any process says so."""
        if self._world_size == 1:
            return mine
        return self.trainer.strategy.reduce_boolean_decision(mine, all=False)

    @property
    def _seconds_of_call(self) -> float:
        return time.monotonic() - self.started

    @property
    def _epoch(self) -> float:
        return self.position.step / self.steps_per_epoch

    def _write_row(self) -> None:
        p = self.position
        loss_sum, norm_sum, steps = p.since_row
        now = time.monotonic()
        speed = self.units_since_row / max(1e-9, now - self.row_started - self.paused)
        loss = loss_sum / steps
        if self._world_size > 1:
            loss = float(self.trainer.strategy.reduce(torch.tensor(loss), reduce_op="mean"))
        figures = self.task.readable(loss) | {
            "gradient_norm": norm_sum / steps,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            f"{self.task.unit}_per_second": speed,
        }
        if self.journal is not None:
            self.journal.record(p.step, self._epoch, p.seconds, "train", figures)
        p.since_row = [0.0, 0.0, 0.0]
        self.row_started, self.paused, self.units_since_row = now, 0.0, 0
        self.speed = speed

    def _show(self) -> None:
        self.shown = time.monotonic()
        done_here = max(1e-9, self.fraction - self.fraction_before)
        left = self._seconds_of_call * (1 - self.fraction) / done_here
        loss_sum, _, steps = self.position.since_row
        loss = loss_sum / steps if steps else float(self.last_loss)
        where = f"epoch {min(self.settings.epochs, int(self._epoch) + 1)}/{self.settings.epochs}"
        self.display.update(where, self.fraction, self.task.readable(loss), self.speed, left)

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """What is done within does not count as training in the speed."""
        begun = time.monotonic()
        yield
        self.paused += time.monotonic() - begun

    def _validate(self) -> None:
        p = self.position
        with self._pause():
            figures = self.task.metrics(self.model, "valid")
            if self.journal is not None:
                self.journal.record(p.step, self._epoch, p.seconds, "valid", figures)
            value = figures[self.task.monitor]
            is_best = value < p.best
            if is_best:
                p.best, p.best_figures = value, figures
                if self.trainer.is_global_zero:
                    self.run_folder.save_model(self.model)
            shown = " · ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in figures.items())
            self._sample(f"epoch {self._epoch:.2f} · validation {shown}{' *' if is_best else ''}")
            if self.trainer.is_global_zero:
                write_report(self.run_folder)

    def _sample(self, title: str) -> None:
        text = self.task.sample(self.model)
        self.display.say(title)
        self.display.show_sample(text)
        if self.journal is not None:
            self.journal.sample(self.position.step, text)
        self.sampled = time.monotonic()

    def _save(self) -> None:
        mine = {"state": _moved(self.state, "cpu"), "random": checkpoint.random_state()}
        processes: list[Any] = [mine]
        if self._world_size > 1:
            processes = [None] * self._world_size
            torch.distributed.all_gather_object(processes, mine)
        if self.trainer.is_global_zero:
            with self._pause():
                checkpoint.save(
                    self.run_folder.checkpoint_file,
                    {
                        "step": self.position.step,
                        "steps_per_epoch": self.steps_per_epoch,
                        "position": asdict(self.position),
                        "model": self.model.state_dict(),
                        "optimizer": self._optimizer.state_dict(),
                        "processes": processes,
                    },
                )
        self.saved_at = time.monotonic()

    def close(self) -> None:
        """Takes the bar away and closes the files, however the training ended."""
        self.display.stop()
        if self.journal is not None:
            self.journal.close()
            self.journal = None


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
            training.close()
    p = training.position
    return Outcome(training.outcome, p.step, p.best_figures)


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

"""Learning by gradient descent through time; the only file that imports Lightning.

Lightning's Fabric moves the model to its device, computes in the precision of the settings,
connects the processes and averages their gradients.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from throughtime.layers.evaluation import evaluating
from throughtime.reading import shown
from throughtime.tasks.task import Batches, BatchTask, Loss, Share
from throughtime.training import checkpoint
from throughtime.training.averaging import averaged
from throughtime.training.checkpoint_kinds import adam_kind, adam_state, load_adam_state, model_kind
from throughtime.training.companions import companions
from throughtime.training.config import GradientConfig
from throughtime.training.learner import Diverged, Learner, StepReport
from throughtime.training.processes import Processes

__all__ = ["LEARNER", "GradientLearner", "clip_norm_"]


def clip_norm_(parameters: list[nn.Parameter], clip_norm: float) -> float:
    r"""Scales the gradient g down to the norm N if it is longer, and returns its original norm.

        ||g|| = sqrt(sum_i g_i^2);   g <- g * N / ||g||   where ||g|| > N

    The code of the lecture notes uses ``np.sum(grad * grad)`` as the norm. Without the square root
    it compares the square of the norm with N, and scales by the wrong factor.

    Source: Pascanu, Mikolov and Bengio, arXiv 1211.5063, section 3.2.
    """
    return float(nn.utils.clip_grad_norm_(parameters, clip_norm))


class _LossOfBatch(nn.Module):
    """The model and its loss as one module, because Fabric wraps the forward of a module."""

    def __init__(self, task: BatchTask, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._task = task
        self.loss: Loss | None = None

    def forward(self, batch: Any, carried: Any, progress: float) -> Tensor:
        # Not returned, because Fabric would convert the tensors of the carried state.
        self.loss = self._task.loss(self.model, batch, carried, progress)
        return self.loss.total


class GradientLearner(Learner):
    r"""AdamW on the mean loss of each batch, with a clipped gradient:

        L = sum over processes of total / sum over processes of count

    so every unit has the same weight, whichever process reads it.

    The learning rate rises over the warm-up (:meth:`GradientConfig.warmup`) and falls with the
    progress u of the training: by (1 + cos(pi u)) / 2, by 1 - u, or not at all.

    With the setting ``average``, the model that is validated and kept has the average of the
    weights over the steps; see :func:`throughtime.training.averaging.averaged`.

    Attributes:
        trained: the model whose weights the optimizer changes; ``model`` itself, unless ``model``
            has their average.
    """

    columns = ("gradient_norm", "learning_rate")
    means = ("loss", "gradient_norm")

    def __init__(self, task: BatchTask, config: GradientConfig) -> None:
        self.task, self.config = task, config
        for name in ("lightning_fabric", "lightning.fabric", "lightning_fabric.utilities"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # Lightning's warnings about its own deprecations are of no use to the user.
            warnings.filterwarnings("ignore", module="lightning_fabric|lightning|torch")
            self.fabric = _fabric(config)
            self.fabric.launch()
            self.processes = Processes(
                self.fabric.global_rank, self.fabric.world_size, self.fabric.device
            )
            torch.manual_seed(config.seed)
            self.model = self.trained = task.model()
            if config.precision == "64-true":
                # Before a checkpoint is loaded, which would otherwise be rounded.
                self.trained.double()
            self.average = None
            if config.average is not None:
                self.average = averaged(self.trained, config.average, self.fabric.device)
                self.model = self.average.module
            parameters = list(self.trained.parameters())
            self.optimizer = torch.optim.AdamW(
                parameters,
                config.learning_rate,
                betas=(0.9, 0.99),
                weight_decay=config.weight_decay,
                fused=True,
            )
            self._loss_of_batch = _LossOfBatch(task, self.trained)
            self._wrapped, self._optimizer = self.fabric.setup(self._loss_of_batch, self.optimizer)
        # Dropout draws other units in each process.
        torch.manual_seed(config.seed + self.processes.rank)
        share = Share(self.processes.rank, self.processes.size)
        self.batches: Batches = task.batches("train", share)
        self.steps_per_epoch = len(self.batches)
        self.total_steps = config.epochs * self.steps_per_epoch
        self.num_warmup_steps = config.warmup(self.total_steps)
        self.carried: Any = None
        self._seek(0)

    def _seek(self, step: int) -> None:
        self.num_steps = step
        epoch, position = divmod(step, self.steps_per_epoch)
        self.batches.seek(epoch, position)
        self._stream = _stream(self.batches)

    def step(self, progress: float) -> StepReport:
        rate = self.learning_rate(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.num_steps % self.steps_per_epoch == 0:
            self.carried = None
        batch = self._next_batch()
        self._optimizer.zero_grad()
        total = self._wrapped(batch, self.carried, progress)
        loss = self._loss_of_batch.loss
        assert loss is not None
        self._loss_of_batch.loss = None
        # Fabric averages the gradients, but the processes may have different counts.
        mean = total / self.processes.mean(loss.count)
        self.fabric.backward(mean)
        parameters = [p for p in self.trained.parameters() if p.grad is not None]
        norm = clip_norm_(parameters, self.config.clip_norm)
        value = float(mean.detach())
        if not math.isfinite(norm):
            raise Diverged(f"the loss is {value:g} and the norm of its gradient {norm:g}")
        self._optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.trained)
        self.carried = _map(torch.Tensor.detach, loss.carried)
        self.num_steps += 1
        return StepReport(
            loss.count, {"loss": value, "gradient_norm": norm}, {"learning_rate": rate}
        )

    def learning_rate(self, progress: float) -> float:
        """The learning rate of the next step, at a fraction of the training that is done."""
        c = self.config
        warm = min(1.0, (self.num_steps + 1) / max(1, self.num_warmup_steps))
        left = {
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "linear": 1 - progress,
            "none": 1.0,
        }[c.decay]
        return c.learning_rate * warm * left

    def figures(self, means: Mapping[str, float]) -> dict[str, float]:
        loss = self.task.figures_of_loss(self.processes.mean(means["loss"]))
        return {**loss, "gradient_norm": means["gradient_norm"]}

    @property
    def advice(self) -> str:
        c = self.config
        return (
            f"a lower --learning_rate (now {c.learning_rate:g}) or a lower --clip_norm "
            f"(now {c.clip_norm:g})"
        )

    # Resuming.

    @property
    def _parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.trained.named_parameters())

    def state_dict(self) -> dict[str, Any]:
        state = {
            "steps_per_epoch": self.steps_per_epoch,
            "model": self.trained.state_dict(),
            "optimizer": adam_state(self.optimizer, self._parameters),
        }
        return state if self.average is None else {**state, "average": self.average.state_dict()}

    def own_state(self) -> dict[str, Any]:
        # Only the leaves, because a checkpoint cannot hold the types of a task.
        return {"carried": tree_flatten(_moved(self.carried, torch.device("cpu")))[0]}

    def state_kinds(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        kinds = {
            "steps_per_epoch": self._check_steps_per_epoch,
            "model": model_kind(self.trained),
            "optimizer": adam_kind(self._parameters, step),
        }
        if self.average is not None:
            kinds["average"] = model_kind(self.average)
        return kinds, {"carried": list}

    def _check_steps_per_epoch(self, value: object) -> object:
        if type(value) is not int or value != self.steps_per_epoch:
            raise ValueError(
                f"expected a checkpoint of {self.steps_per_epoch} steps an epoch, got "
                f"{shown(value)}"
            )
        return value

    def load_state_dict(self, state: dict[str, Any], own: dict[str, Any], step: int) -> None:
        num_averaged = step if self.average is None else int(state["average"]["n_averaged"])
        if num_averaged != step:
            raise ValueError(
                f"average: expected the average of {step} steps, got that of {num_averaged}"
            )
        carried = self._carried_like(own["carried"], step)
        self.trained.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        load_adam_state(self.optimizer, self._parameters, state["optimizer"])
        self.carried = carried
        self._seek(step)

    def _carried_like(self, leaves: list[Any], step: int) -> Any:
        """The saved tensors as a carried state, after a trial on the next batch."""
        before = checkpoint.random_state()
        try:
            with evaluating(self.trained), self.fabric.autocast():
                return self._tried(leaves, step)
        finally:
            checkpoint.set_random_state(before)

    def _tried(self, leaves: list[Any], step: int) -> Any:
        if step % self.steps_per_epoch == 0:
            # An epoch starts without a carried state.
            return None
        self._seek(0)
        first = self.task.loss(self.trained, self._next_batch(), None, 0.0)
        expected, structure = tree_flatten(first.carried)
        if list(map(_kind, leaves)) != list(map(_kind, expected)):
            raise ValueError("carried: expected the tensors that the loss of a batch carries on")
        carried = _moved(tree_unflatten(leaves, structure), self.fabric.device)
        self._seek(step)
        try:
            total = self.task.loss(self.trained, self._next_batch(), carried, 0.0).total
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(f"carried: the next batch cannot go on from it: {error}") from error
        if not bool(torch.isfinite(total)):
            raise ValueError("carried: the loss of a batch that goes on from it is not finite")
        return carried

    def _next_batch(self) -> Any:
        return _moved(next(self._stream), self.fabric.device)


LEARNER = GradientLearner


def _fabric(config: GradientConfig) -> Fabric:
    """Creates Fabric, and starts the processes of this machine if no launcher has done so."""
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision=config.precision,
        )
    except MisconfigurationException as error:
        raise ValueError(
            f"--accelerator {config.accelerator}, --devices {config.devices}: {error}"
        ) from error
    environment = getattr(fabric.strategy, "cluster_environment", None)
    if environment is not None:
        others = companions()
        if not environment.creates_processes_externally:
            # Fabric could start them, but it would kill this process as soon as one of them ends.
            others.start(
                config.devices,
                {
                    "MASTER_ADDR": environment.main_address,
                    "MASTER_PORT": str(environment.main_port),
                    "NODE_RANK": str(environment.node_rank()),
                    "WORLD_SIZE": str(config.devices * config.num_nodes),
                },
            )
        others.watch()
    return fabric


def _stream(batches: Batches) -> Iterator[Any]:
    """The batches of one epoch after another, without end."""
    while True:
        yield from batches


def _map(function: Any, tree: Any) -> Any:
    """Applies a function to the tensors of a pytree; other leaves are unchanged."""
    return tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def _kind(leaf: object) -> object:
    """The properties of a leaf that do not depend on the size of the batch."""
    return (leaf.dtype, leaf.dim()) if isinstance(leaf, Tensor) else type(leaf)


def _moved(tree: Any, device: torch.device) -> Any:
    return _map(lambda tensor: tensor.to(device), tree)

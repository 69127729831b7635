"""How a training goes: its settings, which the command line takes as they stand here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["GradientConfig"]


@dataclass
class GradientConfig:
    """How it is learned.

    Args:
        epochs: how often the training split is read.
        max_time: minutes after which this call stops; the learning rate decays within them.
        learning_rate: of Adam, after the warm-up and before the decay.
        decay: how the learning rate falls over the whole training.
        warmup_steps: steps over which the learning rate rises.
        weight_decay: how much of each weight is taken away in a step, times the learning rate.
        clip_norm: the norm to which a longer gradient is shortened.
        seed: of the weights and of dropout.
        validate_every: steps between validations; where not given, one after every epoch.
        sample_every: minutes between the samples that are shown.
        save_every: minutes between checkpoints.
        log_every: steps that one row of metrics.csv stands for.
        precision: of the arithmetic, as Lightning names it.
        accelerator: cpu, gpu, or auto.
        devices: how many processes or devices share each batch.
        strategy: how they work together; ddp is one process each.
    """

    epochs: int = 10
    max_time: float | None = None
    learning_rate: float = 0.004
    decay: Literal["cosine", "linear", "none"] = "cosine"
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 0
    validate_every: int | None = None
    sample_every: float = 1.0
    save_every: float = 1.0
    log_every: int = 10
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    strategy: Literal["auto", "ddp"] = "auto"

    def __post_init__(self) -> None:
        positive = ("epochs", "max_time", "learning_rate", "clip_norm", "devices", "log_every")
        for name in (*positive, "validate_every"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--{name}: expected more than 0, got {value}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed: expected 0 to {2**32 - 1}, got {self.seed}.")
        for name in ("warmup_steps", "weight_decay", "sample_every", "save_every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"--{name}: expected 0 or more, got {getattr(self, name)}.")

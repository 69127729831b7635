"""How a training goes: its settings, which the command line takes as they stand here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

__all__ = ["EvolutionConfig", "GradientConfig", "LoopConfig", "ReinforceConfig"]

_FREE = {"free_on_resume": True}


def _free(default: Any) -> Any:
    """A field that a resumed run may change: how far and on what it runs, not what is learned."""
    return field(default=default, metadata=_FREE)


@dataclass
class LoopConfig:
    """What the loop of every learner knows.

    Args:
        max_time: minutes that this call may take, validation and all.
        seed: of the weights and of everything that is drawn.
        validate_every: steps between validations; where not given, one after every epoch.
        patience: number of validations without a new best one after which the training ends
            (default: it never ends for this reason).
        keep_best: number of models that are kept, those of the best validations. The best one is
            model.safetensors; with 2 or more, each is also best/step-N.safetensors.
        sample_every: minutes between the samples that are shown; 0 shows none.
        save_every: minutes between checkpoints.
        log_every: steps that one row of metrics.csv stands for.
    """

    POSITIVE: ClassVar[tuple[str, ...]] = (
        *("max_time", "validate_every", "patience", "keep_best", "log_every"),
    )
    NOT_NEGATIVE: ClassVar[tuple[str, ...]] = ("sample_every", "save_every")
    MOST: ClassVar[dict[str, int]] = {"keep_best": 1000}

    max_time: float | None = _free(None)
    seed: int = 0
    validate_every: int | None = None
    patience: int | None = _free(None)
    keep_best: int = _free(1)
    sample_every: float = _free(1.0)
    save_every: float = _free(1.0)
    log_every: int = _free(10)

    def __post_init__(self) -> None:
        for name in self.POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--{name}: expected more than 0, got {value}.")
        for name, most in self.MOST.items():
            if getattr(self, name) > most:
                raise ValueError(
                    f"--{name}: expected at most {most:,}, got {getattr(self, name):,}."
                )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed: expected 0 to {2**32 - 1}, got {self.seed}.")
        for name in self.NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"--{name}: expected 0 or more, got {value}.")


@dataclass
class GradientConfig(LoopConfig):
    """How it is learned by gradient descent.

    Args:
        epochs: how often the training split is read.
        max_time: minutes that this call may take, validation and all; the learning rate decays
            within them.
        learning_rate: of Adam, after the warm-up and before the decay.
        decay: how the learning rate falls over the whole training.
        warmup_steps: steps over which the learning rate rises (default: 100, but at most a tenth
            of all steps).
        weight_decay: how much of each weight is taken away in a step, times the learning rate.
        clip_norm: the norm to which a longer gradient is shortened.
        seed: of the weights and of dropout.
        validate_every: steps between validations; where not given, one after every epoch.
        patience: number of validations without a new best one after which the training ends
            (default: it never ends for this reason).
        keep_best: number of models that are kept, those of the best validations. The best one is
            model.safetensors; with 2 or more, each is also best/step-N.safetensors.
        sample_every: minutes between the samples that are shown; 0 shows none.
        save_every: minutes between checkpoints.
        log_every: steps that one row of metrics.csv stands for.
        precision: of the arithmetic, as Lightning names it.
        accelerator: cpu, gpu, or auto.
        devices: how many processes or devices of each node share each batch.
        num_nodes: how many machines share each batch.
        strategy: how they work together; ddp is one process each.
    """

    POSITIVE = (
        *LoopConfig.POSITIVE,
        *("epochs", "learning_rate", "clip_norm", "devices", "num_nodes"),
    )
    NOT_NEGATIVE = (*LoopConfig.NOT_NEGATIVE, "warmup_steps", "weight_decay")
    MOST: ClassVar[dict[str, int]] = {
        **LoopConfig.MOST,
        **{"devices": 1024, "num_nodes": 100_000},
    }

    epochs: int = _free(10)
    max_time: float | None = _free(None)
    learning_rate: float = _free(0.004)
    decay: Literal["cosine", "linear", "none"] = "cosine"
    warmup_steps: int | None = None
    weight_decay: float = 0.01
    clip_norm: float = _free(1.0)
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = _free("auto")
    devices: int = 1
    num_nodes: int = 1
    strategy: Literal["auto", "ddp"] = _free("auto")

    def warmup(self, total_steps: int) -> int:
        """The number of steps of the warm-up: ``warmup_steps``, or its default.

        The default is 100, but at most a tenth of all steps, so that a short training does not end
        before it reaches its learning rate.

        >>> GradientConfig().warmup(80), GradientConfig().warmup(5000)
        (8, 100)
        """
        return min(100, total_steps // 10) if self.warmup_steps is None else self.warmup_steps


@dataclass
class ReinforceConfig(LoopConfig):
    """How it is learned from the returns of episodes.

    Args:
        updates: how often the policy is changed.
        episodes: that are played for each update.
        learning_rate: of Adam.
        discount: of a reward for each step that it lies ahead, from 0 to 1.
        entropy: how much the entropy of the policy counts, against an early end of exploration.
        clip_norm: the norm to which a longer gradient is shortened.
        validate_every: updates between validations; where not given, 20.
    """

    POSITIVE = (*LoopConfig.POSITIVE, "updates", "episodes", "learning_rate", "clip_norm")
    NOT_NEGATIVE = (*LoopConfig.NOT_NEGATIVE, "entropy")
    MOST: ClassVar[dict[str, int]] = {**LoopConfig.MOST, "episodes": 1_000_000}

    updates: int = _free(300)
    episodes: int = 8
    learning_rate: float = _free(0.01)
    discount: float = 0.99
    entropy: float = 0.0
    clip_norm: float = _free(1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.discount <= 1:
            raise ValueError(f"--discount: expected 0 to 1, got {self.discount}.")


@dataclass
class EvolutionConfig(LoopConfig):
    """How it is learned by an evolution strategy.

    Args:
        generations: how often the mean of the population is moved.
        population: individuals of a generation; an even number, as they come in mirrored pairs.
        cases: batches or episodes by which the fitness of each individual is measured.
        sigma: the standard deviation of the individuals around the mean, per weight.
        learning_rate: of Adam, by which the mean is moved.
        validate_every: generations between validations; where not given, 10.
    """

    POSITIVE = (*LoopConfig.POSITIVE, "generations", "cases", "sigma", "learning_rate")
    MOST: ClassVar[dict[str, int]] = {
        **LoopConfig.MOST,
        **{"population": 100_000, "cases": 1_000_000},
    }

    generations: int = _free(200)
    population: int = 32
    cases: int = 1
    sigma: float = 0.1
    learning_rate: float = _free(0.05)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.population < 2 or self.population % 2:
            raise ValueError(
                f"--population: expected an even number of at least 2, got {self.population}."
            )

"""The settings of the loop and of each learner; each field is an option of the command line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

__all__ = ["EvolutionConfig", "GradientConfig", "LoopConfig", "ReinforceConfig"]

_FREE = {"free_on_resume": True}


def _free(default: Any) -> Any:
    """Declares a setting that a resumed run may change."""
    return field(default=default, metadata=_FREE)


@dataclass
class LoopConfig:
    """The settings that all learners share.

    Args:
        max_time: largest number of minutes of this call, including validation.
        seed: seed of the weights and of all random numbers.
        validate_every: steps between validations (default: an epoch).
        patience: number of validations without a new best one after which the training ends
            (default: it never ends for this reason).
        keep_best: number of models that are kept, those of the best validations. The best one is
            model.safetensors; with 2 or more, each is also best/step-N.safetensors.
        sample_every: minutes between two samples that are printed; 0 prints none.
        save_every: minutes between checkpoints.
        log_every: steps that one row of metrics.csv averages.
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
    """The settings of learning by gradient descent.

    Args:
        epochs: number of passes over the training split.
        max_time: largest number of minutes of this call, including validation; the learning rate
            decays within this time.
        learning_rate: learning rate of Adam after the warm-up and before the decay.
        decay: how the learning rate falls over the whole training.
        warmup_steps: steps over which the learning rate rises (default: 100, but at most a tenth
            of all steps).
        weight_decay: fraction of each weight that a step removes, times the learning rate.
        clip_norm: largest norm of the gradient; a longer one is scaled down to it.
        average: decay of an average of the weights over the steps, such as 0.999; the model that is
            validated and kept then has the averaged weights (default: no average).
        seed: seed of the weights and of dropout.
        validate_every: steps between validations (default: an epoch).
        patience: number of validations without a new best one after which the training ends
            (default: it never ends for this reason).
        keep_best: number of models that are kept, those of the best validations. The best one is
            model.safetensors; with 2 or more, each is also best/step-N.safetensors.
        sample_every: minutes between two samples that are printed; 0 prints none.
        save_every: minutes between checkpoints.
        log_every: steps that one row of metrics.csv averages.
        precision: precision of the arithmetic, as Lightning names it.
        accelerator: cpu, gpu, or auto.
        devices: number of processes or devices of each node that share each batch.
        num_nodes: number of machines that share each batch.
        strategy: how they share it; ddp is one process for each device.
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
    average: float | None = None
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = _free("auto")
    devices: int = 1
    num_nodes: int = 1
    strategy: Literal["auto", "ddp"] = _free("auto")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.average is not None and not 0 <= self.average < 1:
            raise ValueError(f"--average: expected 0 to below 1, got {self.average}.")

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
    """The settings of learning from the returns of episodes.

    Args:
        updates: number of updates of the policy.
        episodes: number of episodes that are played for each update.
        learning_rate: learning rate of Adam.
        discount: factor of a reward for each step that it lies in the future, from 0 to 1.
        entropy: weight of the entropy of the policy, which keeps the policy exploring.
        clip_norm: largest norm of the gradient; a longer one is scaled down to it.
        validate_every: updates between validations (default: 20).
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
    """The settings of learning by an evolution strategy.

    Args:
        generations: number of updates of the mean of the population.
        population: number of individuals of a generation; even, because they are mirrored pairs.
        cases: number of batches or episodes that measure the fitness of each individual.
        sigma: standard deviation of each weight of the individuals around the mean.
        learning_rate: learning rate of Adam, which moves the mean.
        validate_every: generations between validations (default: 10).
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

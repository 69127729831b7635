"""Learning without gradients, by an evolution strategy."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from throughtime.layers.evaluation import evaluating
from throughtime.tasks.task import Task
from throughtime.training.checkpoint_kinds import (
    adam_kind,
    adam_state,
    like,
    load_adam_state,
    model_kind,
)
from throughtime.training.config import EvolutionConfig
from throughtime.training.learner import Diverged, Learner, StepReport
from throughtime.training.processes import Processes

__all__ = ["LEARNER", "EvolutionLearner", "centred_ranks"]


def centred_ranks(fitness: Tensor) -> Tensor:
    """The ranks of numbers from -0.5 (lowest) to 0.5 (highest); equal numbers have equal ranks.

    >>> centred_ranks(torch.tensor([3.0, 100.0, -2.0]))
    tensor([ 0.0000,  0.5000, -0.5000])
    """
    below = (fitness.unsqueeze(1) > fitness).sum(1).to(fitness.dtype)
    equal = (fitness.unsqueeze(1) == fitness).sum(1).to(fitness.dtype)
    return (below + (equal - 1) / 2) / (len(fitness) - 1) - 0.5


class EvolutionLearner(Learner):
    r"""A search distribution N(m, sigma^2 I) over the weights, whose mean climbs the fitness:

        w_k = m ± sigma e_k,   e_k ~ N(0, I)
        dm  = 1 / (P sigma) sum_k rank(fitness(w_k)) (±e_k)

    The P individuals are mirrored pairs. All individuals of a generation are measured on the same
    cases (batches or episodes). Adam moves the mean along dm. The model has the weights m.

    Source: Salimans et al., arXiv 1703.03864, algorithm 1, with their mirrored sampling and
    rank-based fitness.
    """

    columns = ("best_fitness", "mean_fitness")
    means = ("best_fitness", "mean_fitness")

    def __init__(self, task: Task, config: EvolutionConfig) -> None:
        self.task: Any = task
        self.config, self.processes = config, Processes()
        torch.manual_seed(config.seed)
        self.model = task.model()
        self.mean = torch.nn.Parameter(parameters_to_vector(self.model.parameters()).detach())
        self.optimizer = torch.optim.Adam([self.mean], config.learning_rate)
        self.total_steps, self.steps_per_epoch = config.generations, 10
        self.num_steps = 0

    def step(self, progress: float) -> StepReport:
        c = self.config
        noise = torch.randn(c.population // 2, self.mean.numel(), dtype=self.mean.dtype)
        noise = torch.cat([noise, -noise])  # (P, weights)
        cases = [c.seed + self.num_steps * c.cases + k for k in range(c.cases)]
        fitness = torch.tensor([self._fitness(self.mean + c.sigma * e, cases) for e in noise])
        self._put(self.mean)
        if not torch.isfinite(fitness).all():
            raise Diverged(f"the fitness of an individual is {float(fitness.min()):g}")
        gradient = centred_ranks(fitness).to(noise.dtype) @ noise / (c.population * c.sigma)
        self.mean.grad = -gradient
        self.optimizer.step()
        self._put(self.mean)
        self.num_steps += 1
        best, mean = float(fitness.max()), float(fitness.mean())
        assert math.isfinite(mean)
        return StepReport(c.population, {"best_fitness": best, "mean_fitness": mean})

    def _fitness(self, weights: Tensor, cases: list[int]) -> float:
        self._put(weights)
        with evaluating(self.model):
            return sum(self.task.fitness(self.model, case) for case in cases) / len(cases)

    def _put(self, weights: Tensor) -> None:
        vector_to_parameters(weights.detach(), self.model.parameters())

    @property
    def advice(self) -> str:
        return "a lower --sigma or --learning_rate"

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "mean": self.mean.detach(),
            "optimizer": adam_state(self.optimizer, {"mean": self.mean}),
        }

    def state_kinds(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        optimizer = adam_kind({"mean": self.mean}, step)
        kinds = {"model": model_kind(self.model), "mean": like(self.mean), "optimizer": optimizer}
        return kinds, {}

    def load_state_dict(self, state: dict[str, Any], own: dict[str, Any], step: int) -> None:
        names = dict(self.model.named_parameters())
        weights = parameters_to_vector([state["model"][name] for name in names])
        if not torch.equal(weights, state["mean"]):
            raise ValueError("mean: expected the weights of the model")
        self.model.load_state_dict(state["model"])
        with torch.no_grad():
            self.mean.copy_(state["mean"])
        load_adam_state(self.optimizer, {"mean": self.mean}, state["optimizer"])
        self.num_steps = step


LEARNER = EvolutionLearner

"""Tasks that are learned by acting: an agent, an environment, and the rewards of each episode."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from throughtime.tasks.task import Task

__all__ = ["Environment", "Episode", "EpisodeTask", "play"]


class Environment(Protocol):
    """What an agent acts in; the interface of ``gymnasium.Env``."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode: the first observation, and information."""
        ...

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The next observation, the reward, whether the episode ended, whether it was cut off."""
        ...


class EpisodeTask(Task):
    """A task that is learned by acting in an environment, from the return of each episode."""

    unit = "steps"
    monitor = "return"

    @abstractmethod
    def environment(self, seed: int) -> Environment:
        """An environment whose episodes follow from the seed."""

    @abstractmethod
    def policy(
        self, model: nn.Module, observations: Tensor, carried: Any = None
    ) -> tuple[Distribution, Any]:
        """The distribution of the action after each observation.

        Args:
            observations: (B, T, O), of T steps.
            carried: the recurrent state after the steps before; None at an episode's start.

        Returns:
            A distribution of (B, T, …) actions, and the state after the last step.
        """

    def fitness(self, model: nn.Module, seed: int) -> float:
        """The return of one episode of that seed, with the most probable actions."""
        return play(self, model, seed, is_greedy=True).total


class Episode(NamedTuple):
    """What happened in one episode of T steps.

    Args:
        observations: (T, O), what the agent saw before each action.
        actions: (T, …).
        rewards: (T).
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor

    @property
    def total(self) -> float:
        """The return: the sum of the rewards."""
        return float(self.rewards.sum())


@torch.no_grad()
def play(task: EpisodeTask, model: nn.Module, seed: int, *, is_greedy: bool = False) -> Episode:
    """Plays one episode.

    Args:
        seed: of the environment.
        is_greedy: take the most probable action each time; else actions are drawn, by PyTorch's
            global generator.
    """
    environment = task.environment(seed)
    dtype = next(model.parameters()).dtype
    observation, _ = environment.reset(seed=seed)
    observations, actions, rewards = [], [], []
    carried, is_over = None, False
    while not is_over:
        seen = torch.as_tensor(observation, dtype=dtype)
        policy, carried = task.policy(model, seen[None, None], carried)
        action = (policy.mode if is_greedy else policy.sample())[0, 0]
        observation, reward, has_ended, is_cut_off, _ = environment.step(action.numpy())
        is_over = has_ended or is_cut_off
        observations.append(seen)
        actions.append(action)
        rewards.append(float(reward))
    return Episode(torch.stack(observations), torch.stack(actions), torch.tensor(rewards))

"""Reinforcement learning: tasks in which an agent acts in an environment for rewards."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from throughtime.tasks.task import Task

__all__ = ["Environment", "Episode", "EpisodeTask", "play"]


class Environment(Protocol):
    """The environment in which an agent acts; the interface of ``gymnasium.Env``."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode and returns the first observation, and a dict of information."""
        ...

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes an action; returns observation, reward, terminated, truncated, information."""
        ...


class EpisodeTask(Task):
    """A task that is learned from the return of episodes in an environment."""

    unit = "steps"
    monitor = "return"

    @abstractmethod
    def environment(self, seed: int) -> Environment:
        """Creates an environment whose episodes are determined by the seed."""

    @abstractmethod
    def policy(
        self, model: nn.Module, observations: Tensor, carried: Any = None
    ) -> tuple[Distribution, Any]:
        """The distribution of the action after each observation.

        Args:
            model: the model.
            observations: (B, T, O), the observations of T steps.
            carried: the recurrent state before the first of these steps; None at the start of an
                episode.

        Returns:
            A distribution of (B, T, …) actions, and the recurrent state after the last step.
        """

    def fitness(self, model: nn.Module, seed: int) -> float:
        """The return of the episode of that seed, played with the most probable actions."""
        return play(self, model, seed, is_greedy=True).total


class Episode(NamedTuple):
    """The record of one episode of T steps.

    Args:
        observations: (T, O), the observation before each action.
        actions: (T, …), the actions.
        rewards: (T), the reward after each action.
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
        task: the task.
        model: the model that computes the policy.
        seed: the seed of the environment.
        is_greedy: whether each action is the most probable one, rather than drawn from the policy
            with PyTorch's global generator.
    """
    environment = task.environment(seed)
    dtype = next(model.parameters()).dtype
    first, _ = environment.reset(seed=seed)
    observation = torch.as_tensor(first, dtype=dtype)
    observations, actions, rewards = [], [], []
    carried, is_over = None, False
    while not is_over:
        policy, carried = task.policy(model, observation[None, None], carried)
        action = (policy.mode if is_greedy else policy.sample())[0, 0]
        observations.append(observation)
        actions.append(action)
        following, reward, is_terminated, is_truncated, _ = environment.step(action.numpy())
        observation = torch.as_tensor(following, dtype=dtype)
        is_over = is_terminated or is_truncated
        rewards.append(float(reward))
    return Episode(torch.stack(observations), torch.stack(actions), torch.tensor(rewards))

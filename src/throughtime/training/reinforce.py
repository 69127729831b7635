"""Learning from the returns of episodes, by REINFORCE."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from throughtime.tasks.episodes import Episode, EpisodeTask, play
from throughtime.training.checkpoint_kinds import adam_kind, adam_state, load_adam_state, model_kind
from throughtime.training.config import ReinforceConfig
from throughtime.training.learner import Diverged, Learner, StepReport
from throughtime.training.processes import Processes

__all__ = ["LEARNER", "ReinforceLearner", "rewards_to_go"]


def rewards_to_go(rewards: Tensor, discount: float) -> Tensor:
    r"""The discounted sum of the rewards from each step to the end:

        G_t = r_t + discount * G_{t+1}

    Shapes:
        rewards: (T). returns: (T).

    >>> rewards_to_go(torch.tensor([1.0, 1.0, 1.0]), 0.5)
    tensor([1.7500, 1.5000, 1.0000])
    """
    sums, following = torch.zeros_like(rewards), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        following = float(rewards[t]) + discount * following
        sums[t] = following
    return sums


class ReinforceLearner(Learner):
    r"""The likelihood-ratio policy gradient over N episodes.

    The recurrent policy reads the observations of the episodes again, so the gradient flows through
    time:

        dJ/dw = 1/N sum_n sum_t (G_nt - b_t) / s  d log pi(a_nt | o_n1 … o_nt) / dw

    b_t is the mean of G_nt over the episodes that reach step t, and s is the standard deviation of
    all G_nt - b_t. Each step plays new episodes.

    Source: Williams (1992), "Simple statistical gradient-following algorithms".
    """

    columns = ("return", "gradient_norm")
    means = ("return", "gradient_norm")

    def __init__(self, task: EpisodeTask, config: ReinforceConfig) -> None:
        self.task, self.config, self.processes = task, config, Processes()
        torch.manual_seed(config.seed)
        self.model = task.model()
        self.optimizer = torch.optim.Adam(self.model.parameters(), config.learning_rate)
        self.total_steps, self.steps_per_epoch = config.updates, 20
        self.num_steps = 0

    def step(self, progress: float) -> StepReport:
        c = self.config
        first = c.seed + self.num_steps * c.episodes
        episodes = [play(self.task, self.model, first + n) for n in range(c.episodes)]
        loss = self._loss(episodes)
        self.optimizer.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), c.clip_norm))
        if not math.isfinite(norm):
            raise Diverged(f"the loss is {float(loss):g} and the norm of its gradient {norm:g}")
        self.optimizer.step()
        self.num_steps += 1
        steps = sum(len(episode.rewards) for episode in episodes)
        mean = sum(episode.total for episode in episodes) / len(episodes)
        return StepReport(steps, {"return": mean, "gradient_norm": norm})

    def _loss(self, episodes: list[Episode]) -> Tensor:
        c = self.config
        observations, actions = (
            pad_sequence([episode[k] for episode in episodes], batch_first=True) for k in (0, 1)
        )  # (N, T, …)
        sums = [rewards_to_go(episode.rewards, c.discount) for episode in episodes]
        returns = pad_sequence(sums, batch_first=True)  # (N, T)
        lengths = torch.tensor([len(some) for some in sums])
        valid = torch.arange(returns.shape[1]) < lengths.unsqueeze(1)
        baseline = (returns * valid).sum(0) / valid.sum(0)
        advantage = (returns - baseline) * valid
        spread = advantage[valid].std(correction=0).clamp(min=1e-6)
        policy, _ = self.task.policy(self.model, observations)
        logs = policy.log_prob(actions)
        # The probability of an action of several numbers is the product of theirs.
        logs = logs if logs.dim() == 2 else logs.flatten(2).sum(-1)
        loss = -(advantage / spread * logs).sum() / len(episodes)
        if c.entropy:
            loss = loss - c.entropy * (policy.entropy() * valid).sum() / len(episodes)
        return loss

    def state_dict(self) -> dict[str, Any]:
        parameters = dict(self.model.named_parameters())
        return {
            "model": self.model.state_dict(),
            "optimizer": adam_state(self.optimizer, parameters),
        }

    def state_kinds(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        parameters = dict(self.model.named_parameters())
        return {"model": model_kind(self.model), "optimizer": adam_kind(parameters, step)}, {}

    def load_state_dict(self, state: dict[str, Any], own: dict[str, Any], step: int) -> None:
        self.model.load_state_dict(state["model"])
        parameters = dict(self.model.named_parameters())
        load_adam_state(self.optimizer, parameters, state["optimizer"])
        self.num_steps = step


LEARNER = ReinforceLearner

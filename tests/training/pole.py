"""A pole to balance on a cart, as a task of episodes: small, but real physics."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

from throughtime.layers import Recurrent
from throughtime.tasks.episodes import EpisodeTask, play
from throughtime.tasks.task import Evaluation, Figure

NUM_STEPS = 200


class Cart:
    """A cart of 1 kg on a rail, a pole of 0.1 kg and 1 m hinged on it, and a push of 10 N.

    Source: Barto, Sutton and Anderson (1983), without friction.
    """

    def reset(self, *, seed=None):
        self.state = np.random.default_rng(seed).uniform(-0.05, 0.05, 4)
        self.num_steps = 0
        return self.state.astype(np.float32), {}

    def step(self, action):
        _, dx, angle, turn = self.state
        push = 10.0 if int(action) == 1 else -10.0
        mass, pole, half = 1.1, 0.1, 0.5
        sine, cosine = math.sin(angle), math.cos(angle)
        share = (push + pole * half * turn**2 * sine) / mass
        acceleration = (9.8 * sine - cosine * share) / (half * (4 / 3 - pole * cosine**2 / mass))
        ddx = share - pole * half * acceleration * cosine / mass
        self.state += 0.02 * np.array([dx, ddx, turn, acceleration])
        self.num_steps += 1
        has_fallen = abs(self.state[0]) > 2.4 or abs(self.state[2]) > math.radians(12)
        return self.state.astype(np.float32), 1.0, has_fallen, self.num_steps >= NUM_STEPS, {}


class Policy(nn.Module):
    """The scores of a push to the left and to the right, after each observation."""

    def __init__(self, cell, hidden_size):
        super().__init__()
        self.recurrent = Recurrent(cell, 4, hidden_size, batch_first=True)
        self.scores = nn.Linear(hidden_size, 2)

    def forward(self, observations, carried=None):
        hidden, carried = self.recurrent(observations, carried)
        return self.scores(hidden), carried


@dataclass
class PoleConfig:
    cell: str = "rnn-tanh"
    hidden_size: int = 8


class Pole(EpisodeTask):
    """Balancing a pole, from the position and the velocities.

    Metrics: ``return``, the mean number of steps, at most 200.
    """

    name = "pole"
    Config = PoleConfig
    figures = {"return": Figure("steps", "higher")}  # noqa: RUF012

    @property
    def assets(self):
        return {"data": "cart and pole"}

    @property
    def title(self):
        return f"pole-{self.config.cell}-{self.config.hidden_size}"

    def environment(self, seed):
        return Cart()

    def model(self):
        return Policy(self.config.cell, self.config.hidden_size)

    def policy(self, model, observations, carried=None):
        # The velocities are of other sizes than the angle.
        scores, carried = model(observations * torch.tensor([1.0, 1.0, 10.0, 1.0]), carried)
        return Categorical(logits=scores), carried

    def evaluate(self, model, split=None, options=None):
        episodes = [play(self, model, 10_000 + k, is_greedy=True) for k in range(10)]
        mean = sum(episode.total for episode in episodes) / len(episodes)
        return Evaluation({"return": mean}, {"split": split or "valid"})

"""Distributions over which keys sound in a frame of music, from a hidden vector."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.layers.recurrent import Recurrent

__all__ = ["KEY_HEADS", "IndependentKeys", "KeyHead", "NadeKeys", "RecurrentKeys"]


class KeyHead(nn.Module, ABC):
    """A distribution over the sets of keys of a frame.

    Shapes:
        h: (N, H), a vector for each frame. frames: (N, K) bool.
    """

    @abstractmethod
    def nll(self, h: Tensor, frames: Tensor) -> Tensor:
        """Minus the log probability of each frame (N), in nats, summed over its keys."""

    @abstractmethod
    def draw(
        self, h: Tensor, temperature: float, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws frames (N, K).

        Args:
            h: the vectors.
            temperature: the divisor of the scores; 0 takes the likelier value of each decision.
            generator: the source of randomness, on the CPU.
        """


def _bernoulli(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Draws True with probability sigmoid(logits / temperature)."""
    if temperature == 0:
        return logits > 0
    uniform = torch.rand(logits.shape, generator=generator).to(logits.device)
    return uniform < (logits / max(temperature, 1e-30)).sigmoid()


def _keys_in_order(frames: Tensor) -> Tensor:
    """The keys that sound, from the lowest to the highest, and then K, at least once.

    Shapes:
        frames: (N, K) bool. returns: (N, S) int64.

    >>> _keys_in_order(torch.tensor([[False, True, True], [True, False, False]]))
    tensor([[1, 2, 3],
            [0, 3, 3]])
    """
    K = frames.shape[1]
    keys = torch.arange(K, device=frames.device).where(frames, K).sort(1).values
    return F.pad(keys, (0, 1), value=K)[:, : int(frames.sum(1).max()) + 1]


class IndependentKeys(KeyHead):
    r"""Keys that are independent of each other, given the past:

        P(v | h) = prod_k p_k^v_k (1 - p_k)^(1 - v_k),   p = sigmoid(W h + b)

    Args:
        hidden_size: H.
        num_keys: K.
        size, cell: not used; other heads have hidden units and a cell.
    """

    def __init__(self, hidden_size: int, num_keys: int, size: int, cell: Cell | str) -> None:
        super().__init__()
        self.scores = nn.Linear(hidden_size, num_keys)

    def nll(self, h: Tensor, frames: Tensor) -> Tensor:
        scores = self.scores(h)
        return F.binary_cross_entropy_with_logits(
            scores, frames.to(scores.dtype), reduction="none"
        ).sum(-1)

    def draw(
        self, h: Tensor, temperature: float, generator: torch.Generator | None = None
    ) -> Tensor:
        return _bernoulli(self.scores(h), temperature, generator)


class NadeKeys(KeyHead):
    r"""A neural autoregressive distribution estimator, whose biases follow from the past:

        P(v | h) = prod_k P(v_k | v_1 … v_{k-1}, h)
        P(v_k = 1 | …) = sigmoid(b_k + V_k · sigmoid(c + sum_{j<k} W_j v_j))
        b = B h + b_0,   c = C h + c_0

    Args:
        hidden_size: H.
        num_keys: K.
        size: D, the number of hidden units of the estimator.
        cell: not used; the head ``recurrent`` has one.

    Source: Larochelle and Murray, "The neural autoregressive distribution estimator" (2011);
        RNN-NADE, Boulanger-Lewandowski et al., arXiv 1206.6392.
    """

    def __init__(self, hidden_size: int, num_keys: int, size: int, cell: Cell | str) -> None:
        super().__init__()
        self.key_biases = nn.Linear(hidden_size, num_keys)
        self.unit_biases = nn.Linear(hidden_size, size)
        bound = size**-0.5
        self.W = nn.Parameter(torch.empty(num_keys, size).uniform_(-bound, bound))
        self.V = nn.Parameter(torch.empty(num_keys, size).uniform_(-bound, bound))

    def nll(self, h: Tensor, frames: Tensor) -> Tensor:
        b, c = self.key_biases(h), self.unit_biases(h)
        v = frames.to(b.dtype)
        # The units change only after a key that sounds, so they are computed once for each of
        # these instead of for all keys: of 88 keys, music sounds a few at a time.
        W = F.pad(self.W, (0, 0, 0, 1))  # (K + 1, D); the last row stands for the end
        steps = W[_keys_in_order(frames)]  # (N, S, D)
        units = (c[:, None] + steps.cumsum(1) - steps).sigmoid()
        scores = units @ self.V.t()  # (N, S, K), after each number of keys
        num_before = frames.cumsum(1) - frames.long()  # (N, K)
        scores = b + scores.gather(1, num_before[:, None]).squeeze(1)
        return F.binary_cross_entropy_with_logits(scores, v, reduction="none").sum(-1)

    def draw(
        self, h: Tensor, temperature: float, generator: torch.Generator | None = None
    ) -> Tensor:
        b, a = self.key_biases(h), self.unit_biases(h)
        keys = []
        for k in range(len(self.W)):
            score = b[:, k] + a.sigmoid() @ self.V[k]
            keys.append(_bernoulli(score, temperature, generator))
            a = a + keys[-1][:, None] * self.W[k]
        return torch.stack(keys, 1)


class RecurrentKeys(KeyHead):
    r"""A recurrent network that names the keys of a frame from the lowest to the highest:

        s_i = recurrent(E[k_{i-1}] + A h, s_{i-1})
        P(k_i | k_1 … k_{i-1}, h) = softmax over the keys above k_{i-1} and the end of (U s_i + u)

    Each set of keys has one order, so the probabilities of all sets sum to 1. The network takes
    only as many steps as keys sound.

    Args:
        hidden_size: H.
        num_keys: K.
        size: D, the width of E and the number of units of the network.
        cell: its cell, or the name of it.
    """

    def __init__(self, hidden_size: int, num_keys: int, size: int, cell: Cell | str) -> None:
        super().__init__()
        self.num_keys = num_keys
        # The last row stands for the start of a frame; the last score, for its end.
        self.embedding = nn.Embedding(num_keys + 1, size)
        self.condition = nn.Linear(hidden_size, size)
        self.recurrent = Recurrent(cell, size, size, 1, batch_first=True)
        self.scores = nn.Linear(self.recurrent.output_size, num_keys + 1)

    def nll(self, h: Tensor, frames: Tensor) -> Tensor:
        K, lengths = self.num_keys, frames.sum(1) + 1
        keys = _keys_in_order(frames)  # (N, S)
        S = keys.shape[1]
        before = F.pad(keys[:, :-1], (1, 0), value=K)
        x = self.embedding(before) + self.condition(h)[:, None]  # (N, S, D)
        s, _ = self.recurrent(x, lengths=lengths)
        log_p = self._log_probabilities(self.scores(s), self._lowest(before))
        terms = log_p.gather(2, keys[..., None]).squeeze(2)
        is_valid = torch.arange(S, device=h.device) < lengths[:, None]
        return -terms.where(is_valid, 0.0).sum(1)

    def _lowest(self, before: Tensor) -> Tensor:
        """The lowest key that may follow each key; 0 at the start of a frame."""
        return (before + 1).where(before < self.num_keys, 0)

    def _log_probabilities(self, scores: Tensor, lowest: Tensor) -> Tensor:
        numbers = torch.arange(self.num_keys + 1, device=scores.device)
        return scores.masked_fill(numbers < lowest[..., None], -torch.inf).log_softmax(-1)

    def draw(
        self, h: Tensor, temperature: float, generator: torch.Generator | None = None
    ) -> Tensor:
        K, N = self.num_keys, len(h)
        frames = torch.zeros(N, K + 1, dtype=torch.bool, device=h.device)
        key = torch.full((N,), K, device=h.device)
        lowest = torch.zeros_like(key)
        condition, state = self.condition(h), None
        for _ in range(K):
            s, state = self.recurrent((self.embedding(key) + condition)[:, None], state)
            log_p = self._log_probabilities(self.scores(s[:, 0]), lowest)
            if temperature == 0:
                key = log_p.argmax(-1)
            else:
                p = (log_p / max(temperature, 1e-30)).softmax(-1)
                key = torch.multinomial(p.cpu(), 1, generator=generator)[:, 0].to(h.device)
            frames[torch.arange(N, device=h.device), key] = True
            # After its end a frame can only end again.
            lowest = (key + 1).clamp(max=K)
            if (key == K).all():
                break
        return frames[:, :K]


KEY_HEADS: dict[str, type[KeyHead]] = {
    "independent": IndependentKeys,
    "nade": NadeKeys,
    "recurrent": RecurrentKeys,
}
"""The heads by name; each is created with hidden_size, num_keys, size and cell."""

"""How a step of several performers, an integer each, is read and predicted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.models.decoding import Sampling, draw
from throughtime.models.mixed_radix import MixedRadix

__all__ = [
    "STEP_CODINGS",
    "UNKNOWN",
    "AnyOrderCoding",
    "IndependentCoding",
    "OrderedCoding",
    "ProductCoding",
    "StepCoding",
]

UNKNOWN = -1
"""The value of an integer that is to be drawn."""


class StepCoding(nn.Module, ABC):
    """The input of a network, and a distribution over steps of k integers.

    Args:
        sizes: the number of values of each integer.
        hidden_size: H, the width of the vector from which a step is predicted.
        embedding_size: E, the width of the vector by which a step is read.
        size: D, the number of hidden units of a coding that has them; the others do not use it.

    Shapes:
        steps: (…, k) int64; (N, k) where h is (N, H), a vector for each step.
    """

    def __init__(
        self, sizes: Sequence[int], hidden_size: int, embedding_size: int, size: int
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    @abstractmethod
    def read(self, steps: Tensor) -> Tensor:
        """The vector (…, E) of each step."""

    @abstractmethod
    def nll(self, h: Tensor, steps: Tensor) -> Tensor:
        """Minus the log probability of each step (N), in nats, summed over its k integers."""

    @abstractmethod
    def draw(
        self,
        h: Tensor,
        known: Tensor,
        sampling: Sampling,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws steps (N, k).

        Args:
            h: the vectors.
            known: (N, k), the integers that are fixed; :data:`UNKNOWN` for those to be drawn. The
                same integers are fixed in each row.
            sampling: how a value is drawn from its scores.
            generator: the source of randomness, on the CPU.
        """

    def check_known(self, numbers: Sequence[int]) -> None:
        """Raises a ValueError if :meth:`draw` cannot fix the integers of these numbers.

        Args:
            numbers: the numbers of the performers, from 0.
        """


class ProductCoding(StepCoding):
    r"""One symbol for each combination of values:

        x = E[symbol];   P(step | h) = softmax(W h + b)[symbol]

    This is the exact distribution of k integers that depend on each other, with as many scores as
    there are combinations. Integers that are fixed leave the combinations that contain them.
    """

    def __init__(
        self, sizes: Sequence[int], hidden_size: int, embedding_size: int, size: int
    ) -> None:
        super().__init__(sizes, hidden_size, embedding_size, size)
        self.radix = MixedRadix(sizes)
        self.embedding = nn.Embedding(self.radix.num_symbols, embedding_size)
        self.scores = nn.Linear(hidden_size, self.radix.num_symbols)

    def read(self, steps: Tensor) -> Tensor:
        return self.embedding(self.radix.encode(steps))

    def nll(self, h: Tensor, steps: Tensor) -> Tensor:
        return F.cross_entropy(self.scores(h), self.radix.encode(steps), reduction="none")

    def draw(
        self,
        h: Tensor,
        known: Tensor,
        sampling: Sampling,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        scores = self.scores(h).float().cpu()  # (N, V)
        steps = self.radix.decode(torch.arange(self.radix.num_symbols))  # (V, k)
        for number in (known[0] != UNKNOWN).nonzero()[:, 0].tolist():
            is_other = steps[:, number] != known[:, number, None].cpu()  # (N, V)
            scores = scores.masked_fill(is_other, -torch.inf)
        return self.radix.decode(draw(scores, sampling, generator)).to(h.device)


class _SumOfEmbeddings(StepCoding):
    """A coding that reads the sum of the vectors of the k integers: x = sum_v E_v[x_v]."""

    offsets: Tensor

    def __init__(
        self, sizes: Sequence[int], hidden_size: int, embedding_size: int, size: int
    ) -> None:
        super().__init__(sizes, hidden_size, embedding_size, size)
        self.embedding = nn.Embedding(sum(sizes), embedding_size)
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("offsets", offsets, persistent=False)

    def read(self, steps: Tensor) -> Tensor:
        return self.embedding(steps + self.offsets).sum(-2)


class IndependentCoding(_SumOfEmbeddings):
    r"""k heads that are independent of each other, given the past:

    P(step | h) = prod_v softmax(W_v h + b_v)[x_v]
    """

    def __init__(
        self, sizes: Sequence[int], hidden_size: int, embedding_size: int, size: int
    ) -> None:
        super().__init__(sizes, hidden_size, embedding_size, size)
        self.scores = nn.Linear(hidden_size, sum(sizes))

    def nll(self, h: Tensor, steps: Tensor) -> Tensor:
        heads = self.scores(h).split(self.sizes, -1)
        losses = [
            F.cross_entropy(scores, steps[:, number], reduction="none")
            for number, scores in enumerate(heads)
        ]
        return torch.stack(losses).sum(0)

    def draw(
        self,
        h: Tensor,
        known: Tensor,
        sampling: Sampling,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        heads = self.scores(h).split(self.sizes, -1)
        drawn = [draw(scores.cpu(), sampling, generator) for scores in heads]
        return torch.stack(drawn, -1).to(known.device).where(known == UNKNOWN, known)


class OrderedCoding(_SumOfEmbeddings):
    r"""k heads, each of which knows the integers of the step that come before its own:

        P(step | h) = prod_v softmax(V_v tanh(a_v) + b_v)[x_v]
        a_v = C h + c + sum_{u before v} F_u[x_u],   b_v = B_v h + b_0v

    The order is that of the performers. This is the neural autoregressive distribution estimator
    for integers instead of bits.

    Source: Larochelle and Murray, "The neural autoregressive distribution estimator" (2011).
    """

    def __init__(
        self, sizes: Sequence[int], hidden_size: int, embedding_size: int, size: int
    ) -> None:
        super().__init__(sizes, hidden_size, embedding_size, size)
        self.units = nn.Linear(hidden_size, size)
        self.before = nn.Embedding(sum(sizes), size)
        nn.init.normal_(self.before.weight, std=size**-0.5)
        self.biases = nn.Linear(hidden_size, sum(sizes))
        self.scores = nn.ModuleList(nn.Linear(size, n, bias=False) for n in sizes)

    def ranks(self, num_steps: int, device: torch.device) -> Tensor:
        """The place (N, k) of each integer in the order of its step, from 0."""
        return torch.arange(len(self.sizes), device=device).expand(num_steps, -1)

    def nll(self, h: Tensor, steps: Tensor) -> Tensor:
        ranks = self.ranks(len(steps), h.device)
        is_before = (ranks[:, :, None] > ranks[:, None, :]).to(h.dtype)  # (N, k, k)
        known = is_before @ self.before(steps + self.offsets)  # (N, k, D)
        units = (self.units(h)[:, None] + known).tanh()
        biases = self.biases(h).split(self.sizes, -1)
        losses = [
            F.cross_entropy(
                head(units[:, number]) + biases[number], steps[:, number], reduction="none"
            )
            for number, head in enumerate(self.scores)
        ]
        return torch.stack(losses).sum(0)

    def draw(
        self,
        h: Tensor,
        known: Tensor,
        sampling: Sampling,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        steps = known.clone()
        a, biases = self.units(h), self.biases(h).split(self.sizes, -1)
        is_fixed = (known[0] != UNKNOWN).tolist()
        # Python's sort keeps the order of the performers among the fixed ones and the others.
        for number in sorted(range(len(self.sizes)), key=lambda number: not is_fixed[number]):
            if not is_fixed[number]:
                scores = self.scores[number](a.tanh()) + biases[number]
                steps[:, number] = draw(scores.cpu(), sampling, generator).to(steps.device)
            a = a + self.before(steps[:, number] + self.offsets[number])
        return steps

    def check_known(self, numbers: Sequence[int]) -> None:
        if sorted(numbers) != list(range(len(numbers))):
            written = min(set(range(max(numbers) + 1)) - set(numbers))
            raise ValueError(
                f"the coding ordered writes performer {written} before it knows performer "
                f"{max(numbers)}, so only the first performers can be fixed. Fix performers from 0 "
                "on, or train with --coding any-order."
            )


class AnyOrderCoding(OrderedCoding):
    """An :class:`OrderedCoding` that learns all orders, so that any integers can be fixed.

    In the training the order of each step is drawn at random; in an evaluation it is that of the
    performers.

    Source: Uria, Murray and Larochelle, "A deep and tractable density estimator", arXiv 1310.1757.
    """

    def ranks(self, num_steps: int, device: torch.device) -> Tensor:
        if not self.training:
            return super().ranks(num_steps, device)
        return torch.rand(num_steps, len(self.sizes), device=device).argsort(1)

    def check_known(self, numbers: Sequence[int]) -> None:
        pass


STEP_CODINGS: dict[str, type[StepCoding]] = {
    "product": ProductCoding,
    "independent": IndependentCoding,
    "ordered": OrderedCoding,
    "any-order": AnyOrderCoding,
}
"""The codings by name; each is created with sizes, hidden_size, embedding_size and size."""

"""A linear-chain conditional random field, whose forward algorithm is a recurrence of the engine.

The sum over all label sequences is computed by a cell, :class:`ForwardAlgorithm`, so the kernels
run it, and the backward step that they derive from it is the forward-backward algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell
from throughtime.checks import ShapeError, integer_lengths, shape_is, whole_number
from throughtime.kernels import Call, Weights, dispatch

__all__ = ["CRF", "Allowed", "ForwardAlgorithm"]

Allowed = tuple[Tensor, Tensor, Tensor]
"""Which labels may be first (K), follow a label (K, K), from the row to the column, and be last
(K); True where allowed."""

_FORBIDDEN = -1e200
"""The score of what is forbidden. It is finite, because infinite ones have no gradient."""

_RANGE = 300.0
"""exp(-300) squared is a normal number in float64, and the derivative of a / n has n squared."""


class ForwardAlgorithm(Cell):
    r"""The forward algorithm of a chain with K labels, kept in range by its running norm:

        v_t = (R_a a_{t-1}) * exp(W_e x_t)
        n_t = sum over labels of v_t
        a_t = v_t / n_t
        z_t = z_{t-1} + log n_t

    With R_a the transposed exponential of the transition scores and W_e x_t the label scores of
    step t, a_t holds the probability of each label given the scores up to t, and z_t, the same
    number for each label, the logarithm of the sum over all label sequences up to t.

    The hidden size is K. It is the cell of :class:`CRF` and has no name in the registry, since its
    matrix must be positive.

    Source: Rabiner, A tutorial on hidden Markov models (1989), equations 91 to 93 (scaling).
    """

    gates = ("e",)
    states = ("a", "z")
    recurrent_blocks = ("a",)

    def step(self, x, W, R, s, p):
        v = R.a(s.a) * torch.exp(W.e(x))
        n = v.sum(-1, keepdim=True)
        return dict(a=v / n, z=s.z + torch.log(n))


class CRF(nn.Module):
    r"""A linear-chain conditional random field over label sequences y of length T:

        s(y)   = b_{y_1} + sum_t e_{t, y_t} + sum_t A_{y_{t-1}, y_t} + c_{y_T}
        P(y)   = exp(s(y)) / Z,   Z = sum over all y of exp(s(y))

    All methods compute in float64, whatever the dtype of the scores: it costs little for the few
    labels of a task, and log Z is a sum over all steps.

    Z is computed by :class:`ForwardAlgorithm`, which exponentiates scores. It is exact while no
    label that can still matter falls below the range of float64; a bound on that follows from the
    spread of the scores and is checked in each call. Beyond the bound, the same sum is computed
    from logarithms step by step, which is slower.

    Args:
        num_labels: K.
        allowed: which labels may begin, follow each other, and end (see :data:`Allowed`), as
            tensors or nested lists; None allows all.
        device, dtype: of the parameters.

    Shapes:
        scores: (B, T, K), the scores e of each label at each word. labels: (B, T) int64, ignored
        past the end of a row. lengths: (B), each at least 1; None is T for all rows.

    Parameters start at 0: ``transitions`` A (K, K), from the row to the column, ``start`` b (K),
    ``end`` c (K).

    Source: Lafferty, McCallum and Pereira, Conditional random fields (2001); Lample et al., arXiv
        1603.01360, section 2.

    >>> crf = CRF(3)
    >>> scores = torch.zeros(1, 2, 3)
    >>> crf.log_likelihood(scores, torch.tensor([[0, 2]])).exp()
    tensor([0.1111], dtype=torch.float64, grad_fn=<ExpBackward0>)
    """

    def __init__(
        self,
        num_labels: int,
        allowed: Allowed | list[Any] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        K = self.num_labels = whole_number("CRF", "num_labels", num_labels)
        self.transitions = nn.Parameter(torch.zeros(K, K, device=device, dtype=dtype))
        self.start = nn.Parameter(torch.zeros(K, device=device, dtype=dtype))
        self.end = nn.Parameter(torch.zeros(K, device=device, dtype=dtype))
        self.is_constrained = allowed is not None
        self._mixing_steps: int | None = 1
        if allowed is not None:
            expected = ((K,), (K, K), (K,))
            # On the CPU, because tensors of a meta device have no values to look at.
            masks = [torch.as_tensor(part, dtype=torch.bool, device="cpu") for part in allowed]
            if tuple(tuple(part.shape) for part in masks) != expected:
                raise ShapeError(
                    f"CRF: expected allowed as three tensors of shapes {expected}, got "
                    f"{[tuple(part.shape) for part in masks]}."
                )
            self._mixing_steps = _mixing_steps(masks[1])
            # They follow from the labels, so they are not part of a saved model.
            for name, part in zip(("start", "transitions", "end"), masks, strict=True):
                mask = part.to(self.start.device)
                self.register_buffer(f"allowed_{name}", mask, persistent=False)

    def forward(
        self, scores: Tensor, labels: Tensor, lengths: Tensor | list[int] | None = None
    ) -> Tensor:
        """The log-likelihood of label sequences; see :meth:`log_likelihood`."""
        return self.log_likelihood(scores, labels, lengths)

    def log_likelihood(
        self, scores: Tensor, labels: Tensor, lengths: Tensor | list[int] | None = None
    ) -> Tensor:
        """log P(y) of one label sequence for each row, in nats, (B).

        Raises:
            ValueError: if a label sequence is not allowed.
        """
        score = self.score(scores, labels, lengths)
        if self.is_constrained and bool((score < _FORBIDDEN / 2).any()):
            row = int((score < _FORBIDDEN / 2).nonzero()[0])
            raise ValueError(
                f"CRF: expected labels in an allowed order, got a forbidden one in row {row}. "
                "Convert the labels to the scheme of the constraints, or drop the constraints."
            )
        return score - self.log_partition(scores, lengths)

    def score(
        self, scores: Tensor, labels: Tensor, lengths: Tensor | list[int] | None = None
    ) -> Tensor:
        """s(y) of one label sequence for each row, (B)."""
        lengths = self._lengths(scores, lengths)
        B, T, _ = scores.shape
        shape_is("CRF", "labels", labels, [B, T])
        start, transitions, end = self._potentials()
        is_valid = torch.arange(T, device=scores.device) < lengths.unsqueeze(1)  # (B, T)
        y = labels.masked_fill(~is_valid, 0)
        emitted = scores.double().gather(2, y.unsqueeze(2)).squeeze(2)  # (B, T)
        moved = transitions[y[:, :-1], y[:, 1:]]  # (B, T-1)
        last = y.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)  # (B)
        total = (emitted * is_valid).sum(1) + (moved * is_valid[:, 1:]).sum(1)
        return total + start[y[:, 0]] + end[last]

    def log_partition(self, scores: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """log Z of each row, (B)."""
        lengths = self._lengths(scores, lengths)
        e, potentials = scores.double(), self._potentials()
        if self._is_in_range(e, lengths, potentials):
            return self._by_the_cell(e, lengths, potentials)
        return self._by_logarithms(e, lengths, potentials)

    def marginals(self, scores: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """P(y_t = k) for each word and label, (B, T, K), 0 past the end of a row; no gradient.

        They are the gradient of log Z by the scores, which is the forward-backward algorithm.
        """
        with torch.inference_mode(False), torch.enable_grad():
            e = scores.detach().double().clone().requires_grad_()
            total = self.log_partition(e, lengths).sum()
            (marginals,) = torch.autograd.grad(total, e)
        return marginals

    @torch.no_grad()
    def window_chances(self, scores: Tensor, windows: Sequence[tuple[int, Tensor]]) -> list[float]:
        """The probability that the labels of a few neighbouring words are among those allowed.

        It is exact: the labels after a word say no more of those before it than its own label does,
        so P(y_t | y_{t+1}, all scores) follows from the forward algorithm alone,

            P(y_t = i | y_{t+1} = j) = alpha_t(i) exp(A_ij) / sum over k of alpha_t(k) exp(A_kj)

        and the probability of a window is summed from its last word, whose marginal is known.

        Args:
            scores: (T, K), those of one row.
            windows: the index of the first word of each, and its allowed labels, (n, K), True where
                allowed.
        """
        shape_is("CRF", "scores", scores, ["T", self.num_labels])
        _, transitions, _ = self._potentials()
        is_long = any(len(allowed) > 1 for _, allowed in windows)
        alpha = self._log_alpha(scores.double()) if is_long else scores
        marginals = self.marginals(scores.unsqueeze(0))[0]
        chances = []
        for begin, allowed in windows:
            end = begin + len(allowed)
            mass = marginals[end - 1] * allowed[-1]  # (K)
            for t in range(end - 2, begin - 1, -1):
                before = (alpha[t].unsqueeze(1) + transitions).softmax(0)  # (K, K)
                mass = (before @ mass) * allowed[t - begin]
            chances.append(float(mass.sum()))
        return chances

    def viterbi(
        self, scores: Tensor, lengths: Tensor | list[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The likeliest label sequence of each row, (B, T), 0 past its end, and its s(y), (B)."""
        labels, best = self.k_best(scores, 1, lengths)
        return labels[:, 0], best[:, 0]

    @torch.no_grad()
    def k_best(
        self, scores: Tensor, k: int, lengths: Tensor | list[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The k likeliest label sequences of each row, the likeliest first.

        Args:
            scores, lengths: see the class.
            k: how many; if a row has fewer, the rest has the score -inf.

        Returns:
            The labels, (B, k, T), 0 past the end of a row, and their s(y), (B, k).
        """
        lengths = self._lengths(scores, lengths)
        k = whole_number("CRF.k_best", "k", k)
        B, T, K = scores.shape
        start, transitions, end = (part.detach() for part in self._potentials())
        e = scores.double()
        # best[:, i, j] is the score of the i-th best sequence that ends with label j.
        best = e.new_full((B, k, K), -torch.inf)
        best[:, 0] = start + e[:, 0]
        origins = []
        for t in range(1, T):
            paths = (best.unsqueeze(3) + transitions).flatten(1, 2)  # (B, k*K, K)
            top, origin = paths.topk(k, 1)  # (B, k, K)
            # A row that has ended keeps its scores, and each path its place.
            is_running = (t < lengths).view(B, 1, 1)
            best = torch.where(is_running, top + e[:, t].unsqueeze(1), best)
            origins.append(origin)
        final, place = (best + end).flatten(1).topk(k, 1)  # (B, k) of k*K places
        labels = torch.zeros(B, k, T, dtype=torch.int64, device=scores.device)
        for t in reversed(range(T)):
            is_valid = (t < lengths).unsqueeze(1)
            labels[:, :, t] = torch.where(is_valid, place % K, 0)
            if t > 0:
                origin = origins[t - 1].flatten(1).gather(1, place)
                place = torch.where(is_valid, origin, place)
        return labels, final.masked_fill(final < _FORBIDDEN / 2, -torch.inf)

    def _lengths(self, scores: Tensor, lengths: Tensor | list[int] | None) -> Tensor:
        shape_is("CRF", "scores", scores, ["B", "T", self.num_labels])
        B, T, _ = scores.shape
        every = torch.full((B,), T) if lengths is None else lengths
        checked = integer_lengths("CRF", every, B, T).to(scores.device)
        if bool((checked < 1).any()):
            raise ValueError("CRF: expected lengths of at least 1, got 0. Leave empty rows out.")
        return checked

    def _potentials(self) -> Allowed:
        """The scores b, A and c in float64; what is forbidden has a score of -1e200."""
        parts = {name: getattr(self, name).double() for name in ("start", "transitions", "end")}
        if self.is_constrained:
            parts = {
                name: part.masked_fill(~getattr(self, f"allowed_{name}"), _FORBIDDEN)
                for name, part in parts.items()
            }
        return parts["start"], parts["transitions"], parts["end"]

    def _is_in_range(self, e: Tensor, lengths: Tensor, potentials: Allowed) -> bool:
        """Whether the cell is exact: no label that can matter falls below the range of float64.

        Some label has at least the mass 1/K. In as many steps as it takes to reach every label
        from it, each step loses at most a factor exp(-spread).
        """
        if self._mixing_steps is None:
            return False
        with torch.no_grad():
            is_valid = torch.arange(e.shape[1], device=e.device) < lengths.unsqueeze(1)
            spread = ((e.amax(2) - e.amin(2)) * is_valid).max()
            for part in potentials:
                allowed = part[part > _FORBIDDEN / 2]
                spread = spread + (allowed.max() - allowed.min() if len(allowed) else 0.0)
            # False for scores that are not numbers, too.
            return bool(spread * self._mixing_steps < _RANGE)

    def _by_the_cell(self, e: Tensor, lengths: Tensor, potentials: Allowed) -> Tensor:
        start, transitions, end = potentials
        B, T, K = e.shape
        first = start + e[:, 0]
        state = (first.softmax(1), torch.logsumexp(first, 1, keepdim=True).expand(B, K))
        # Only differences of scores are exponentiated; the largest of each step is added after.
        largest = e.detach().amax(2, keepdim=True)  # (B, T, 1)
        top, top_end = transitions.detach().max(), end.detach().max()
        weights = Weights(torch.eye(K, dtype=e.dtype, device=e.device), (transitions - top).exp().T)
        x = (e - largest)[:, 1:].transpose(0, 1)  # (T-1, B, K)
        if T > 1:
            call = Call(ForwardAlgorithm(), x, weights, state, lengths=lengths - 1)
            _, state = dispatch.run(call)
        a, z = state
        is_added = torch.arange(1, T, device=e.device) < lengths.unsqueeze(1)
        shift = ((largest[:, 1:, 0] + top) * is_added).sum(1)
        return z[:, 0] + shift + (a * (end - top_end).exp()).sum(1).log() + top_end

    def _by_logarithms(self, e: Tensor, lengths: Tensor, potentials: Allowed) -> Tensor:
        start, transitions, end = potentials
        alpha = start + e[:, 0]  # (B, K)
        for t in range(1, e.shape[1]):
            following = torch.logsumexp(alpha.unsqueeze(2) + transitions, 1) + e[:, t]
            alpha = torch.where((t < lengths).unsqueeze(1), following, alpha)
        return torch.logsumexp(alpha + end, 1)

    def _log_alpha(self, e: Tensor) -> Tensor:
        """The logarithms of alpha of one row, each step up to a constant, (T, K)."""
        start, transitions, _ = self._potentials()
        alpha = [(start + e[0]).log_softmax(0)]
        for t in range(1, len(e)):
            following = torch.logsumexp(alpha[-1].unsqueeze(1) + transitions, 0) + e[t]
            alpha.append(following.log_softmax(0))
        return torch.stack(alpha)

    def extra_repr(self) -> str:
        return f"{self.num_labels}{', constrained' if self.is_constrained else ''}"


def _mixing_steps(allowed: Tensor) -> int | None:
    """The least n so that from each label each other label is reached in exactly n steps.

    None if there is none. Wielandt: if there is one, it is at most (K - 1)^2 + 1.
    """
    K = len(allowed)
    step = torch.as_tensor(allowed, dtype=torch.float64, device="cpu")
    reached = step
    for n in range(1, (K - 1) ** 2 + 2):
        if bool((reached > 0).all()):
            return n
        reached = ((reached @ step) > 0).double()
    return None

"""Labels that are predicted independently of each other, with the methods of a CRF."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.checks import integer_lengths, shape_is, whole_number

__all__ = ["LabelSoftmax"]


class LabelSoftmax(nn.Module):
    r"""Independent labels y of a row, with the methods of :class:`throughtime.layers.crf.CRF`:

        P(y) = prod_t softmax(e_t)_{y_t}

    It has no parameters.

    Args:
        num_labels: K.

    Shapes:
        scores: (B, T, K). labels: (B, T) int64, ignored past the end of a row. lengths: (B); None
        is T for all rows.

    >>> LabelSoftmax(3).log_likelihood(torch.zeros(1, 2, 3), torch.tensor([[0, 2]])).exp()
    tensor([0.1111], dtype=torch.float64)
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.num_labels = whole_number("LabelSoftmax", "num_labels", num_labels)

    def forward(
        self, scores: Tensor, labels: Tensor, lengths: Tensor | list[int] | None = None
    ) -> Tensor:
        """The log-likelihood of label sequences; see :meth:`log_likelihood`."""
        return self.log_likelihood(scores, labels, lengths)

    def log_likelihood(
        self, scores: Tensor, labels: Tensor, lengths: Tensor | list[int] | None = None
    ) -> Tensor:
        """log P(y) of one label sequence for each row, in nats, (B)."""
        is_valid = self._is_valid(scores, lengths)
        y = labels.masked_fill(~is_valid, 0).unsqueeze(2)
        chosen = F.log_softmax(scores, 2).gather(2, y).squeeze(2)  # (B, T)
        return chosen.masked_fill(~is_valid, 0.0).double().sum(1)

    def marginals(self, scores: Tensor, lengths: Tensor | list[int] | None = None) -> Tensor:
        """P(y_t = k) for each word and label, (B, T, K), 0 past the end of a row; no gradient."""
        chances = scores.detach().double().softmax(2)
        return chances.masked_fill(~self._is_valid(scores, lengths).unsqueeze(2), 0.0)

    def window_chances(self, scores: Tensor, windows: Sequence[tuple[int, Tensor]]) -> list[float]:
        """The probability that the labels of a few neighbouring words are among those allowed.

        Args:
            scores: (T, K), those of one row.
            windows: the index of the first word of each, and its allowed labels, (n, K), True where
                allowed.
        """
        chances = self.marginals(scores.unsqueeze(0))[0]
        return [
            float((chances[begin : begin + len(allowed)] * allowed).sum(1).prod())
            for begin, allowed in windows
        ]

    def viterbi(
        self, scores: Tensor, lengths: Tensor | list[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The likeliest label sequence of each row, (B, T), 0 past its end, and its score, (B)."""
        is_valid = self._is_valid(scores, lengths)
        best, labels = scores.detach().double().max(2)
        return labels.masked_fill(~is_valid, 0), best.masked_fill(~is_valid, 0.0).sum(1)

    def _is_valid(self, scores: Tensor, lengths: Tensor | list[int] | None) -> Tensor:
        """(B, T), True up to the end of each row."""
        shape_is("LabelSoftmax", "scores", scores, ["B", "T", self.num_labels])
        B, T, _ = scores.shape
        every = torch.full((B,), T) if lengths is None else lengths
        ends = integer_lengths("LabelSoftmax", every, B, T).to(scores.device)
        return torch.arange(T, device=scores.device) < ends.unsqueeze(1)

    def extra_repr(self) -> str:
        return str(self.num_labels)

"""Recognises targets that only repeat themselves, so that a search need not write them on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from throughtime.checks import whole_number

__all__ = ["NUM_PERIODS", "Repetition", "longest_repeats"]

NUM_PERIODS = 16
"""P, the largest number of tokens after which a repetition begins anew."""


def longest_repeats(targets: Sequence[Sequence[int]]) -> list[int]:
    """The lengths of the longest repetitions in targets, by their period.

    A token repeats with period p if it equals the token p steps before it.

    Args:
        targets: the token ids of the targets.

    Returns:
        For each period p of 1 to P the largest number of consecutive tokens that repeat.

    >>> longest_repeats([[5, 5, 5, 7], [1, 2, 1, 2, 1]])[:2]
    [2, 3]
    """
    # Between two targets lie P ids that are no tokens, so that no repetition crosses them.
    apart = [-1 - p for p in range(NUM_PERIODS)]
    y = torch.tensor([token for target in targets for token in (*target, *apart)])
    longest = []
    for p in range(1, NUM_PERIODS + 1):
        is_new = torch.ones(len(y) + 1, dtype=torch.bool)
        is_new[p:-1] = (y[p:] != y[:-p]) | (y[p:] < 0)
        steps = is_new.nonzero().flatten()
        longest.append(int(steps.diff(prepend=steps.new_tensor([-1])).amax()) - 1)
    return longest


class Repetition:
    """Counts, for hypotheses that grow token by token, how many last tokens repeat.

    Args:
        limits: for each period p of 1 to P, the number of consecutive tokens that may repeat.
        num_rows: R, the number of hypotheses, all of which are empty.
        device: where the tokens lie.

    Raises:
        ValueError: unless there are P limits of at least 0.
    """

    def __init__(self, limits: Sequence[int], num_rows: int, device: torch.device) -> None:
        if len(limits) != NUM_PERIODS:
            raise ValueError(
                f"Repetition: expected a limit for each period of 1 to {NUM_PERIODS}, got "
                f"{len(limits)}."
            )
        for limit in limits:
            whole_number("Repetition", "limits", limit, least=0)
        self._limits = torch.tensor(limits, device=device)
        # The last P tokens of each hypothesis, the latest first.
        self._latest = torch.full((num_rows, NUM_PERIODS), -1, device=device)
        self._counts = torch.zeros_like(self._latest)

    def advance(self, token: Tensor, rows: Tensor | None = None) -> Tensor:
        """Appends a token to each hypothesis.

        Args:
            token: (R), the tokens.
            rows: (R), the index of the hypothesis that each one extends; None is its own row.

        Returns:
            (R), whether more tokens repeat than may.
        """
        if rows is not None:
            self.keep(rows)
        repeats = self._latest == token.unsqueeze(1)
        self._counts = torch.where(repeats, self._counts + 1, 0)
        self._latest = torch.cat([token.unsqueeze(1), self._latest[:, :-1]], 1)
        return (self._counts > self._limits).any(1)

    def keep(self, rows: Tensor) -> None:
        """Goes on with the hypotheses of these indices, in this order; an index may repeat."""
        self._latest = self._latest.index_select(0, rows)
        self._counts = self._counts.index_select(0, rows)

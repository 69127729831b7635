"""The rows of a ragged batch in the order of the kernels, and the flags of their steps."""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.kernels.cpp.context import StepArray
from throughtime.kernels.cpp.scratch import empty

__all__ = ["Rows"]

# Flags of a step of a row; see recurrence.hpp.
_START, _END, _RESTART, _BEFORE = 1, 2, 4, 8


class Rows:
    """The rows of a batch, sorted from the longest to the shortest.

    In this order the rows that have step t are always the first ones, so that a step of a ragged
    batch is computed like a step of a smaller batch.

    Args:
        T, B: the number of steps and of rows.
        lengths: the number of steps of each row, (B,); None if each row has T steps.
        resets: True where a row returns to its initial state before a step, (T, B); or None.
        reverse: whether time runs from the last step to the first.

    Attributes:
        lengths, resets: the arguments, in the order of the sorted rows.
        order: the index in the caller's batch of each sorted row; None if all rows have T steps.

    Raises:
        ValueError: if a length is below 0 or above T.
    """

    def __init__(
        self, T: int, B: int, lengths: Tensor | None, resets: Tensor | None, reverse: bool
    ) -> None:
        self.T, self.B, self.reverse = T, B, reverse
        self.lengths, self.resets = lengths, resets
        self.order: Tensor | None = None
        self._inverse: Tensor | None = None
        if lengths is not None:
            self.lengths, self.order = torch.sort(lengths, descending=True, stable=True)
            if not (self.lengths[-1] >= 0 and self.lengths[0] <= T):
                # The layer checks this too, but inside torch.compile it cannot read the lengths.
                raise ValueError(
                    f"expected lengths from 0 to {T}, the number of steps of x, got "
                    f"{int(self.lengths[-1])} to {int(self.lengths[0])}."
                )
            self._inverse = torch.argsort(self.order)
            self.resets = None if resets is None else resets[:, self.order]
        self._flags: dict[bool, tuple[Tensor, Tensor]] = {}

    def sorted(self, value: Tensor, dim: int = 0) -> Tensor:
        """The value with its rows, which lie along ``dim``, in the kernel's order."""
        return value if self.order is None else value.index_select(dim, self.order)

    def unsorted(self, value: Tensor, dim: int = 0) -> Tensor:
        """The value with its rows, which lie along ``dim``, in the caller's order."""
        return value if self._inverse is None else value.index_select(dim, self._inverse)

    def count(self, t0: int) -> int:
        """The number of rows of a chunk that begins at step t0."""
        if self.lengths is None:
            return self.B
        # Rows with exactly t0 steps count too: in the reverse direction the backward kernel has a
        # step past a row's end, where the gradient of its initial state is complete.
        return max(int((self.lengths >= max(t0, 1)).sum()), 1)

    def chunk(self, value: Tensor, t0: int, n: int) -> Tensor:
        """The steps t0 to t0 + n of a sequence, (n, rows, …), in the kernel's order."""
        part = value[t0 : t0 + n]
        if self.order is None or self.lengths is None:
            return part
        part = part.index_select(1, self.order[: self.count(t0)])
        # Zero times NaN is NaN, so that a value past a row's end must not enter a product at all.
        steps = torch.arange(t0, t0 + len(part)).unsqueeze(1)
        past = steps >= self.lengths[: part.shape[1]]
        return part.masked_fill_(past.unsqueeze(-1), 0.0)

    def place(self, value: Tensor, t0: int, n: int, rows: int) -> Tensor:
        """Memory for the steps t0 to t0 + n of a sequence, to be passed to :meth:`put_chunk`.

        It is a view of the sequence if the rows are not sorted, which saves a copy.
        """
        if self.order is None:
            return value[t0 : t0 + n]
        return empty((n, rows, value.shape[-1]), value.dtype)

    def put_chunk(self, value: Tensor, part: Tensor, t0: int) -> None:
        """Copies the steps from t0 on, written to :meth:`place`, to the caller's rows."""
        if self.order is not None:
            value[t0 : t0 + len(part)].index_copy_(1, self.order[: part.shape[1]], part)

    def before(
        self, state: StepArray, initial: StepArray, t0: int, n: int
    ) -> list[tuple[int, Tensor]]:
        """The values of a state before the steps t0 to t0 + n, which these steps read.

        Args:
            state: the state after each step, seen from t0 on.
            initial: the initial state.
            t0, n: the first step and the number of steps of the chunk.

        Returns:
            Consecutive parts of the chunk, each as the index of its first step and a tensor
            (steps, B, W).
        """
        is_first = (t0 + n == self.T) if self.reverse else t0 == 0
        # If all rows start at the same step, views of the stored states suffice. A chunk without
        # the start reads the states shifted by one step; one with it has the initial state as a
        # part of its own.
        if self.resets is None and (self.lengths is None or not self.reverse):
            if not is_first:
                return [(0, state.steps(1, n + 1) if self.reverse else state.steps(-1, n - 1))]
            s0 = initial.tensor.unsqueeze(0)
            if self.reverse:
                return [(0, state.steps(1, n)), (n - 1, s0)][n == 1 :]
            return [(0, s0), (1, state.steps(0, n - 1))][: 1 + (n > 1)]
        # Else each row starts at steps of its own: a copy chooses row by row.
        flags = self.flags(False)[0][t0 + 1 : t0 + n + 1]
        starts = (flags & _START).bool().unsqueeze(-1)
        s0 = initial.tensor.expand(n, -1, -1)
        if self.reverse:
            shifted = state.steps(1, n if is_first else n + 1)
            shifted = torch.cat([shifted, s0[:1]]) if is_first else shifted
        else:
            shifted = state.steps(0 if is_first else -1, n - 1)
            shifted = torch.cat([s0[:1], shifted]) if is_first else shifted
        return [(0, torch.where(starts, s0, shifted))]

    def flags(self, is_backward: bool) -> tuple[Tensor, Tensor]:
        """The flags (T + 2, B) of the steps, and the number of rows (T + 2) of each step.

        The second tensor is empty if all rows have T steps.
        """
        if is_backward not in self._flags:
            self._flags[is_backward] = _flags(
                self.T, self.B, self.lengths, self.resets, self.reverse, is_backward
            )
        return self._flags[is_backward]


def _flags(
    T: int, B: int, lengths: Tensor | None, resets: Tensor | None, reverse: bool, backward: bool
) -> tuple[Tensor, Tensor]:
    """See :meth:`Rows.flags`. Step t has the index t + 1: one step comes before the sequence, and
    one after it, where the backward kernel completes the gradients of the initial states."""
    rows = torch.arange(B)
    length = torch.full((B,), T) if lengths is None else lengths
    # Rows of length 0 have no step, and so no flags.
    nonempty = rows[length > 0]
    first = (length[nonempty] - 1) if reverse else torch.zeros_like(nonempty)
    last = torch.zeros_like(nonempty) if reverse else length[nonempty] - 1
    before = length[nonempty] if reverse else torch.full_like(nonempty, -1)
    starts = torch.zeros(T + 2, B, dtype=torch.bool)
    if resets is not None:
        # A reset stands between the steps t - 1 and t: before step t, or in the reverse direction
        # before step t - 1.
        if reverse:
            starts[1:T] = resets[1:]
        else:
            starts[1 : T + 1] = resets
    starts[first + 1, nonempty] = True
    flags = starts.to(torch.uint8) * _START
    flags[last + 1, nonempty] |= _END
    # roll moves the step at one end to the other end. It is False there, as no row starts outside
    # the sequence.
    after = torch.roll(starts, 1 if reverse else -1, 0)
    flags |= after.to(torch.uint8) * _RESTART
    # This one replaces all other flags: the step before the first is no step of the sequence.
    flags[before + 1, nonempty] = _BEFORE
    if lengths is None:
        return flags, torch.empty(0)
    # The backward kernel takes one step more, in which it completes the gradients of the initial
    # states. In the reverse direction this step is past each row's end, t = length, and counts as
    # one of the row's steps; in the forward direction it is t = -1, which every row has.
    t = torch.arange(-1, T + 1).unsqueeze(1)
    reaches = length >= t if reverse and backward else length > t
    active = (reaches & (length > 0)).sum(1).to(torch.int32)
    return flags, active

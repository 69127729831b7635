"""Which rows of a batch have which steps, and in which order the kernels take them."""

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

    So the rows that have a step are always the first ones, and a kernel takes a step of a ragged
    batch as it takes a step of a smaller batch.

    Args:
        T, B: steps and rows.
        lengths: how many steps each row has, (B,); None if each has T.
        resets: True where a row begins anew with its initial state, (T, B), or None.
        reverse: whether time runs from the last step to the first.

    Attributes:
        lengths, resets: sorted.
        order: the place of each sorted row in the caller's batch; None where they are not sorted.

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
                # Inside torch.compile the layer could not look at their values.
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
        """How many rows a chunk has that begins at step t0."""
        if self.lengths is None:
            return self.B
        # With the rows that end just before t0: there the reverse direction comes to its beginning.
        return max(int((self.lengths >= max(t0, 1)).sum()), 1)

    def chunk(self, value: Tensor, t0: int, n: int) -> Tensor:
        """The steps t0 to t0 + n of a sequence, (n, rows, …), in the kernel's order."""
        part = value[t0 : t0 + n]
        if self.order is None or self.lengths is None:
            return part
        part = part.index_select(1, self.order[: self.count(t0)])
        # Zero times NaN is NaN: what lies past a row's end must not enter a product at all.
        steps = torch.arange(t0, t0 + len(part)).unsqueeze(1)
        past = steps >= self.lengths[: part.shape[1]]
        return part.masked_fill_(past.unsqueeze(-1), 0.0)

    def place(self, value: Tensor, t0: int, n: int, rows: int) -> Tensor:
        """Where to write the steps t0 to t0 + n of a sequence before :meth:`put_chunk`.

        A view of the sequence where the rows are not sorted, which saves a copy.
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
        """A state before each step of a chunk: what the step reads.

        Returns:
            Runs of steps, each the place of its first step in the chunk, and (steps, B, W).
        """
        is_first = (t0 + n == self.T) if self.reverse else t0 == 0
        # Without a copy, as views of what is there, where all rows start at the same step.
        if self.resets is None and (self.lengths is None or not self.reverse):
            if not is_first:
                return [(0, state.steps(1, n + 1) if self.reverse else state.steps(-1, n - 1))]
            s0 = initial.tensor.unsqueeze(0)
            if self.reverse:
                return [(0, state.steps(1, n)), (n - 1, s0)][n == 1 :]
            return [(0, s0), (1, state.steps(0, n - 1))][: 1 + (n > 1)]
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
        """The flags (T + 2, B) of a kernel, and how many rows each of T + 2 steps has.

        The second tensor is empty where all rows have all steps.
        """
        if is_backward not in self._flags:
            self._flags[is_backward] = _flags(
                self.T, self.B, self.lengths, self.resets, self.reverse, is_backward
            )
        return self._flags[is_backward]


def _flags(
    T: int, B: int, lengths: Tensor | None, resets: Tensor | None, reverse: bool, backward: bool
) -> tuple[Tensor, Tensor]:
    """The flags of each row at each of T + 2 steps, and how many rows each of these steps has.

    Step t stands at t + 1: there is one step before the sequence and one after it.
    """
    rows = torch.arange(B)
    length = torch.full((B,), T) if lengths is None else lengths
    # Rows of length 0 have no flags: they have no step at all.
    some = rows[length > 0]
    first = (length[some] - 1) if reverse else torch.zeros_like(some)
    last = torch.zeros_like(some) if reverse else length[some] - 1
    before = length[some] if reverse else torch.full_like(some, -1)
    starts = torch.zeros(T + 2, B, dtype=torch.bool)
    if resets is not None:
        # In the reverse direction the step that is taken before t is t + 1.
        if reverse:
            starts[1:T] = resets[1:]
        else:
            starts[1 : T + 1] = resets
    starts[first + 1, some] = True
    flags = starts.to(torch.uint8) * _START
    flags[last + 1, some] |= _END
    # The step that roll moves to the other end is False: no row begins outside the sequence.
    after = torch.roll(starts, 1 if reverse else -1, 0)
    flags |= after.to(torch.uint8) * _RESTART
    # Last, and alone: the step before the first is no real step.
    flags[before + 1, some] = _BEFORE
    if lengths is None:
        return flags, torch.empty(0)
    # In the reverse direction the backward kernel takes one step more, past the row's end: there
    # the gradient of its initial state comes out. Forward that step is t = -1, for all rows.
    t = torch.arange(-1, T + 1).unsqueeze(1)
    reaches = length >= t if reverse and backward else length > t
    active = (reaches & (length > 0)).sum(1).to(torch.int32)
    return flags, active

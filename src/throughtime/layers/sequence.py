"""The one entrance of sequences into a layer, from any layout to time first, and the way back.

A layer computes on x (T, B, I), with lengths (B,) and resets (T, B). Its caller may lay sequences
out as (T, B, I), as (B, T, I), as one sequence (T, I) without a batch, or as a ``PackedSequence``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from throughtime.checks import ShapeError, device_is, integer_lengths, shape_is
from throughtime.kernels.autocast import are_of_one_type
from throughtime.layers.packed import packed_like, padded

__all__ = ["Layout", "Steps", "enter"]


@dataclass(frozen=True)
class Layout:
    """How the caller of a layer lays out its sequences.

    Args:
        batch_first: whether they are (B, T, …) rather than (T, B, …).
        is_single: whether there is one sequence (T, …), without a batch.
        packed: the ``PackedSequence`` that x is; None where x is a tensor.
    """

    batch_first: bool = False
    is_single: bool = False
    packed: PackedSequence | None = None

    @property
    def leading(self) -> tuple[str, ...]:
        """The letters of the dimensions before the features."""
        if self.is_single:
            return ("T",)
        return ("B", "T") if self.batch_first else ("T", "B")

    def time_first(self, value: Tensor) -> Tensor:
        """A tensor of this layout as (T, B, …)."""
        if self.is_single:
            return value.unsqueeze(1)
        return value.transpose(0, 1) if self.batch_first else value

    def restored(self, sequence: Tensor) -> Any:
        """A sequence (T, B, …) in this layout, packed if x was."""
        if self.packed is not None:
            return packed_like(sequence, self.packed)
        if self.is_single:
            return sequence.squeeze(1)
        return sequence.transpose(0, 1) if self.batch_first else sequence

    def with_batch(self, state: Tensor, dim: int) -> Tensor:
        """A state of the caller with the dimension B, which one sequence alone lacks."""
        return state.unsqueeze(dim) if self.is_single else state

    def without_batch(self, state: Tensor, dim: int) -> Tensor:
        """A state for the caller: without the dimension B where there is one sequence alone."""
        return state.squeeze(dim) if self.is_single else state


@dataclass(frozen=True)
class Steps:
    """The sequences of a call as a layer computes them.

    Args:
        x: (T, B, I).
        lengths: (B,) int64, how many steps of each row are valid; None is all.
        resets: (T, B) bool, True where a row begins anew before the step; None is nowhere.
        layout: how the caller laid them out.
    """

    x: Tensor
    lengths: Tensor | None
    resets: Tensor | None
    layout: Layout

    def valid(self) -> Tensor | None:
        """(T, B) bool, False past a row's end; None where all steps are valid."""
        if self.lengths is None:
            return None
        steps = torch.arange(self.x.shape[0], device=self.x.device)
        return steps.unsqueeze(1) < self.lengths.to(self.x.device)

    def beside(self, where: str, name: str, value: Any) -> Tensor:
        """What comes beside x, in its layout and of its shape, as (T, B, I).

        Args:
            where: who asks, the first word of the message.
            name: what the value is called there.

        Raises:
            TypeError: for a tensor beside a ``PackedSequence``, or the other way round.
            ValueError: for other rows or steps than those of x, or another device.
        """
        packed = self.layout.packed
        kind = Tensor if packed is None else PackedSequence
        if not isinstance(value, kind):
            raise TypeError(
                f"{where}: expected {name} as a {kind.__name__}, as x is, got {value!r}."
            )
        if isinstance(value, PackedSequence):
            assert packed is not None
            orders = (value.unsorted_indices, packed.unsorted_indices)
            if not torch.equal(value.batch_sizes, packed.batch_sizes) or not _equal(*orders):
                raise ShapeError(
                    f"{where}: expected {name} packed as x is, with the same lengths in the same "
                    f"order. Pack both with the same lengths."
                )
            steps, _ = padded(value)
            device_is(where, name, steps, self.x)
            shape_is(where, name, steps, tuple(self.x.shape), "x has this shape")
            return steps
        device_is(where, name, value, self.x)
        shape_is(where, name, value, tuple(self.layout.restored(self.x).shape), "x has this shape")
        return self.layout.time_first(value)


def enter(
    where: str,
    x: Any,
    *,
    input_size: int,
    dtype: torch.dtype,
    batch_first: bool,
    lengths: Any = None,
    resets: Any = None,
    **padded_alone: Any,
) -> Steps:
    """Checks the sequences that a layer is called with, and brings them into one form.

    Args:
        where: the layer, the first word of the message.
        x: a tensor in one of the layouts, or a ``PackedSequence``.
        input_size: I.
        dtype: of the weights.
        batch_first: whether a batch comes as (B, T, I).
        lengths: (B,) whole numbers, or None.
        resets: bool, as x without its features, or None.
        padded_alone: other arguments of the call by name, which go with a tensor alone.

    Raises:
        TypeError: for an x or resets that are no tensors.
        ShapeError: for a wrong shape, or x without steps.
        ValueError: for another dtype or device, or a ``PackedSequence`` beside lengths.
    """
    if isinstance(x, PackedSequence):
        beside = {"lengths": lengths, "resets": resets, **padded_alone}
        if any(value is not None for value in beside.values()):
            *first, last = beside
            raise ValueError(
                f"{where}: a PackedSequence brings its own lengths; {', '.join(first)} and {last} "
                f"go with a padded tensor."
            )
        layout = Layout(packed=x)
        x, lengths = padded(x)
    else:
        for name, value in (("x", x), ("resets", resets)):
            if not isinstance(value, Tensor) and (value is not None or name == "x"):
                raise TypeError(f"{where}: expected {name} as a tensor, got {value!r}.")
        layout = Layout(bool(batch_first), x.dim() == 2)
    shape_is(where, "x", x, (*layout.leading, input_size), f"input_size={input_size}")
    if not are_of_one_type(dtype, x):
        raise ValueError(
            f"{where}: expected x of {dtype} as the weights are, got "
            f"{x.dtype}. Convert one of them, for example layer.to(x.dtype)."
        )
    leading = x.shape[:-1]
    x = layout.time_first(x)
    T, B, _ = x.shape
    if T == 0:
        raise ShapeError(f"{where}: expected at least one time step, got x with none.")
    if isinstance(lengths, Tensor):
        device_is(where, "lengths", lengths, x, or_cpu=True)
    if lengths is not None:
        lengths = integer_lengths(where, lengths, B, T)
    if resets is not None:
        if resets.dtype != torch.bool:
            raise ValueError(f"{where}: expected resets of torch.bool, got {resets.dtype}.")
        device_is(where, "resets", resets, x)
        shape_is(where, "resets", resets, tuple(leading), "x has these steps and rows")
        resets = layout.time_first(resets)
    return Steps(x, lengths, resets, layout)


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))

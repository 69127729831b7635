"""Checks the sequences of a layer's call, and converts them to time first and back.

A layer computes on x (T, B, I), with lengths (B,) and resets (T, B). Its caller may pass sequences
as (T, B, I), as (B, T, I), as one sequence (T, I) without a batch, or as a ``PackedSequence``.
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
    """The layout of a caller's sequences.

    Args:
        batch_first: whether sequences are (B, T, …) instead of (T, B, …).
        is_single: whether the caller passed one sequence (T, …), without a batch.
        packed: x if it is a ``PackedSequence``; None if x is a tensor.
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
        """Converts a tensor of this layout to (T, B, …)."""
        if self.is_single:
            return value.unsqueeze(1)
        return value.transpose(0, 1) if self.batch_first else value

    def restored(self, sequence: Tensor) -> Any:
        """Converts a sequence (T, B, …) to this layout, packed if x was."""
        if self.packed is not None:
            return packed_like(sequence, self.packed)
        if self.is_single:
            return sequence.squeeze(1)
        return sequence.transpose(0, 1) if self.batch_first else sequence

    def with_batch(self, state: Tensor, dim: int) -> Tensor:
        """Adds the dimension B to the caller's state if the caller passed one sequence."""
        return state.unsqueeze(dim) if self.is_single else state

    def without_batch(self, state: Tensor, dim: int) -> Tensor:
        """Removes the dimension B from a state if the caller passed one sequence."""
        return state.squeeze(dim) if self.is_single else state


@dataclass(frozen=True)
class Steps:
    """The checked sequences of a call, time first.

    Args:
        x: (T, B, I).
        lengths: (B,) int64, the number of valid steps of each row; None if all are valid.
        resets: (T, B) bool, True where a row is reset before the step; None if none is.
        layout: the layout that the caller used.
    """

    x: Tensor
    lengths: Tensor | None
    resets: Tensor | None
    layout: Layout

    def valid(self) -> Tensor | None:
        """A mask (T, B), False past a row's end; None if all steps are valid."""
        if self.lengths is None:
            return None
        steps = torch.arange(self.x.shape[0], device=self.x.device)
        return steps.unsqueeze(1) < self.lengths.to(self.x.device)

    def beside(self, where: str, name: str, value: Any) -> Tensor:
        """Checks a sequence that must have the layout and shape of x, and converts it to (T, B, I).

        Args:
            where: the name of the layer, with which error messages begin.
            name: the name of the argument.
            value: the argument.

        Raises:
            TypeError: if only one of x and the value is a ``PackedSequence``.
            ValueError: if its shape or its device differs from that of x.
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
    """Checks the sequences that a layer is called with, and converts them to time first.

    Args:
        where: the name of the layer, with which error messages begin.
        x: a tensor in one of the layouts, or a ``PackedSequence``.
        input_size: I, the number of features that x must have.
        dtype: the dtype of the weights.
        batch_first: whether a batch has the layout (B, T, I).
        lengths: (B,) whole numbers, or None.
        resets: a bool tensor with the layout of x, without the features; or None.
        padded_alone: other arguments of the call by name that a ``PackedSequence`` excludes; only
            whether they are None is checked.

    Raises:
        TypeError: if x or resets is not a tensor.
        ShapeError: for a wrong shape, or x without time steps.
        ValueError: for a wrong dtype or device, or a ``PackedSequence`` together with lengths.
    """
    if isinstance(x, PackedSequence):
        _no_others(where, {"lengths": lengths, "resets": resets, **padded_alone})
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


def _no_others(where: str, arguments: dict[str, Any]) -> None:
    """Raises a ValueError if an argument that a ``PackedSequence`` excludes is not None."""
    if any(value is not None for value in arguments.values()):
        *first, last = arguments
        raise ValueError(
            f"{where}: a PackedSequence brings its own lengths; {', '.join(first)} and {last} "
            f"go with a padded tensor."
        )


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))

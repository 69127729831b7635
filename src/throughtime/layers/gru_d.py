"""GRU-D, a layer for sequences with missing values and irregular times."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from throughtime.checks import device_is, shape_is, whole_number
from throughtime.layers.observations import is_bool, last_observed, observed_before
from throughtime.layers.recurrent import Recurrent
from throughtime.layers.sequence import Layout, enter
from throughtime.layers.weights import weight_of

__all__ = ["GRUD"]

GRUDState = tuple[Tensor, Tensor, Tensor]
"""h (1, B, H); the last observed value of each feature, and its age, both (1, B, I)."""


class GRUD(nn.Module):
    r"""GRU-D: a missing value decays from its last observation to the mean; the state decays too.

        gamma_x_t = exp(-max(0, w_x * gaps_t + b_x))
        gamma_h_t = exp(-max(0, W_h gaps_t + b_h))
        x^_t = x_t                                                    where observed
               gamma_x_t * x_last_t + (1 - gamma_x_t) * x_mean        where missing
        h_t  = the step of :class:`throughtime.cells.decaying.DecayingGRU`, which reads [x^_t, m_t]
               and begins with gamma_h_t * h_{t-1}

    Args:
        input_size: I, the features of one step.
        hidden_size: H, the units.
        batch_first: whether sequences have the layout (B, T, …) instead of (T, B, …).
        bias, backend, save, strict, zoneout, recurrent_dropout: see
            :class:`throughtime.Recurrent`; ``bias`` is that of the step, not of the decays.
        device, dtype: the device and dtype of the parameters.

    Shapes:
        x, mask, gaps: (T, B, I); (B, T, I) with ``batch_first``; (T, I) for one sequence without a
            batch; or each a ``PackedSequence`` with equal lengths.
        output: as x, with H features; zero past a row's end.
        state: see :data:`GRUDState`; after each row's last valid step. Without B for one sequence.

    The parameters are ``decay_x_weight``, ``decay_x_bias`` (I), ``decay_h_weight`` (H, I),
    ``decay_h_bias`` (H), and those of ``recurrent``, the cell ``gru-d`` with 2*I input features.
    The buffer ``x_mean`` (I) is 0 until :meth:`set_mean` sets it.

    Source: Che et al., "Recurrent neural networks for multivariate time series with missing
    values", Scientific Reports 8 (2018), arXiv 1606.01865, section 2.3. Differs: before its first
    observation a feature has the value of its mean.

    >>> layer = GRUD(3, 5)
    >>> x, mask = torch.randn(7, 2, 3), torch.rand(7, 2, 3) < 0.5
    >>> layer.set_mean(x, mask)
    >>> gaps = time_gaps(torch.rand(7, 2).cumsum(0), mask)
    >>> layer(x, mask, gaps)[0].shape
    torch.Size([7, 2, 5])
    """

    who = "GRUD"
    """The name of the layer in error messages."""
    x_mean: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        batch_first: bool = False,
        *,
        bias: bool = True,
        backend: str = "auto",
        save: str = "gates",
        strict: bool = False,
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        input_size = whole_number(self.who, "input_size", input_size)
        hidden_size = whole_number(self.who, "hidden_size", hidden_size)
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        self.recurrent = Recurrent(
            "gru-d",
            2 * input_size,
            hidden_size,
            bias=bias,
            backend=backend,
            save=save,
            strict=strict,
            zoneout=zoneout,
            recurrent_dropout=recurrent_dropout,
            **factory,
        )
        self.input_size, self.hidden_size = input_size, hidden_size
        self.batch_first = bool(batch_first)
        self.decay_x_weight = nn.Parameter(torch.empty(input_size, **factory))
        self.decay_x_bias = nn.Parameter(torch.empty(input_size, **factory))
        self.decay_h_weight = nn.Parameter(torch.empty(hidden_size, input_size, **factory))
        self.decay_h_bias = nn.Parameter(torch.empty(hidden_size, **factory))
        self.register_buffer("x_mean", torch.zeros(input_size, **factory))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from -1/sqrt(H) to 1/sqrt(H)."""
        self.recurrent.reset_parameters()
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)

    @torch.no_grad()
    def set_mean(self, x: Tensor, mask: Tensor) -> None:
        """Sets ``x_mean`` to the mean of each feature's observed values; 0 if there are none.

        Args:
            x, mask: (…, I), such as the training set; the mask is False in padding.
        """
        is_bool("GRUD.set_mean", mask)
        shape_is("GRUD.set_mean", "mask", mask, tuple(x.shape), "x has this shape")
        leading = ["any"] * (x.dim() - 1)
        why = f"input_size={self.input_size}"
        shape_is("GRUD.set_mean", "x", x, (*leading, self.input_size), why)
        rows, observed = torch.where(mask, x, 0.0).flatten(0, -2), mask.flatten(0, -2)
        self.x_mean.copy_(rows.double().sum(0) / observed.sum(0).clamp(min=1))

    def forward(
        self,
        x: Tensor | PackedSequence,
        mask: Tensor | PackedSequence,
        gaps: Tensor | PackedSequence,
        hx: GRUDState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Any, GRUDState]:
        """Runs the layer on whole sequences, or on the next pieces of sequences.

        Args:
            x: the features; missing ones may have any value, including NaN.
            mask: True where a feature is observed.
            gaps: the result of :func:`throughtime.layers.time_gaps`. In a later piece of a sequence
                they count from the last step before the piece (its argument ``before``); ``hx``
                holds the earlier part of the gap.
            hx: the state after the previous piece; None begins a new sequence.
            lengths: (B,) whole numbers, the number of valid steps of each row.
            resets: (T, B), or (B, T) with ``batch_first``: True where a row is set back to its
                initial state before step t. The gaps must be computed with the argument ``resets``
                of :func:`throughtime.layers.time_gaps`.

        Returns:
            The output, and the last state.
        """
        steps = enter(
            "GRUD",
            x,
            input_size=self.input_size,
            dtype=self._weight("decay_x_bias", None).dtype,
            batch_first=self.batch_first,
            lengths=lengths,
            resets=resets,
        )
        layout, x, lengths, resets = steps.layout, steps.x, steps.lengths, steps.resets
        mask, gaps = steps.beside("GRUD", "mask", mask), steps.beside("GRUD", "gaps", gaps)
        is_bool("GRUD", mask)
        x_mean = self._weight("x_mean", x)
        h, x_last, elapsed = self._begin(hx, x, x_mean, layout)
        valid = steps.valid()
        if valid is not None:
            mask = mask & valid.unsqueeze(-1)
            gaps = torch.where(valid.unsqueeze(-1), gaps, 0.0)
            resets = None if resets is None else resets & valid

        # A missing x may be NaN: it is only selected or not, and never enters arithmetic.
        latest = last_observed(mask, resets)
        gaps = gaps + torch.where(observed_before(latest, resets) < 0, elapsed, 0.0)
        carried = torch.where(latest < 0, x_last, x.gather(0, latest.clamp(min=0)))
        gamma_x, gamma_h = self._decays(gaps, x)
        filled = torch.where(mask, x, gamma_x * carried + (1 - gamma_x) * x_mean)
        read = torch.cat([filled, mask.to(x.dtype)], -1)  # (T, B, 2*I)
        decays = {"decay": gamma_h}
        output, h = self.recurrent(read, h, lengths=lengths, resets=resets, inputs=decays)

        elapsed = _after_last_step(torch.where(mask, 0.0, gaps), lengths, elapsed)
        # Copies, because the caller may write into them and the backward pass reads them again.
        state = (h, carried[-1:].clone(), elapsed.unsqueeze(0).clone())
        h, x_last, elapsed = (layout.without_batch(s, 1) for s in state)
        return layout.restored(output), (h, x_last, elapsed)

    def _decays(self, gaps: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """gamma_x (T, B, I) and gamma_h (T, B, H), the factors by which values and states decay."""
        w_x, b_x = self._weight("decay_x_weight", x), self._weight("decay_x_bias", x)
        w_h, b_h = self._weight("decay_h_weight", x), self._weight("decay_h_bias", x)
        gamma_x = torch.exp(-torch.relu(w_x * gaps + b_x))
        return gamma_x, torch.exp(-torch.relu(F.linear(gaps, w_h, b_h)))

    def _weight(self, name: str, x: Tensor | None) -> Tensor:
        """The weight ``name``, checked against the input x."""
        shape = (self.input_size,)
        if name.startswith("decay_h"):
            shape = (self.hidden_size, *shape) if name.endswith("weight") else (self.hidden_size,)
        return weight_of(self, name, shape, x)

    def _begin(
        self, hx: GRUDState | None, x: Tensor, x_mean: Tensor, layout: Layout
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Checks the state ``hx``, and splits it.

        Returns:
            h as the recurrent layer takes it, the last observed values and their ages, both (B, I).
        """
        shape = (x.shape[1], self.input_size)
        if hx is None:
            return None, x_mean.expand(shape), x.new_zeros(shape)
        is_tuple = isinstance(hx, (tuple, list)) and len(hx) == 3
        if not is_tuple or not all(isinstance(s, Tensor) for s in hx):
            raise ValueError(f"GRUD: expected hx as the three tensors of a state, got {hx!r}.")
        expected = (1, self.input_size) if layout.is_single else (1, *shape)
        for name, value in zip(("the last values", "their gaps"), hx[1:], strict=True):
            shape_is("GRUD", f"{name} in hx", value, expected, "x has these rows and features")
            device_is("GRUD", f"{name} in hx", value, x)
        h, x_last, elapsed = (layout.with_batch(s, 1) for s in hx)
        return h, x_last[0], elapsed[0]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, batch_first={self.batch_first}"


def _after_last_step(ages: Tensor, lengths: Tensor | None, initial: Tensor) -> Tensor:
    """The ages (B, I) after each row's last valid step; ``initial`` for rows without steps.

    Args:
        ages: (T, B, I), the age of each feature's last observation at each step.
    """
    if lengths is None:
        return ages[-1]
    _, B, I = ages.shape
    lengths = lengths.to(ages.device)
    last = (lengths - 1).clamp(min=0).view(1, B, 1).expand(1, B, I)
    return torch.where(lengths.unsqueeze(-1) > 0, ages.gather(0, last)[0], initial)

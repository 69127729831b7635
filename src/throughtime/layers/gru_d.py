"""GRU-D: sequences of which much is missing, and in which steps come at any times."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from throughtime.checks import device_is, shape_is, whole_number
from throughtime.layers.recurrent import Recurrent
from throughtime.layers.sequence import Layout, enter
from throughtime.layers.weights import weight_of

__all__ = ["GRUD", "time_gaps"]

GRUDState = tuple[Tensor, Tensor, Tensor]
"""h (1, B, H); what each feature was last, and how long ago, both (1, B, I)."""


def time_gaps(
    times: Tensor,
    mask: Tensor,
    before: Tensor | None = None,
    batch_first: bool = False,
    resets: Tensor | None = None,
) -> Tensor:
    r"""How long each feature has not been observed when a step comes.

        d_1 = 0
        d_t = s_t - s_{t-1}              where mask_{t-1}
              s_t - s_{t-1} + d_{t-1}    where not

    Args:
        times: s, when each step of each row happens, in any unit; they do not decrease.
        mask: True where a feature is observed.
        before: of a later piece of a sequence, when the last step before it happened, (B,).
        batch_first: whether the first two dimensions are (B, T) rather than (T, B).
        resets: True where a row begins anew: t is then a first step, of which d is 0.

    Shapes:
        times, resets: (T, B). mask: (T, B, I). returns: (T, B, I). All without B for one sequence.

    Source: Che et al., arXiv 1606.01865, equation 2.

    >>> mask = torch.tensor([[1, 1], [0, 1], [0, 0], [1, 1]], dtype=torch.bool).unsqueeze(1)
    >>> time_gaps(torch.tensor([[0.0], [0.5], [2.0], [3.0]]), mask).squeeze(1).tolist()
    [[0.0, 0.0], [0.5, 0.5], [2.0, 1.5], [3.0, 2.5]]
    """
    _is_bool("time_gaps", mask)
    layout = Layout(batch_first, mask.dim() == 2)
    shape_is("time_gaps", "mask", mask, (*layout.leading, "I"))
    leading, why = tuple(mask.shape[:-1]), "mask has these steps and rows"
    shape_is("time_gaps", "times", times, leading, why)
    times, mask = layout.time_first(times), layout.time_first(mask)
    first = times[0] if before is None else layout.with_batch(before, 0)
    shape_is("time_gaps", "before", first, (times.shape[1],), "times has so many rows")
    if resets is not None:
        _is_bool("time_gaps", resets, "resets")
        shape_is("time_gaps", "resets", resets, leading, why)
        resets = layout.time_first(resets)
        # The time of the step at which the row last began anew.
        begins = _latest(resets)
        first = torch.where(begins < 0, first, times.gather(0, begins.clamp(min=0)))
    times, first = times.unsqueeze(-1).expand(mask.shape), first.unsqueeze(-1)
    seen = _seen_before(_last_seen(mask, resets), resets)
    since = torch.where(seen < 0, first, times.gather(0, seen.clamp(min=0)))
    return layout.restored(times - since)


class GRUD(nn.Module):
    r"""GRU-D: what is missing decays from its last value to the mean, and so does the memory.

        gamma_x_t = exp(-max(0, w_x * gaps_t + b_x))
        gamma_h_t = exp(-max(0, W_h gaps_t + b_h))
        x^_t = x_t                                                    where observed
               gamma_x_t * x_last_t + (1 - gamma_x_t) * x_mean        where not
        h_t  = the step of :class:`throughtime.cells.decaying.DecayingGRU`, which reads [x^_t, m_t]
               and begins with gamma_h_t * h_{t-1}

    Args:
        input_size: I, the features of one step.
        hidden_size: H, the units.
        batch_first: whether sequences come and go as (B, T, …) rather than (T, B, …).
        bias, backend, save, strict, zoneout, recurrent_dropout: see
            :class:`throughtime.Recurrent`; ``bias`` is that of the step, not of the decays.
        device, dtype: of the parameters.

    Shapes:
        x, mask, gaps: (T, B, I); (B, T, I) where ``batch_first``; (T, I) for one sequence alone; or
            each a ``PackedSequence``, of the same lengths.
        output: as x, with H features; zero past a row's end.
        state: see :data:`GRUDState`; of each row's last valid step. Without B for one sequence.

    The parameters are ``decay_x_weight``, ``decay_x_bias`` (I), ``decay_h_weight`` (H, I),
    ``decay_h_bias`` (H), and those of ``recurrent``, the cell ``gru-d`` of 2*I features. The buffer
    ``x_mean`` (I) is 0 until :meth:`set_mean` sets it.

    Source: Che et al., "Recurrent neural networks for multivariate time series with missing
    values", Scientific Reports 8 (2018), arXiv 1606.01865, section 2.3. Differs: until a feature
    is first observed it is taken for its mean.

    >>> layer = GRUD(3, 5)
    >>> x, mask = torch.randn(7, 2, 3), torch.rand(7, 2, 3) < 0.5
    >>> layer.set_mean(x, mask)
    >>> gaps = time_gaps(torch.rand(7, 2).cumsum(0), mask)
    >>> layer(x, mask, gaps)[0].shape
    torch.Size([7, 2, 5])
    """

    who = "GRUD"
    """What error messages call it."""
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
        """Sets ``x_mean`` to the mean of what is observed of each feature; 0 where nothing is.

        Args:
            x, mask: (…, I), such as the training set; what is no step has a mask of False.
        """
        _is_bool("GRUD.set_mean", mask)
        shape_is("GRUD.set_mean", "mask", mask, tuple(x.shape), "x has this shape")
        leading = ["any"] * (x.dim() - 1)
        why = f"input_size={self.input_size}"
        shape_is("GRUD.set_mean", "x", x, (*leading, self.input_size), why)
        rows, seen = torch.where(mask, x, 0.0).flatten(0, -2), mask.flatten(0, -2)
        self.x_mean.copy_(rows.double().sum(0) / seen.sum(0).clamp(min=1))

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
        """Runs the sequence.

        Args:
            x: the features; where they are missing any number, NaN included.
            mask: True where they are observed.
            gaps: from :func:`time_gaps`. Those of a later piece of a sequence count from the last
                step before the piece (``before``); what was before that is in ``hx``.
            hx: the state after the piece before; None begins anew.
            lengths: (B,) whole numbers, how many steps of each row are valid.
            resets: (T, B), or (B, T) where ``batch_first``: True where a row is set back to its
                initial state before step t. The gaps must begin anew there, too; see the argument
                of the same name of :func:`time_gaps`.

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
        _is_bool("GRUD", mask)
        _, B, I = x.shape
        x_mean = self._weight("x_mean", x)
        h, x_last, elapsed = self._begin(hx, x, x_mean, layout)
        valid = steps.valid()
        if valid is not None:
            mask = mask & valid.unsqueeze(-1)
            gaps = torch.where(valid.unsqueeze(-1), gaps, 0.0)
            resets = None if resets is None else resets & valid

        # What is missing may be NaN: nothing is computed of it, it is only ever chosen or not.
        seen = _last_seen(mask, resets)
        gaps = gaps + torch.where(_seen_before(seen, resets) < 0, elapsed, 0.0)
        carried = torch.where(seen < 0, x_last, x.gather(0, seen.clamp(min=0)))
        w_x, b_x = self._weight("decay_x_weight", x), self._weight("decay_x_bias", x)
        w_h, b_h = self._weight("decay_h_weight", x), self._weight("decay_h_bias", x)
        gamma_x = torch.exp(-torch.relu(w_x * gaps + b_x))
        gamma_h = torch.exp(-torch.relu(F.linear(gaps, w_h, b_h)))
        filled = torch.where(mask, x, gamma_x * carried + (1 - gamma_x) * x_mean)
        read = torch.cat([filled, mask.to(x.dtype)], -1)  # (T, B, 2*I)
        decays = {"decay": gamma_h}
        output, h = self.recurrent(read, h, lengths=lengths, resets=resets, inputs=decays)

        left = torch.where(mask, 0.0, gaps)
        if lengths is None:
            elapsed = left[-1]
        else:
            lengths = lengths.to(x.device)
            last = (lengths - 1).clamp(min=0).view(1, B, 1).expand(1, B, I)
            elapsed = torch.where(lengths.unsqueeze(-1) > 0, left.gather(0, last)[0], elapsed)
        # Copies: the caller may write into them, and the backward pass needs what they came from.
        state = (h, carried[-1:].clone(), elapsed.unsqueeze(0).clone())
        h, x_last, elapsed = (layout.without_batch(s, 1) for s in state)
        return layout.restored(output), (h, x_last, elapsed)

    def _weight(self, name: str, x: Tensor | None) -> Tensor:
        shape = (self.input_size,)
        if name.startswith("decay_h"):
            shape = (self.hidden_size, *shape) if name.endswith("weight") else (self.hidden_size,)
        return weight_of(self, name, shape, x)

    def _begin(
        self, hx: GRUDState | None, x: Tensor, x_mean: Tensor, layout: Layout
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """h as the recurrent layer takes it; the last values and their gaps, (B, I)."""
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


def _is_bool(who: str, mask: Any, name: str = "mask") -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else repr(mask)
        raise ValueError(f"{who}: expected {name} of torch.bool, got {got}.")


def _latest(events: Tensor) -> Tensor:
    """For each step the latest one, up to it, at which an event was; -1 before any."""
    steps = torch.arange(events.shape[0], device=events.device).view(-1, *[1] * (events.dim() - 1))
    return torch.where(events, steps, -1).cummax(0).values


def _last_seen(mask: Tensor, resets: Tensor | None) -> Tensor:
    """For each step the last one, up to it, at which a feature was observed; -1 before any.

    What was observed before a reset does not count.
    """
    seen = _latest(mask)
    if resets is None:
        return seen
    return torch.where(seen < _latest(resets).unsqueeze(-1), -1, seen)


def _seen_before(seen: Tensor, resets: Tensor | None) -> Tensor:
    """The same up to the step before, of what :func:`_last_seen` gives."""
    # Not a slice of T - 1 steps: torch.export would refuse T = 2.
    before = F.pad(seen, (0, 0, 0, 0, 1, 0), value=-1)[:-1]
    return before if resets is None else torch.where(resets.unsqueeze(-1), -1, before)

"""GRU-D: sequences of which much is missing, and in which steps come at any times."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from throughtime.checks import integer_lengths, shape_is
from throughtime.layers.recurrent import Recurrent

__all__ = ["GRUD", "time_gaps"]

GRUDState = tuple[Tensor, Tensor, Tensor]
"""h (1, B, H); what each feature was last, and how long ago, both (1, B, I)."""


def time_gaps(
    times: Tensor, mask: Tensor, before: Tensor | None = None, batch_first: bool = False
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

    Shapes:
        times: (T, B). mask: (T, B, I). returns: (T, B, I).

    Source: Che et al., arXiv 1606.01865, equation 2.

    >>> mask = torch.tensor([[1, 1], [0, 1], [0, 0], [1, 1]], dtype=torch.bool).unsqueeze(1)
    >>> time_gaps(torch.tensor([[0.0], [0.5], [2.0], [3.0]]), mask).squeeze(1).tolist()
    [[0.0, 0.0], [0.5, 0.5], [2.0, 1.5], [3.0, 2.5]]
    """
    _is_bool("time_gaps", mask)
    shape_is("time_gaps", "mask", mask, (*("BT" if batch_first else "TB"), "I"))
    shape_is("time_gaps", "times", times, tuple(mask.shape[:2]), "mask has these steps and rows")
    if batch_first:
        return time_gaps(times.transpose(0, 1), mask.transpose(0, 1), before).transpose(0, 1)
    first = times[0] if before is None else before
    shape_is("time_gaps", "before", first, (times.shape[1],), "times has so many rows")
    times = times.unsqueeze(-1).expand(mask.shape)
    seen = _seen_before(_last_seen(mask))
    since = torch.where(seen < 0, first.unsqueeze(-1), times.gather(0, seen.clamp(min=0)))
    return times - since


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
        x, mask, gaps: (T, B, I), or (B, T, I) where ``batch_first``.
        output: (T, B, H), or (B, T, H); zero past a row's end.
        state: see :data:`GRUDState`; of each row's last valid step.

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
        made: dict[str, Any] = {"device": device, "dtype": dtype}
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
            **made,
        )
        self.input_size, self.hidden_size = input_size, hidden_size
        self.batch_first = bool(batch_first)
        self.decay_x_weight = nn.Parameter(torch.empty(input_size, **made))
        self.decay_x_bias = nn.Parameter(torch.empty(input_size, **made))
        self.decay_h_weight = nn.Parameter(torch.empty(hidden_size, input_size, **made))
        self.decay_h_bias = nn.Parameter(torch.empty(hidden_size, **made))
        self.register_buffer("x_mean", torch.zeros(input_size, **made))
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
        x: Tensor,
        mask: Tensor,
        gaps: Tensor,
        hx: GRUDState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
    ) -> tuple[Tensor, GRUDState]:
        """Runs the sequence.

        Args:
            x: the features; where they are missing any number, NaN included.
            mask: True where they are observed.
            gaps: from :func:`time_gaps`. Those of a later piece of a sequence count from the last
                step before the piece (``before``); what was before that is in ``hx``.
            hx: the state after the piece before; None begins anew.
            lengths: (B,) whole numbers, how many steps of each row are valid.

        Returns:
            The output, and the last state.
        """
        _is_bool("GRUD", mask)
        leading = ("B", "T") if self.batch_first else ("T", "B")
        shape_is("GRUD", "x", x, (*leading, self.input_size), f"input_size={self.input_size}")
        for name, value in (("mask", mask), ("gaps", gaps)):
            shape_is("GRUD", name, value, tuple(x.shape), "x has this shape")
        if self.batch_first:
            x, mask, gaps = (v.transpose(0, 1) for v in (x, mask, gaps))
        T, B, I = x.shape
        h, x_last, elapsed = self._begin(hx, x)
        if lengths is not None:
            lengths = integer_lengths("GRUD", lengths, B, T).to(x.device)
            valid = (torch.arange(T, device=x.device).unsqueeze(1) < lengths).unsqueeze(-1)
            mask, gaps = mask & valid, torch.where(valid, gaps, 0.0)

        # What is missing may be NaN: nothing is computed of it, it is only ever chosen or not.
        seen = _last_seen(mask)
        gaps = gaps + torch.where(_seen_before(seen) < 0, elapsed, 0.0)
        carried = torch.where(seen < 0, x_last, x.gather(0, seen.clamp(min=0)))
        gamma_x = torch.exp(-torch.relu(self.decay_x_weight * gaps + self.decay_x_bias))
        gamma_h = torch.exp(-torch.relu(F.linear(gaps, self.decay_h_weight, self.decay_h_bias)))
        filled = torch.where(mask, x, gamma_x * carried + (1 - gamma_x) * self.x_mean)
        read = torch.cat([filled, mask.to(x.dtype)], -1)  # (T, B, 2*I)
        output, h = self.recurrent(read, h, lengths=lengths, inputs={"decay": gamma_h})

        left = torch.where(mask, 0.0, gaps)
        if lengths is None:
            elapsed = left[-1]
        else:
            last = (lengths - 1).clamp(min=0).view(1, B, 1).expand(1, B, I)
            elapsed = torch.where(lengths.unsqueeze(-1) > 0, left.gather(0, last)[0], elapsed)
        output = output.transpose(0, 1) if self.batch_first else output
        return output, (h, carried[-1:], elapsed.unsqueeze(0))

    def _begin(self, hx: GRUDState | None, x: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """h as the recurrent layer takes it; the last values and their gaps, (B, I)."""
        shape = (x.shape[1], self.input_size)
        if hx is None:
            return None, self.x_mean.expand(shape), x.new_zeros(shape)
        if not isinstance(hx, (tuple, list)) or len(hx) != 3:
            raise ValueError(f"GRUD: expected hx as the three tensors of a state, got {hx!r}.")
        for name, value in zip(("the last values", "their gaps"), hx[1:], strict=True):
            shape_is("GRUD", f"{name} in hx", value, (1, *shape), "x has these rows and features")
        return hx[0], hx[1][0], hx[2][0]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, batch_first={self.batch_first}"


def _is_bool(who: str, mask: Any) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else repr(mask)
        raise ValueError(f"{who}: expected mask of torch.bool, got {got}.")


def _last_seen(mask: Tensor) -> Tensor:
    """For each step the last one, up to it, at which a feature was observed; -1 before any."""
    steps = torch.arange(mask.shape[0], device=mask.device).view(-1, 1, 1)
    return torch.where(mask, steps, -1).cummax(0).values


def _seen_before(seen: Tensor) -> Tensor:
    """The same for the steps before, of what :func:`_last_seen` gives."""
    # Not a slice of T - 1 steps: torch.export would refuse T = 2.
    return F.pad(seen, (0, 0, 0, 0, 1, 0), value=-1)[:-1]

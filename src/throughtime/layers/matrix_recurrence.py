"""The recurrence of the mLSTM's matrix state: step by step, and in chunks by matrix products.

The equations are those of :class:`throughtime.layers.MatrixLSTM`. The functions here take the
equations' q, k, v, a and log f for all steps.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["MatrixState", "chunkwise", "step_by_step"]

MatrixState = tuple[Tensor, Tensor, Tensor]
"""C (B, N, d, d), n (B, N, d) and m (B, N)."""


def step_by_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    log_f: Tensor,
    state: MatrixState,
    starts: Tensor | None,
) -> tuple[Tensor, MatrixState]:
    """Evaluates the equations step by step; :func:`chunkwise` must give the same numbers.

    Args:
        q, k, v: queries, keys and values.
        a: the exponents of the input gates; -inf writes nothing.
        log_f: the logarithms of the forget gates; 0 keeps the whole state.
        state: the initial C, n and m.
        starts: True where a row is set back to the initial state before the step.

    Shapes:
        q, k, v (B, N, T, d); a, log_f (B, N, T); starts (B, T).

    Returns:
        C_t q_t / max(|n_t . q_t|, 1), (B, N, T, d), and the last state.
    """
    (C, n, m), outputs = state, []
    for t in range(q.shape[2]):
        if starts is not None:
            s = starts[:, t].view(-1, 1, 1, 1)
            C, n = torch.where(s, state[0], C), torch.where(s[..., 0], state[1], n)
            m = torch.where(s[..., 0, 0], state[2], m)
        old, m = m, torch.maximum(log_f[:, :, t] + m, a[:, :, t])
        keep = torch.exp(log_f[:, :, t] + old - m).unsqueeze(-1)
        write = torch.exp(a[:, :, t] - m).unsqueeze(-1) * k[:, :, t]
        C = keep.unsqueeze(-1) * C + v[:, :, t].unsqueeze(-1) * write.unsqueeze(-2)
        n = keep * n + write
        dot = (n * q[:, :, t]).sum(-1)
        read = (C @ q[:, :, t].unsqueeze(-1)).squeeze(-1)
        outputs.append(read / torch.maximum(dot.abs(), _one(m)).unsqueeze(-1))
    return torch.stack(outputs, 2), (C, n, m)


def chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    log_f: Tensor,
    state: MatrixState,
    starts: Tensor | None,
    is_zero: bool,
    L: int,
) -> tuple[Tensor, MatrixState]:
    """Computes L steps at once by matrix products; only the loop over chunks is serial.

    C gets n as a last row: n follows the recurrence of C for a value that is always one. The
    outputs do not depend on m, so m is detached from the gradient, except where the initial m
    enters and the last m is returned.

    Args:
        q, k, v, a, log_f, state, starts: see :func:`step_by_step`.
        is_zero: whether the initial state is zero.
        L: the number of steps of a chunk.

    Returns:
        What :func:`step_by_step` returns.
    """
    T = q.shape[2]
    q, k, v, a, log_f, starts = _in_chunks(q, k, v, a, log_f, starts, L)
    v = F.pad(v, (0, 1), value=1.0)  # (B, N, c, L, d+1)
    C_0, m_0 = torch.cat([state[0], state[1].unsqueeze(-2)], -2), state[2]
    D, kept, began = _exponents(a, log_f, starts)
    source, m = _source_exponents(D, kept, began, m_0)
    m_t = torch.maximum(D.detach().amax(-1), source.detach())

    weights = torch.exp(D - m_t.unsqueeze(-1))
    kept = torch.exp(source - m_t).unsqueeze(-1)  # (B, N, c, L, 1)
    written = (v * weights[..., -1, :].unsqueeze(-1)).transpose(-1, -2) @ k  # (B, N, c, d+1, d)
    # carried: the factor of the state before the chunk; since: that of the initial state, which
    # replaces it after a reset.
    carried, since = kept, None
    if began is not None:
        carried = kept.masked_fill(began.unsqueeze(-1), 0.0)
        if not is_zero:
            since = kept.masked_fill(~began.unsqueeze(-1), 0.0)
            written = written + since[..., -1:, :] * C_0.unsqueeze(2)
    # C at the beginning of each chunk.
    states, C = [], C_0
    for keep, write in zip(carried[..., -1:, :].unbind(2), written.unbind(2), strict=True):
        states.append(C)
        C = torch.addcmul(write, keep, C)
    read = (q @ k.transpose(-1, -2) * weights) @ v
    read = read + carried * (q @ torch.stack(states, 2).transpose(-1, -2))
    if since is not None:
        read = read + since * (q @ C_0.unsqueeze(2).transpose(-1, -2))
    y = read[..., :-1] / torch.maximum(read[..., -1].abs(), _one(m_t)).unsqueeze(-1)
    # The factor is 1; it only adds the derivative of C with respect to m.
    C = C * torch.exp(m.detach() - m)[..., None, None]
    return y.flatten(2, 3)[:, :, :T], (C[..., :-1, :], C[..., -1, :], m)


def _exponents(
    a: Tensor, log_f: Tensor, starts: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The exponents of the equations within each chunk.

    Returns:
        D (B, N, c, L, L): D[t, s] is the exponent with which step t reads what step s wrote, -inf
        if it does not. kept (B, N, c, L): the log of the factor by which the source state has
        decayed up to step t; the source is the state before the chunk, or after a reset within the
        chunk the initial state. began (B, 1, c, L): whether there was such a reset up to step t;
        None without resets.
    """
    L = log_f.shape[-1]
    F_t = log_f.cumsum(-1)  # (B, N, c, L)
    pairs = torch.ones(L, L, dtype=torch.bool, device=log_f.device).tril()
    kept, began = F_t, None
    if starts is not None:
        number = starts.cumsum(-1)
        pairs = pairs & (number.unsqueeze(-1) == number.unsqueeze(-2))
        began = number > 0
        step = torch.arange(L, device=log_f.device)
        latest = torch.where(starts, step, 0).cummax(-1).values.expand_as(F_t)
        kept = torch.where(began, F_t - (F_t - log_f).gather(-1, latest), F_t)
    D = F_t.unsqueeze(-1) - F_t.unsqueeze(-2) + a.unsqueeze(-2)
    return D.masked_fill(~pairs, -math.inf), kept, began


def _source_exponents(
    D: Tensor, kept: Tensor, began: Tensor | None, m_0: Tensor
) -> tuple[Tensor, Tensor]:
    """The exponents (B, N, c, L) with which the steps read the source state, and the last m.

    The loop over chunks is serial, but computes only (B, N) numbers for each chunk.
    """
    before, m = [], m_0
    for c, peak in enumerate(D[..., -1, :].amax(-1).unbind(-1)):
        before.append(m.detach() if c else m)
        source = m if began is None else torch.where(began[..., c, -1], m_0, m)
        m = torch.maximum(kept[..., c, -1] + source, peak)
    source = torch.stack(before, -1).unsqueeze(-1)
    if began is not None:
        source = torch.where(began, m_0[..., None, None], source)
    return kept + source, m


def _one(m: Tensor) -> Tensor:
    """exp(-m), the lower bound 1 of the denominator on the scale of C / exp(m).

    The exponent is clamped so that the result is neither infinite nor zero.
    """
    bound = 0.9 * math.log(torch.finfo(m.dtype).max)
    return torch.exp(-m.clamp(-bound, bound))


def _in_chunks(
    q: Tensor, k: Tensor, v: Tensor, a: Tensor, log_f: Tensor, starts: Tensor | None, L: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Splits the dimension T into chunks (c, L); padding steps leave the state unchanged."""
    if more := -q.shape[2] % L:
        q, k, v = (F.pad(rows, (0, 0, 0, more)) for rows in (q, k, v))
        a, log_f = F.pad(a, (0, more), value=-math.inf), F.pad(log_f, (0, more))
        starts = None if starts is None else F.pad(starts, (0, more))
    q, k, v, a, log_f = (rows.unflatten(2, (-1, L)) for rows in (q, k, v, a, log_f))
    return q, k, v, a, log_f, None if starts is None else starts.unflatten(1, (-1, L)).unsqueeze(1)

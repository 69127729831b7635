"""The mLSTM, a layer whose state is a matrix, computed in chunks by matrix products."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from throughtime.checks import device_is, shape_is, unknown, whole_number
from throughtime.kernels.autocast import autocast_off
from throughtime.layers.matrix_recurrence import MatrixState, chunkwise, step_by_step
from throughtime.layers.sequence import Steps, enter
from throughtime.layers.stream import Stream
from throughtime.layers.weights import weight_of

__all__ = ["MatrixLSTM"]


class MatrixLSTM(nn.Module):
    r"""mLSTM: each head keeps a matrix C, writes v k^T into it, and reads it with q.

        q_t = W_q x_t + b_q
        k_t = W_k x_t / sqrt(d) + b_k
        v_t = W_v x_t + b_v
        o_t = sigmoid(W_o x_t + b_o)
        i_t = exp(a_t),                  a_t = w_i x_t + b_i         one number for each head
        f_t = sigmoid(u_t) or exp(u_t),  u_t = w_f x_t + b_f         one number for each head
        C_t = f_t C_{t-1} + i_t v_t k_t^T
        n_t = f_t n_{t-1} + i_t k_t
        h_t = o_t * C_t q_t / max(|n_t . q_t|, 1)

    No gate reads h_{t-1}, so all steps can be computed at once. Because exp is unbounded, C and n
    are stored divided by exp(m_t), where m_t is the largest exponent so far,

        m_t = max(log f_t + m_{t-1}, a_t)
        C_t = exp(log f_t + m_{t-1} - m_t) C_{t-1} + exp(a_t - m_t) v_t k_t^T,   n_t likewise
        h_t = o_t * C_t q_t / max(|n_t . q_t|, exp(-m_t))

    which leaves h unchanged. ``chunk_length=None`` evaluates these lines step by step, which
    defines the result. Any other chunk_length computes the same numbers by matrix products. With
    steps s <= t of one chunk, C, n and m at the beginning of the chunk, and F_t the sum of log f
    from the beginning of the chunk up to t:

        D_ts = F_t - F_s + a_s,    m_t = max(max_s D_ts, F_t + m)
        C_t q_t = sum_s exp(D_ts - m_t) (k_s . q_t) v_s + exp(F_t + m - m_t) C q_t

    Args:
        input_size: I, the features of one step.
        hidden_size: H, the units; each head has d = H / N.
        num_heads: N, how many matrices there are.
        bias: whether the blocks of the weight matrix have biases.
        batch_first: whether sequences have the layout (B, T, …) instead of (T, B, …).
        forget_gate: ``sigmoid`` or ``exponential``.
        chunk_length: how many steps are computed at once; None computes step by step.
        forget_bias: the initial bias b_f of the forget gates; a larger one remembers longer. None
            draws it as the other biases.
        device, dtype: the device and dtype of the parameters.

    Shapes:
        input: (T, B, I); (B, T, I) with ``batch_first``; (T, I) for one sequence without a batch;
            or a ``PackedSequence``.
        output: as the input, with H features; zero past a row's end.
        state: C (B, N, d, d), with values in the rows and keys in the columns, n (B, N, d) and
            m (B, N), after each row's last valid step; C and n are divided by exp(m). Without B
            for one sequence without a batch. float32 if the input has half precision.
        weight_ih_l0 (4*H + 2*N, I), bias_ih_l0 (4*H + 2*N): the blocks q, k, v, o, i, f.

    Raises:
        ShapeError: for an input, a state or lengths of the wrong shape.
        ValueError: for sizes that do not fit, or an unknown gate.

    Source: Beck et al., "xLSTM: extended long short-term memory", arXiv 2405.04517, equations 15
    to 17 and 19 to 27. Differs: the normalisation and projections of their block are left out.

    >>> layer = MatrixLSTM(3, 8, num_heads=2)
    >>> output, (C, n, m) = layer(torch.zeros(7, 5, 3), lengths=[7, 4, 1, 7, 3])
    >>> output.shape, C.shape
    (torch.Size([7, 5, 8]), torch.Size([5, 2, 4, 4]))
    """

    who = "MatrixLSTM"
    """The name of the layer in error messages."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_heads: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        *,
        forget_gate: str = "sigmoid",
        chunk_length: int | None = 64,
        forget_bias: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        input_size = whole_number(self.who, "input_size", input_size)
        hidden_size = whole_number(self.who, "hidden_size", hidden_size)
        num_heads = whole_number(self.who, "num_heads", num_heads)
        if chunk_length is not None:
            chunk_length = whole_number(self.who, "chunk_length", chunk_length)
        if hidden_size % num_heads:
            raise ValueError(
                f"MatrixLSTM: expected hidden_size as a multiple of num_heads={num_heads}, got "
                f"{hidden_size}."
            )
        if forget_gate not in ("sigmoid", "exponential"):
            raise unknown("forget_gate", forget_gate, ("sigmoid", "exponential"))
        if forget_bias is not None and not bias:
            raise ValueError("MatrixLSTM: forget_bias needs bias=True.")
        self.input_size, self.hidden_size, self.num_heads = input_size, hidden_size, num_heads
        self.bias, self.batch_first = bool(bias), bool(batch_first)
        self.forget_gate, self.forget_bias = forget_gate, forget_bias
        self.chunk_length = chunk_length
        rows = sum(self._blocks)
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size, device=device, dtype=dtype))
        self.bias_ih_l0 = (
            nn.Parameter(torch.empty(rows, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    @property
    def _blocks(self) -> list[int]:
        return [self.hidden_size] * 4 + [self.num_heads] * 2

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from -1/sqrt(H) to 1/sqrt(H); sets ``forget_bias``."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        if self.forget_bias is not None and self.bias_ih_l0 is not None:
            self.bias_ih_l0.detach()[-self.num_heads :].fill_(self.forget_bias)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: MatrixState | None = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Any, MatrixState]:
        """Runs the layer on whole sequences, or on the next pieces of sequences.

        Args:
            input: the sequences; see the class for their layouts.
            hx: the initial state (C, n, m); None is zero.
            lengths: (B,) whole numbers in any order: the number of valid steps of each row.
            resets: (T, B), or (B, T) with ``batch_first``: True where a row is set back to its
                initial state before step t.

        Returns:
            The output, and the last state.
        """
        steps = enter(
            "MatrixLSTM",
            input,
            input_size=self.input_size,
            dtype=self._weight("weight_ih_l0", None).dtype,
            batch_first=self.batch_first,
            lengths=lengths,
            resets=resets,
        )
        layout = steps.layout
        output, last = self._run(steps, self._initial(steps, hx), hx is None)
        C, n, m = (layout.without_batch(s, 0) for s in last)
        return layout.restored(output.transpose(0, 1)), (C, n, m)

    def stream(self) -> Stream:
        """A stream, which reads a sequence step by step and keeps the state between the steps."""
        return Stream(self, self.batch_first)

    def _run(self, steps: Steps, state: MatrixState, is_zero: bool) -> tuple[Tensor, MatrixState]:
        """Computes the output (B, T, H) and the last state.

        Args:
            steps: the checked sequences.
            state: the initial state.
            is_zero: whether the initial state is known to be zero, which saves work.
        """
        x, starts = steps.x.transpose(0, 1), steps.resets
        B, T, _ = x.shape
        valid = steps.valid()
        if valid is not None:
            valid = valid.transpose(0, 1)  # (B, T)
            # Past a row's end the input may contain NaN, which the sums below would spread.
            x = torch.where(valid.unsqueeze(-1), x, 0.0)
        if starts is not None:
            starts = starts.transpose(0, 1) if valid is None else starts.transpose(0, 1) & valid
        N, d = self.num_heads, self.hidden_size // self.num_heads
        bias = self._weight("bias_ih_l0", x) if self.bias else None
        q, k, v, o, i, f = self._weight("weight_ih_l0", x).split(self._blocks)
        weight = torch.cat([q, k / math.sqrt(d), v, o, i, f])
        q, k, v, o, i, f = F.linear(x, weight, bias).split(self._blocks, -1)
        wide = state[0].dtype
        q, k, v = (a.to(wide).view(B, T, N, d).transpose(1, 2) for a in (q, k, v))  # (B, N, T, d)
        i, f = i.to(wide).transpose(1, 2), f.to(wide).transpose(1, 2)  # (B, N, T)
        log_f = F.logsigmoid(f) if self.forget_gate == "sigmoid" else f
        if valid is not None:
            # Past a row's end, keep the state (log f = 0) and write nothing (i = exp(-inf) = 0).
            i = i.masked_fill(~valid.unsqueeze(1), -math.inf)
            log_f = log_f.masked_fill(~valid.unsqueeze(1), 0.0)
        with autocast_off(x):
            if self.chunk_length is None:
                y, last = step_by_step(q, k, v, i, log_f, state, starts)
            else:
                L = min(self.chunk_length, T)
                y, last = chunkwise(q, k, v, i, log_f, state, starts, is_zero, L)
        output = torch.sigmoid(o) * y.transpose(1, 2).reshape(B, T, -1).to(o.dtype)
        # Copies, because the caller may write into them and the backward pass reads them again.
        C, n, m = (s.clone() for s in last)
        output = output if valid is None else torch.where(valid.unsqueeze(-1), output, 0.0)
        return output, (C, n, m)

    def _weight(self, name: str, x: Tensor | None) -> Tensor:
        """The weight ``name``, checked against the input x."""
        rows = sum(self._blocks)
        shape = (rows, self.input_size) if name.startswith("weight") else (rows,)
        return weight_of(self, name, shape, x)

    def _initial(self, steps: Steps, hx: Any) -> MatrixState:
        """Checks the initial state ``hx`` and adds the dimension B; zeros if it is None."""
        N, d = self.num_heads, self.hidden_size // self.num_heads
        layout, x = steps.layout, steps.x
        dtype = torch.promote_types(self._weight("weight_ih_l0", x).dtype, torch.float32)
        rows = () if layout.is_single else (x.shape[1],)
        shapes = {"C": (*rows, N, d, d), "n": (*rows, N, d), "m": (*rows, N)}
        if hx is None:
            C, n, m = (x.new_zeros(shape, dtype=dtype) for shape in shapes.values())
        else:
            if not isinstance(hx, (tuple, list)) or len(hx) != 3:
                raise ValueError("MatrixLSTM: expected hx as a tuple of three tensors, (C, n, m).")
            for (name, shape), value in zip(shapes.items(), hx, strict=True):
                where = f"the initial state {name}"
                if not isinstance(value, Tensor) or value.dtype != dtype:
                    got = value.dtype if isinstance(value, Tensor) else repr(value)
                    raise ValueError(f"MatrixLSTM: expected {where} of {dtype}, got {got}.")
                shape_is("MatrixLSTM", where, value, shape, f"num_heads={N} of {d} units")
                device_is("MatrixLSTM", where, value, x)
            C, n, m = hx
        return layout.with_batch(C, 0), layout.with_batch(n, 0), layout.with_batch(m, 0)

    def extra_repr(self) -> str:
        parts = [str(self.input_size), str(self.hidden_size), str(self.num_heads)]
        defaults = dict(bias=True, batch_first=False, forget_gate="sigmoid", chunk_length=64)
        for name, default in (*defaults.items(), ("forget_bias", None)):
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(parts)

"""LSTMCell, GRUCell and RNNCell: modules that run one time step of a cell.

They have the arguments, results and state dict keys of the classes of ``torch.nn`` with the same
names. For single steps of any other cell see :meth:`throughtime.Recurrent.stream`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from throughtime.cells.cell import Cell, get
from throughtime.checks import ShapeError, device_is, unknown
from throughtime.kernels import Call, Weights, dispatch
from throughtime.kernels.autocast import are_of_one_type
from throughtime.layers.option_checks import a_size

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "SingleStep"]


class SingleStep(nn.Module):
    """Owns the weights of one cell, and runs one time step of it.

    Args:
        cell: the equations.
        input_size, hidden_size: I, H.
        bias: whether the blocks have biases.
        device, dtype: of the parameters.

    Shapes:
        input: (B, I), or (I) for one row alone.
        states: (B, H), or (H).
    """

    bias_ih: nn.Parameter | None
    bias_hh: nn.Parameter | None

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            a_size(1)(type(self).__name__, name, size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self.cell = cell
        rows = len(cell.gates) * hidden_size

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        self.weight_ih, self.weight_hh = parameter(rows, input_size), parameter(rows, hidden_size)
        self.register_parameter("bias_ih", parameter(rows) if bias else None)
        self.register_parameter("bias_hh", parameter(rows) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from -1/sqrt(H) to 1/sqrt(H), as torch.nn does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def _step(self, input: Tensor, states: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """Checks the arguments and returns the next states, with or without rows as the input has.

        Args:
            input: the input of the step, (B, I) or (I).
            states: the states before the step in the cell's order; None for zeros.
        """
        who, (I, H) = type(self).__name__, (self.input_size, self.hidden_size)
        if input.dim() not in (1, 2) or input.shape[-1] != I:
            raise ShapeError(
                f"{who}: expected input of shape (B, {I}) or ({I},) because input_size={I}, "
                f"got {tuple(input.shape)}."
            )
        device_is(who, "input", input, self.weight_ih)
        if not are_of_one_type(self.weight_ih.dtype, input):
            raise ValueError(
                f"{who}: expected input of {self.weight_ih.dtype} as the weights are, got "
                f"{input.dtype}."
            )
        names, rows = list(self.cell.state_specs), input.shape[:-1]
        if states is None:
            states = tuple(input.new_zeros(*rows, H) for _ in names)
        for name, state in zip(names, states, strict=True):
            if state.shape != (*rows, H):
                raise ShapeError(
                    f"{who}: expected {name} of shape {(*rows, H)}, got {tuple(state.shape)}."
                )
        weights = Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        x = input.reshape(1, -1, I)
        call = Call(self.cell, x, weights, tuple(s.reshape(-1, H) for s in states))
        _, following = dispatch.run(call)
        return tuple(s.view(*rows, H) for s in following)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class LSTMCell(SingleStep):
    """One time step of an LSTM, as ``torch.nn.LSTMCell``.

    Args:
        input_size, hidden_size: I, H.
        bias: whether the blocks have biases.
        device, dtype: of the parameters.

    >>> h, c = LSTMCell(3, 5)(torch.zeros(2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(get("lstm"), input_size, hidden_size, bias, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the next states (h, c).

        Args:
            input: the input of the step, (B, I) or (I).
            hx: the states (h, c) before the step, each (B, H) or (H); None for zeros.
        """
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise ValueError("LSTMCell: expected hx as a tuple of two states, (h, c).")
        h, c = self._step(input, None if hx is None else tuple(hx))
        return h, c


class _WithOneState(SingleStep):
    """A single step of a cell whose only state is h."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Returns the next state h.

        Args:
            input: the input of the step, (B, I) or (I).
            hx: the state h before the step, (B, H) or (H); None for zeros.
        """
        if hx is not None and not isinstance(hx, Tensor):
            raise ValueError(
                f"{type(self).__name__}: expected hx as one tensor, got {type(hx).__name__}."
            )
        return self._step(input, None if hx is None else (hx,))[0]


class GRUCell(_WithOneState):
    """One time step of a GRU, as ``torch.nn.GRUCell``.

    Args: see :class:`LSTMCell`.

    >>> h = GRUCell(3, 5)(torch.zeros(2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(get("gru"), input_size, hidden_size, bias, device, dtype)


class RNNCell(_WithOneState):
    """One time step of a simple recurrent network, as ``torch.nn.RNNCell``.

    Args:
        input_size, hidden_size: I, H.
        bias: whether the blocks have biases.
        nonlinearity: ``tanh`` or ``relu``.
        device, dtype: of the parameters.

    >>> h = RNNCell(3, 5)(torch.zeros(2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise unknown("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(get(f"rnn-{nonlinearity}"), input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        shown = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        return super().extra_repr() + shown

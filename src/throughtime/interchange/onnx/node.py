"""An RNN, GRU or LSTM node of an ONNX file, run by the kernels of throughtime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from throughtime.cells.cell import Cell
from throughtime.checks import ShapeError, integer_lengths, shape_is, unknown
from throughtime.interchange.onnx import cells
from throughtime.kernels import Call, Weights, dispatch

__all__ = ["RECURRENT", "RecurrentNode"]

RECURRENT = ("RNN", "GRU", "LSTM")

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_NUM_INPUTS = {"RNN": 6, "GRU": 6, "LSTM": 8}
_NUM_OUTPUTS = {"RNN": 2, "GRU": 2, "LSTM": 3}
_NUM_BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {
    "RNN": ("Tanh",),
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}
# output_sequence exists in version 1 only, and follows from the outputs that the node names.
_ATTRIBUTES = (
    *("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size"),
    *("layout", "output_sequence"),
)
_MORE = {"RNN": (), "GRU": ("linear_before_reset",), "LSTM": ("input_forget",)}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


class RecurrentNode:
    """A recurrent node. The constructor checks its attributes, each call its weights.

    Args:
        who: the file and the node, with which error messages begin.
        op: ``RNN``, ``GRU`` or ``LSTM``.
        attributes: the attributes in the file.
        num_inputs, num_outputs: the numbers of inputs and outputs that the node names.
        backend: the backend that runs the node; see :class:`throughtime.Recurrent`.
    """

    def __init__(
        self,
        who: str,
        op: str,
        attributes: dict[str, Any],
        num_inputs: int,
        num_outputs: int,
        backend: str = "auto",
    ) -> None:
        self.who, self.op, self.backend = who, op, backend
        known = (*_ATTRIBUTES, *_MORE[op])
        for name in attributes:
            if name not in known:
                raise ValueError(f"{who}: {unknown('attribute', name, known)}")
        if not 3 <= num_inputs <= _NUM_INPUTS[op] or num_outputs > _NUM_OUTPUTS[op]:
            raise ValueError(
                f"{who}: expected 3 to {_NUM_INPUTS[op]} inputs and at most {_NUM_OUTPUTS[op]} "
                f"outputs, got {num_inputs} and {num_outputs}."
            )
        self.hidden_size = attributes.get("hidden_size")
        direction = attributes.get("direction", "forward")
        if direction not in _DIRECTIONS:
            raise ValueError(f"{who}: {unknown('direction', direction, _DIRECTIONS)}")
        self.directions = _DIRECTIONS[direction]
        self.batch_first = self._flag(attributes, "layout")
        self.is_coupled = self._flag(attributes, "input_forget")
        self.cells = self._cells(attributes)

    def _flag(self, attributes: dict[str, Any], name: str) -> bool:
        value = attributes.get(name, 0)
        if value not in (0, 1):
            raise ValueError(f"{self.who}: expected {name} as 0 or 1, got {value!r}.")
        return bool(value)

    def _cells(self, attributes: dict[str, Any]) -> list[Cell]:
        """The cells of the directions, which may differ in their activations."""
        activations = self._activations(attributes)
        clip = attributes.get("clip")
        if clip is not None and not clip > 0:
            raise ValueError(f"{self.who}: expected clip as a number above 0, got {clip}.")
        if self.op == "RNN":
            kind: Any = cells.OnnxRNN
        elif self.op == "GRU":
            after = self._flag(attributes, "linear_before_reset")
            kind = cells.OnnxGRU if after else cells.OnnxResetBeforeGRU
        else:
            kind = cells.OnnxCoupledLSTM if self.is_coupled else cells.OnnxLSTM
        size = len(_DEFAULTS[self.op])
        directions = []
        for d in range(len(self.directions)):
            constants = [v for one in activations[d * size : (d + 1) * size] for v in one]
            directions.append(kind(*constants, clip=None if clip is None else float(clip)))
        return directions

    def _activations(self, attributes: dict[str, Any]) -> list[tuple[str, float, float]]:
        """The activations of all directions, each as (name, alpha, beta)."""
        D, size = len(self.directions), len(_DEFAULTS[self.op])
        names = list(attributes.get("activations") or _DEFAULTS[self.op] * D)
        if len(names) != D * size:
            raise ValueError(
                f"{self.who}: expected {D * size} activations, {size} for each direction, got "
                f"{len(names)}: {', '.join(names)}."
            )
        # Like the runtimes, ignore upper and lower case here.
        spellings = {name.lower(): name for name in cells.ACTIVATIONS}
        alphas = list(attributes.get("activation_alpha", ()))
        betas = list(attributes.get("activation_beta", ()))
        activations: list[tuple[str, float, float]] = []
        for name in names:
            if name.lower() not in spellings:
                raise ValueError(f"{self.who}: {unknown('activation', name, cells.ACTIVATIONS)}")
            alpha, beta = cells.ACTIVATIONS[spellings[name.lower()]]
            # The lists hold numbers only for activations that take one, in their order.
            if alpha is not None and alphas:
                alpha = alphas.pop(0)
            if beta is not None and betas:
                beta = betas.pop(0)
            if math.isnan(alpha or 0.0) or math.isnan(beta or 0.0):
                raise ValueError(
                    f"{self.who}: expected activation_alpha and activation_beta for {name}, which "
                    f"has no default, got too few."
                )
            spelling = spellings[name.lower()]
            activations.append((spelling, float(alpha or 0.0), float(beta or 0.0)))
        for what, left in (("activation_alpha", alphas), ("activation_beta", betas)):
            if left:
                raise ValueError(
                    f"{self.who}: {what} has {len(left)} value(s) more than the activations "
                    f"{', '.join(names)} take."
                )
        return activations

    def check_weights(self, inputs: Sequence[Tensor | None]) -> None:
        """Raises a ShapeError if a weight has a wrong shape.

        Args:
            inputs: the inputs in the order of the operator; None if one is omitted or unknown.
        """
        named: dict[str, Tensor | None] = dict(zip(_INPUTS, inputs, strict=False))
        D, G = len(self.directions), _NUM_BLOCKS[self.op]
        R = named.get("R")
        H: Any = self.hidden_size
        if R is not None:
            H = H if H is not None else R.shape[-1] if R.dim() else None
            shape_is(self.who, "R", R, (D, G * H, H) if H else ("D", "G*H", "H"), self._why(H))
        if H is None:
            return
        shapes: dict[str, tuple[Any, ...]] = {
            "W": (D, G * H, "I"),
            "B": (D, 2 * G * H),
            "P": (D, 3 * H),
        }
        for name, shape in shapes.items():
            value = named.get(name)
            if value is not None:
                shape_is(self.who, name, value, shape, self._why(H))

    def _why(self, H: Any) -> str:
        return f"it is an {self.op} with {len(self.directions)} direction(s), hidden_size={H}"

    def __call__(self, inputs: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """The node's outputs: Y, Y_h, and Y_c for an LSTM."""
        named: dict[str, Tensor | None] = dict(zip(_INPUTS, inputs, strict=False))
        for name in ("X", "W", "R"):
            if named[name] is None:
                raise ValueError(f"{self.who}: expected the input {name}, got none.")
        self.check_weights(inputs)
        W: Any = named["W"]
        R: Any = named["R"]
        x = self._checked_input(named, W.shape[-1])
        T, B, _ = x.shape
        lengths = named.get("sequence_lens")
        if lengths is not None:
            lengths = integer_lengths(self.who, lengths, B, T)
        initial = self._initial(named, x, R.shape[-1])
        outputs: list[Tensor] = []
        last: list[tuple[Tensor, ...]] = []
        for d, (cell, reverse) in enumerate(zip(self.cells, self.directions, strict=True)):
            call = Call(
                cell=cell,
                x=x,
                weights=self._weights(d, W, R, named.get("B"), named.get("P")),
                state=tuple(state[d] for state in initial),
                lengths=lengths,
                reverse=reverse,
            )
            output, states = dispatch.run(call, self.backend)
            outputs.append(output)
            last.append(states)
        batch_at = 0 if self.batch_first else 1
        # (T, D, B, H) or (B, T, D, H)
        y = torch.stack(outputs, 1)
        y = y.permute(2, 0, 1, 3) if self.batch_first else y
        # (D, B, H) or (B, D, H)
        return (y, *(torch.stack(rows, 1 - batch_at) for rows in zip(*last, strict=True)))

    def _checked_input(self, named: dict[str, Tensor | None], I: int) -> Tensor:
        """Checks X and the dtypes of the other inputs; returns X as (T, B, I)."""
        x: Any = named["X"]
        layout = ("B", "T", I) if self.batch_first else ("T", "B", I)
        shape_is(self.who, "X", x, layout, f"W has {I} columns")
        for name, value in named.items():
            if name != "sequence_lens" and value is not None and value.dtype != x.dtype:
                raise ValueError(
                    f"{self.who}: expected {name} of {x.dtype} as X is, got {value.dtype}."
                )
        x = x.transpose(0, 1) if self.batch_first else x
        if x.shape[0] == 0:
            raise ShapeError(f"{self.who}: expected at least one time step, got X with none.")
        return x

    def _initial(self, named: dict[str, Tensor | None], x: Tensor, H: int) -> list[Tensor]:
        """The initial states (D, B, H); zeros for those that the node does not name."""
        D, B = len(self.directions), x.shape[1]
        initial = []
        for name in self.cells[0].state_specs:
            state = named.get(f"initial_{name}")
            if state is None:
                state = x.new_zeros(D, B, H)
            else:
                shape = (B, D, H) if self.batch_first else (D, B, H)
                shape_is(self.who, f"initial_{name}", state, shape, f"X has {B} rows")
                state = state.transpose(0, 1) if self.batch_first else state
            initial.append(state)
        return initial

    def _weights(self, d: int, W: Tensor, R: Tensor, B: Tensor | None, P: Tensor | None) -> Weights:
        """The weights of direction d, without the block f if the gates are coupled."""
        H, G = R.shape[-1], _NUM_BLOCKS[self.op]

        def blocks(value: Tensor) -> Tensor:
            if not self.is_coupled:
                return value
            i, o, _, c = value.split(H)
            return torch.cat([i, o, c])

        parameters: dict[str, Tensor] = {}
        if self.op == "LSTM":
            peepholes = R.new_zeros(3 * H) if P is None else P[d]
            # p_f is the last peephole; zip drops it if the gates are coupled.
            parameters = dict(zip(self.cells[d].parameter_specs, peepholes.split(H), strict=False))
        return Weights(
            weight_ih=blocks(W[d]),
            weight_hh=blocks(R[d]),
            bias_ih=None if B is None else blocks(B[d, : G * H]),
            bias_hh=None if B is None else blocks(B[d, G * H :]),
            parameters=parameters,
        )

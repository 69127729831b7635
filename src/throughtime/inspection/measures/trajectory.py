"""The states that a layer runs through, and its step as a function of the whole state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from throughtime.kernels import Call, Weights, reference

__all__ = ["Trajectory", "trajectory"]


@dataclass(frozen=True)
class Trajectory:
    r"""What one layer in one direction computes for one sequence, in the order of its time:

        state_{t+1} = F(state_t, x_t)

    The state is one vector of n numbers: all states of the cell, one after the other.

    Args:
        call: the call of the layer, whose weights and cell the step uses.
        widths: the number of units of each state; n is their sum.
        states: (T + 1, n); row t is the state before step t.
    """

    call: Call
    widths: tuple[int, ...]
    states: Tensor

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.states) - 1

    @property
    def size(self) -> int:
        """n."""
        return self.states.shape[1]

    @property
    def x(self) -> Tensor:
        """The input of the layer, (T, I)."""
        return self.call.x[:, 0]

    def first(self, most: int) -> Trajectory:
        """The first steps of the trajectory, at most ``most``."""
        call = self.call
        inputs = tuple(value[:most] for value in call.inputs)
        shorter = replace(call, x=call.x[:most], inputs=inputs)
        return replace(self, call=shorter, states=self.states[: most + 1])

    def step(self, state: Tensor, at: Tensor) -> Tensor:
        """The next states of any states.

        Args:
            state: (N, n).
            at: (N), for each of them the step t whose inputs it reads.
        """
        inputs = tuple(value[at].transpose(0, 1) for value in self.call.inputs)
        return self._next(state, self.call.x[at].transpose(0, 1), inputs)

    def _next(self, state: Tensor, x: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
        parts = state.split(self.widths, -1)
        # A projected state has fewer units than the call's; the rest are zero.
        missing = [
            s.shape[-1] - width for s, width in zip(self.call.state, self.widths, strict=True)
        ]
        padded = tuple(F.pad(part, (0, n)) for part, n in zip(parts, missing, strict=True))
        call = replace(self.call, x=x, state=padded, inputs=inputs)
        _, last = reference.run(call)
        return torch.cat([s[..., :n] for s, n in zip(last, self.widths, strict=True)], -1)


def trajectory(calls: Sequence[Call], widths: tuple[int, ...]) -> Trajectory:
    """The trajectory of one layer in one direction, computed again in float64.

    Args:
        calls: the calls of this layer for one sequence, each going on where the one before it
            ended; see :class:`.unrolled.States`. Of several rows the first is taken.
        widths: the number of units of each state, such as those of ``layer.state_sizes``.
    """
    first = calls[0]
    # What stands past the end of the row is no step.
    counts = [len(c.x) if c.lengths is None else int(c.lengths[0]) for c in calls]
    x = _joined([c.x[:n] for c, n in zip(calls, counts, strict=True)], first.reverse)
    inputs = tuple(
        _joined([c.inputs[i][:n] for c, n in zip(calls, counts, strict=True)], first.reverse)
        for i in range(len(first.inputs))
    )
    w = first.weights
    weights = Weights(
        _plain(w.weight_ih),
        None if w.weight_hh is None else _plain(w.weight_hh),
        None if w.bias_ih is None else _plain(w.bias_ih),
        None if w.bias_hh is None else _plain(w.bias_hh),
        {key: _plain(value) for key, value in w.parameters.items()},
    )
    call = replace(
        first,
        x=x,
        weights=weights,
        state=tuple(_plain(s[:1]) for s in first.state),
        inputs=inputs,
        lengths=None,
        resets=None,
        seed=None if first.seed is None else first.seed.cpu(),
        reverse=False,
    )
    with torch.no_grad():
        _, _, steps = reference.unrolled(call)
    rows = [call.state, *(tuple(step.values()) for step in steps)]
    return Trajectory(call, widths, torch.stack([_vector(row, widths) for row in rows]).detach())


def _joined(pieces: Sequence[Tensor], is_reverse: bool) -> Tensor:
    """Pieces (T, B, width) of the first row one after the other, in the order of time."""
    whole = torch.cat([_plain(piece[:, :1]) for piece in pieces])
    return whole.flip(0) if is_reverse else whole


def _plain(value: Tensor) -> Tensor:
    return value.detach().cpu().double()


def _vector(state: tuple[Tensor, ...], widths: tuple[int, ...]) -> Tensor:
    return torch.cat([value[0, :width] for value, width in zip(state, widths, strict=True)])

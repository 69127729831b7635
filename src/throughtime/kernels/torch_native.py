"""Runs RNN, GRU and LSTM by PyTorch's own fused operators (oneDNN on a CPU, cuDNN on a GPU)."""

from __future__ import annotations

import torch
from torch import _VF, Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from throughtime.cells.cell import Cell
from throughtime.kernels.call import Call
from throughtime.kernels.transforms import has_tangent, is_transformed

__all__ = [
    "IS_KERNEL",
    "IS_TRACEABLE",
    "compiled_identity",
    "is_equal",
    "missing",
    "rank",
    "reasons",
    "record",
    "run",
    "runs_compiled",
    "slower_because",
]

IS_KERNEL = True
IS_TRACEABLE = True

_OPERATORS = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu", "GRU": "gru", "LSTM": "lstm"}


def missing() -> list[str]:
    """Always empty: the operators are part of PyTorch."""
    return []


def reasons(call: Call) -> list[str]:
    """Why PyTorch's operators cannot run the call; empty if they can."""
    refusals = []
    if call.cell.torch_equivalent not in _OPERATORS or not is_equal(call.cell):
        refusals.append(
            f"the cell {call.cell.title} is none that PyTorch has fused ({', '.join(_OPERATORS)})"
        )
    if call.resets is not None:
        refusals.append("resets are given, and PyTorch's operators take none")
    if is_transformed():
        refusals.append(
            "a transform of torch.func is at work, and not all know PyTorch's operators"
        )
    elif has_tangent(call.tensors):
        refusals.append(
            "an input has a tangent, and not all of PyTorch's operators have forward mode"
        )
    elif call.lengths is not None and call.x.is_meta:
        refusals.append("x is on meta, where PyTorch cannot pack rows of several lengths")
    elif call.lengths is not None and bool((call.lengths == 0).any()):
        refusals.append("a row has length 0, which PyTorch's packed sequences refuse")
    elif call.lengths is not None and call.x.shape[1] == 0:
        refusals.append("the batch is empty, which PyTorch's packed sequences refuse")
    return refusals


def rank(call: Call) -> tuple[int, str]:
    """See :class:`throughtime.kernels.backend.Backend`."""
    return 10, ""


def record(call: Call) -> None:
    """None: PyTorch's operators return no gates."""
    return None


def compiled_identity(cell: Cell, weight: Tensor) -> str:
    """Empty: torch.compile traces PyTorch's operators, so that it needs no identity."""
    return ""


def is_equal(cell: Cell) -> bool:
    """Whether ``torch_equivalent`` was declared by the same class as the step that runs.

    A subclass that overrides ``step`` inherits the attribute, which is not true of its step.
    """
    for kind in type(cell).__mro__:
        if "step" in vars(kind) or "gates" in vars(kind):
            return "torch_equivalent" in vars(kind)
    return False


def run(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Applies the cell through time; see :func:`throughtime.kernels.reference.run`."""
    operator = getattr(_VF, _OPERATORS[str(call.cell.torch_equivalent)])
    w = call.weights
    flat = [t for t in (w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh) if t is not None]
    several = len(call.state) > 1
    state = tuple(s.unsqueeze(0) for s in call.state)
    # has_biases, num_layers, dropout, train, bidirectional
    options = (w.bias_ih is not None, 1, 0.0, torch.is_grad_enabled(), False)
    x = _reversed(call.x, call.lengths) if call.reverse else call.x

    if call.lengths is None:
        output, *last = operator(x, state if several else state[0], flat, *options, False)
    else:
        packed = pack_padded_sequence(x, call.lengths.cpu(), enforce_sorted=False)
        order, back = packed.sorted_indices, packed.unsorted_indices
        assert order is not None
        assert back is not None
        state = tuple(s.index_select(1, order) for s in state)
        data, *last = operator(
            packed.data, packed.batch_sizes, state if several else state[0], flat, *options
        )
        output, _ = pad_packed_sequence(PackedSequence(data, *packed[1:]), total_length=x.shape[0])
        last = [s.index_select(1, back) for s in last]
    output = _reversed(output, call.lengths) if call.reverse else output
    return output, tuple(s.squeeze(0) for s in last)


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverses the valid steps of each row of x, (T, B, …); leaves the steps past its end."""
    if lengths is None:
        return x.flip(0)
    t = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    source = lengths.to(x.device) - 1 - t
    source = torch.where(source < 0, t, source)  # (T, B)
    return x.gather(0, source.unsqueeze(-1).expand_as(x))


def runs_compiled(call: Call) -> bool:
    """True: torch.compile traces this backend."""
    return True


def slower_because() -> str:
    """Empty: the speed of this backend does not depend on the machine's tools."""
    return ""

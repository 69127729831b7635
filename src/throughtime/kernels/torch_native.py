"""The three cells that PyTorch has fused itself (oneDNN on a CPU, cuDNN on a GPU)."""

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
    """What this machine lacks: nothing, PyTorch brings its operators along."""
    return []


def reasons(call: Call) -> list[str]:
    """Why PyTorch's operators cannot run the call."""
    found = []
    if call.cell.torch_equivalent not in _OPERATORS or not is_equal(call.cell):
        found.append(
            f"the cell {call.cell.title} is none that PyTorch has fused ({', '.join(_OPERATORS)})"
        )
    if call.resets is not None:
        found.append("resets are given, and PyTorch's operators take none")
    if is_transformed():
        found.append("a transform of torch.func is at work, and not all know PyTorch's operators")
    elif has_tangent(call.tensors):
        found.append("an input has a tangent, and not all of PyTorch's operators have forward mode")
    elif call.lengths is not None and call.x.is_meta:
        found.append("x is on meta, where PyTorch cannot pack rows of several lengths")
    elif call.lengths is not None and bool((call.lengths == 0).any()):
        found.append("a row has length 0, which PyTorch's packed sequences refuse")
    elif call.lengths is not None and call.x.shape[1] == 0:
        found.append("the batch is empty, which PyTorch's packed sequences refuse")
    return found


def rank(call: Call) -> tuple[int, str]:
    """See :class:`throughtime.kernels.backend.Backend`."""
    return 10, ""


def record(call: Call) -> None:
    """Nothing: PyTorch's operators keep no gates."""
    return None


def compiled_identity(cell: Cell, weight: Tensor) -> str:
    """Nothing: torch.compile knows PyTorch's operators."""
    return ""


def is_equal(cell: Cell) -> bool:
    """Whether the class that says what it equals is the one whose step runs.

    A subclass that writes a step of its own inherits the claim, and the claim is not true of it.
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
    """Each row (T, B, …) from its own last step to its first; what lies past its end stays."""
    if lengths is None:
        return x.flip(0)
    t = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    source = lengths.to(x.device) - 1 - t
    source = torch.where(source < 0, t, source)  # (T, B)
    return x.gather(0, source.unsqueeze(-1).expand_as(x))


def runs_compiled(call: Call) -> bool:
    """Not needed: torch.compile looks into this backend."""
    return True


def slower_because() -> str:
    """Nothing on any machine."""
    return ""

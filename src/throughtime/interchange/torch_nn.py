"""Layers of ``torch.nn`` become ours, one by one or a whole model at once."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from throughtime.layers import GRU, LSTM, RNN, Recurrent

__all__ = ["from_torch"]


def from_torch(module: nn.Module) -> nn.Module:
    """A copy of a model in which every ``torch.nn.RNN``, ``LSTM`` and ``GRU`` is throughtime's.

    The weights, the training mode and which weights are frozen come along. The state dict keeps
    its names, so that a checkpoint of the one loads into the other. The argument stays as it is.

    Raises:
        ValueError: where there is no recurrent layer in it, or one that cannot be converted.

    >>> from_torch(nn.Sequential(nn.GRU(3, 5)))[0]
    GRU(GRU(), 3, 5)
    """
    if not any(isinstance(m, nn.RNNBase) for m in module.modules()):
        raise ValueError(
            f"from_torch: expected a module with a torch.nn.RNN, LSTM or GRU in it, "
            f"got {type(module).__name__} with none."
        )
    converted: dict[nn.Module, nn.Module] = {}
    return _converted(copy.deepcopy(module), converted)


def _converted(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    # A layer that stands in two places stays one layer.
    if isinstance(module, nn.RNNBase):
        if module not in done:
            done[module] = _layer(module)
        return done[module]
    for name, child in module.named_children():
        setattr(module, name, _converted(child, done))
    return module


def _layer(theirs: nn.RNNBase) -> Recurrent:
    options: dict[str, Any] = dict(
        input_size=theirs.input_size,
        hidden_size=theirs.hidden_size,
        num_layers=theirs.num_layers,
        bias=theirs.bias,
        batch_first=theirs.batch_first,
        dropout=theirs.dropout if theirs.num_layers > 1 else 0.0,
        bidirectional=theirs.bidirectional,
        device=theirs.weight_ih_l0.device,
        dtype=theirs.weight_ih_l0.dtype,
    )
    if isinstance(theirs, nn.LSTM):
        ours = LSTM(**options, proj_size=theirs.proj_size)
    elif isinstance(theirs, nn.GRU):
        ours = GRU(**options)
    elif isinstance(theirs, nn.RNN):
        ours = RNN(**options, nonlinearity=theirs.nonlinearity)
    else:
        raise ValueError(f"from_torch: cannot convert {type(theirs).__name__}.")
    ours.load_state_dict(theirs.state_dict())
    ours.train(theirs.training)
    for name, parameter in theirs.named_parameters():
        ours.get_parameter(name).requires_grad_(parameter.requires_grad)
    return ours

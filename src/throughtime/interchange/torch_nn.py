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
    its names, so that a checkpoint of the one loads into the other. Hooks on the layers do not come
    along. The argument stays as it is.

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
    # Not named_children(), which names a child once though it stands under two names.
    for name, child in list(module._modules.items()):
        if child is not None:
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
        # No memory and no draw: the weights are put in below.
        device="meta",
    )
    if type(theirs) is nn.LSTM:
        ours = LSTM(**options, proj_size=theirs.proj_size)
    elif type(theirs) is nn.GRU:
        ours = GRU(**options)
    elif type(theirs) is nn.RNN:
        ours = RNN(**options, nonlinearity=theirs.nonlinearity)
    else:
        raise ValueError(
            f"from_torch: cannot convert {type(theirs).__name__}, which is more than a layer of "
            f"torch.nn: what it adds would be lost. Remove its parametrizations, or convert its "
            f"weights by load_state_dict."
        )
    # The very parameters of the copy, so that weights that are tied to others stay tied.
    for name, parameter in theirs.named_parameters(remove_duplicate=False):
        setattr(ours, name, parameter)
    return ours.train(theirs.training)

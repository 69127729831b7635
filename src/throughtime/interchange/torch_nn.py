"""Layers of ``torch.nn`` become ours, and ours theirs, one by one or a whole model at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from throughtime.interchange.computed_weights import copied, refuse_computed
from throughtime.kernels import torch_native
from throughtime.layers import GRU, LSTM, RNN, Recurrent

__all__ = ["from_torch", "to_torch"]


def from_torch(module: nn.Module) -> nn.Module:
    """A copy of a model in which every ``torch.nn.RNN``, ``LSTM`` and ``GRU`` is throughtime's.

    The weights, the training mode and which weights are frozen come along. The state dict keeps
    its names, so that a checkpoint of the one loads into the other. Hooks on the layers do not come
    along. The argument stays as it is.

    Raises:
        ValueError: where there is no recurrent layer in it, or one that cannot be converted; or
            where a weight of one is computed for each call, as by ``weight_norm``.

    >>> from_torch(nn.Sequential(nn.GRU(3, 5)))[0]
    GRU(GRU(), 3, 5)
    """
    if not any(isinstance(m, nn.RNNBase) for m in module.modules()):
        raise ValueError(
            f"from_torch: expected a module with a torch.nn.RNN, LSTM or GRU in it, "
            f"got {type(module).__name__} with none."
        )
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            refuse_computed("from_torch", layer)
    return _converted(copied(module), nn.RNNBase, _layer, {})


def to_torch(module: nn.Module) -> nn.Module:
    """A copy of a model in which every recurrent layer is one of ``torch.nn``.

    The way back of :func:`from_torch`, for layers whose cell PyTorch has: ``lstm``, ``gru``,
    ``rnn-tanh`` and ``rnn-relu``.

    Raises:
        ValueError: where there is no recurrent layer in it, or one that PyTorch has not; or where
            a weight of one is computed for each call, as by ``weight_norm``.

    >>> to_torch(Recurrent("gru", 3, 5))
    GRU(3, 5)
    """
    if not any(isinstance(m, Recurrent) for m in module.modules()):
        raise ValueError(
            f"to_torch: expected a module with a recurrent layer of throughtime in it, "
            f"got {type(module).__name__} with none."
        )
    for layer in module.modules():
        if isinstance(layer, Recurrent):
            refuse_computed("to_torch", layer)
    return _converted(copied(module), Recurrent, _torch_layer, {})


def _converted(
    module: nn.Module,
    kind: type[nn.Module],
    layer: Callable[[Any], nn.Module],
    done: dict[nn.Module, nn.Module],
) -> nn.Module:
    # A layer that stands in two places stays one layer.
    if isinstance(module, kind):
        if module not in done:
            done[module] = layer(module)
        return done[module]
    # Not named_children(), which names a child once though it stands under two names.
    for name, child in list(module._modules.items()):
        if child is not None:
            setattr(module, name, _converted(child, kind, layer, done))
    return module


_THEIRS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN_TANH": nn.RNN, "RNN_RELU": nn.RNN}


def _torch_layer(ours: Recurrent) -> nn.Module:
    equivalent = ours.cell.torch_equivalent if torch_native.is_equal(ours.cell) else None
    if equivalent not in _THEIRS:
        raise ValueError(
            f"to_torch: torch.nn has no layer for the cell "
            f"{ours.cell.name or type(ours.cell).__name__}; it has those of lstm, gru, rnn-tanh "
            f"and rnn-relu."
        )
    if ours.merge != "concat":
        raise ValueError(
            f'to_torch: the layers of torch.nn concatenate their directions, got merge="'
            f'{ours.merge}".'
        )
    lost = ours.spec.lost_in("torch.nn")
    lost += ["proj_size"] if ours.proj_size and equivalent != "LSTM" else []
    if lost == ["locked_dropout"] and ours.dropout == 0:
        # It drops nothing, since dropout was set to 0 later.
        lost = []
    if lost:
        raise ValueError(
            f"to_torch: the layers of torch.nn have no {lost[0]}, which this layer uses."
        )
    more: dict[str, Any] = {}
    if equivalent.startswith("RNN"):
        more["nonlinearity"] = equivalent[4:].lower()
    if ours.proj_size:
        more["proj_size"] = ours.proj_size
    theirs = _THEIRS[equivalent](
        ours.input_size,
        ours.hidden_size,
        ours.num_layers,
        bias=ours.bias,
        batch_first=ours.batch_first,
        dropout=ours.dropout if ours.num_layers > 1 else 0.0,
        bidirectional=ours.bidirectional,
        device="meta",
        **more,
    )
    for name, parameter in ours.named_parameters(remove_duplicate=False):
        setattr(theirs, name, parameter)
    return theirs.train(ours.training)


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
            f"torch.nn: what it adds would be lost. Convert its weights by load_state_dict."
        )
    # The very parameters of the copy, so that weights that are tied to others stay tied.
    for name, parameter in theirs.named_parameters(remove_duplicate=False):
        setattr(ours, name, parameter)
    return ours.train(theirs.training)

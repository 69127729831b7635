"""Conversion of the recurrent layers of a model from and to ``torch.nn``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from throughtime.interchange.computed_weights import copied, refuse_computed
from throughtime.kernels import torch_native
from throughtime.layers import GRU, LSTM, RNN, GRUCell, LSTMCell, Recurrent, RNNCell
from throughtime.layers.single_step import SingleStep

__all__ = ["from_torch", "to_torch"]


def from_torch(module: nn.Module) -> nn.Module:
    """Copies a model, with the recurrent layers of ``torch.nn`` replaced by throughtime's.

    These are ``RNN``, ``LSTM``, ``GRU``, ``RNNCell``, ``LSTMCell`` and ``GRUCell``.

    The copy has the same weights, frozen weights and training mode. The names of the state dict are
    the same, so a checkpoint of one model loads into the other. Hooks of the replaced layers are
    lost. The argument does not change.

    Raises:
        ValueError: if the model has no recurrent layer, one that cannot be converted, or one with a
            weight that is computed in each call, as by ``weight_norm``.

    >>> from_torch(nn.Sequential(nn.GRU(3, 5)))[0]
    GRU(GRU(), 3, 5)
    """
    if not any(isinstance(m, _TORCH_KINDS) for m in module.modules()):
        raise ValueError(
            f"from_torch: expected a module with a torch.nn.RNN, LSTM or GRU in it, "
            f"got {type(module).__name__} with none, and none of their cells."
        )
    for layer in module.modules():
        if isinstance(layer, _TORCH_KINDS):
            refuse_computed("from_torch", layer)
    return _converted(copied(module), _TORCH_KINDS, _layer, {})


def to_torch(module: nn.Module) -> nn.Module:
    """Copies a model, with every recurrent layer of throughtime replaced by one of ``torch.nn``.

    The inverse of :func:`from_torch`, for the cells that PyTorch has: ``lstm``, ``gru``,
    ``rnn-tanh`` and ``rnn-relu``.

    Raises:
        ValueError: if the model has no recurrent layer, one that PyTorch does not have, or one with
            a weight that is computed in each call, as by ``weight_norm``.

    >>> to_torch(Recurrent("gru", 3, 5))
    GRU(3, 5)
    """
    if not any(isinstance(m, _OUR_KINDS) for m in module.modules()):
        raise ValueError(
            f"to_torch: expected a module with a recurrent layer of throughtime in it, "
            f"got {type(module).__name__} with none."
        )
    for layer in module.modules():
        if isinstance(layer, _OUR_KINDS):
            refuse_computed("to_torch", layer)
    return _converted(copied(module), _OUR_KINDS, _torch_layer, {})


def _converted(
    module: nn.Module,
    kind: tuple[type[nn.Module], ...],
    layer: Callable[[Any], nn.Module],
    converted: dict[nn.Module, nn.Module],
) -> nn.Module:
    """Replaces all layers of a class within a module.

    Args:
        module: the module, which is changed.
        kind: the classes of the layers to replace.
        layer: converts one layer.
        converted: the layers that are converted already, so that a layer that is used twice in the
            model becomes one layer again.
    """
    if isinstance(module, kind):
        if module not in converted:
            converted[module] = layer(module)
        return converted[module]
    # named_children() would list a child with two names only once.
    for name, child in list(module._modules.items()):
        if child is not None:
            setattr(module, name, _converted(child, kind, layer, converted))
    return module


_TORCH_KINDS = (nn.RNNBase, nn.RNNCellBase)
_OUR_KINDS = (Recurrent, SingleStep)
_CELLS: dict[type[nn.Module], type[SingleStep]] = {
    nn.LSTMCell: LSTMCell,
    nn.GRUCell: GRUCell,
    nn.RNNCell: RNNCell,
}
_TORCH_CLASSES = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN_TANH": nn.RNN, "RNN_RELU": nn.RNN}


def _torch_layer(recurrent: Recurrent | SingleStep) -> nn.Module:
    """Converts a layer of throughtime to one of ``torch.nn`` with the same parameters."""
    if isinstance(recurrent, SingleStep):
        of_ours: dict[type[nn.Module], type[nn.Module]] = {v: k for k, v in _CELLS.items()}
        return _single_step("to_torch", recurrent, of_ours)
    cell = recurrent.cell
    equivalent = cell.torch_equivalent if torch_native.is_equal(cell) else None
    if equivalent not in _TORCH_CLASSES:
        raise ValueError(
            f"to_torch: torch.nn has no layer for the cell {cell.name or type(cell).__name__}; "
            f"it has those of lstm, gru, rnn-tanh and rnn-relu."
        )
    if recurrent.merge != "concat":
        raise ValueError(
            f"to_torch: the layers of torch.nn concatenate their directions, got "
            f'merge="{recurrent.merge}".'
        )
    lost = recurrent.spec.lost_in("torch.nn")
    lost += ["proj_size"] if recurrent.proj_size and equivalent != "LSTM" else []
    if lost == ["locked_dropout"] and recurrent.dropout == 0:
        # The constructor refuses locked_dropout without dropout, but dropout can be set to 0 later.
        lost = []
    if lost:
        raise ValueError(
            f"to_torch: the layers of torch.nn have no {lost[0]}, which this layer uses."
        )
    further_options: dict[str, Any] = {}
    if equivalent.startswith("RNN"):
        further_options["nonlinearity"] = equivalent[4:].lower()
    if recurrent.proj_size:
        further_options["proj_size"] = recurrent.proj_size
    layer = _TORCH_CLASSES[equivalent](
        recurrent.input_size,
        recurrent.hidden_size,
        recurrent.num_layers,
        bias=recurrent.bias,
        batch_first=recurrent.batch_first,
        dropout=recurrent.dropout if recurrent.num_layers > 1 else 0.0,
        bidirectional=recurrent.bidirectional,
        device="meta",
        **further_options,
    )
    for name, parameter in recurrent.named_parameters(remove_duplicate=False):
        setattr(layer, name, parameter)
    return layer.train(recurrent.training)


def _single_step(
    who: str, step: nn.Module, kinds: Mapping[type[nn.Module], type[nn.Module]]
) -> Any:
    """Converts a single step, to another class with the same parameters."""
    kind: Any = kinds.get(type(step))
    if kind is None:
        raise ValueError(
            f"{who}: cannot convert {type(step).__name__}, which is more than a cell of torch.nn: "
            f"what it adds would be lost. Convert its weights by load_state_dict."
        )
    names = ["input_size", "hidden_size", "bias"]
    names += ["nonlinearity"] if hasattr(step, "nonlinearity") else []
    new = kind(**{name: getattr(step, name) for name in names}, device="meta")
    for name, parameter in step.named_parameters(remove_duplicate=False):
        setattr(new, name, parameter)
    return new.train(step.training)


def _layer(layer: nn.RNNBase | nn.RNNCellBase) -> nn.Module:
    """Converts a layer of ``torch.nn`` to one of throughtime with the same parameters."""
    if isinstance(layer, nn.RNNCellBase):
        return _single_step("from_torch", layer, _CELLS)
    options: dict[str, Any] = dict(
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        num_layers=layer.num_layers,
        bias=layer.bias,
        batch_first=layer.batch_first,
        dropout=layer.dropout if layer.num_layers > 1 else 0.0,
        bidirectional=layer.bidirectional,
        # The meta device allocates and draws no weights, all of which are replaced below.
        device="meta",
    )
    if type(layer) is nn.LSTM:
        recurrent = LSTM(**options, proj_size=layer.proj_size)
    elif type(layer) is nn.GRU:
        recurrent = GRU(**options)
    elif type(layer) is nn.RNN:
        recurrent = RNN(**options, nonlinearity=layer.nonlinearity)
    else:
        raise ValueError(
            f"from_torch: cannot convert {type(layer).__name__}, which is more than a layer of "
            f"torch.nn: what it adds would be lost. Convert its weights by load_state_dict."
        )
    # The parameters themselves and not copies, so that weights tied to others stay tied.
    for name, parameter in layer.named_parameters(remove_duplicate=False):
        setattr(recurrent, name, parameter)
    return recurrent.train(layer.training)

"""Weights that a module computes from other parameters in each call.

`torch.nn.utils.weight_norm`, `spectral_norm`, `torch.nn.utils.prune` and parametrizations replace a
parameter of a module by others and compute the weight from them. A conversion that copies
parameters would miss such a weight. A conversion to a module that is trained further calls
:func:`refuse_computed`; a writer of files calls :func:`with_plain_weights`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from throughtime.checks import shape_is
from throughtime.layers import Recurrent, parameters
from throughtime.layers.single_step import SingleStep

__all__ = ["copied", "is_computing", "refuse_computed", "with_plain_weights"]

_Module = TypeVar("_Module", bound=nn.Module)

# For each class of hook: the name of the weight that it computes, the computation, and the function
# that removes the hook.
_Hook = tuple[Callable[[Any], str], Callable[[Any, nn.Module], Tensor], str]
_HOOKS: dict[type, _Hook] = {
    WeightNorm: (
        lambda hook: hook.name,
        lambda hook, module: hook.compute_weight(module),
        "torch.nn.utils.remove_weight_norm",
    ),
    SpectralNorm: (
        lambda hook: hook.name,
        lambda hook, module: hook.compute_weight(module, do_power_iteration=False),
        "torch.nn.utils.remove_spectral_norm",
    ),
    BasePruningMethod: (
        lambda hook: hook._tensor_name,
        lambda hook, module: hook.apply_mask(module),
        "torch.nn.utils.prune.remove",
    ),
}
_REMOVE_PARAMETRIZATIONS = "torch.nn.utils.parametrize.remove_parametrizations"
# The endings of the names of the parameters and buffers from which those hooks compute a weight.
_SOURCES = ("_g", "_v", "_u", "_orig", "_mask")
_HOOKS_OF_MODULES = (
    *("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"),
    *("_state_dict_pre_hooks", "_state_dict_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)


def copied(module: _Module, memo: dict[int, Any] | None = None) -> _Module:
    """A deep copy, also of a module in which a weight is the result of a computation.

    Args:
        module: the module to copy.
        memo: replacements of parts of the module, by the ``id`` of the part; see ``copy.deepcopy``.
    """
    # PyTorch refuses to copy a tensor that has a gradient function.
    results = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(module, results | (memo or {}))


def refuse_computed(who: str, layer: nn.Module) -> None:
    """Raises a ValueError if a weight of the layer is computed in each call.

    Args:
        who: the name of the converting function, with which the message begins.
        layer: a recurrent layer of ``torch.nn`` or of throughtime.
    """
    for name, how, remove in _computed(layer):
        raise ValueError(
            f"{who}: cannot convert {type(layer).__name__}: its {name} is computed for each call "
            f"({how}), and what computes it would be lost. Make it a parameter with "
            f'{remove}(layer, "{name}"), convert, and apply it to the converted layer again.'
        )
    _check_names(who, layer)


def is_computing(hook: Any) -> bool:
    """Whether a hook of a module computes one of its weights, and nothing else."""
    return isinstance(hook, tuple(_HOOKS))


def with_plain_weights(who: str, module: _Module) -> _Module:
    """Copies a module to evaluation mode, with every computed weight as a parameter.

    The parameter has the value that the weight would have in the next call in evaluation mode. All
    other parameters and buffers are shared with the module, not copied. The copy has no hooks.

    Args:
        who: the name of the calling function, with which error messages begin.
        module: a layer or a model of throughtime.

    Raises:
        ValueError: if a weight is computed in an unknown way, has not the shape that its layer
            declares, or is on the device meta and has no value.
    """
    shared: dict[int, Any] = {}
    for part in module.modules():
        tensors = (*part._parameters.values(), *part._buffers.values(), *vars(part).values())
        shared |= {id(value): value for value in tensors if isinstance(value, Tensor)}
        # A hook may refer to any object, which need not support copying, so hooks are not copied.
        hooks = [getattr(part, name, None) for name in _HOOKS_OF_MODULES]
        shared |= {id(each): type(each)() for each in hooks if each is not None}
    plain = copied(module, shared).eval()
    with torch.no_grad():
        for original, part in zip(list(module.modules()), list(plain.modules()), strict=True):
            _make_plain(original, part)
    for name, tensor in (*plain.named_parameters(), *plain.named_buffers()):
        if tensor.is_meta:
            raise ValueError(
                f"{who}: expected weights with values, but {name} is on the device meta. Move the "
                f"module with .to_empty(device=...) and load or draw its weights first."
            )
    for part in plain.modules():
        if isinstance(part, Recurrent):
            _check_names(who, part)
            for name, shape in parameters.shapes(part.cell, part.spec).items():
                if name in part._buffers:
                    # Of a module that the cell holds.
                    continue
                why = f"it is a weight of {part.who}"
                shape_is(who, name, part.get_parameter(name), shape, why)
    return plain


def _computed(module: nn.Module) -> Iterator[tuple[str, str, str]]:
    """For each computed weight: its name, the class that computes it, and the removing function."""
    for hook, (name_of, _, remove) in _hooks(module):
        yield name_of(hook), type(hook).__name__, remove
    for name, steps in _parametrizations(module).items():
        yield name, ", ".join(type(step).__name__ for step in steps), _REMOVE_PARAMETRIZATIONS


def _hooks(module: nn.Module) -> Iterator[tuple[Any, _Hook]]:
    """The hooks of a module that compute weights, each with its entry in ``_HOOKS``."""
    for hook in module._forward_pre_hooks.values():
        for kind, functions in _HOOKS.items():
            if isinstance(hook, kind):
                yield hook, functions


def _parametrizations(module: nn.Module) -> dict[str, Any]:
    """The lists of parametrizations of a module, by the name of the weight."""
    lists: Any = module.parametrizations if parametrize.is_parametrized(module) else {}
    return dict(lists.items())


def _make_plain(original: nn.Module, module: nn.Module) -> None:
    """Replaces the computed weights of a copy by parameters.

    Args:
        original: the module that has the hooks.
        module: its copy, which is changed.
    """
    values: dict[str, Tensor] = {}
    # In the order of a call, because a hook may read a weight that an earlier hook computes.
    for hook, (name_of, value_of, _) in _hooks(original):
        name = name_of(hook)
        values[name] = value_of(hook, module)
        setattr(module, name, values[name])
    names = list(_parametrizations(module))
    values |= {name: getattr(module, name) for name in names}
    if names:
        del module.parametrizations
        # parametrize replaced the module's class by a subclass, whose properties compute the
        # weights.
        module.__class__ = parametrize.type_before_parametrizations(original)
    for name in values:
        for each in (name, *(f"{name}{end}" for end in _SOURCES if name not in names)):
            for store in (vars(module), module._parameters, module._buffers):
                store.pop(each, None)
    for name, value in values.items():
        if not any(f"{other}{end}" == name for other in values for end in _SOURCES):
            plain = value.detach().clone(memory_format=torch.contiguous_format)
            module.register_parameter(name, nn.Parameter(plain, requires_grad=False))


def _check_names(who: str, layer: nn.Module) -> None:
    """Raises a ValueError if a weight that the layer must have is not a parameter."""
    if isinstance(layer, Recurrent):
        copies = parameters.copied_tensors(layer.cell)
        buffers = {name for name, own in copies.items() if own.kind == "buffer"}
        shapes = parameters.shapes(layer.cell, layer.spec)
        names = [name for name in shapes if name.rsplit("_l", 1)[0] not in buffers]
    elif isinstance(layer, (SingleStep, nn.RNNCellBase)):
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if layer.bias else [])]
    else:
        assert isinstance(layer, nn.RNNBase)
        names = [name for names in layer._all_weights for name in names]
    for name in names:
        if name not in layer._parameters:
            raise ValueError(
                f"{who}: expected {name} of {type(layer).__name__} as a parameter, got "
                f"{type(getattr(layer, name, None)).__name__}. Assign a torch.nn.Parameter to it."
            )

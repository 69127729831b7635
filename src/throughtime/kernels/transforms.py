"""What PyTorch does with a call from outside: torch.func, forward-mode AD, batched gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import (
    TransformType,
    get_dynamic_layer_stack_depth,
    get_interpreter_stack,
    is_legacy_batchedtensor,
    unwrap_if_dead,
)
from torch.autograd import forward_ad

__all__ = [
    "alive",
    "gradients_of",
    "has_tangent",
    "is_batched",
    "is_direct",
    "is_functionalized",
    "is_transformed",
]


def is_transformed() -> bool:
    """Whether a transform of torch.func is active; torch.compile knows the answer too."""
    return get_dynamic_layer_stack_depth() > 0


def is_direct(tensors: Iterable[Tensor | None]) -> bool:
    """Whether a kernel may read the tensors by their addresses, past PyTorch's dispatcher.

    Tensors on meta and fake tensors have no memory. Compilation, tracing, transforms, modes and
    subclasses of Tensor have to see each operation, and do not see such a call.
    """
    return not (
        torch.compiler.is_compiling()
        or is_transformed()
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or any(
            t.device.type != "cpu" or torch._C._dispatch_keys(t).has(torch._C.DispatchKey.Python)
            for t in tensors
            if t is not None
        )
    )


def is_functionalized() -> bool:
    """Whether ``torch.func.functionalize`` is active, which knows no autograd function."""
    return any(t.key() == TransformType.Functionalize for t in get_interpreter_stack() or ())


def alive(values: Sequence[Any]) -> list[Any]:
    """The values without the wrappers of transforms that have ended, as operators see them.

    A function that ``torch.func.vjp`` returned is called after its transform has ended.
    """
    return [unwrap_if_dead(v) if isinstance(v, Tensor) else v for v in values]


def has_tangent(tensors: Iterable[Tensor | None]) -> bool:
    """Whether forward-mode differentiation may reach one of the tensors.

    Inside torch.func and torch.compile, which do not tell the tangents of a tensor, the answer is
    True wherever forward mode is active.
    """
    if forward_ad._current_level < 0:
        return False
    if is_transformed() or torch.compiler.is_compiling():
        return True
    return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def is_batched(tensors: Iterable[Tensor | None]) -> bool:
    """Whether ``torch.autograd.grad(is_grads_batched=True)`` has batched one of the tensors."""
    # It has a vmap of its own, older than torch.func, of which operators cannot be told.
    return any(t is not None and is_legacy_batchedtensor(t) for t in tensors)


def gradients_of(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    d_results: Sequence[Tensor | None],
) -> list[Tensor]:
    """The gradients of the inputs, given those of the function's results; None is zero.

    They can be derived again where gradients are recorded.
    """
    if is_transformed():
        results, pull, *_ = torch.func.vjp(lambda *values: tuple(function(*values)), *inputs)
        pairs = zip(results, d_results, strict=True)
        return list(pull(tuple(torch.zeros_like(r) if d is None else d for r, d in pairs)))
    # Not by torch.func here, which refuses hooks on saved tensors, such as checkpoints have.
    is_recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, where further derivatives may follow: they stand apart from one another, and yet
        # lead on to what they were made from.
        inputs = [
            t.view_as(t) if is_recorded and t.requires_grad else t.detach().requires_grad_()
            for t in inputs
        ]
        pairs = zip(function(*inputs), d_results, strict=True)
        wanted = [(r, d) for r, d in pairs if d is not None and r.requires_grad]
        if not wanted:
            return [torch.zeros_like(t) for t in inputs]
        results, weights = zip(*wanted, strict=True)
        gradients = torch.autograd.grad(
            results, inputs, weights, create_graph=is_recorded, materialize_grads=True
        )
    return list(gradients)

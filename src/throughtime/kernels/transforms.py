"""What PyTorch does with a call from outside: torch.func, forward-mode AD, batched gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import (
    get_dynamic_layer_stack_depth,
    is_legacy_batchedtensor,
    unwrap_if_dead,
)
from torch.autograd import forward_ad

__all__ = ["alive", "has_tangent", "is_batched", "is_direct", "is_transformed"]


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


def alive(values: Sequence[Any]) -> list[Any]:
    """The values without the wrappers of transforms that have ended, as operators see them.

    A function that ``torch.func.vjp`` returned is called after its transform has ended.
    """
    return [unwrap_if_dead(v) if isinstance(v, Tensor) else v for v in values]


def has_tangent(tensors: Iterable[Tensor | None]) -> bool:
    """Whether forward-mode differentiation may reach one of the tensors.

    Under a transform the answer is True wherever forward mode is active: which of the wrapped
    tensors has a tangent cannot be asked from the innermost level.
    """
    if forward_ad._current_level < 0:
        return False
    if is_transformed():
        return True
    return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def is_batched(tensors: Iterable[Tensor | None]) -> bool:
    """Whether ``torch.autograd.grad(is_grads_batched=True)`` has batched one of the tensors."""
    # It has a vmap of its own, older than torch.func, of which operators cannot be told.
    return any(t is not None and is_legacy_batchedtensor(t) for t in tensors)

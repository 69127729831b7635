"""Which transforms of PyTorch act on a call: torch.func, forward-mode AD, batched gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import (
    TransformType,
    get_dynamic_layer_stack_depth,
    get_interpreter_stack,
    is_functorch_wrapped_tensor,
    is_legacy_batchedtensor,
    unwrap_if_dead,
)
from torch.autograd import forward_ad
from torch.nn import Parameter

__all__ = [
    "alive",
    "gradients_of",
    "has_tangent",
    "have_memory",
    "is_batched",
    "is_direct",
    "is_functionalized",
    "is_intercepted",
    "is_transformed",
]


def is_transformed() -> bool:
    """Whether a transform of torch.func is active; also works inside torch.compile."""
    return get_dynamic_layer_stack_depth() > 0


def is_direct(tensors: Iterable[Tensor | None]) -> bool:
    """Whether a kernel may read the tensors by their addresses, past PyTorch's dispatcher.

    False for meta and fake tensors and the wrappers of transforms, which have no memory. False
    under compilation, tracing, transforms, dispatch modes and for subclasses of Tensor: these
    intercept each operation in the dispatcher, and would miss such a call.
    """
    return not is_intercepted() and have_memory(tensors)


def have_memory(tensors: Iterable[Tensor | None]) -> bool:
    """Whether :func:`is_direct` is true of the tensors while nothing intercepts operations."""
    for t in tensors:
        # A tensor of these types cannot have the Python key, and reading its keys takes long.
        if type(t) is Tensor or type(t) is Parameter:
            is_readable = t.is_cpu and not is_functorch_wrapped_tensor(t)
        else:
            is_readable = t is None or _is_readable(t)
        if not is_readable:
            return False
    return True


def _is_readable(tensor: Tensor) -> bool:
    keys = torch._C._dispatch_keys(tensor)
    return tensor.device.type == "cpu" and not keys.has(torch._C.DispatchKey.Python)


def is_intercepted() -> bool:
    """Whether compilation, tracing, a transform or a dispatch mode must see each operation."""
    return (
        torch.compiler.is_compiling()
        or is_transformed()
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def is_functionalized() -> bool:
    """Whether ``torch.func.functionalize`` is active; it does not support autograd functions."""
    return any(t.key() == TransformType.Functionalize for t in get_interpreter_stack() or ())


def alive(values: Sequence[Any]) -> list[Any]:
    """The values with the wrappers of ended transforms removed, as operators receive them.

    Such wrappers remain in the function that ``torch.func.vjp`` returns, because that function is
    called after its transform has ended.
    """
    return [unwrap_if_dead(v) if isinstance(v, Tensor) else v for v in values]


def has_tangent(tensors: Iterable[Tensor | None]) -> bool:
    """Whether one of the tensors may have a tangent of forward-mode differentiation.

    Inside torch.func and torch.compile tangents cannot be inspected; there the answer is True
    whenever forward mode is active.
    """
    if forward_ad._current_level < 0:
        return False
    if is_transformed() or torch.compiler.is_compiling():
        return True
    return any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def is_batched(tensors: Iterable[Tensor | None]) -> bool:
    """Whether ``torch.autograd.grad(is_grads_batched=True)`` has batched one of the tensors."""
    # is_grads_batched uses the legacy vmap, for which an operator cannot register a batching rule.
    return any(t is not None and is_legacy_batchedtensor(t) for t in tensors)


def gradients_of(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    d_results: Sequence[Tensor | None],
) -> list[Tensor]:
    """The product of the gradients of a function's results with its Jacobian.

    The result can be differentiated again if gradient mode is on.

    Args:
        function: returns a sequence of tensors.
        inputs: the arguments of the function.
        d_results: the gradients of its results; None stands for zero.

    Returns:
        The gradients of the inputs.
    """
    if is_transformed():
        results, pull, *_ = torch.func.vjp(lambda *values: tuple(function(*values)), *inputs)
        pairs = zip(results, d_results, strict=True)
        return list(pull(tuple(torch.zeros_like(r) if d is None else d for r, d in pairs)))
    # torch.func is not used here: it refuses hooks on saved tensors, which checkpointing sets.
    can_derive_again = torch.is_grad_enabled()
    with torch.enable_grad():
        # A view is a tensor of its own for autograd.grad even if one tensor is passed twice, and
        # further derivatives still reach the original tensor through it.
        inputs = [
            t.view_as(t) if can_derive_again and t.requires_grad else t.detach().requires_grad_()
            for t in inputs
        ]
        pairs = zip(function(*inputs), d_results, strict=True)
        used = [(r, d) for r, d in pairs if d is not None and r.requires_grad]
        if not used:
            return [torch.zeros_like(t) for t in inputs]
        results, weights = zip(*used, strict=True)
        gradients = torch.autograd.grad(
            results, inputs, weights, create_graph=can_derive_again, materialize_grads=True
        )
    return list(gradients)

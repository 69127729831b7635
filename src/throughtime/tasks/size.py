"""How much memory the model of a task takes, before it takes it."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

__all__ = ["check_size"]


def check_size(name: str, build: Callable[[], nn.Module]) -> None:
    """Raises a ValueError if this machine's memory cannot hold the weights of a model.

    Args:
        name: of the task, for the message.
        build: makes the model.
    """
    try:
        # Tensors on this device have a shape and no memory.
        with torch.device("meta"):
            model = build()
    except NotImplementedError:
        # A model that looks at its numbers while it is built cannot be measured so.
        return
    except (RuntimeError, OverflowError, TypeError, MemoryError) as error:
        # PyTorch raises a RuntimeError if a tensor has too many elements for 64 bits, and a
        # TypeError or an OverflowError if one size alone is too large for them. A MemoryError is
        # that of a list of this size.
        raise ValueError(
            f"{name}: a model of these sizes cannot be built ({_first_line(error)}). Choose "
            f"smaller ones."
        ) from error
    tensors = [*model.parameters(), *model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        count = sum(parameter.numel() for parameter in model.parameters())
        raise ValueError(
            f"{name}: expected a model whose weights fit into the memory of this machine "
            f"({memory / 2**30:.1f} GiB), got {count:,} parameters ({size / 2**30:,.1f} GiB). "
            f"Choose smaller sizes."
        )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__

"""A context in evaluation mode, after which every module is in its previous mode again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts the module and all its submodules into evaluation mode and records no gradient.

    On leaving, also after an exception, each submodule returns to its own previous mode. A
    submodule that was in evaluation mode in a training module (a frozen encoder) stays in it.

    Do not ``yield`` inside the context: between two values of a generator the caller may train the
    module, or read from a second generator of the same module.

    >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    >>> with evaluating(model):
    ...     print([part.training for part in model])
    [False, False]
    >>> [part.training for part in model]
    [True, False]
    """
    modes = [(part, part.training) for part in module.modules()]
    if any(was_training for _, was_training in modes):
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        # Call train(), because a subclass may do more in it than set the flag. It changes all
        # submodules too; modules() lists parents first, so their own mode is restored afterwards.
        for part, was_training in modes:
            if part.training != was_training:
                part.train(was_training)
        # A submodule of two parents may have been changed again by the second parent.
        for part, was_training in modes:
            part.training = was_training

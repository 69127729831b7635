"""Evaluation mode for a while: afterwards every module is in the mode in which it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["evaluating"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, the module and all its submodules are in evaluation mode and record no gradient.

    Afterwards, also after an exception, each submodule is back in its own mode: one that was in
    evaluation mode while the whole was in training (a frozen encoder) stays in it.

    Do not ``yield`` inside: between two values of a generator the caller may train the module, or
    read from a second generator of the same module.

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
        # A subclass may do more in train() than set the flag, so it is called. The order is that
        # of modules(), parents first; it takes the parts along, each of which is then set right.
        for part, was_training in modes:
            if part.training != was_training:
                part.train(was_training)
        # A part of two parents may have been changed again by the second.
        for part, was_training in modes:
            part.training = was_training

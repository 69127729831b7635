"""Contexts that a model is evaluated in: evaluation mode, without or with a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

__all__ = ["evaluating", "records_gradients", "with_gradients"]

_has_gradients: ContextVar[bool] = ContextVar("has_gradients", default=False)


@contextmanager
def with_gradients() -> Iterator[None]:
    """Makes :func:`evaluating` record gradients inside the context.

    A measure uses it to differentiate what a task evaluates.

    >>> layer = nn.Linear(1, 1)
    >>> with with_gradients(), evaluating(layer):
    ...     layer(torch.ones(1)).requires_grad
    True
    """
    before = _has_gradients.set(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        _has_gradients.reset(before)


def records_gradients() -> bool:
    """Whether :func:`evaluating` records gradients here, inside :func:`with_gradients`."""
    return _has_gradients.get()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts the module and all its submodules into evaluation mode and records no gradient.

    Inside :func:`with_gradients` it records gradients.

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
        with torch.set_grad_enabled(_has_gradients.get()):
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

"""How far a long loop is: the loop counts its items, and a caller far above may listen.

A model that is evaluated does not know whether a training, a command or a notebook waits for it.
It wraps the loop over its batches in :func:`counted`, which costs nothing unless somebody listens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

__all__ = ["Listener", "counted", "listening"]

Item = TypeVar("Item", covariant=True)


class _Items(Protocol[Item]):
    def __iter__(self) -> Iterator[Item]: ...

    def __len__(self) -> int: ...


Listener = Callable[[str, int, int], object]
"""A function of what the loop does ("scoring"), the number of items done, and of all items."""

_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)


def counted(what: str, items: _Items[Item]) -> Iterator[Item]:
    """Yields the items, and tells the listener how many are done.

    >>> with listening(lambda *progress: print(*progress)):
    ...     total = sum(counted("adding", [3, 4]))
    adding 0 2
    adding 1 2
    adding 2 2
    """
    listener = _listener.get()
    if listener is None:
        yield from items
        return
    for done, item in enumerate(items):
        listener(what, done, len(items))
        yield item
    listener(what, len(items), len(items))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tells a function of the loops that run inside the context."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)

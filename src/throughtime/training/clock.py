"""The time limit of a training, the time that it has taken, and its speed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clock", "Speed"]

# The fraction of the time limit that is kept for the last validation before one has been timed.
_SHARE_FOR_VALIDATION = 0.1


class Clock:
    """The time of one call of ``throughtime train``.

    Args:
        minutes: the time limit of the call; None is no limit.
        before: the seconds that earlier calls of the same run took.
    """

    def __init__(self, minutes: float | None, before: float = 0.0) -> None:
        self.limit = None if minutes is None else 60 * minutes
        self.before = before
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """The seconds since the start of this call."""
        return time.monotonic() - self._start

    @property
    def total(self) -> float:
        """The seconds of all calls of the run together."""
        return self.before + self.seconds

    @property
    def left(self) -> float | None:
        """The seconds until the limit of this call; None without a limit."""
        return None if self.limit is None else self.limit - self.seconds

    def share(self, validation: float) -> float:
        """The fraction of the time for training that has passed; 0 without a limit.

        Args:
            validation: the seconds of the longest validation so far, which are kept for the last
                validation; 0 before the first.
        """
        if self.limit is None:
            return 0.0
        reserve = validation or _SHARE_FOR_VALIDATION * self.limit
        return self.seconds / max(0.5 * self.limit, self.limit - reserve)


class Speed:
    """The number of units that are read per second; pauses do not count.

    Attributes:
        value: the result of the last :meth:`measure`.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self._start, self._paused, self._units = time.monotonic(), 0.0, 0

    def add(self, units: int) -> None:
        """Adds the units of a step."""
        self._units += units

    def measure(self) -> float:
        """The units per second since the last call of this method."""
        now = time.monotonic()
        self.value = self._units / max(1e-9, now - self._start - self._paused)
        self._start, self._paused, self._units = now, 0.0, 0
        return self.value

    @contextmanager
    def pause(self) -> Iterator[None]:
        """A context whose time does not count."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._paused += time.monotonic() - start

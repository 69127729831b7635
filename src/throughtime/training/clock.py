"""The time of a training: how long it may take, how long it took, how fast it reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Clock", "Speed"]

# Of the time of a call, kept for the last validation until one has been timed.
_SHARE_FOR_VALIDATION = 0.1


class Clock:
    """The time of one call.

    Args:
        minutes: that the call may take; None is any number.
        before: seconds that the calls before took.
    """

    def __init__(self, minutes: float | None, before: float = 0.0) -> None:
        self.limit = None if minutes is None else 60 * minutes
        self.before = before
        self.begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long this call trains already."""
        return time.monotonic() - self.begun

    @property
    def total(self) -> float:
        """How long all calls have trained."""
        return self.before + self.seconds

    @property
    def left(self) -> float | None:
        """The seconds until the time of this call is over; None without a limit."""
        return None if self.limit is None else self.limit - self.seconds

    def share(self, validation: float) -> float:
        """How much of the time for training is over; 0 without a limit.

        Args:
            validation: the seconds that the longest validation took, which are kept for the last
                one; 0 before any.
        """
        if self.limit is None:
            return 0.0
        reserve = validation or _SHARE_FOR_VALIDATION * self.limit
        return self.seconds / max(0.5 * self.limit, self.limit - reserve)


class Speed:
    """How many units are read in a second, without what is done in pauses.

    Attributes:
        value: of the last :meth:`measure`.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self._begun, self._paused, self._units = time.monotonic(), 0.0, 0

    def add(self, units: int) -> None:
        """Counts what a step read."""
        self._units += units

    def measure(self) -> float:
        """The units per second since the last call."""
        now = time.monotonic()
        self.value = self._units / max(1e-9, now - self._begun - self._paused)
        self._begun, self._paused, self._units = now, 0.0, 0
        return self.value

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What is done within does not count as training."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._paused += time.monotonic() - begun

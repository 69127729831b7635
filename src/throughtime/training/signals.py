"""Ctrl-C, termination and the end of the time, taken in an orderly way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["STATUS", "Interrupted", "Stop"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STATUS = {number.name: 128 + number for number in _SIGNALS}
"""By the name of the signal that ended a training, the status with which the command ends."""

# Python drops an exception that is raised while it collects garbage; then it is raised again.
_SECONDS_BETWEEN_TRIES = 0.5


class Interrupted(BaseException):
    """What runs now shall be left; raised inside :meth:`Stop.leaving` only."""


class Stop:
    """Whether a training shall stop, and why.

    While it is installed, SIGINT (Ctrl-C), SIGTERM and SIGHUP only leave a note, so that the step
    at hand is finished and the checkpoint is written whole, however often they come. Work that may
    be dropped (a validation, a sample) runs inside :meth:`leaving`, which a signal, or the end of
    the time, leaves at once.

    Args:
        tell: is called with the first signal, so that other processes learn of it at once.

    Attributes:
        signal: the first signal that came; None so far.
    """

    def __init__(self, tell: Callable[[int], object] = lambda number: None) -> None:
        self.signal: signal.Signals | None = None
        self._tell = tell
        self._may_leave = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals inside; only in the main thread, for Python allows no other.

        A signal that this process was started to ignore, as ``nohup`` does with SIGHUP, is ignored.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        before = {n: signal.signal(n, self._note) for n in (*handled, signal.SIGALRM)}
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def leaving(self, seconds: float | None = None) -> Iterator[None]:
        """Inside, a signal raises :class:`Interrupted`, and so does the end of the seconds.

        Args:
            seconds: that are left; None is any number.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if self.signal is not None or (seconds is not None and seconds <= 0):
            raise Interrupted
        try:
            self._may_leave = True
            if seconds is not None and is_main:
                signal.setitimer(signal.ITIMER_REAL, seconds, _SECONDS_BETWEEN_TRIES)
            yield
        finally:
            self._may_leave = False
            if is_main:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGALRM and self.signal is None:
            self.signal = signal.Signals(number)
            self._tell(number)
        if self._may_leave:
            signal.setitimer(signal.ITIMER_REAL, _SECONDS_BETWEEN_TRIES, _SECONDS_BETWEEN_TRIES)
            raise Interrupted

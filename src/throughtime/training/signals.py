"""Handles Ctrl-C, termination and the end of the time, so that a training ends in order."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["STATUS", "Interrupted", "Stop"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

STATUS = {number.name: 128 + number for number in _SIGNALS}
"""The exit status of the command by the name of the signal that ended the training."""

# Python drops an exception that is raised in a finaliser or in the callback of a weak reference
# ("unraisable"), so Interrupted is raised repeatedly until it arrives.
_SECONDS_BETWEEN_TRIES = 0.5


class Interrupted(BaseException):
    """Ends the work inside :meth:`Stop.leaving`."""


class Stop:
    """Records whether a training is to stop, and why.

    While it is installed, SIGINT (Ctrl-C), SIGTERM and SIGHUP are only recorded, so the current
    step is finished and the checkpoint is written, however often the signals are sent. Work that
    may be abandoned (a validation, a sample) runs inside :meth:`leaving`, which a signal or the
    end of the time ends at once.

    Args:
        tell: is called with the number of the first signal, to inform other processes.

    Attributes:
        signal: the first signal that was received; None before.
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
        """A context in which a signal, or the end of the time, raises :class:`Interrupted`.

        Args:
            seconds: the time that is left; None is no limit.

        Python prints "Exception ignored in ..." where it drops an exception; inside, it does not do
        so for :class:`Interrupted`, which is raised again.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if self.signal is not None or (seconds is not None and seconds <= 0):
            raise Interrupted
        report_unraisable = sys.unraisablehook

        def report_others(unraisable: sys.UnraisableHookArgs) -> None:
            if not isinstance(unraisable.exc_value, Interrupted):
                report_unraisable(unraisable)

        try:
            sys.unraisablehook = report_others
            self._may_leave = True
            if seconds is not None and is_main:
                signal.setitimer(signal.ITIMER_REAL, seconds, _SECONDS_BETWEEN_TRIES)
            yield
        finally:
            self._may_leave = False
            if is_main:
                signal.setitimer(signal.ITIMER_REAL, 0)
            sys.unraisablehook = report_unraisable

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGALRM and self.signal is None:
            self.signal = signal.Signals(number)
            self._tell(number)
        if self._may_leave:
            signal.setitimer(signal.ITIMER_REAL, _SECONDS_BETWEEN_TRIES, _SECONDS_BETWEEN_TRIES)
            raise Interrupted

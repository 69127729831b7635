"""Starts, watches and ends the processes that train together on this machine.

The first process starts the others with its own command line. It watches them, and they watch it.
If one dies, all others end within ten seconds, and one of them prints the reason. torchrun and
SLURM start and end the processes themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch.distributed as distributed

from throughtime.training.signals import STATUS

__all__ = ["Companions", "Lost", "companions"]

_PARENT = "THROUGHTIME_PARENT"
_SECONDS_BETWEEN_LOOKS = 0.25
# The seconds that a process has to end by itself after another one has died.
_GRACE = 4.0
_ORDERLY = (0, *STATUS.values())


class Lost(RuntimeError):
    """Another process of this training has died, so this one cannot continue.

    Args:
        words: the reason, for the user.
        is_told: whether this process prints the reason; otherwise another process does.
    """

    def __init__(self, words: str, is_told: bool) -> None:
        super().__init__(words)
        self.is_told = is_told


class Companions:
    """The other processes of the training on this machine.

    Attributes:
        children: the processes that this one started, in the order of their ranks, from rank 1.
        parent: the id of the process that started this one; None if a user or a launcher did.
    """

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[bytes]] = []
        parent = os.environ.get(_PARENT)
        self.parent = None if parent is None else int(parent)
        self._is_over = threading.Event()
        self._is_ready = False
        self._handler_before: Any = None
        self._environment: list[str] = []

    # Starting.

    def start(self, number: int, environment: Mapping[str, str]) -> None:
        """Starts processes with the command line of this one.

        Args:
            number: the number of processes on this machine, including this one.
            environment: the variables by which the processes find each other.
        """
        self._environment = [name for name in environment if name not in os.environ]
        os.environ.update(environment)
        os.environ["LOCAL_RANK"] = "0"
        command = [sys.executable, *sys.orig_argv[1:]]
        # A process that Ctrl-C ends while it imports its libraries would print a traceback, so it
        # receives the signal only in watch().
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for rank in range(1, number):
                variables = {**os.environ, "LOCAL_RANK": str(rank), _PARENT: str(os.getpid())}
                self.children.append(subprocess.Popen(command, env=variables))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def watch(self) -> None:
        """Starts a thread that ends this process after another one has died.

        The main thread cannot do so while it waits for a message of the dead process.

        Until the loop handles signals, Ctrl-C ends a process at once, as SIGTERM does: the handler
        of Python would run only after the processes are connected, which they may never be.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._handler_before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        if self.parent is not None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if self.children or self.parent is not None:
            threading.Thread(target=self._look, name="companions", daemon=True).start()

    def ready(self) -> None:
        """Is called when the loop handles signals, so that a process may end by one in order."""
        self._is_ready = True

    def tell(self, number: int) -> None:
        """Sends a signal on to the other processes, so that all stop soon."""
        if self.parent is not None and os.getppid() == self.parent:
            os.kill(self.parent, number)
        for child in self.children:
            # Not poll(), which would take the status from the thread that waits for it.
            if child.returncode is None:
                child.send_signal(number)

    # Ending.

    def lost(self, error: Exception | None = None) -> Lost | None:
        """The error to raise if another process has died; None if all are alive.

        Args:
            error: the error of a meeting with the other processes. A connection breaks as soon as a
                process dies, a little before the operating system reports its end.
        """
        if not (self.children or self.parent is not None or distributed.is_initialized()):
            return None
        is_of_connection = error is not None and _is_of_connection(error)
        end = time.monotonic() + (2.0 if is_of_connection else 0.0)
        while (words := self._dead()) is None and time.monotonic() < end:
            time.sleep(0.05)
        if words is None and is_of_connection:
            words = f"the connection to the other processes is lost ({_first_line(error)})"
        if words is None:
            return None
        return Lost(
            f"{words}; the training ends here. Go on from the last checkpoint with --resume.",
            is_told=self._is_teller(),
        )

    def finish(self, is_failed: bool = False) -> None:
        """Waits for the processes that this one started, and ends those that do not end.

        Args:
            is_failed: whether this process ends with an error; the others would wait for it.
        """
        self._is_over.set()
        if self._handler_before is not None:
            signal.signal(signal.SIGINT, self._handler_before)
            self._handler_before = None
        grace = 0.5 if is_failed else _GRACE
        for seconds, end in ((grace, None), (2.0, signal.SIGTERM), (2.0, signal.SIGKILL)):
            until = time.monotonic() + seconds
            for child in self.children:
                if end is not None and child.poll() is None:
                    child.send_signal(end)
            for child in self.children:
                try:
                    child.wait(max(0.0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    # The next signal is stronger.
                    continue
        self.children.clear()
        for name in self._environment:
            os.environ.pop(name, None)
        self._environment.clear()

    def _dead(self) -> str | None:
        """A description of a process that has died; None if there is none."""
        if self.parent is not None:
            if os.getppid() != self.parent:
                return f"the first process ({self.parent}), which started the others, has died"
            return None
        for rank, child in enumerate(self.children, 1):
            status = child.poll()
            if status is not None and not (self._is_ready and status in _ORDERLY):
                how = f"ended with status {status}"
                if status < 0:
                    how = f"was ended by {signal.Signals(-status).name}"
                return f"process {rank} of this machine ({child.pid}) {how}"
        return None

    def _is_teller(self) -> bool:
        """Whether this process prints the reason: the first, or rank 1 if the first has died."""
        rank = os.environ.get("LOCAL_RANK", "0")
        if self.parent is not None and os.getppid() != self.parent:
            return rank == "1"
        return rank == "0"

    def _look(self) -> None:
        while not self._is_over.wait(_SECONDS_BETWEEN_LOOKS):
            if self._dead() is None:
                continue
            # A meeting may fail in the main thread, which then ends the process itself.
            if self._is_over.wait(_GRACE if self.parent is None else 1.0):
                return
            lost = self.lost()
            if lost is not None and lost.is_told:
                sys.stderr.write(f"throughtime train: {lost}\n")
                sys.stderr.flush()
            for child in self.children:
                child.kill()
                child.wait()
            # The main thread may be in a computation, or in a meeting that has no end.
            os._exit(1)


@cache
def companions() -> Companions:
    """The companions of this process, which are created once."""
    return Companions()


def _is_of_connection(error: Exception) -> bool:
    # The library gloo raises plain RuntimeErrors, so the text has to tell.
    words = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "NCCL", "timed out")
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in words)


def _first_line(error: Exception | None) -> str:
    return str(error).partition("\n")[0]

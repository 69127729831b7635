"""The processes that train together on this machine: how they start, and how they end.

The process that a person starts starts the others, each with the same command line, and watches
them; they watch it. Where one dies, all end within ten seconds, and one of them says why. torchrun
and SLURM start all processes themselves, and end them.
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

import torch.distributed as distributed

from throughtime.training.signals import STATUS

__all__ = ["Companions", "Lost", "companions"]

_PARENT = "THROUGHTIME_PARENT"
_SECONDS_BETWEEN_LOOKS = 0.25
# So long a process may take to end in an orderly way once another has died.
_GRACE = 4.0
_ORDERLY = (0, *STATUS.values())


class Lost(RuntimeError):
    """Another process of this training has ended, so that this one cannot go on.

    Args:
        words: what has happened.
        is_told: whether this process is to tell it; another one does otherwise.
    """

    def __init__(self, words: str, is_told: bool) -> None:
        super().__init__(words)
        self.is_told = is_told


class Companions:
    """The other processes on this machine: those that this one started, or the one that started it.

    Attributes:
        children: that this process started, by their rank on this machine, from 1.
        parent: the id of the process that started this one; None in any other.
    """

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[bytes]] = []
        parent = os.environ.get(_PARENT)
        self.parent = None if parent is None else int(parent)
        self._is_over = threading.Event()
        self._environment: list[str] = []

    # How they start.

    def start(self, number: int, environment: Mapping[str, str]) -> None:
        """Starts processes with the command line of this one.

        Args:
            number: of all processes on this machine, this one among them.
            environment: variables by which the processes find each other.
        """
        self._environment = [name for name in environment if name not in os.environ]
        os.environ.update(environment)
        os.environ["LOCAL_RANK"] = "0"
        command = [sys.executable, *sys.orig_argv[1:]]
        for rank in range(1, number):
            variables = {**os.environ, "LOCAL_RANK": str(rank), _PARENT: str(os.getpid())}
            self.children.append(subprocess.Popen(command, env=variables))

    def watch(self) -> None:
        """From now on this process ends if another one has died, even if it waits for it."""
        if self.children or self.parent is not None:
            threading.Thread(target=self._look, name="companions", daemon=True).start()

    def tell(self, number: int) -> None:
        """Passes a signal on, so that no process works on for long before it learns of it."""
        if self.parent is not None and os.getppid() == self.parent:
            os.kill(self.parent, number)
        for child in self.children:
            # poll() would reap it, and the one that waits for it would miss its status.
            if child.returncode is None:
                child.send_signal(number)

    # How they end.

    def lost(self, error: Exception | None = None) -> Lost | None:
        """What has become of the others, if this process cannot go on without them.

        Args:
            error: that this process got when it met the others; one of the connection comes as soon
                as another process dies, a little before the operating system tells of its end.
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
        """Waits for the processes that this one started; ends those that do not end.

        Args:
            is_failed: whether this process ends with an error, for which the others would wait.
        """
        self._is_over.set()
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
                    continue
        self.children.clear()
        for name in self._environment:
            os.environ.pop(name, None)
        self._environment.clear()

    def _dead(self) -> str | None:
        """Words for a process that did not end in an orderly way; None if there is none."""
        if self.parent is not None:
            if os.getppid() != self.parent:
                return f"the first process ({self.parent}), which started the others, has died"
            return None
        for rank, child in enumerate(self.children, 1):
            status = child.poll()
            if status is not None and status not in _ORDERLY:
                how = f"ended with status {status}"
                if status < 0:
                    how = f"was ended by {signal.Signals(-status).name}"
                return f"process {rank} of this machine ({child.pid}) {how}"
        return None

    def _is_teller(self) -> bool:
        """Whether this process tells of the end: the first, or if that has died, the next."""
        rank = os.environ.get("LOCAL_RANK", "0")
        if self.parent is not None and os.getppid() != self.parent:
            return rank == "1"
        return rank == "0"

    def _look(self) -> None:
        while not self._is_over.wait(_SECONDS_BETWEEN_LOOKS):
            if self._dead() is None:
                continue
            # Perhaps a meeting fails in this process, too, and it ends by itself.
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
    """Those of this process."""
    return Companions()


def _is_of_connection(error: Exception) -> bool:
    # The library gloo raises bare RuntimeErrors.
    words = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "NCCL", "timed out")
    return isinstance(error, distributed.DistError) or any(word in str(error) for word in words)


def _first_line(error: Exception | None) -> str:
    return str(error).partition("\n")[0]

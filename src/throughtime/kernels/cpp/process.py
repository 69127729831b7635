"""One run of a compiler as a process: started, waited for with a limit, ended, and its outcome."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["LIMIT", "end", "failure", "start", "wait"]

LIMIT = 120.0
"""The seconds after which a compiler that is still running is ended. A kernel takes about one."""

_MOST_SAID = 1 << 20
_SHOWN_LINES = 25


def _environment() -> dict[str, str]:
    """The user's environment without what would change what the compiler says and writes."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LC_")
        and name not in ("LANGUAGE", "LD_PRELOAD", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES")
    }
    return {**kept, "LC_ALL": "C"}


def start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Starts a compiler in a folder; raises OSError where the system cannot run it."""
    return subprocess.Popen(
        arguments,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Ctrl-C comes to Python alone, which then ends the compiler and its children.
        process_group=0,
    )


def wait(process: subprocess.Popen[bytes], begun: float, limit: float = LIMIT) -> str:
    """Waits until a process has ended; returns what it printed.

    Args:
        begun: when it was started, by :func:`time.monotonic`.
        limit: how many seconds it may take.

    Raises:
        TimeoutError: where it takes longer, or prints without end.
    """
    until, too_long = begun + limit, f"it did not end within {limit:.0f} seconds"
    assert process.stdout is not None
    pipe, said = process.stdout.fileno(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if selector.select(min(max(until - time.monotonic(), 0), 0.1)):
                more = os.read(pipe, 1 << 16)
                if not more:
                    break
                said += more
                if len(said) > _MOST_SAID:
                    raise TimeoutError("it prints without end")
            elif process.poll() is not None:
                # What it has started may run on, and keep the pipe open.
                break
            if time.monotonic() >= until:
                raise TimeoutError(too_long)
    try:
        process.wait(max(until - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise TimeoutError(too_long) from None
    return said.decode(errors="replace")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a compiler that still runs, with the processes that it started."""
    if process.poll() is None:
        # The first lets it remove its own temporary files.
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(timeout=1)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
    if process.stdout:
        process.stdout.close()


def failure(process: subprocess.Popen[bytes], said: str, library: Path) -> str | None:
    """Why a process that has ended has not made the library; None where it has."""
    code, words = process.returncode, _gist(said)
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        memory = " (is there enough memory?)" if -code == signal.SIGKILL else ""
        return f"it was killed by the signal {name}{memory}" + (f":\n{words}" if words else "")
    if code > 0:
        return words or f"it ended with exit status {code} and printed nothing"
    if not library.is_file():
        return "it ended without an error, and wrote no library" + (f":\n{words}" if words else "")
    return None


def _gist(said: str) -> str:
    """The compiler's or linker's first error; the last lines where they speak of none."""
    lines = said.strip().splitlines()
    error = re.compile("error:|undefined reference")
    first = next((i for i, line in enumerate(lines) if error.search(line)), None)
    lines = lines[-_SHOWN_LINES:] if first is None else lines[first : first + _SHOWN_LINES]
    return "\n".join(lines)

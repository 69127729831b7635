"""Runs a compiler as a process: starts it, waits with a time limit, ends it, reads its outcome."""

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
"""The time limit of a compiler in seconds. It compiles a kernel in about one second."""

_LARGEST_OUTPUT = 1 << 20
_SHOWN_LINES = 25


def _environment() -> dict[str, str]:
    """The user's environment without the variables that change a compiler's messages or files."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LC_")
        and name not in ("LANGUAGE", "LD_PRELOAD", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES")
    }
    # English messages, which _first_error searches.
    return {**variables, "LC_ALL": "C"}


def start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Starts a compiler in a folder.

    Raises:
        OSError: if the system cannot run it.
    """
    return subprocess.Popen(
        arguments,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # In a group of its own the compiler receives no Ctrl-C. Python does, and then ends the
        # whole group with the compiler's children.
        process_group=0,
    )


def wait(process: subprocess.Popen[bytes], start_time: float, limit: float = LIMIT) -> str:
    """Waits until a process has ended; returns its output.

    Args:
        process: a process from :func:`start`.
        start_time: the time at which it was started, by :func:`time.monotonic`.
        limit: the seconds that it may take.

    Raises:
        TimeoutError: if it takes longer, or prints more than a compiler's errors could need.
    """
    deadline, too_long = start_time + limit, f"it did not end within {limit:.0f} seconds"
    assert process.stdout is not None
    pipe, output = process.stdout.fileno(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if selector.select(min(max(deadline - time.monotonic(), 0), 0.1)):
                more = os.read(pipe, 1 << 16)
                if not more:
                    break
                output += more
                if len(output) > _LARGEST_OUTPUT:
                    raise TimeoutError("it prints without end")
            elif process.poll() is not None:
                # A child of the compiler may still run and keep the pipe open: do not wait for
                # the end of the output.
                break
            if time.monotonic() >= deadline:
                raise TimeoutError(too_long)
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise TimeoutError(too_long) from None
    return output.decode(errors="replace")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a compiler that still runs, and the processes that it started."""
    if process.poll() is None:
        # SIGTERM first, so that the compiler can remove its temporary files.
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, signal_number)
                process.wait(timeout=1)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                # It has ended meanwhile, or needs the next signal.
                continue
    if process.stdout:
        process.stdout.close()


def failure(process: subprocess.Popen[bytes], output: str, library: Path) -> str | None:
    """Why a compiler that has ended did not write its library; None if it did.

    Args:
        process: the ended process.
        output: its output.
        library: the file that it should have written.
    """
    code, words = process.returncode, _first_error(output)
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


def _first_error(output: str) -> str:
    """The first error of the compiler or linker in its output; without one, the last lines."""
    lines = output.strip().splitlines()
    error = re.compile("error:|undefined reference")
    first = next((i for i, line in enumerate(lines) if error.search(line)), None)
    lines = lines[-_SHOWN_LINES:] if first is None else lines[first : first + _SHOWN_LINES]
    return "\n".join(lines)

"""The folder of compiled libraries: where it is, who may write to it, and which files are intact.

The name of a library's files is the digest of everything that determines its code: the source, the
headers, the flags, the compiler and the processor. The folder contains code that will be run, so
that only the user may have write access. Its size is limited by ``retention.py``.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from throughtime.kernels.cpp import compiler, processor
from throughtime.kernels.cpp.compiler import CompileError, Job
from throughtime.kernels.cpp.retention import MOST_BYTES, Entry, entries, remove, size_text

# Windows has no fcntl; there missing() reports that nothing can be compiled.
if sys.platform != "win32":
    import fcntl

__all__ = [
    "about",
    "add_checksum",
    "clear",
    "flags_left_out",
    "key_of",
    "lock",
    "sweep",
    "with_folder",
    "write",
]

_STALE = 3600.0
_LOCK_TIMEOUT = 120.0
_SUM = "// sha256 of the library: "
_LEFT_OUT = "// compiled without: "
T = TypeVar("T")

_replacements: dict[Path, Path] = {}
_warned: set[Path] = set()
_swept: set[Path] = set()


# The key.


def key_of(job: Job) -> str:
    """The digest of everything that determines the code of a library."""
    determinants = (
        *(job.source, _headers(compiler.HEADERS)),
        *(compiler.FLAGS, compiler.OPTIONAL_FLAGS, processor.limit_flags(), job.flags),
        *(compiler.identity(job.command), processor.cpu(), sys.platform, platform.machine()),
    )
    return hashlib.sha256(repr(determinants).encode()).hexdigest()


@lru_cache
def _headers(folder: Path) -> str:
    files = sorted(folder.glob("*.hpp"))
    return repr([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files])


# The folder.


def _configured() -> tuple[Path, str | None]:
    """The configured folder; and why its path is invalid, or None."""
    configured = os.environ.get("THROUGHTIME_CACHE")
    if not configured:
        import platformdirs

        configured = str(Path(platformdirs.user_cache_dir("throughtime")) / "kernels")
    try:
        folder = Path(configured).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        # The user is unknown, links form a loop, or the working folder was removed.
        return Path(configured), str(error)
    return folder, "the user has no home folder" if "~" in folder.parts else None


def _refusal(folder: Path) -> str | None:
    """Why code from the folder must not be run; None if it may."""
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a folder"
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    if status.st_mode & 0o022:
        return f"others than its owner may write to it; chmod go-w {shlex.quote(str(folder))}"
    return None


def with_folder(function: Callable[[Path], T]) -> T:
    """Calls a function with the cache folder, or with a private folder if that cannot be used.

    Raises:
        CompileError: if there is no room for a private folder either.
    """
    folder, why = _configured()
    try:
        private = _replacements.get(folder)
        # A service that cleans /tmp may have removed it.
        if private and private.is_dir():
            return function(private)
        try:
            if why is None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                why = _refusal(folder)
            if why is None:
                return function(folder)
        except OSError as error:
            # The folder is read-only, full, or mounted with "noexec".
            why = str(error)
        return function(_replace(folder, why))
    except OSError as error:
        raise CompileError(
            f"compiled code can be kept neither in {folder} nor in a temporary folder: {error}. "
            f"Name a folder with room in the environment variable THROUGHTIME_CACHE."
        ) from error


def _replace(folder: Path, why: str) -> Path:
    """Creates a private folder that replaces a refused one until this process ends."""
    private = Path(tempfile.mkdtemp(prefix="throughtime-"))
    atexit.register(_remove, private, os.getpid())
    _replacements[folder] = private
    if folder not in _warned:
        _warned.add(folder)
        warnings.warn(
            f"throughtime does not keep compiled code in {folder}: {why}. Every process now "
            f"compiles anew; THROUGHTIME_CACHE can name another folder.",
            RuntimeWarning,
            stacklevel=2,
        )
    return private


def _remove(folder: Path, pid: int) -> None:
    # A forked child also runs this at its end, but the folder belongs to its parent.
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes temporary files of processes that were killed while they compiled."""
    if folder in _swept:
        return
    _swept.add(folder)
    for file in folder.glob("*.tmp.*"):
        # Another process may remove the file first.
        with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            if file.lstat().st_mtime < time.time() - _STALE:
                file.unlink()


# Its entries.


def _contents() -> tuple[Path, str | None, dict[str, Entry]]:
    """The folder, why it is not used (or None), and its entries; creates no folder."""
    folder, why = _configured()
    try:
        why = why or _refusal(folder)
        return folder, why, {} if why else entries(folder)
    except FileNotFoundError:
        # The first compilation creates the folder.
        return folder, None, {}
    except OSError as error:
        return folder, str(error), {}


def clear() -> str:
    """Empties the cache; returns a text that says what was removed.

    Raises:
        ValueError: if the folder is not used as a cache; its files then belong to someone else.
    """
    folder, why, by_key = _contents()
    if why:
        raise ValueError(f"the cache {folder} is not used, and not emptied: {why}.")
    remove(file for entry in by_key.values() for file in entry.files)
    return f"{folder}: removed {size_text(by_key)}"


def about() -> str:
    """The description of the cache for ``throughtime info``."""
    folder, why, by_key = _contents()
    if why:
        return f"{folder} (not used: {why})"
    return f"{folder} ({size_text(by_key)} of at most {MOST_BYTES >> 20})"


# The libraries.


def write(file: Path, text: str) -> None:
    """Writes a new file that only the user can read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)


def add_checksum(library: Path, source: Path, left_out: Iterable[str]) -> None:
    """Appends the checksum of a new library to its source; without it a library is not used.

    Args:
        library, source: the two files.
        left_out: the optional flags that the library was compiled without.
    """
    # The compiler created the file with the umask, which may give the user's group write access.
    library.chmod(0o700)
    checksum = hashlib.sha256(library.read_bytes()).hexdigest()
    with source.open("a") as file:
        file.write(f"{_LEFT_OUT}{' '.join(sorted(left_out))}\n{_SUM}{checksum}\n")


def flags_left_out(folder: Path, key: str) -> frozenset[str] | None:
    """The optional flags that a library was compiled without; None if it must not be loaded.

    A full disk leaves a file that is too short, and loading such a file may end the process.
    Therefore the library must have the checksum in the last line of its source. Both files must
    belong to the user.
    """
    library, source = (_own_content(folder / f"{key}{suffix}") for suffix in (".so", ".cpp"))
    if library is None or source is None:
        return None
    *_, flags, checksum = ["", "", *source.decode(errors="replace").splitlines()]
    is_whole = checksum == f"{_SUM}{hashlib.sha256(library).hexdigest()}"
    if not is_whole or not flags.startswith(_LEFT_OUT):
        return None
    return frozenset(flags.removeprefix(_LEFT_OUT).split())


def _own_content(file: Path) -> bytes | None:
    """The content of a regular file to which only the user can write; None for any other."""
    try:
        # O_NONBLOCK, because opening a named pipe would wait for a process that writes to it.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None
        return None if status.st_mode & 0o022 else opened.read()


@contextmanager
def lock(file: Path) -> Generator[None]:
    """Waits until no other process or thread has the lock, then takes it.

    The system releases a lock when its process ends. The lock only prevents that two processes
    compile the same source: each moves complete files into place. So the work goes on without the
    lock if the file system does not support locks, or the wait takes too long.
    """
    # The package filelock is not used: importing it takes longer than loading a library.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(file, flags, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
            else:
                break
        yield
    finally:
        # Closing alone would not release it: a child that was forked meanwhile has the file open.
        # There may be nothing to release, on a file system without locks.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _forget_folders() -> None:
    """Runs in a forked child: the parent's private folders are removed when the parent ends."""
    _replacements.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_folders)

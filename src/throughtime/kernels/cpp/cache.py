"""The folder of compiled libraries: which one, who may write to it, and what in it is whole.

A library lies there under the digest of all that made it: the source, the headers, the flags,
the compiler and the processor. The folder holds code that will be run, so it must belong to the
user alone. How much it may hold is in ``retention.py``.
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
from throughtime.kernels.cpp.retention import MOST_BYTES, Entry, entries, in_words, remove

# Windows has none; there missing() says that nothing is compiled.
if sys.platform != "win32":
    import fcntl

__all__ = [
    "about",
    "clear",
    "in_a_folder",
    "key_of",
    "lock",
    "seal",
    "sound",
    "sweep",
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
    """The digest of all that makes a library."""
    made_of = (
        *(job.source, _headers(compiler.HEADERS)),
        *(compiler.FLAGS, compiler.OPTIONAL_FLAGS, processor.limit_flags(), job.flags),
        *(compiler.identity(job.command), processor.cpu(), sys.platform, platform.machine()),
    )
    return hashlib.sha256(repr(made_of).encode()).hexdigest()


@lru_cache
def _headers(folder: Path) -> str:
    files = sorted(folder.glob("*.hpp"))
    return repr([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files])


# The folder.


def _configured() -> tuple[Path, str | None]:
    """The folder that is to be used, and why there is none of this name, or None."""
    chosen = os.environ.get("THROUGHTIME_CACHE")
    if not chosen:
        import platformdirs

        chosen = str(Path(platformdirs.user_cache_dir("throughtime")) / "kernels")
    try:
        folder = Path(chosen).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        # A user who is not known, links that go round, a working folder that is gone.
        return Path(chosen), str(error)
    return folder, "the user has no home folder" if "~" in folder.parts else None


def _refusal(folder: Path) -> str | None:
    """Why code must not be run from the folder, or None."""
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a folder"
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    if status.st_mode & 0o022:
        return f"others than its owner may write to it; chmod go-w {shlex.quote(str(folder))}"
    return None


def in_a_folder(work: Callable[[Path], T]) -> T:
    """Works in the cache folder, or in a private one where that cannot be used."""
    folder, why = _configured()
    try:
        private = _replacements.get(folder)
        # What cleans /tmp may have taken it.
        if private and private.is_dir():
            return work(private)
        try:
            if why is None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                why = _refusal(folder)
            if why is None:
                return work(folder)
        except OSError as error:
            # Read-only, full, or mounted so that nothing in it may be run.
            why = str(error)
        return work(_replace(folder, why))
    except OSError as error:
        raise CompileError(
            f"compiled code can be kept neither in {folder} nor in a temporary folder: {error}. "
            f"Name a folder with room in the environment variable THROUGHTIME_CACHE."
        ) from error


def _replace(folder: Path, why: str) -> Path:
    """A private folder, for the time of this process, in the place of one that is refused."""
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
    # A forked child leaves its parent's folder alone.
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes what processes left that were killed while they compiled."""
    if folder in _swept:
        return
    _swept.add(folder)
    for file in folder.glob("*.tmp.*"):
        # Another process may be faster.
        with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            if file.lstat().st_mtime < time.time() - _STALE:
                file.unlink()


# What it holds.


def _contents() -> tuple[Path, str | None, dict[str, Entry]]:
    """The folder, why it is not used, or None, and what it holds; it is not made."""
    folder, why = _configured()
    try:
        why = why or _refusal(folder)
        return folder, why, {} if why else entries(folder)
    except FileNotFoundError:
        # It is made when it is needed.
        return folder, None, {}
    except OSError as error:
        return folder, str(error), {}


def clear() -> str:
    """Empties the cache; returns what was removed, in words.

    Raises:
        ValueError: where the folder is not used, so that nothing in it is ours.
    """
    folder, why, by_key = _contents()
    if why:
        raise ValueError(f"the cache {folder} is not used, and not emptied: {why}.")
    remove(file for entry in by_key.values() for file in entry.files)
    return f"{folder}: removed {in_words(by_key)}"


def about() -> str:
    """What ``throughtime info`` says of the cache."""
    folder, why, by_key = _contents()
    if why:
        return f"{folder} (not used: {why})"
    return f"{folder} ({in_words(by_key)} of at most {MOST_BYTES >> 20})"


# The libraries.


def write(file: Path, text: str) -> None:
    """Writes a new file that only the user may read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)


def seal(library: Path, source: Path, left_out: Iterable[str]) -> None:
    """Writes the checksum of a new library into its source, which makes both sound.

    Args:
        library, source: the two files.
        left_out: the optional flags that the library was compiled without.
    """
    # Compilers follow the umask, which may let the user's group write.
    library.chmod(0o700)
    checksum = hashlib.sha256(library.read_bytes()).hexdigest()
    with source.open("a") as file:
        file.write(f"{_LEFT_OUT}{' '.join(sorted(left_out))}\n{_SUM}{checksum}\n")


def sound(folder: Path, key: str) -> frozenset[str] | None:
    """The flags that the library was compiled without; None where it is not whole, or not ours.

    A disk that was full leaves a file that is too short, and loading it may end the process; so
    the last line of the source beside it holds its checksum.
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
    """What a file holds, where it is a plain file that only the user may write to."""
    try:
        # To open a pipe would wait for somebody to write to it.
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
    """Waits while another process or thread holds the lock, which ends with the process.

    It saves work, no more, since files are put in place whole: where the disk knows no locks, or
    one is held for too long, it is done without.
    """
    # Not by the package filelock, which takes longer to import than a warm load may take.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(file, flags, 0o600)
    try:
        until = time.monotonic() + _LOCK_TIMEOUT
        while time.monotonic() < until:
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
        # Closing is not enough: a child that was forked meanwhile has the file open too.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _forget_folders() -> None:
    """In a forked child: its parent removes its private folders when it ends."""
    _replacements.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_folders)

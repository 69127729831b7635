"""Compiles generated C++ on the user's machine, once, and loads it.

What is called is here; the compiler is in ``compiler.py``, one run of it in ``process.py``, and
the folder that keeps the libraries in ``cache.py``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shlex
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path

# Before any library is loaded: torch brings its own libgomp.so.1, and what is loaded later takes
# the one that is there, so that both share one pool of threads.
import torch  # noqa: F401

from throughtime.kernels.cpp import cache, compiler, process, processor, retention
from throughtime.kernels.cpp.compiler import (
    FLAGS,
    HEADERS,
    OPTIONAL_FLAGS,
    CompileError,
    Job,
    find_compiler,
    missing,
)

# Windows has none; there missing() says that nothing is compiled.
if sys.platform != "win32":
    from _ctypes import dlclose

__all__ = [
    "FLAGS",
    "HEADERS",
    "OPTIONAL_FLAGS",
    "CompileError",
    "about",
    "find_compiler",
    "load",
    "missing",
    "prebuild",
]

# A library is unloaded when nothing of it can be called any more.
_libraries: MutableMapping[str, ctypes.CDLL] = weakref.WeakValueDictionary()
_locks: dict[str, threading.Lock] = {}
# One of each compiler stays: with it stays its OpenMP, whose threads do not end.
_first: dict[tuple[str, ...], ctypes.CDLL] = {}


def load(source: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compiles the source where that was not done before, and loads it.

    Args:
        source: C++17. What is to be called is ``extern "C"`` and
            ``__attribute__((visibility("default")))``; ``_OPENMP`` is undefined where the
            compiler has no OpenMP.
        flags: for the compiler, after those of :data:`FLAGS`.

    Raises:
        CompileError: where there is no compiler, it fails, or no folder can be written.
    """
    key, job = _key_and_job(source, flags)
    library = _libraries.get(key)
    if library is None:
        # Few locks for all keys.
        with _locks.setdefault(key[:2], threading.Lock()):
            library = _libraries.get(key)
            if library is None:
                library = cache.in_a_folder(lambda folder: _open_or_build(folder, key, job))
                _libraries[key] = library
    return library


def prebuild(sources: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Compiles all sources that are not in the cache, at the same time; loads none.

    Args:
        sources: the arguments of as many calls of :func:`load`.

    Raises:
        CompileError: as :func:`load` does.
    """
    jobs = dict(_key_and_job(source, flags) for source, flags in sources)
    jobs = {key: job for key, job in jobs.items() if key not in _libraries}

    def build(folder: Path) -> None:
        absent = _absent(folder, jobs)
        if absent:
            _build(folder, absent)

    if jobs:
        cache.in_a_folder(build)


def about() -> dict[str, str]:
    """What ``throughtime info`` says of the compiler, the cache and the processor."""
    return {**compiler.about(), "cache": cache.about(), "vectors": processor.vectors()}


def _key_and_job(source: str, flags: tuple[str, ...]) -> tuple[str, Job]:
    command = compiler.find_command()
    why = missing()
    if command is None or why:
        raise CompileError("; ".join(why))
    job = Job(command, source, flags)
    try:
        return cache.key_of(job), job
    except OSError as error:
        raise CompileError(f"the compiler {command[0]} cannot be read: {error}") from error


# What is in the cache.


def _absent(folder: Path, jobs: Mapping[str, Job]) -> dict[str, Job]:
    """Those that the cache does not hold as they would be compiled now."""
    return {key: job for key, job in jobs.items() if not _is_usable(folder, key, job)}


def _is_usable(folder: Path, key: str, job: Job) -> bool:
    left_out = cache.sound(folder, key)
    if left_out:
        # Perhaps what the compiler lacked then has been installed.
        compiler.confirm(job.command, left_out)
    return left_out is not None and left_out == compiler.left_out(job.command)


def _open_or_build(folder: Path, key: str, job: Job) -> ctypes.CDLL:
    if _is_usable(folder, key, job):
        try:
            return _opened(folder, key, job)
        except OSError:
            (folder / f"{key}.so").unlink(missing_ok=True)
    _build(folder, {key: job})
    try:
        return _opened(folder, key, job)
    except OSError as error:
        if compiler.forbids_running(folder):
            raise
        # Perhaps a flag asks for what the system does not find.
        compiler.examine(job.command)
        if _is_usable(folder, key, job):
            why = f"what it compiles cannot be loaded: {error}"
            raise _failed(job.command, why) from error
    _build(folder, {key: job})
    return _opened(folder, key, job)


def _opened(folder: Path, key: str, job: Job) -> ctypes.CDLL:
    library = ctypes.CDLL(str(folder / f"{key}.so"))
    retention.touch(folder, key)
    first = _first.setdefault(job.command, library)
    if first is not library:
        # Not when Python ends: a thread may be at work in it.
        weakref.finalize(library, dlclose, library._handle).atexit = False
    return library


# What is not.


def _build(folder: Path, jobs: Mapping[str, Job]) -> None:
    """Compiles what is still absent once no other process is at it."""
    cache.sweep(folder)
    with ExitStack() as locks:
        # In one order, so that two processes never wait for each other.
        for key in sorted(jobs):
            locks.enter_context(cache.lock(folder / f"{key}.lock"))
        absent = _absent(folder, jobs)
        failed: dict[str, str] = {}
        keys, at_once = list(absent), max(2, os.cpu_count() or 1)
        for i in range(0, len(keys), at_once):
            failed |= _compile(folder, {key: absent[key] for key in keys[i : i + at_once]})
        for key, said in failed.items():
            if re.search("No space left on device|[Qq]uota exceeded", said):
                raise OSError(errno.ENOSPC, "the disk is full", str(folder))
            if missing():
                raise CompileError("; ".join(missing()))
            first = said.splitlines()[0]
            raise CompileError(
                f"the compiler fails at generated code ({first}), kept as {folder / key}.cpp:\n"
                f"{shlex.join(compiler.arguments(absent[key]))}\n{said}"
            )
    retention.trim(folder, keep=jobs)


def _compile(folder: Path, jobs: Mapping[str, Job]) -> dict[str, str]:
    """Compiles all at the same time; returns what went wrong with each that failed."""
    tried = {key: compiler.arguments(job) for key, job in jobs.items()}
    failed = _compile_with(folder, jobs, tried)
    # Was it a flag? Then again without. Or does the compiler fail at everything?
    for key in failed:
        compiler.examine(jobs[key].command)
    again = {key: jobs[key] for key in failed if compiler.arguments(jobs[key]) != tried[key]}
    if again:
        failed = {key: said for key, said in failed.items() if key not in again}
        failed |= _compile_with(
            folder, again, {key: compiler.arguments(again[key]) for key in again}
        )
    return failed


def _compile_with(
    folder: Path, jobs: Mapping[str, Job], arguments: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    running: dict[str, subprocess.Popen[bytes]] = {}
    failed: dict[str, str] = {}
    names = {key: (f"{key}.{token}.tmp.cpp", f"{key}.{token}.tmp.so") for key in jobs}
    begun = time.monotonic()
    try:
        for key, job in jobs.items():
            source, library = names[key]
            cache.write(folder / source, job.source.rstrip("\n") + "\n")
            running[key] = _started([*arguments[key], "-o", library, source], folder, job)
        for key, compiling in running.items():
            source, library = (folder / name for name in names[key])
            try:
                said = process.wait(compiling, begun)
            except TimeoutError as error:
                raise _failed(jobs[key].command, str(error)) from error
            why = process.failure(compiling, said, library)
            if why:
                failed[key] = why.replace(source.name, f"{key}.cpp")
            else:
                cache.seal(library, source, compiler.left_out(jobs[key].command))
            source.replace(folder / f"{key}.cpp")
            if not why:
                library.replace(folder / f"{key}.so")
    finally:
        for compiling in running.values():
            process.end(compiling)
        for name in (name for pair in names.values() for name in pair):
            (folder / name).unlink(missing_ok=True)
    return failed


def _started(arguments: Sequence[str], folder: Path, job: Job) -> subprocess.Popen[bytes]:
    try:
        return process.start(arguments, folder)
    except OSError as error:
        # Not the folder's fault, so another one would not help.
        raise _failed(job.command, f"it cannot be run: {error}") from error


def _failed(command: tuple[str, ...], why: str) -> CompileError:
    """The compiler has failed at what is no fault of the code: it is not asked again."""
    compiler.condemn(command, why)
    return CompileError("; ".join(missing()))


def _forget_threads() -> None:
    """In a forked child: the parent's other threads, which may hold a lock, are not there."""
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)

"""Builds libraries from generated C++: compiles each source once on this machine, and loads it.

``compiler.py`` knows the compiler, ``process.py`` runs it, and ``cache.py`` manages the folder of
the compiled libraries.
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

# Before any library is loaded: PyTorch loads its own libgomp.so.1, and a library that is loaded
# later uses the same one, so that both share one pool of threads.
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

# Windows has no dlclose; there missing() reports that nothing can be compiled.
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

# A library is unloaded when no reference to it is left.
_libraries: MutableMapping[str, ctypes.CDLL] = weakref.WeakValueDictionary()
_locks: dict[str, threading.Lock] = {}
# The first library of each compiler stays loaded. It keeps the compiler's OpenMP loaded, whose
# threads run until the process ends and must not lose their code.
_first: dict[tuple[str, ...], ctypes.CDLL] = {}


def load(source: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Loads the library of a source, which is compiled if it is not in the cache.

    Args:
        source: C++17. Functions for Python are ``extern "C"`` and
            ``__attribute__((visibility("default")))``. ``_OPENMP`` is undefined if the compiler
            has no OpenMP.
        flags: the compiler's flags after those of :data:`FLAGS`.

    Raises:
        CompileError: if there is no compiler, it fails, or no folder can be written.
    """
    key, job = _key_and_job(source, flags)
    library = _libraries.get(key)
    if library is None:
        # Keys with the same first digits share a lock, so that there are at most 256.
        with _locks.setdefault(key[:2], threading.Lock()):
            library = _libraries.get(key)
            if library is None:
                library = cache.with_folder(lambda folder: _load_or_build(folder, key, job))
                _libraries[key] = library
    return library


def prebuild(sources: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Compiles all sources that are not in the cache at the same time; loads no library.

    Args:
        sources: the arguments of the calls of :func:`load` that will follow.

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
        cache.with_folder(build)


def about() -> dict[str, str]:
    """The description of the compiler, the cache and the processor for ``throughtime info``."""
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


# Libraries in the cache.


def _absent(folder: Path, jobs: Mapping[str, Job]) -> dict[str, Job]:
    """The jobs whose library is not in the cache, or was compiled with other flags than now."""
    return {key: job for key, job in jobs.items() if not _is_usable(folder, key, job)}


def _is_usable(folder: Path, key: str, job: Job) -> bool:
    left_out = cache.flags_left_out(folder, key)
    if left_out:
        # The user may have installed what the compiler lacked, such as OpenMP.
        compiler.confirm_refusals(job.command, left_out)
    return left_out is not None and left_out == compiler.left_out(job.command)


def _load_or_build(folder: Path, key: str, job: Job) -> ctypes.CDLL:
    if _is_usable(folder, key, job):
        try:
            return _load_file(folder, key, job)
        except OSError:
            (folder / f"{key}.so").unlink(missing_ok=True)
    _build(folder, {key: job})
    try:
        return _load_file(folder, key, job)
    except OSError as error:
        if compiler.forbids_running(folder):
            raise
        # A flag may need a library that the system does not have. If so, it is compiled without.
        compiler.probe(job.command)
        if _is_usable(folder, key, job):
            why = f"what it compiles cannot be loaded: {error}"
            raise _failed(job.command, why) from error
    _build(folder, {key: job})
    return _load_file(folder, key, job)


def _load_file(folder: Path, key: str, job: Job) -> ctypes.CDLL:
    library = ctypes.CDLL(str(folder / f"{key}.so"))
    retention.touch(folder, key)
    first = _first.setdefault(job.command, library)
    if first is not library:
        # It is not unloaded when Python ends, because a thread may still run code in it.
        weakref.finalize(library, dlclose, library._handle).atexit = False
    return library


# Compiling.


def _build(folder: Path, jobs: Mapping[str, Job]) -> None:
    """Compiles the jobs whose libraries are still absent when this process has their locks.

    Raises:
        CompileError: if a job fails.
        OSError: if the disk is full.
    """
    cache.sweep(folder)
    with ExitStack() as locks:
        # All processes take locks in the same order, so that no two wait for each other.
        for key in sorted(jobs):
            locks.enter_context(cache.lock(folder / f"{key}.lock"))
        absent = _absent(folder, jobs)
        failed: dict[str, str] = {}
        keys, at_once = list(absent), max(2, os.cpu_count() or 1)
        for i in range(0, len(keys), at_once):
            failed |= _compile(folder, {key: absent[key] for key in keys[i : i + at_once]})
        for key, message in failed.items():
            if re.search("No space left on device|[Qq]uota exceeded", message):
                raise OSError(errno.ENOSPC, "the disk is full", str(folder))
            if missing():
                raise CompileError("; ".join(missing()))
            first = message.splitlines()[0]
            raise CompileError(
                f"the compiler fails at generated code ({first}), kept as {folder / key}.cpp:\n"
                f"{shlex.join(compiler.arguments(absent[key]))}\n{message}"
            )
    retention.trim(folder, keep=jobs)


def _compile(folder: Path, jobs: Mapping[str, Job]) -> dict[str, str]:
    """Compiles all jobs at the same time; returns the message of each job that failed, by key."""
    arguments = {key: compiler.arguments(job) for key, job in jobs.items()}
    failed = _compile_with(folder, jobs, arguments)
    # The compiler may have refused an optional flag, or may not work at all. The probe tells; it is
    # not run before the first failure, because most compilers accept all flags.
    for key in failed:
        compiler.probe(jobs[key].command)
    again = {key: jobs[key] for key in failed if compiler.arguments(jobs[key]) != arguments[key]}
    if again:
        failed = {key: message for key, message in failed.items() if key not in again}
        failed |= _compile_with(
            folder, again, {key: compiler.arguments(again[key]) for key in again}
        )
    return failed


def _compile_with(
    folder: Path, jobs: Mapping[str, Job], arguments: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Compiles all jobs with the given commands, at the same time; see :func:`_compile`."""
    # Temporary names, unique to this process: other processes see a library only when it is
    # complete and moved into place.
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    running: dict[str, subprocess.Popen[bytes]] = {}
    failed: dict[str, str] = {}
    names = {key: (f"{key}.{token}.tmp.cpp", f"{key}.{token}.tmp.so") for key in jobs}
    start_time = time.monotonic()
    try:
        for key, job in jobs.items():
            source, library = names[key]
            cache.write(folder / source, job.source.rstrip("\n") + "\n")
            running[key] = _start([*arguments[key], "-o", library, source], folder, job)
        for key, compiling in running.items():
            source, library = (folder / name for name in names[key])
            try:
                output = process.wait(compiling, start_time)
            except TimeoutError as error:
                raise _failed(jobs[key].command, str(error)) from error
            why = process.failure(compiling, output, library)
            if why:
                failed[key] = why.replace(source.name, f"{key}.cpp")
            else:
                cache.add_checksum(library, source, compiler.left_out(jobs[key].command))
            # The source first: without its checksum the library would not be used.
            source.replace(folder / f"{key}.cpp")
            if not why:
                library.replace(folder / f"{key}.so")
    finally:
        for compiling in running.values():
            process.end(compiling)
        for name in (name for pair in names.values() for name in pair):
            (folder / name).unlink(missing_ok=True)
    return failed


def _start(arguments: Sequence[str], folder: Path, job: Job) -> subprocess.Popen[bytes]:
    try:
        return process.start(arguments, folder)
    except OSError as error:
        # An OSError would make cache.with_folder try another folder, which would not help here.
        raise _failed(job.command, f"it cannot be run: {error}") from error


def _failed(command: tuple[str, ...], why: str) -> CompileError:
    """Marks the compiler as broken, because the code is not the reason; returns the error."""
    compiler.mark_broken(command, why)
    return CompileError("; ".join(missing()))


def _forget_threads() -> None:
    """Runs in a forked child: the threads of the parent that may have a lock do not exist here."""
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)

"""Compiles generated C++ on the user's machine, once, and loads it.

What is called is here; the compiler is in ``compiler.py``, the folder that keeps the libraries in
``cache.py``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shlex
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

# Before any library is loaded: torch brings its own libgomp.so.1, and what is loaded later takes
# the one that is there, so that both share one pool of threads.
import torch  # noqa: F401

from throughtime.kernels.cpp import cache, compiler, processor
from throughtime.kernels.cpp.compiler import (
    FLAGS,
    HEADERS,
    OPTIONAL_FLAGS,
    CompileError,
    Job,
    find_compiler,
    missing,
)

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

_libraries: dict[str, ctypes.CDLL] = {}
_locks: dict[str, threading.Lock] = {}


def load(source: str, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compiles the source where that was not done before, and loads it.

    Args:
        source: C++17. What is to be called is ``extern "C"`` and
            ``__attribute__((visibility("default")))``; ``_OPENMP`` is undefined where the
            compiler has no OpenMP.
        flags: for the compiler, after those of :data:`FLAGS`.

    Raises:
        CompileError: where there is no compiler, it refuses the source, or no folder can be
            written.
    """
    key, job = _key_and_job(source, flags)
    library = _libraries.get(key)
    if library is None:
        with _locks.setdefault(key, threading.Lock()):
            library = _libraries.get(key)
            if library is None:
                library = _libraries[key] = cache.in_a_folder(
                    lambda folder: _open_or_build(folder, key, job)
                )
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
        absent = {key: job for key, job in jobs.items() if not cache.is_sound(folder, key)}
        if absent:
            _build(folder, absent)

    if jobs:
        cache.in_a_folder(build)


def about() -> dict[str, str]:
    """What ``throughtime info`` says of the compiler, the cache and the processor."""
    return {**compiler.about(), "cache": cache.about(), "vectors": processor.vectors()}


def _key_and_job(source: str, flags: tuple[str, ...]) -> tuple[str, Job]:
    command = compiler.find_command()
    if command is None or missing():
        raise CompileError("; ".join(missing()))
    job = Job(command, source, flags)
    return cache.key_of(job), job


def _open_or_build(folder: Path, key: str, job: Job) -> ctypes.CDLL:
    path = folder / f"{key}.so"
    if cache.is_sound(folder, key):
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            path.unlink(missing_ok=True)
    _build(folder, {key: job})
    return ctypes.CDLL(str(path))


def _build(folder: Path, jobs: Mapping[str, Job]) -> None:
    """Compiles what is still absent once no other process is at it."""
    cache.sweep(folder)
    with ExitStack() as held:
        # In one order, so that two processes never wait for each other.
        for key in sorted(jobs):
            held.enter_context(cache.lock(folder / f"{key}.lock"))
        absent = {key: job for key, job in jobs.items() if not cache.is_sound(folder, key)}
        failed: dict[str, str] = {}
        keys, at_once = list(absent), max(2, os.cpu_count() or 1)
        for i in range(0, len(keys), at_once):
            failed |= _compile(folder, {key: absent[key] for key in keys[i : i + at_once]})
        for key, said in failed.items():
            if re.search("No space left on device|[Qq]uota exceeded", said):
                raise OSError(errno.ENOSPC, "the disk is full", str(folder))
            raise CompileError(
                f"the compiler refused generated code, kept as {folder / key}.cpp:\n"
                f"{shlex.join(compiler.arguments(absent[key]))}\n{compiler.gist(said)}"
            )


def _compile(folder: Path, jobs: Mapping[str, Job]) -> dict[str, str]:
    """Compiles all at the same time; returns what the compiler said of each that it refused."""
    tried = {key: compiler.arguments(job) for key, job in jobs.items()}
    failed = _compile_with(folder, jobs, tried)
    # Was it a flag? Then again without.
    for key in failed:
        compiler.find_refused(jobs[key].command)
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
    running: dict[str, subprocess.Popen[str]] = {}
    failed: dict[str, str] = {}
    names = {key: (f"{key}.{token}.tmp.cpp", f"{key}.{token}.tmp.so") for key in jobs}
    try:
        for key, job in jobs.items():
            source, library = names[key]
            cache.write(folder / source, job.source.rstrip("\n") + "\n")
            running[key] = compiler.start([*arguments[key], "-o", library, source], folder)
        for key, process in running.items():
            said, _ = process.communicate()
            source, library = (folder / name for name in names[key])
            if process.returncode:
                failed[key] = said.replace(source.name, f"{key}.cpp")
            else:
                cache.seal(library, source)
            source.replace(folder / f"{key}.cpp")
            if not process.returncode:
                library.replace(folder / f"{key}.so")
    finally:
        for process in running.values():
            compiler.end(process)
        for name in (name for pair in names.values() for name in pair):
            (folder / name).unlink(missing_ok=True)
    return failed


def _forget_threads() -> None:
    """In a forked child: the parent's other threads, which may hold a lock, are not there."""
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)

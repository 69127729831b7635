"""The C++ compiler of this machine: finds it, gives its command, and tests whether it works."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import shutil
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from throughtime.kernels.cpp import process, processor
from throughtime.kernels.cpp.processor import IS_X86

__all__ = [
    "FLAGS",
    "HEADERS",
    "OPTIONAL_FLAGS",
    "CompileError",
    "Job",
    "about",
    "arguments",
    "command_without_openmp",
    "confirm_refusals",
    "find_command",
    "find_compiler",
    "forbids_running",
    "identity",
    "left_out",
    "mark_broken",
    "missing",
    "probe",
]

HEADERS = Path(__file__).parent
"""The folder of the header files that generated code may include."""

FLAGS = (
    "-std=c++17",
    "-O2",
    "-shared",
    "-fPIC",
    # Functions that are not exported need no code of their own once they are inlined.
    "-fvisibility=hidden",
    # Setting errno and the floating-point exception flags would prevent vectorization, and nothing
    # reads them. -ffast-math would also assume that there is no NaN and no infinity.
    "-fno-math-errno",
    "-fno-trapping-math",
    # a*b + c in one instruction, which rounds once.
    "-ffp-contract=fast",
    # Generated code uses neither exceptions nor run-time types.
    "-fno-exceptions",
    "-fno-rtti",
    # No warning that the ABI of vector arguments changed: all calls are within one file.
    "-Wno-psabi",
)
"""The flags that every compiler must accept."""

OPENMP = "-fopenmp"

OPTIONAL_FLAGS = (
    # The processor is part of a library's key, so that no other processor runs the code.
    "-march=native",
    # Compilers prefer 256 bits on processors that lower their clock rate with 512; matrix products
    # are faster with 512 even then.
    *(("-mprefer-vector-width=512",) if IS_X86 else ()),
    # Apple's clang has no OpenMP, and others may need a further package for it.
    OPENMP,
    # An undefined function becomes an error of the linker that names it, not an error of loading.
    *(("-Wl,-z,defs",) if sys.platform == "linux" else ()),
)
"""The flags that a compiler is given unless it refuses them."""

_COMPILERS = ("c++", "g++", "clang++")

_refused: dict[tuple[str, ...], frozenset[str]] = {}
_broken: dict[tuple[str, ...], str] = {}


class CompileError(RuntimeError):
    """Raised if generated code could not be compiled; the text contains the compiler's message."""


class Job(NamedTuple):
    """A source to compile, with the command and further flags of the compiler."""

    command: tuple[str, ...]
    source: str
    flags: tuple[str, ...]


# Finding it.


def find_compiler() -> Path | None:
    """The C++ compiler: the environment variable CXX, else c++, g++ or clang++ on the path.

    Without any of them, it is the zig of the Python package ``ziglang``. CXX may contain
    arguments, as in ``ccache g++``; the result is then the path of its first word. If the program
    in CXX does not exist, no other compiler is used instead.
    """
    command = find_command()
    return Path(command[0]) if command else None


def missing() -> list[str]:
    """Why this machine cannot compile; empty if it can.

    A compiler is assumed to work until it has failed in this process.
    """
    if sys.platform == "win32":
        return ["compiling on Windows is not supported"]
    problem = processor.limit_problem()
    if problem:
        return [problem]
    command = find_command()
    if command:
        why = _broken.get(command)
        problem = f"the C++ compiler {shlex.join(command)} does not work: {why}"
        return [f"{problem}; name another in the environment variable CXX"] if why else []
    cxx = os.environ.get("CXX", "").strip()
    if cxx:
        exists = Path(cxx).exists() or Path(cxx.split()[0]).exists()
        state = "is no program that can be run" if exists else "was not found"
        return [
            f"the compiler that CXX names {state} (CXX={cxx!r}); correct or unset the "
            f"environment variable CXX"
        ]
    return [
        f"no C++ compiler was found (looked at CXX, {', '.join(_COMPILERS)}); install one, for "
        f'example "apt install g++", "xcode-select --install", or, where you may not install '
        f"system packages, \"pip install 'throughtime[compiler]'\""
    ]


def find_command() -> tuple[str, ...] | None:
    """The compiler's command: its path, and the arguments that CXX contains."""
    cxx = os.environ.get("CXX", "").strip()
    command = _search(cxx, os.environ.get("PATH", os.defpath))
    return command or (None if cxx else _of_ziglang())


@lru_cache
def _search(cxx: str, path: str) -> tuple[str, ...] | None:
    if cxx:
        try:
            # If the whole text is a program, its path contains blanks.
            words = [cxx] if shutil.which(cxx, path=path) else shlex.split(cxx)
        except ValueError:
            return None
        candidates = [words] if words else []
    else:
        candidates = [[name] for name in _COMPILERS]
    for first, *rest in candidates:
        program = shutil.which(first, path=path)
        if program:
            # Links are not resolved, because ccache and others act by the name they are called by.
            return (str(Path(program).absolute()), *rest)
    return None


@lru_cache
def _of_ziglang() -> tuple[str, ...] | None:
    """The compiler in the Python package ``ziglang``; None where that is not installed.

    It is called as ``zig cc``, which compiles C++ as well: ``zig c++`` would first build a C++
    standard library, which takes a minute and which kernels do not use. Without ``-nostdlib`` it
    would build a C library first. A kernel takes its functions from the C library that Python
    has loaded.
    """
    package = importlib.util.find_spec("ziglang")
    for folder in (package.submodule_search_locations or ()) if package else ():
        program = shutil.which("zig", path=folder)
        if program:
            return (str(Path(program).absolute()), "cc", "-nostdlib")
    return None


@lru_cache
def identity(command: tuple[str, ...]) -> tuple[object, ...]:
    """Values that change when the compiler's program changes.

    The size and time of the file are used instead of the version, which only a process could tell.
    """
    values: list[object] = []
    for word in command:
        values.append(word)
        program = shutil.which(word)
        if program:
            file = Path(program).resolve()
            status = file.stat()
            values += [str(file), status.st_size, status.st_mtime_ns]
    return tuple(values)


# Its command.


def arguments(job: Job) -> list[str]:
    """The command that compiles a job, without the names of its files."""
    optional = [f for f in OPTIONAL_FLAGS if f not in left_out(job.command)]
    limit = _limit_flags(job.command)
    return [*job.command, *FLAGS, *optional, *limit, *job.flags, f"-I{HEADERS.resolve()}"]


def _limit_flags(command: tuple[str, ...]) -> list[str]:
    """The flags that keep a compiler from instructions that it may not use."""
    limit = processor.limit_flags()
    if not any(Path(word).stem in ("zig", "ziglang") for word in command):
        return [*limit]
    # zig ignores `-mno-…`, and passes on what is meant for clang itself.
    features = [flag.replace("-mno-", "-", 1) for flag in limit]
    return [word for name in features for word in ("-Xclang", "-target-feature", "-Xclang", name)]


def left_out(command: tuple[str, ...]) -> frozenset[str]:
    """The optional flags that the compiler refuses, as far as this process knows."""
    return _refused.get(command, frozenset())


def command_without_openmp() -> str:
    """The compiler's command if the compiler is known to have no OpenMP; else empty."""
    command = find_command() if _refused else None
    return shlex.join(command) if command and OPENMP in left_out(command) else ""


# Testing it.

# It includes the same system headers as ours. It calls a function of the C library, and one of
# OpenMP if there is one.
_PROBE = """
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
extern "C" int yield() { return sched_yield(); }
#ifdef _OPENMP
#if defined(__APPLE__) && defined(__clang__)
#error "see simd_vector.hpp"
#endif
#include <omp.h>
extern "C" int threads() { return omp_get_max_threads(); }
#endif
"""


def mark_broken(command: tuple[str, ...], why: str) -> None:
    """Marks a compiler as missing for the rest of the process, for the reason ``why``."""
    lines = why.splitlines()
    _broken.setdefault(command, lines[0].rstrip(":") if lines else why)


def probe(command: tuple[str, ...]) -> None:
    """Finds out, once, which optional flags the compiler refuses, or that it does not work at all.

    The compiler compiles a small file, with each flag in turn, and the result is loaded: a library
    for another processor cannot be loaded, nor one whose OpenMP the system does not have.

    Raises:
        OSError: if there is no temporary folder.
    """
    if command in _refused or command in _broken:
        return
    with tempfile.TemporaryDirectory(prefix="throughtime-") as name:
        folder = Path(name)
        (folder / "probe.cpp").write_text(_PROBE)
        why = _attempt(command, folder)
        if why:
            mark_broken(command, why)
        else:
            refused = [flag for flag in OPTIONAL_FLAGS if _attempt(command, folder, flag)]
            _refused[command] = frozenset(refused)


def confirm_refusals(command: tuple[str, ...], refused: frozenset[str]) -> None:
    """Tests whether the compiler still refuses the flags that it refused in another process.

    If it accepts one of them, :func:`probe` tests all flags. Testing only the refused flags first
    takes less time.
    """
    if command in _refused or command in _broken:
        return
    with tempfile.TemporaryDirectory(prefix="throughtime-") as name:
        folder = Path(name)
        (folder / "probe.cpp").write_text(_PROBE)
        refuses_all = all(_attempt(command, folder, flag) for flag in refused)
    if refuses_all:
        _refused[command] = refused
    else:
        probe(command)


def _attempt(command: tuple[str, ...], folder: Path, *flags: str) -> str | None:
    """Compiles and loads the probe with the flags; returns why that failed, or None."""
    library = folder / "probe.so"
    library.unlink(missing_ok=True)
    words = [*command, "-std=c++17", "-shared", "-fPIC", *flags, "-o", library.name, "probe.cpp"]
    try:
        running = process.start(words, folder)
    except OSError as error:
        return f"it cannot be run: {error}"
    try:
        output = process.wait(running, time.monotonic())
        return process.failure(running, output, library) or _load_error(library)
    except TimeoutError as error:
        return str(error)
    finally:
        process.end(running)


def _load_error(library: Path) -> str | None:
    # A temporary folder from which nothing may be run says nothing about the compiler.
    if forbids_running(library.parent):
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"what it compiles cannot be loaded here: {error}"
    return None


def forbids_running(folder: Path) -> bool:
    """Whether the folder is mounted with "noexec", as far as the system reports it."""
    return bool(os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0))


def _version(command: tuple[str, ...]) -> str:
    """The first line that the compiler prints about its version, or why there is none."""
    try:
        running = process.start([*command, "--version"], Path("/"))
    except OSError as error:
        return f"does not say its version: {error}"
    try:
        output = process.wait(running, time.monotonic(), limit=10)
    except TimeoutError as error:
        return f"does not say its version: {error}"
    finally:
        process.end(running)
    return next(iter(output.splitlines()), "does not say its version")


def about() -> dict[str, str]:
    """The description of the compiler for ``throughtime info``."""
    command = find_command()
    if not command:
        return {"compiler": "none"}
    words = shlex.join(command)
    try:
        probe(command)
    except OSError as error:
        return {"compiler": words, "openmp": f"unknown: {error}"}
    if command in _broken:
        why = f"unknown: the compiler does not work: {_broken[command]}"
        return {"compiler": words, "openmp": why}
    version = {"compiler": f"{words} ({_version(command)})"}
    if OPENMP in left_out(command):
        return {**version, "openmp": "no", "threads": "kernels run on one, as there is no OpenMP"}
    return {**version, "openmp": "yes"}

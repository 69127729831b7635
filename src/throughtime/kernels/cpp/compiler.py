"""The C++ compiler of the user's machine: where it is, how it is called, whether it works."""

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
    "condemn",
    "confirm",
    "examine",
    "find_command",
    "find_compiler",
    "identity",
    "left_out",
    "missing",
    "without_openmp",
]

HEADERS = Path(__file__).parent
"""The folder of the ``*.hpp`` that generated code may include."""

FLAGS = (
    "-std=c++17",
    "-O2",
    "-shared",
    "-fPIC",
    # Only what is marked for export can be called, so the rest may be inlined away.
    "-fvisibility=hidden",
    # Nobody reads errno after exp or sqrt, nor the floating-point exception flags; keeping them
    # would forbid vectors. NaN and infinity keep their meaning, which -ffast-math would take.
    "-fno-math-errno",
    "-fno-trapping-math",
    # a*b + c in one instruction, which rounds once.
    "-ffp-contract=fast",
    # Generated code throws nothing and knows its types.
    "-fno-exceptions",
    "-fno-rtti",
    # Vectors as arguments are passed between functions of one file only.
    "-Wno-psabi",
)
"""What every compiler is given."""

OPENMP = "-fopenmp"

OPTIONAL_FLAGS = (
    # The library runs where it was compiled; the key sees to that.
    "-march=native",
    # Compilers prefer 256 bits on processors that slow down with 512; matrix products gain anyway.
    *(("-mprefer-vector-width=512",) if IS_X86 else ()),
    # Apple's clang has none, and others have none without a package of its own.
    OPENMP,
    # A missing function is the compiler's error, with its name, and not one of loading.
    *(("-Wl,-z,defs",) if sys.platform == "linux" else ()),
)
"""What a compiler is given unless it refuses it."""

_COMPILERS = ("c++", "g++", "clang++")

_refused: dict[tuple[str, ...], frozenset[str]] = {}
_broken: dict[tuple[str, ...], str] = {}


class CompileError(RuntimeError):
    """Generated code could not be compiled; the text holds what the compiler said."""


class Job(NamedTuple):
    """What is to be compiled, and how."""

    command: tuple[str, ...]
    source: str
    flags: tuple[str, ...]


# Where it is.


def find_compiler() -> Path | None:
    """The C++ compiler: the environment variable CXX, else c++, g++ or clang++ on the path.

    Where there is none of them, it is the zig of the Python package ``ziglang``. CXX may hold
    arguments, as in ``ccache g++``; the path is then that of its first word. A CXX that cannot be
    found is not replaced by another compiler.
    """
    command = find_command()
    return Path(command[0]) if command else None


def missing() -> list[str]:
    """Why nothing can be compiled on this machine; empty where it can, as far as is known.

    A compiler counts as one that works until it has failed.
    """
    if sys.platform == "win32":
        return ["compiling on Windows is not supported"]
    problem = processor.limit_problem()
    if problem:
        return [problem]
    command = find_command()
    if command:
        why = _broken.get(command)
        broken = f"the C++ compiler {shlex.join(command)} does not work: {why}"
        return [f"{broken}; name another in the environment variable CXX"] if why else []
    cxx = os.environ.get("CXX", "").strip()
    if cxx:
        is_there = Path(cxx).exists() or Path(cxx.split()[0]).exists()
        state = "is no program that can be run" if is_there else "was not found"
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
    """The words that call the compiler: its path, and the arguments that CXX holds."""
    cxx = os.environ.get("CXX", "").strip()
    command = _found(cxx, os.environ.get("PATH", os.defpath))
    return command or (None if cxx else _of_ziglang())


@lru_cache
def _found(cxx: str, path: str) -> tuple[str, ...] | None:
    if cxx:
        try:
            # A path may hold blanks.
            words = [cxx] if shutil.which(cxx, path=path) else shlex.split(cxx)
        except ValueError:
            return None
        candidates = [words] if words else []
    else:
        candidates = [[name] for name in _COMPILERS]
    for first, *rest in candidates:
        program = shutil.which(first, path=path)
        if program:
            # Not resolved: ccache and others go by the name that they are called by.
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
    """Changes with the compiler. Its version would say it, but takes a process to ask."""
    found: list[object] = []
    for word in command:
        found.append(word)
        program = shutil.which(word)
        if program:
            file = Path(program).resolve()
            status = file.stat()
            found += [str(file), status.st_size, status.st_mtime_ns]
    return tuple(found)


# How it is called.


def arguments(job: Job) -> list[str]:
    """The whole call but for the files."""
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
    """The optional flags that the compiler refuses, as far as is known."""
    return _refused.get(command, frozenset())


def without_openmp() -> str:
    """The compiler, where it is known to have no OpenMP, so that kernels run on one thread."""
    command = find_command() if _refused else None
    return shlex.join(command) if command and OPENMP in left_out(command) else ""


# Whether it works.

# What the headers include, a function of the C library, and one of OpenMP where there is one.
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


def condemn(command: tuple[str, ...], why: str) -> None:
    """Lets a compiler count as missing for the rest of the process."""
    lines = why.splitlines()
    _broken.setdefault(command, lines[0].rstrip(":") if lines else why)


def examine(command: tuple[str, ...]) -> None:
    """Finds out, once, which optional flags the compiler refuses, or that it does not work at all.

    It is asked to compile a file with nothing in it, and what it makes is loaded: a library of
    another processor cannot be, nor one whose OpenMP the system does not find.

    Raises:
        OSError: where there is no temporary folder.
    """
    if command in _refused or command in _broken:
        return
    with tempfile.TemporaryDirectory(prefix="throughtime-") as name:
        folder = Path(name)
        (folder / "probe.cpp").write_text(_PROBE)
        why = _attempt(command, folder)
        if why:
            condemn(command, why)
        else:
            refused = [flag for flag in OPTIONAL_FLAGS if _attempt(command, folder, flag)]
            _refused[command] = frozenset(refused)


def confirm(command: tuple[str, ...], refused: frozenset[str]) -> None:
    """Finds out whether the compiler still refuses the flags that it refused in another process.

    To ask for these alone takes less time than :func:`examine`, which is done where it does not.
    """
    if command in _refused or command in _broken:
        return
    with tempfile.TemporaryDirectory(prefix="throughtime-") as name:
        folder = Path(name)
        (folder / "probe.cpp").write_text(_PROBE)
        is_so = all(_attempt(command, folder, flag) for flag in refused)
    if is_so:
        _refused[command] = refused
    else:
        examine(command)


def _attempt(command: tuple[str, ...], folder: Path, *flags: str) -> str | None:
    """Why the compiler cannot make a library with the flags that can be loaded; None if it can."""
    library = folder / "probe.so"
    library.unlink(missing_ok=True)
    words = [*command, "-std=c++17", "-shared", "-fPIC", *flags, "-o", library.name, "probe.cpp"]
    try:
        running = process.start(words, folder)
    except OSError as error:
        return f"it cannot be run: {error}"
    try:
        said = process.wait(running, time.monotonic())
        return process.failure(running, said, library) or _load_error(library)
    except TimeoutError as error:
        return str(error)
    finally:
        process.end(running)


def _load_error(library: Path) -> str | None:
    if forbids_running(library.parent):
        return None
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"what it compiles cannot be loaded here: {error}"
    return None


def forbids_running(folder: Path) -> bool:
    """Whether the folder is mounted so that no code in it may be run, as far as the system says."""
    return bool(os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0))


def _version(command: tuple[str, ...]) -> str:
    try:
        running = process.start([*command, "--version"], Path("/"))
    except OSError as error:
        return f"does not say its version: {error}"
    try:
        said = process.wait(running, time.monotonic(), limit=10)
    except TimeoutError as error:
        return f"does not say its version: {error}"
    finally:
        process.end(running)
    return next(iter(said.splitlines()), "does not say its version")


def about() -> dict[str, str]:
    """What ``throughtime info`` says of the compiler."""
    command = find_command()
    if not command:
        return {"compiler": "none"}
    words = shlex.join(command)
    try:
        examine(command)
    except OSError as error:
        return {"compiler": words, "openmp": f"unknown: {error}"}
    if command in _broken:
        why = f"unknown: the compiler does not work: {_broken[command]}"
        return {"compiler": words, "openmp": why}
    said = {"compiler": f"{words} ({_version(command)})"}
    if OPENMP in left_out(command):
        return {**said, "openmp": "no", "threads": "kernels run on one, as there is no OpenMP"}
    return {**said, "openmp": "yes"}

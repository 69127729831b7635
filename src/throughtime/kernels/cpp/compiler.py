"""The C++ compiler of the user's machine: where it is, how it is called, what it said."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from throughtime.kernels.cpp.processor import IS_X86

__all__ = [
    "FLAGS",
    "HEADERS",
    "OPTIONAL_FLAGS",
    "CompileError",
    "Job",
    "about",
    "arguments",
    "end",
    "find_command",
    "find_compiler",
    "find_refused",
    "gist",
    "identity",
    "missing",
    "start",
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

OPTIONAL_FLAGS = (
    # The library runs where it was compiled; the key sees to that.
    "-march=native",
    # Compilers prefer 256 bits on processors that slow down with 512; matrix products gain anyway.
    *(("-mprefer-vector-width=512",) if IS_X86 else ()),
    # Apple's clang has none.
    "-fopenmp",
    # A missing function is the compiler's error, with its name, and not one of loading.
    *(("-Wl,-z,defs",) if sys.platform == "linux" else ()),
)
"""What a compiler is given unless it refuses it."""

_COMPILERS = ("c++", "g++", "clang++")
_SHOWN_LINES = 25

_refused: dict[tuple[str, ...], frozenset[str]] = {}


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

    CXX may hold arguments, as in ``ccache g++``; the path is then that of its first word. A CXX
    that cannot be found is not replaced by another compiler.
    """
    command = find_command()
    return Path(command[0]) if command else None


def missing() -> list[str]:
    """Why nothing can be compiled on this machine; empty where it can."""
    if sys.platform == "win32":
        return ["compiling on Windows is not supported"]
    if find_command():
        return []
    cxx = os.environ.get("CXX", "").strip()
    if cxx:
        return [
            f"the compiler that CXX names was not found (CXX={cxx!r}); correct or unset the "
            f"environment variable CXX"
        ]
    return [
        f"no C++ compiler was found (looked at CXX, {', '.join(_COMPILERS)}); install one, for "
        f'example "apt install g++" or "xcode-select --install"'
    ]


def find_command() -> tuple[str, ...] | None:
    """The words that call the compiler: its path, and the arguments that CXX holds."""
    return _found(os.environ.get("CXX", "").strip(), os.environ.get("PATH", os.defpath))


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


def _environment() -> dict[str, str]:
    """The user's environment without what would change what the compiler says and writes."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LC_")
        and name not in ("LANGUAGE", "LD_PRELOAD", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES")
    }
    return {**kept, "LC_ALL": "C"}


_PROBE = """
#ifdef _OPENMP
#include <omp.h>
extern "C" int threads() { return omp_get_max_threads(); }
#endif
"""


def find_refused(command: tuple[str, ...]) -> None:
    """Tries each optional flag on the compiler, once."""
    if command in _refused:
        return

    def works(*flags: str) -> bool:
        made = subprocess.run(
            [*command, "-std=c++17", "-shared", "-fPIC", *flags, "-o", "probe.so", "probe.cpp"],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        return made.returncode == 0

    with tempfile.TemporaryDirectory(prefix="throughtime-") as folder:
        (Path(folder) / "probe.cpp").write_text(_PROBE)
        # A compiler that cannot do even this has another fault than the flags.
        if works():
            _refused[command] = frozenset(flag for flag in OPTIONAL_FLAGS if not works(flag))


def arguments(job: Job) -> list[str]:
    """The whole call but for the files."""
    optional = [f for f in OPTIONAL_FLAGS if f not in _refused.get(job.command, ())]
    return [*job.command, *FLAGS, *optional, *job.flags, f"-I{HEADERS.resolve()}"]


def start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Starts the compiler in a folder; what it says can be read from the process."""
    try:
        return subprocess.Popen(
            arguments,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Ctrl-C comes to Python alone, which then ends the compiler and its children.
            process_group=0,
        )
    except OSError as error:
        # Not the folder's fault, so another one would not help.
        raise CompileError(f"the compiler {arguments[0]} cannot be run: {error}") from error


def end(process: subprocess.Popen[str]) -> None:
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


# What it says.


def gist(said: str) -> str:
    """The compiler's or linker's first error; the last lines where they speak of none."""
    lines = said.strip().splitlines()
    error = re.compile("error:|undefined reference")
    first = next((i for i, line in enumerate(lines) if error.search(line)), None)
    lines = lines[-_SHOWN_LINES:] if first is None else lines[first : first + _SHOWN_LINES]
    return "\n".join(lines)


def _version(command: tuple[str, ...]) -> str:
    try:
        said = subprocess.run(
            [*command, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            env=_environment(),
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not say its version: {error}"
    return next(iter(said.stdout.splitlines()), "does not say its version")


def about() -> dict[str, str]:
    """What ``throughtime info`` says of the compiler."""
    command = find_command()
    if not command:
        return {"compiler": "none"}
    said = {"compiler": f"{shlex.join(command)} ({_version(command)})"}
    try:
        find_refused(command)
        known = command in _refused
        said["openmp"] = "no" if "-fopenmp" in _refused.get(command, ()) else "yes"
    except OSError:
        known = False
    if not known:
        said["openmp"] = "unknown: the compiler does not compile an empty file"
    return said

"""Compiles generated C++ on the user's machine, once, and loads it.

A library lies in the cache folder under the digest of all that made it: the source, the headers,
the flags, the compiler and the processor. The folder holds code that will be run, so it must
belong to the user alone.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import hashlib
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

# Before any library is loaded: torch brings its own libgomp.so.1, and what is loaded later takes
# the one that is there, so that both share one pool of threads.
import torch  # noqa: F401

# Windows has none; there missing() says that nothing is compiled.
if sys.platform != "win32":
    import fcntl

__all__ = ["CompileError", "about", "find_compiler", "load", "missing", "prebuild"]

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

_IS_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")

OPTIONAL_FLAGS = (
    # The library runs where it was compiled; the key sees to that.
    "-march=native",
    # Compilers prefer 256 bits on processors that slow down with 512; matrix products gain anyway.
    *(("-mprefer-vector-width=512",) if _IS_X86 else ()),
    # Apple's clang has none.
    "-fopenmp",
    # A missing function is the compiler's error, with its name, and not one of loading.
    *(("-Wl,-z,defs",) if sys.platform == "linux" else ()),
)
"""What a compiler is given unless it refuses it."""

_STALE = 3600.0
_LOCK_TIMEOUT = 120.0
_SHOWN_LINES = 25
T = TypeVar("T")

_COMPILERS = ("c++", "g++", "clang++")

_libraries: dict[str, ctypes.CDLL] = {}
_locks: dict[str, threading.Lock] = {}
_refused: dict[tuple[str, ...], frozenset[str]] = {}
_replacements: dict[Path, Path] = {}
_warned: set[Path] = set()
_swept: set[Path] = set()


class CompileError(RuntimeError):
    """Generated code could not be compiled; the text holds what the compiler said."""


class _Job(NamedTuple):
    command: tuple[str, ...]
    source: str
    flags: tuple[str, ...]


def find_compiler() -> Path | None:
    """The C++ compiler: the environment variable CXX, else c++, g++ or clang++ on the path.

    CXX may hold arguments, as in ``ccache g++``; the path is then that of its first word. A CXX
    that cannot be found is not replaced by another compiler.
    """
    command = _command()
    return Path(command[0]) if command else None


def missing() -> list[str]:
    """Why nothing can be compiled on this machine; empty where it can."""
    if sys.platform == "win32":
        return ["compiling on Windows is not supported"]
    if _command():
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
                library = _libraries[key] = _in_a_folder(
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
        absent = {key: job for key, job in jobs.items() if not _is_sound(folder, key)}
        if absent:
            _build(folder, absent)

    if jobs:
        _in_a_folder(build)


def about() -> dict[str, str]:
    """What ``throughtime info`` says of the compiler, the cache and the processor."""
    command = _command()
    said = {"compiler": "none"}
    if command:
        said["compiler"] = f"{shlex.join(command)} ({_version(command)})"
        try:
            _find_refused(command)
            known = command in _refused
            said["openmp"] = "no" if "-fopenmp" in _refused.get(command, ()) else "yes"
        except OSError:
            known = False
        if not known:
            said["openmp"] = "unknown: the compiler does not compile an empty file"
    folder = _configured()
    try:
        why = _refusal(folder)
    except FileNotFoundError:
        # It is made when it is needed.
        why = None
    except OSError as error:
        why = str(error)
    if why:
        said["cache"] = f"{folder} (not used: {why})"
    else:
        kernel = re.compile("[0-9a-f]{64}[.]so")
        sizes = [f.stat().st_size for f in folder.glob("*.so") if kernel.fullmatch(f.name)]
        said["cache"] = f"{folder} ({len(sizes)} kernels, {sum(sizes) / 2**20:.1f} MiB)"
    said["vectors"] = _vectors()
    return said


# The compiler.


def _command() -> tuple[str, ...] | None:
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
def _identity(command: tuple[str, ...]) -> tuple[object, ...]:
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


def _find_refused(command: tuple[str, ...]) -> None:
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


# The key.


def _key_and_job(source: str, flags: tuple[str, ...]) -> tuple[str, _Job]:
    command = _command()
    if command is None or missing():
        raise CompileError("; ".join(missing()))
    made_of = (
        *(source, _headers(HEADERS), FLAGS, OPTIONAL_FLAGS, flags),
        *(_identity(command), _cpu(), sys.platform, platform.machine()),
    )
    return hashlib.sha256(repr(made_of).encode()).hexdigest(), _Job(command, source, flags)


@lru_cache
def _headers(folder: Path) -> str:
    files = sorted(folder.glob("*.hpp"))
    return repr([(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files])


@lru_cache
def _cpu() -> tuple[str, ...]:
    """The processor's model and what it can do.

    A home folder may be shared by machines, and an instruction that one lacks ends the process.
    """
    try:
        # Only up to the end of the first core: Linux writes the text while it is read.
        with Path("/proc/cpuinfo").open("rb", buffering=0) as file:
            text = b""
            while b"\n\n" not in text and (more := file.read(4096)):
                text += more
    except OSError:
        return (platform.processor(),)
    wanted = re.compile(
        r"(vendor_id|cpu family|model|model name|stepping|flags"
        r"|Features|CPU implementer|CPU architecture|CPU variant|CPU part|cpu|isa)\s*:"
    )
    lines = text.split(b"\n\n")[0].decode(errors="replace").splitlines()
    return tuple(line for line in lines if wanted.match(line))


def _vectors() -> str:
    words = set(" ".join(_cpu()).lower().split())
    if not _IS_X86:
        known = [name for name in ("asimd", "neon", "sve", "sve2", "bf16") if name in words]
        return f"{', '.join(known) or 'unknown'} ({platform.machine()})"
    known = (("512 bits (avx512", "avx512f"), ("256 bits (avx2", "avx2"), ("256 bits (avx", "avx"))
    widest = next((text for text, flag in known if flag in words), "128 bits (sse2")
    more = ("fma", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
    return ", ".join([widest, *(flag for flag in more if flag in words)]) + ")"


# The folder.


def _configured() -> Path:
    given = os.environ.get("THROUGHTIME_CACHE")
    if given:
        return Path(given).expanduser().resolve()
    import platformdirs

    return (Path(platformdirs.user_cache_dir("throughtime")) / "kernels").resolve()


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


def _in_a_folder(work: Callable[[Path], T]) -> T:
    """Works in the cache folder, or in a private one where that cannot be used."""
    folder = _configured()
    try:
        private = _replacements.get(folder)
        # What cleans /tmp may have taken it.
        if private and private.is_dir():
            return work(private)
        try:
            if "~" in folder.parts:
                raise NotADirectoryError("the user has no home folder")
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


def _sweep(folder: Path) -> None:
    """Removes what processes left that were killed while they compiled."""
    if folder in _swept:
        return
    _swept.add(folder)
    for file in folder.glob("*.tmp.*"):
        try:
            if file.stat().st_mtime < time.time() - _STALE:
                file.unlink()
        except FileNotFoundError:
            # Another process was faster.
            continue


# The libraries.

_SUM = "// sha256 of the library: "


def _own_content(file: Path) -> bytes | None:
    """What a file holds, where it is a plain file that only the user may write to."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return None
        return None if status.st_mode & 0o022 else opened.read()


def _is_sound(folder: Path, key: str) -> bool:
    """Whether the library is there, whole, and nobody else's.

    A disk that was full leaves a file that is too short, and loading it may end the process; so
    the last line of the source beside it holds its checksum.
    """
    library, source = (_own_content(folder / f"{key}{suffix}") for suffix in (".so", ".cpp"))
    if library is None or source is None:
        return False
    return source.endswith(f"{_SUM}{hashlib.sha256(library).hexdigest()}\n".encode())


def _open_or_build(folder: Path, key: str, job: _Job) -> ctypes.CDLL:
    path = folder / f"{key}.so"
    if _is_sound(folder, key):
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            path.unlink(missing_ok=True)
    _build(folder, {key: job})
    return ctypes.CDLL(str(path))


def _build(folder: Path, jobs: Mapping[str, _Job]) -> None:
    """Compiles what is still absent once no other process is at it."""
    _sweep(folder)
    with ExitStack() as held:
        # In one order, so that two processes never wait for each other.
        for key in sorted(jobs):
            held.enter_context(_lock(folder / f"{key}.lock"))
        absent = {key: job for key, job in jobs.items() if not _is_sound(folder, key)}
        failed: dict[str, str] = {}
        keys, at_once = list(absent), max(2, os.cpu_count() or 1)
        for i in range(0, len(keys), at_once):
            failed |= _compile(folder, {key: absent[key] for key in keys[i : i + at_once]})
        for key, said in failed.items():
            if re.search("No space left on device|[Qq]uota exceeded", said):
                raise OSError(errno.ENOSPC, "the disk is full", str(folder))
            raise CompileError(
                f"the compiler refused generated code, kept as {folder / key}.cpp:\n"
                f"{shlex.join(_arguments(absent[key]))}\n{_gist(said)}"
            )


@contextmanager
def _lock(file: Path) -> Generator[None]:
    """Waits while another process or thread holds the lock, which ends with the process.

    It saves work, no more, since files are put in place whole: where the disk knows no locks, or
    one is held for too long, it is done without.
    """
    # Not by the package filelock, which takes longer to import than a warm load may take.
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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


def _arguments(job: _Job) -> list[str]:
    optional = [f for f in OPTIONAL_FLAGS if f not in _refused.get(job.command, ())]
    return [*job.command, *FLAGS, *optional, *job.flags, f"-I{HEADERS.resolve()}"]


def _gist(said: str) -> str:
    """The compiler's or linker's first error; the last lines where they speak of none."""
    lines = said.strip().splitlines()
    error = re.compile("error:|undefined reference")
    first = next((i for i, line in enumerate(lines) if error.search(line)), None)
    lines = lines[-_SHOWN_LINES:] if first is None else lines[first : first + _SHOWN_LINES]
    return "\n".join(lines)


def _compile(folder: Path, jobs: Mapping[str, _Job]) -> dict[str, str]:
    """Compiles all at the same time; returns what the compiler said of each that it refused."""
    tried = {key: _arguments(job) for key, job in jobs.items()}
    failed = _compile_with(folder, jobs, tried)
    # Was it a flag? Then again without.
    for key in failed:
        _find_refused(jobs[key].command)
    again = {key: jobs[key] for key in failed if _arguments(jobs[key]) != tried[key]}
    if again:
        failed = {key: said for key, said in failed.items() if key not in again}
        failed |= _compile_with(folder, again, {key: _arguments(again[key]) for key in again})
    return failed


def _compile_with(
    folder: Path, jobs: Mapping[str, _Job], arguments: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    running: dict[str, subprocess.Popen[str]] = {}
    failed: dict[str, str] = {}
    names = {key: (f"{key}.{token}.tmp.cpp", f"{key}.{token}.tmp.so") for key in jobs}
    try:
        for key, job in jobs.items():
            source, library = names[key]
            _write(folder / source, job.source.rstrip("\n") + "\n")
            running[key] = _start([*arguments[key], "-o", library, source], folder)
        for key, process in running.items():
            said, _ = process.communicate()
            source, library = (folder / name for name in names[key])
            if process.returncode:
                failed[key] = said.replace(source.name, f"{key}.cpp")
            else:
                # Compilers follow the umask, which may let the user's group write.
                library.chmod(0o700)
                checksum = hashlib.sha256(library.read_bytes()).hexdigest()
                with source.open("a") as file:
                    file.write(f"{_SUM}{checksum}\n")
            source.replace(folder / f"{key}.cpp")
            if not process.returncode:
                library.replace(folder / f"{key}.so")
    finally:
        for process in running.values():
            _end(process)
        for name in (name for pair in names.values() for name in pair):
            (folder / name).unlink(missing_ok=True)
    return failed


def _start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[str]:
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


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)


def _end(process: subprocess.Popen[str]) -> None:
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


def _forget_threads() -> None:
    """In a forked child: the parent's other threads, which may hold a lock, are not there."""
    _locks.clear()
    _replacements.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)

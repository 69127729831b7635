"""The processor of this machine, and the instructions that kernels may use."""

from __future__ import annotations

import os
import platform
import re
from functools import lru_cache
from pathlib import Path

__all__ = ["IS_X86", "cpu", "features", "limit", "limit_flags", "limit_problem", "vectors"]

IS_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")

_LIMITS = {
    # A compiler never uses AMX of its own accord, only where the source names its instructions.
    "avx512": (),
    # This also turns off all extensions of AVX-512.
    "avx2": ("-mno-avx512f",),
}
"""The compiler's flags for each value of ``THROUGHTIME_ISA``."""


def limit() -> str | None:
    """The value of THROUGHTIME_ISA, the newest instructions that kernels may use; None if unset."""
    value = os.environ.get("THROUGHTIME_ISA")
    return (value.strip().lower() or None) if value else None


def limit_problem() -> str | None:
    """Why the value of THROUGHTIME_ISA is invalid; None if it is valid or unset."""
    value = limit()
    if value is None or (IS_X86 and value in _LIMITS):
        return None
    if IS_X86:
        return (
            f"THROUGHTIME_ISA={value!r} is unknown; set it to {' or '.join(_LIMITS)}, or unset it"
        )
    return f"THROUGHTIME_ISA={value!r} has no effect on {platform.machine()}; unset it"


def limit_flags() -> tuple[str, ...]:
    """The flags that forbid the compiler instructions beyond the limit."""
    value = limit()
    return _LIMITS[value] if value else ()


@lru_cache
def cpu() -> tuple[str, ...]:
    """The processor's model and its instruction sets, as lines of text.

    They are part of a library's key, because machines may share a home folder: an instruction that
    a processor does not have ends the process.
    """
    try:
        # Reads only the entry of the first core: Linux generates the text as it is read, which
        # takes long with many cores.
        with Path("/proc/cpuinfo").open("rb", buffering=0) as file:
            text = b""
            while b"\n\n" not in text and (more := file.read(4096)):
                text += more
    except OSError:
        return (platform.processor(),)
    # Other lines, such as the frequency, change from moment to moment.
    constant = re.compile(
        r"(vendor_id|cpu family|model|model name|stepping|flags"
        r"|Features|CPU implementer|CPU architecture|CPU variant|CPU part|cpu|isa)\s*:"
    )
    lines = text.split(b"\n\n")[0].decode(errors="replace").splitlines()
    return tuple(line for line in lines if constant.match(line))


def features() -> set[str]:
    """The names of the processor's instruction sets, as the system spells them."""
    return set(" ".join(cpu()).lower().split())


def vectors() -> str:
    """The description of the vectors that kernels use, for ``throughtime info``."""
    flags = features()
    if not IS_X86:
        sets = [name for name in ("asimd", "neon", "sve", "sve2", "bf16") if name in flags]
        return f"{', '.join(sets) or 'unknown'} ({platform.machine()})"
    if limit() == "avx2":
        flags = {flag for flag in flags if not flag.startswith("avx512")}
    if limit():
        flags = {flag for flag in flags if not flag.startswith("amx")}
    sizes = (("512 bits (avx512", "avx512f"), ("256 bits (avx2", "avx2"), ("256 bits (avx", "avx"))
    widest = next((text for text, flag in sizes if flag in flags), "128 bits (sse2")
    more = ("fma", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
    text = ", ".join([widest, *(flag for flag in more if flag in flags)]) + ")"
    return f"{text}, limited by THROUGHTIME_ISA={limit()}" if limit() else text

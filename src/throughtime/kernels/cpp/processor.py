"""The processor that is compiled for: which one it is, and what kernels may use of it."""

from __future__ import annotations

import os
import platform
import re
from functools import lru_cache
from pathlib import Path

__all__ = ["IS_X86", "cpu", "features", "limit", "limit_flags", "limit_problem", "vectors"]

IS_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")

_LIMITS = {
    # AMX and what else came after AVX-512 is no part of C++: compilers use it only by name.
    "avx512": (),
    # Takes with it whatever builds on AVX-512.
    "avx2": ("-mno-avx512f",),
}
"""For each value of ``THROUGHTIME_ISA`` the compiler's flags."""


def limit() -> str | None:
    """The newest instructions that kernels may use, where THROUGHTIME_ISA says so."""
    value = os.environ.get("THROUGHTIME_ISA")
    return (value.strip().lower() or None) if value else None


def limit_problem() -> str | None:
    """What is wrong with the value of THROUGHTIME_ISA, or None."""
    value = limit()
    if value is None or (IS_X86 and value in _LIMITS):
        return None
    if IS_X86:
        return (
            f"THROUGHTIME_ISA={value!r} is unknown; set it to {' or '.join(_LIMITS)}, or unset it"
        )
    return f"THROUGHTIME_ISA={value!r} has no effect on {platform.machine()}; unset it"


def limit_flags() -> tuple[str, ...]:
    """The compiler's flags that keep it from instructions beyond the limit."""
    value = limit()
    return _LIMITS[value] if value else ()


@lru_cache
def cpu() -> tuple[str, ...]:
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


def features() -> set[str]:
    """The names of the instructions that the processor has, as the system spells them."""
    return set(" ".join(cpu()).lower().split())


def vectors() -> str:
    """What ``throughtime info`` says of the vectors that kernels use."""
    words = features()
    if not IS_X86:
        known = [name for name in ("asimd", "neon", "sve", "sve2", "bf16") if name in words]
        return f"{', '.join(known) or 'unknown'} ({platform.machine()})"
    if limit() == "avx2":
        words = {word for word in words if not word.startswith("avx512")}
    if limit():
        words = {word for word in words if not word.startswith("amx")}
    known = (("512 bits (avx512", "avx512f"), ("256 bits (avx2", "avx2"), ("256 bits (avx", "avx"))
    widest = next((text for text, flag in known if flag in words), "128 bits (sse2")
    more = ("fma", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
    said = ", ".join([widest, *(flag for flag in more if flag in words)]) + ")"
    return f"{said}, limited by THROUGHTIME_ISA={limit()}" if limit() else said

"""The processor that is compiled for: which one it is, and what it can do."""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from pathlib import Path

__all__ = ["IS_X86", "cpu", "vectors"]

IS_X86 = platform.machine().lower() in ("x86_64", "amd64", "i386", "i686")


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


def vectors() -> str:
    """What ``throughtime info`` says of the processor's vectors."""
    words = set(" ".join(cpu()).lower().split())
    if not IS_X86:
        known = [name for name in ("asimd", "neon", "sve", "sve2", "bf16") if name in words]
        return f"{', '.join(known) or 'unknown'} ({platform.machine()})"
    known = (("512 bits (avx512", "avx512f"), ("256 bits (avx2", "avx2"), ("256 bits (avx", "avx"))
    widest = next((text for text, flag in known if flag in words), "128 bits (sse2")
    more = ("fma", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
    return ", ".join([widest, *(flag for flag in more if flag in words)]) + ")"

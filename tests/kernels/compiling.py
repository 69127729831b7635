"""Sources for the tests of compiling, and processes that compile them."""

import subprocess
import sys
import textwrap
from pathlib import Path

from throughtime.kernels.cpp import build as cpp
from throughtime.kernels.cpp import compiler

EXPORT = '#define EXPORT extern "C" __attribute__((visibility("default")))\n'

# A process of its own without the second that importing torch takes: the packages are empty, and
# these modules themselves ask nothing of torch.
IN_A_PROCESS = f"""
import pathlib, sys, types
for name in ("torch", "throughtime", "throughtime.kernels", "throughtime.kernels.cpp"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["throughtime.kernels.cpp"].__path__ = [{str(Path(cpp.__file__).parent)!r}]
from throughtime.kernels.cpp import build as cpp, cache, compiler
compiler.HEADERS = pathlib.Path(sys.argv[1])
"""


def returning(value):
    return f"{EXPORT}EXPORT int f() {{ return {value}; }}\n"


def started(code, **options):
    """A Python process that runs the code with build.py as ``cpp``."""
    return subprocess.Popen(
        [sys.executable, "-c", IN_A_PROCESS + textwrap.dedent(code), str(compiler.HEADERS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(process):
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out.strip(), err

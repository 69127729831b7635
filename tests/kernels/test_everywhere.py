"""The kernels on processors and under compilers other than those of this machine's defaults.

A green run on one machine is to mean a green run on another. Here the tests that are marked
``everywhere`` run once more, each time in a process of its own, as on a machine that lacks AMX or
AVX-512, and with the compilers that are installed. ``make test-all`` runs every test of the kernels
for every one of them.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from throughtime.kernels.cpp import compiler, processor

ROOT = Path(__file__).parents[2]
FEATURES = processor.features()

# What each lacks, as these kernels, ATen and oneDNN are told.
PROCESSORS = {
    "all": {},
    "no AMX": {"THROUGHTIME_ISA": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    "no AVX-512": {
        **{"THROUGHTIME_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2"},
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
}
LACKS = {"no AMX": "amx_bf16", "no AVX-512": "avx512f"}
COMPILERS = {"default": {}, "clang": {"CXX": "clang++"}}


def why_not(lacking, compiled_by):
    """Why this variant cannot be tested here; None if it can."""
    default = compiler.find_command()
    if default is None:
        return "no compiler"
    if lacking != "all" and (not processor.IS_X86 or LACKS[lacking] not in FEATURES):
        return f"there is {lacking} on this processor anyway"
    if compiled_by == "clang":
        clang = shutil.which("clang++")
        if clang is None:
            return "clang++ is not installed"
        if Path(clang).resolve() == Path(default[0]).resolve():
            return "clang++ is the default"
    return None


def outcome(lacking, compiled_by, *arguments):
    """The last line of the output of pytest in a process of its own."""
    reason = why_not(lacking, compiled_by)
    if reason:
        pytest.skip(reason)
    # Theirs are none of ours: how this pytest was called, and limits that hold for this process.
    mine = ("PYTEST_", "THROUGHTIME_ISA", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(mine)}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)],
        env={**environment, **PROCESSORS[lacking], **COMPILERS[compiled_by]},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("lacking", "compiled_by"),
    [
        ("no AMX", "default"),
        pytest.param("no AVX-512", "default", marks=pytest.mark.slow),
        pytest.param("all", "clang", marks=pytest.mark.slow),
    ],
)
def test_the_chosen_tests_hold(lacking, compiled_by):
    files = [
        file
        for file in sorted((ROOT / "tests").glob("*/test_*.py"))
        if "mark.everywhere" in file.read_text() or "chosen(" in file.read_text()
        if file != Path(__file__)
    ]
    assert len(files) > 5
    last = outcome(lacking, compiled_by, "-m", "everywhere", *files)
    passed = int(re.search(r"(\d+) passed", last)[1])
    assert passed > 300, last


@pytest.mark.slow
@pytest.mark.parametrize("lacking", PROCESSORS)
@pytest.mark.parametrize("compiled_by", COMPILERS)
def test_every_test_of_the_kernels_holds(lacking, compiled_by):
    if (lacking, compiled_by) == ("all", "default"):
        pytest.skip("this machine and its compiler run all tests anyway")
    outcome(lacking, compiled_by, "--ignore", __file__, ROOT / "tests" / "kernels")


BITS = """
import torch
from throughtime.kernels.cpp import build as cpp
library = cpp.load('''
#if defined __AVX512F__
#define BITS 512
#else
#define BITS 0
#endif
extern "C" __attribute__((visibility("default"))) int bits() { return BITS; }
''')
print(library.bits(), torch.backends.cpu.get_cpu_capability())
print(cpp.about()["vectors"])
"""


@pytest.mark.skipif(bool(why_not("no AVX-512", "default")), reason="no AVX-512 to do without")
@pytest.mark.parametrize("lacking", PROCESSORS)
def test_the_limit_reaches_the_kernels_and_the_libraries_of_pytorch(lacking):
    run = subprocess.run(
        [sys.executable, "-c", BITS],
        env={**os.environ, **PROCESSORS[lacking]},
        capture_output=True,
        text=True,
        check=True,
    )
    first, vectors = run.stdout.splitlines()
    assert first == ("0 AVX2" if lacking == "no AVX-512" else "512 AVX512")
    assert ("avx512" in vectors) == (lacking != "no AVX-512")
    limit = PROCESSORS[lacking].get("THROUGHTIME_ISA")
    assert vectors.endswith(f"limited by THROUGHTIME_ISA={limit}") == (limit is not None)
    assert not (limit and "amx" in vectors)


def test_an_unknown_limit_is_a_reason_that_names_those_there_are(monkeypatch):
    monkeypatch.setenv("THROUGHTIME_ISA", "avx3")
    (why,) = compiler.missing()
    if processor.IS_X86:
        assert "THROUGHTIME_ISA='avx3' is unknown; set it to avx512 or avx2, or unset it" in why
    else:
        assert f"no effect on {platform.machine()}" in why

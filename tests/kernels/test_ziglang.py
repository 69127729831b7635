"""The compiler of the Python package ziglang, which is used where the system has none."""

import importlib.util
import re

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp import build as cpp
from throughtime.kernels.cpp import compiler, processor, recurrence

from .compiling import returning

HEADERS = compiler.HEADERS
HAS_ZIG = importlib.util.find_spec("ziglang") is not None


@pytest.fixture
def no_system_compiler(tmp_path, monkeypatch, libraries):
    """A machine without c++, g++ and clang++ on the path."""
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    compiler._of_ziglang.cache_clear()
    yield
    compiler._of_ziglang.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the name ziglang, whose program calls the compiler of this machine."""
    real = cpp.find_compiler()
    if real is None:
        pytest.skip("; ".join(cpp.missing()))
    program = tmp_path / "site" / "ziglang" / "zig"
    program.parent.mkdir(parents=True)
    (program.parent / "__init__.py").touch()
    program.write_text(
        f'#!/bin/sh\n[ "$1" = cc ] || exit 7\nshift\nPATH=/usr/bin exec {real} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.syspath_prepend(str(program.parents[1]))
    return program


def test_it_is_used_where_there_is_no_other_compiler(package, no_system_compiler):
    assert compiler.find_command() == (str(package), "cc", "-nostdlib")
    assert cpp.missing() == []
    assert cpp.load(returning(21)).f() == 21
    assert cpp.about()["compiler"].startswith(f"{package} cc")


def test_a_compiler_of_the_system_and_cxx_come_first(package, no_system_compiler, tmp_path):
    own = tmp_path / "bin" / "g++"
    own.symlink_to("/bin/true")
    assert compiler.find_command() == (str(own),)


def test_a_wrong_cxx_is_not_replaced_by_it(package, no_system_compiler, monkeypatch):
    monkeypatch.setenv("CXX", "/nowhere/g++")
    assert compiler.find_command() is None


def test_a_package_without_its_program_is_as_good_as_missing(package, no_system_compiler):
    package.unlink()
    assert compiler.find_command() is None
    (why,) = cpp.missing()
    assert "pip install 'throughtime[compiler]'" in why


@pytest.mark.skipif(not processor.IS_X86, reason="the limit is one of x86")
def test_the_limit_of_instructions_is_written_as_zig_reads_it(monkeypatch):
    monkeypatch.setenv("THROUGHTIME_ISA", "avx2")
    for command in (("/opt/zig", "cc"), ("python", "-m", "ziglang", "c++")):
        words = compiler.arguments(compiler.Job(command, "", ()))
        assert " -Xclang -target-feature -Xclang -avx512f " in " ".join(words)
        assert "-mno-avx512f" not in words
    assert "-mno-avx512f" in compiler.arguments(compiler.Job(("g++",), "", ()))


@pytest.mark.slow
@pytest.mark.skipif(not processor.IS_X86, reason="the limit is one of x86")
@pytest.mark.skipif(not HAS_ZIG, reason="the package ziglang is not installed")
def test_zig_keeps_to_the_limit_of_instructions(no_system_compiler, monkeypatch):
    monkeypatch.setenv("THROUGHTIME_ISA", "avx2")
    source = "#ifdef __AVX512F__\n#error beyond the limit\n#endif\n"
    assert cpp.load(source + returning(22)).f() == 22


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:throughtime. kernels run on one thread")
@pytest.mark.skipif(not HAS_ZIG, reason="the package ziglang is not installed")
def test_zig_compiles_the_kernels(no_system_compiler, monkeypatch):
    monkeypatch.setattr(compiler, "HEADERS", HEADERS)
    monkeypatch.setattr(recurrence, "_kernels", {})
    x = torch.randn(9, 3, 7, dtype=torch.float64)
    results = []
    for backend in ("cpp", "reference"):
        torch.manual_seed(0)
        layer = tt.Recurrent("lstm-peephole", 7, 33, backend=backend, dtype=torch.float64)
        output, _ = layer(x)
        output.square().sum().backward()
        results.append([output, *(p.grad for p in layer.parameters())])
    torch.testing.assert_close(*results)


def test_kernels_use_no_library_of_cpp():
    """`zig cc` has neither its headers nor its functions."""
    for path in [*HEADERS.glob("*.hpp"), *HEADERS.glob("*.py")]:
        text = path.read_text()
        assert "std::" not in text, path.name
        included = re.findall(r"#include <(.*)>", text)
        assert all(name.endswith(".h") for name in included), path.name

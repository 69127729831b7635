"""A compiler that fails: the reference runs, one warning says why, and nothing hangs."""

import os
import re
import shutil
import time
import warnings
from pathlib import Path

import pytest
import torch

import throughtime as tt
from throughtime.kernels import slowness
from throughtime.kernels.cpp import build as cpp
from throughtime.kernels.cpp import cache, compiler, gemm, process, recurrence

from .compiling import finished, returning, started
from .operator_layers import python

pytestmark = pytest.mark.skipif(bool(cpp.missing()), reason="; ".join(cpp.missing()))

HEADERS = compiler.HEADERS
# The file after -o.
OUT = 'while [ "$1" != -o ]; do shift; done; shift; out="$1"'
# What the script does before it compiles, or instead; what the warning says; the limit in seconds.
FAILING = {
    "fails": ("exit 1", "ended with exit status 1 and printed nothing"),
    "says why": ('echo "x.cpp:1: fatal error: no licence"; exit 3', "fatal error: no licence"),
    "writes nothing": ("exit 0", "ended without an error, and wrote no library"),
    "writes an empty file": (f'{OUT}; : > "$out"; exit 0', "cannot be loaded here"),
    "writes no library": (f'{OUT}; echo no library > "$out"; exit 0', "cannot be loaded here"),
    "is killed": ("kill -9 $$", "killed by the signal SIGKILL"),
    "crashes": ("kill -SEGV $$", "killed by the signal SIGSEGV"),
    "hangs": ("sleep 60", "did not end within 1 seconds"),
    "hangs in the background": ("sleep 60 & wait", "did not end within 1 seconds"),
    "prints without end": ("exec yes error", "prints without end"),
    "has no headers": ('set -- -nostdinc -nostdinc++ "$@"', "sched.h"),
    "compiles, and links nothing": ('set -- "$@" -c', "cannot be loaded here"),
    "only looks": ('set -- "$@" -fsyntax-only', "wrote no library"),
    "finds the disk full": ('echo "x.so: No space left on device"; exit 1', "No space left"),
}
ANOTHER_PROCESSOR = """
real={real}
"$real" "$@" || exit 1
while [ "$1" != -o ]; do shift; done
printf '\\377' | dd of="$2" bs=1 seek=18 conv=notrunc 2>/dev/null
exit 0
"""


@pytest.fixture
def fresh(monkeypatch, libraries):
    """Resets the kernels and warnings, as if this process had run no kernel yet."""
    monkeypatch.setattr(compiler, "HEADERS", HEADERS)
    for module, name in ((recurrence, "_kernels"), (gemm, "_functions")):
        monkeypatch.setattr(module, name, {})
    monkeypatch.setattr(slowness, "_warned", set())
    return libraries


def layer(name="lstm-peephole", **options):
    return tt.Recurrent(name, 3, 4, **options)


def sequence(T=5):
    return torch.randn(T, 2, 3)


def assert_it_falls_back(why):
    """Asserts that the reference runs instead of the kernels, and that one warning says why."""
    # A step alone runs without a kernel anyway.
    layer()(sequence(1))
    model = layer()
    with pytest.warns(UserWarning, match="lstm-peephole runs step by step in Python") as messages:
        output, _ = model(sequence())
    # Once is enough, and a second warning would be an error here.
    model(sequence())[0].sum().backward()
    slow = [str(w.message) for w in messages if "step by step" in str(w.message)]
    assert len(slow) == 1
    assert re.search(re.escape(why), slow[0]), slow[0]
    assert output.isfinite().all()
    assert model.explain(sequence()).backend == "reference"
    for options in ({"backend": "cpp"}, {"strict": True}):
        with pytest.raises(ValueError, match=re.escape(why)):
            layer(**options)(sequence())


@pytest.mark.filterwarnings("ignore:throughtime does not keep compiled code:RuntimeWarning")
@pytest.mark.parametrize("kind", FAILING)
def test_a_compiler_that_fails_is_as_good_as_missing(fresh, use_compiler, monkeypatch, kind):
    first, why = FAILING[kind]
    if "hangs" in kind:
        monkeypatch.setattr(process.wait, "__defaults__", (1.0,))
    runs, start = use_compiler(first), time.monotonic()
    assert_it_falls_back(why)
    assert time.monotonic() - start < 30
    # It is not asked again, not for another cell either.
    asked = len(runs())
    assert asked > 0
    with pytest.warns(UserWarning, match="gru-reset-before runs step by step"):
        layer("gru-reset-before")(sequence())
    assert len(runs()) == asked
    assert cpp.about()["openmp"].startswith("unknown: ")
    assert not list(fresh.glob("*.tmp.*"))


def test_a_compiler_of_another_processor(fresh, tmp_path, monkeypatch):
    script = tmp_path / "cross"
    script.write_text("#!/bin/sh" + ANOTHER_PROCESSOR.format(real=cpp.find_compiler()))
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    assert_it_falls_back("what it compiles cannot be loaded here")


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("kill -9 $$", "killed by the signal SIGKILL"),
        ('echo "internal compiler error: error: out of ideas"; exit 4', "out of ideas"),
    ],
)
def test_a_compiler_that_fails_at_kernels_alone(fresh, use_compiler, first, why):
    use_compiler(f'case "$*" in *probe.cpp*) ;; *) {first};; esac')
    assert compiler.missing() == []
    assert_it_falls_back(why)
    # Another kernel may be less for it.
    assert compiler.missing() == []


def test_where_nothing_can_be_written_a_warning_says_so(fresh, monkeypatch):
    fresh.write_text("a file")
    monkeypatch.setattr(cache.tempfile, "mkdtemp", lambda **_: (fresh / "x").mkdir())
    assert_it_falls_back("THROUGHTIME_CACHE")


@pytest.mark.parametrize("kind", ["a file", "a folder"])
def test_a_cxx_that_is_no_program_is_named(tmp_path, monkeypatch, kind):
    place = tmp_path / "compiler"
    place.mkdir() if kind == "a folder" else place.write_text("no program")
    monkeypatch.setenv("CXX", str(place))
    (why,) = cpp.missing()
    assert "the compiler that CXX names is no program that can be run" in why
    assert str(place) in why


def test_a_compiler_that_goes_away_is_an_error_of_compiling(fresh, use_compiler):
    use_compiler()
    compiler.find_command()
    Path(os.environ["CXX"]).unlink()
    with pytest.raises(cpp.CompileError, match="cannot be run"):
        cpp.load(returning(1))


def test_inside_torch_compile_the_warning_is_the_same():
    messages = python(
        """
        import warnings, torch, throughtime as tt
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for backend in ("reference", "auto"):
                torch.compiler.reset()
                layer = tt.Recurrent("lstm-peephole", 3, 4, backend=backend)
                torch.compile(layer, backend="eager")(torch.randn(5, 2, 3))
                print(backend, [str(w.message) for w in caught if "step by step" in str(w.message)])
        """,
        CXX="false",
    )
    reference, auto = messages.strip().splitlines()[:2]
    assert reference == "reference []"
    assert auto.startswith("auto ['lstm-peephole runs step by step in Python")
    assert "exit status 1" in auto


# Without OpenMP.

NO_OPENMP = 'case " $* " in *" -fopenmp "*) echo "error: omp.h not found"; exit 1;; esac'


def test_without_openmp_kernels_run_on_one_thread_and_one_warning_says_so(fresh, use_compiler):
    use_compiler(NO_OPENMP)
    model, x = layer(), sequence()
    with pytest.warns(UserWarning, match="kernels run on one thread, because .* has no OpenMP"):
        output, _ = model(x)
    # Once is enough, and a second warning would be an error here.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(x)
        layer("gru-reset-before")(x)
    why = model.explain(x)
    assert why.backend == "cpp"
    assert "kernels run on one thread" in str(why)
    assert "kernels run on one thread" in str(layer(backend="cpp").explain(x))
    assert cpp.about()["openmp"] == "no"
    model.backend = "reference"
    torch.testing.assert_close(output, model(x)[0])


def test_kernels_without_openmp_are_compiled_again_once_there_is_one(fresh, use_compiler):
    source = (
        'extern "C" __attribute__((visibility("default"))) int f() {\n'
        "#ifdef _OPENMP\n    return 1;\n#else\n    return 0;\n#endif\n}\n"
    )
    runs = use_compiler(NO_OPENMP)

    def loaded():
        """The output of a new process, and how often it runs the compiler."""
        before = len(runs())
        code = f"print(cpp.load({source!r}).f(), bool(compiler.command_without_openmp()))"
        return finished(started(code))[0], len(runs()) - before

    # Compiled in vain, the probe with and without each flag, and compiled.
    probes = 1 + len(compiler.OPTIONAL_FLAGS)
    assert loaded() == ("0 True", probes + 2)
    # It is asked whether it still lacks it.
    assert loaded() == ("0 True", 1)
    # As if a package had been installed: the compiler itself stays as it was.
    script = Path(os.environ["CXX"])
    status, text = script.stat(), script.read_text()
    script.write_text(text.replace(NO_OPENMP, NO_OPENMP.replace("exit 1", "  true")))
    os.utime(script, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert loaded() == ("1 False", 1 + probes + 1)
    assert loaded() == ("1 False", 0)


@pytest.mark.skipif(shutil.which("clang++") is None, reason="clang++ is not installed")
def test_clang_compiles_the_kernels_with_and_without_its_openmp(fresh, tmp_path, monkeypatch):
    script = tmp_path / "clang"
    script.write_text(f'#!/bin/sh\n{NO_OPENMP}\nexec clang++ "$@"\n')
    script.chmod(0o755)
    results = []
    for cxx in ("clang++", str(script)):
        monkeypatch.setenv("CXX", cxx)
        monkeypatch.setattr(recurrence, "_kernels", {})
        torch.manual_seed(0)
        model, x = layer(backend="cpp"), sequence()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "throughtime: kernels run on one thread")
            output, _ = model(x)
        results.append(output)
        if cxx != "clang++":
            assert "one thread" in str(model.explain(x))
    torch.testing.assert_close(*results)

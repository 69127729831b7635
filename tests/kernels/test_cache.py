"""The cache of compiled kernels: the folder, and the limits of its size and of that in memory."""

import gc
import os
import sys
import weakref
from pathlib import Path

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp import build as cpp
from throughtime.kernels.cpp import cache, compiler, gemm, recurrence, retention

from .compiling import finished, returning, started

pytestmark = [
    pytest.mark.skipif(bool(cpp.missing()), reason="; ".join(cpp.missing())),
    pytest.mark.usefixtures("libraries"),
]

HEADERS = compiler.HEADERS


@pytest.fixture(autouse=True)
def _without_a_pause(monkeypatch):
    monkeypatch.setattr(retention, "_PAUSE", 0.0)


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# What stands where a file should.


@pytest.mark.parametrize("suffix", [".so", ".cpp", ".lock"])
def test_opening_an_entry_never_waits_for_a_pipe(libraries, suffix):
    cpp.prebuild([(returning(1), ())])
    (library,) = libraries.glob("*.so")
    entry = library.with_suffix(suffix)
    entry.unlink()
    os.mkfifo(entry)
    # Within the 30 seconds of `finished`, in which a process that waits would be ended.
    assert finished(started(f"print(cpp.load({returning(1)!r}).f())"))[0] == "1"
    assert finished(started("print(cpp.about()['cache'])"))[0].startswith(str(libraries))


@pytest.mark.parametrize("suffix", [".so", ".cpp", ".lock"])
@pytest.mark.parametrize("kind", ["folder", "link to nothing", "link that goes round"])
def test_what_is_no_file_in_an_entrys_place_stops_nothing(libraries, suffix, kind):
    cpp.prebuild([(returning(2), ())])
    (library,) = libraries.glob("*.so")
    entry = library.with_suffix(suffix)
    entry.unlink()
    if kind == "folder":
        entry.mkdir()
    else:
        entry.symlink_to(entry.name if "round" in kind else "nowhere")
    assert finished(started(f"print(cpp.load({returning(2)!r}).f())"))[0] == "2"
    assert cpp.about()["cache"].startswith(str(libraries))
    assert "removed" in cache.clear()


def _loop(tmp_path):
    (tmp_path / "round").symlink_to("round")
    return tmp_path / "round" / "kernels"


def _under_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "kernels"


def _pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


PLACES = {
    "of an unknown user": lambda _: "~nobody-of-this-name/kernels",
    "a link that goes round": _loop,
    "under a file": _under_a_file,
    "a pipe": _pipe,
    "a device": lambda _: "/dev/null",
    "a name that is too long": lambda tmp_path: tmp_path / ("x" * 5000),
    "of the system": lambda _: "/proc/no/kernels",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_that_cannot_be_had_is_replaced_with_a_warning(tmp_path, monkeypatch, place):
    monkeypatch.setenv("THROUGHTIME_CACHE", str(PLACES[place](tmp_path)))
    with pytest.warns(RuntimeWarning, match="throughtime does not keep compiled code in"):
        assert cpp.load(returning(3)).f() == 3
    assert cpp.load(returning(4)).f() == 4
    if place == "of the system":
        # Whether it can be made is not tried.
        return
    assert "(not used: " in cpp.about()["cache"]
    with pytest.raises(ValueError, match="is not used, and not emptied"):
        cache.clear()


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("place", PLACES)
def test_a_home_that_cannot_be_had_stops_nothing(tmp_path, name, place):
    code = f"""
        import warnings
        warnings.simplefilter("ignore")
        print(cpp.load({returning(5)!r}).f())
    """
    places = ("THROUGHTIME_CACHE", "HOME", "XDG_CACHE_HOME")
    environment = {k: v for k, v in os.environ.items() if k not in places}
    environment |= {name: str(PLACES[place](tmp_path)), "TMPDIR": str(tmp_path)}
    assert finished(started(code, env=environment))[0] == "5"
    assert not list(tmp_path.glob("throughtime-*")), "the private folder is left"


def test_a_user_without_a_home_is_told(monkeypatch):
    monkeypatch.delenv("THROUGHTIME_CACHE")
    monkeypatch.setattr(cache.Path, "expanduser", lambda path: path)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: f"~/.cache/{name}")
    with pytest.warns(RuntimeWarning, match="the user has no home folder"):
        assert cpp.load(returning(7)).f() == 7
    assert "(not used: the user has no home folder)" in cpp.about()["cache"]


def test_a_working_folder_that_is_gone_stops_nothing(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("THROUGHTIME_CACHE", "kernels")
    with pytest.warns(RuntimeWarning, match="throughtime does not keep compiled code in"):
        assert cpp.load(returning(6)).f() == 6
    monkeypatch.chdir(tmp_path)


# How much the folder holds.


def keys_of(libraries):
    return {file.stem for file in libraries.glob("*.so")}


def make_old(libraries, hours):
    """Sets the last use of all entries to so many seconds ago."""
    for file in libraries.iterdir():
        then = file.stat().st_mtime - 3600 * hours
        os.utime(file, (then, then))


def test_what_was_not_used_for_longest_is_removed_first(libraries, monkeypatch):
    keys = []
    for value in (10, 11, 12):
        before = keys_of(libraries) if libraries.exists() else set()
        cpp.prebuild([(returning(value), ())])
        keys += keys_of(libraries) - before
        make_old(libraries, 1)
    # The first is used once more, by another process.
    assert finished(started(f"print(cpp.load({returning(10)!r}).f())"))[0] == "10"
    size = sum(file.stat().st_size for file in libraries.iterdir())
    monkeypatch.setattr(retention, "MOST_BYTES", size)
    cpp.prebuild([(returning(13), ())])
    left = keys_of(libraries)
    assert keys[1] not in left
    assert {keys[0], keys[2]} <= left
    assert len(left) == 3
    assert not list(libraries.glob(f"{keys[1]}.*"))
    # What was removed is compiled again.
    assert cpp.load(returning(11)).f() == 11


def test_what_is_compiled_stays_however_large_it_is(libraries, monkeypatch):
    monkeypatch.setattr(retention, "MOST_BYTES", 0)
    assert cpp.load(returning(14)).f() == 14
    assert len(keys_of(libraries)) == 1
    assert cpp.load(returning(15)).f() == 15
    assert len(keys_of(libraries)) == 1
    # What was loaded before does not need its file.
    assert cpp.load(returning(14)).f() == 14


def test_the_folder_is_looked_through_once_a_minute(libraries, monkeypatch):
    monkeypatch.setattr(retention, "_PAUSE", 60.0)
    monkeypatch.setattr(retention, "MOST_BYTES", 0)
    for value in (22, 23, 24):
        cpp.prebuild([(returning(value), ())])
    assert len(keys_of(libraries)) == 3
    monkeypatch.setattr(retention, "_PAUSE", 0.0)
    cpp.prebuild([(returning(25), ())])
    assert len(keys_of(libraries)) == 1


def test_sources_that_were_refused_and_locks_count_too(libraries, monkeypatch):
    with pytest.raises(cpp.CompileError):
        cpp.load(returning("no_such_thing" + "_" * 10_000))
    assert list(libraries.glob("*.cpp"))
    monkeypatch.setattr(retention, "MOST_BYTES", 10_000)
    make_old(libraries, 1)
    cpp.prebuild([(returning(16), ())])
    assert len(list(libraries.glob("*.cpp"))) == 1
    assert len(list(libraries.glob("*.lock"))) == 1


def test_clearing_removes_what_is_ours_alone(libraries):
    assert cache.clear() == f"{libraries}: removed 0 kernels, 0.0 MiB"
    cpp.prebuild([(returning(17), ()), (returning(18), ())])
    others = [libraries / "notes.txt", libraries / f"{'a' * 64}.txt", libraries / "kernel.so"]
    for other in others:
        other.write_text("mine")
    folder = libraries / f"{'b' * 64}.so"
    folder.mkdir()
    assert cache.clear().startswith(f"{libraries}: removed 2 kernels, ")
    assert sorted(libraries.iterdir()) == sorted([*others, folder])
    assert "(0 kernels, 0.0 MiB of at most 256)" in cpp.about()["cache"]
    assert cpp.load(returning(17)).f() == 17


def test_the_folder_of_another_is_not_cleared(libraries):
    cpp.prebuild([(returning(19), ())])
    libraries.chmod(0o777)
    with pytest.raises(ValueError, match="is not used, and not emptied: others than its owner"):
        cache.clear()
    assert len(keys_of(libraries)) == 1


# How much the memory holds.


class Scaled(tt.Cell):
    gates, states = ("a",), ("h",)

    def __init__(self, rate):
        self.rate = rate

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.a(x) + R.a(s.h)) * self.rate)


@pytest.fixture
def few_kernels(monkeypatch, libraries):
    """Limits the kernels in memory to two, and starts without those of other tests."""
    monkeypatch.setattr(compiler, "HEADERS", HEADERS)
    monkeypatch.setattr(cpp, "_libraries", weakref.WeakValueDictionary())
    for module, name in ((recurrence, "_kernels"), (gemm, "_functions")):
        monkeypatch.setattr(module, name, {})
    monkeypatch.setattr(recurrence, "MOST_KERNELS", 2)
    # The product is no kernel, and stays.
    gemm.function(torch.float64, torch.float64)
    return libraries


def loaded(libraries):
    """The libraries of the folder that this process has loaded."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[-1] for line in maps if str(libraries) in line}


def rates_of(kernels):
    return {kernel.program.cell.rate for kernel in kernels.values()}


@linux
def test_kernels_that_were_not_used_for_longest_leave_the_memory(few_kernels):
    def run(rate):
        layer = tt.Recurrent(Scaled(rate), 3, 4, backend="cpp", dtype=torch.float64)
        x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
        output, _ = layer(x)
        return layer, x, output

    def check(layer, x, output):
        """Checks the gradient, for which the kernel may have to be loaded again."""
        (gradient,) = torch.autograd.grad(output.sum(), x)
        layer.backend = "reference"
        (expected,) = torch.autograd.grad(layer(x)[0].sum(), x)
        torch.testing.assert_close(gradient, expected)

    first = run(0.25)
    run(0.5)
    run(0.25)
    third = run(0.75)
    assert rates_of(recurrence._kernels) == {0.25, 0.75}
    check(*third)
    for step in range(6):
        run(0.01 * step)
    # Each kernel has two libraries. The two outputs that live on keep theirs.
    sources = [Path(place).with_suffix(".cpp").read_text() for place in loaded(few_kernels)]
    assert sum("// Scaled, " in source for source in sources) == 2 * (2 + 2)
    assert len(recurrence._kernels) == 2
    check(*first)


@linux
def test_a_library_lives_as_long_as_something_of_it_can_be_called(few_kernels):
    cpp.load(returning(20))
    function = cpp.load(returning(21)).f
    path = next(path for path in few_kernels.glob("*.cpp") if "return 21" in path.read_text())
    place = str(path.with_suffix(".so"))
    assert place in loaded(few_kernels)
    assert function() == 21
    del function
    assert place not in loaded(few_kernels)
    assert cpp.load(returning(21)).f() == 21

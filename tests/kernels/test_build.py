"""Generated C++ is compiled once, stored where only the user can change it, and loaded."""

import ctypes
import errno
import hashlib
import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from throughtime.kernels.cpp import build as cpp
from throughtime.kernels.cpp import cache, compiler, processor

from .compiling import EXPORT, finished, returning, started

pytestmark = [
    pytest.mark.skipif(bool(cpp.missing()), reason="; ".join(cpp.missing())),
    pytest.mark.usefixtures("libraries"),
]


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


def the_library(libraries):
    (library,) = libraries.glob("*.so")
    return library


def put(library, content):
    """Replaces a library, and its checksum in the source."""
    library.unlink()
    library.write_bytes(content)
    library.chmod(0o700)
    source = library.with_suffix(".cpp")
    checksum = hashlib.sha256(content).hexdigest()
    kept = source.read_text().rpartition(cache._SUM)[0]
    source.write_text(f"{kept}{cache._SUM}{checksum}\n")


def test_a_function_is_compiled_and_called(libraries):
    add = cpp.load(EXPORT + "EXPORT double add(double a, double b) { return a + b; }").add
    add.restype, add.argtypes = ctypes.c_double, [ctypes.c_double] * 2
    assert add(0.25, 0.5) == 0.75
    assert stat.S_IMODE(libraries.stat().st_mode) == 0o700
    library = the_library(libraries)
    assert stat.S_IMODE(library.stat().st_mode) == 0o700
    assert "double add(" in library.with_suffix(".cpp").read_text()
    assert not list(libraries.glob("*.tmp.*"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_openmp_is_the_one_of_torch():
    is_clang = f"{EXPORT}#ifdef __clang__\nEXPORT int f() {{ return 1; }}\n#endif\n"
    if hasattr(cpp.load(is_clang), "f") or cpp.about()["openmp"] == "no":
        pytest.skip("clang has an OpenMP of its own, if any")
    count = cpp.load(EXPORT + "#include <omp.h>\nEXPORT int f() { return omp_get_max_threads(); }")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert count.f() == 3
    finally:
        torch.set_num_threads(before)
    maps = Path("/proc/self/maps").read_text().splitlines()
    # Packages that another test has imported bring copies for themselves (scikit_learn.libs/).
    files = {line.split()[-1] for line in maps if "libgomp" in line}
    assert len({file for file in files if ".libs/" not in file}) == 1


def test_a_second_process_does_not_compile(use_compiler):
    runs = use_compiler()
    code = f"print(cpp.load({returning(11)!r}).f())"
    assert finished(started(code))[0] == "11"
    assert len(runs()) == 1
    assert finished(started(code))[0] == "11"
    assert len(runs()) == 1


def test_what_is_loaded_is_not_looked_for_again(libraries):
    library = cpp.load(returning(12))
    the_library(libraries).unlink()
    assert cpp.load(returning(12)) is library


def test_two_processes_at_once_compile_once(use_compiler):
    runs = use_compiler("sleep 0.3")
    both = [started(f"print(cpp.load({returning(13)!r}).f())") for _ in range(2)]
    assert [finished(process)[0] for process in both] == ["13", "13"]
    assert len(runs()) == 1


def test_two_threads_at_once_compile_once(use_compiler):
    runs = use_compiler("sleep 0.2")
    loaded = []
    threads = [
        threading.Thread(target=lambda: loaded.append(cpp.load(returning(14)))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded[0] is loaded[1]
    assert len(runs()) == 1


def test_several_are_compiled_at_the_same_time(use_compiler, tmp_path):
    # Each compiler waits for the other.
    runs = use_compiler(f'while [ $(wc -l < "{tmp_path}/runs") -lt 2 ]; do sleep 0.02; done')
    sources = [(returning(15), ()), (returning(16), ("-O1",))]
    cpp.prebuild([*sources, sources[0]])
    assert len(runs()) == 2
    assert [cpp.load(*source).f() for source in sources] == [15, 16]
    cpp.prebuild(sources)
    assert len(runs()) == 2


def test_a_process_killed_while_it_compiles_hinders_nobody(use_compiler, libraries):
    runs = use_compiler("sleep 30")
    code = f"print(cpp.load({returning(17)!r}).f())"
    killed = started(code)
    wait_for(lambda: runs() and list(libraries.glob("*.tmp.cpp")))
    killed.kill()
    killed.communicate()
    os.killpg(runs()[0], signal.SIGKILL)
    left = list(libraries.glob("*.tmp.cpp"))
    assert len(left) == 1

    use_compiler()
    assert cpp.load(returning(17)).f() == 17
    # Another process may be at work on what is new; what is an hour old is removed.
    assert left[0].exists()
    long_ago = time.time() - 4000
    os.utime(left[0], (long_ago, long_ago))
    cache._swept.clear()
    cpp.load(returning(18))
    assert not left[0].exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_ends_the_compiler_and_leaves_nothing(use_compiler, libraries, tmp_path):
    # Compilers are several processes: the first starts the others.
    runs = use_compiler(f'sleep 30 &\necho $! >> "{tmp_path}/runs"\nwait')
    process = started(f"cpp.load({returning(19)!r})")
    wait_for(lambda: len(runs()) == 2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in err
    assert not list(libraries.glob("*.tmp.*"))

    def has_ended(pid):
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_for(lambda: all(has_ended(pid) for pid in runs()))


def test_a_forked_child_compiles_while_a_thread_of_its_parent_did(use_compiler):
    runs = use_compiler("sleep 0.3")
    code = f"""
        import os, threading, time
        thread = threading.Thread(target=cpp.load, args=({returning(20)!r},))
        thread.start()
        # In the midst of compiling; the thread holds both locks.
        time.sleep(0.15)
        pid = os.fork()
        if pid == 0:
            os._exit(cpp.load({returning(20)!r}).f())
        thread.join()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert finished(started(code))[0] == "20"
    assert len(runs()) == 1


@pytest.mark.parametrize("size", [0, 100, 9000])
def test_a_library_that_was_cut_off_is_built_again(libraries, size):
    assert finished(started(f"print(cpp.load({returning(21)!r}).f())"))[0] == "21"
    library = the_library(libraries)
    assert library.stat().st_size > size
    os.truncate(library, size)
    assert cpp.load(returning(21)).f() == 21


def test_a_library_that_does_not_load_is_built_again(libraries):
    cpp.prebuild([(returning(22), ())])
    put(the_library(libraries), b"no library at all")
    assert cpp.load(returning(22)).f() == 22


def _of_another_user(file):
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(file, 12345, -1)


@pytest.mark.parametrize(
    "spoil",
    [lambda file: file.chmod(0o777), lambda file: file.chmod(0o720), _of_another_user],
    ids=["world-writable", "group-writable", "foreign"],
)
@pytest.mark.parametrize("suffix", [".so", ".cpp"])
def test_what_others_could_have_written_is_not_loaded(
    libraries, tmp_path, spoil, suffix, monkeypatch
):
    cpp.prebuild([(returning(23), ())])
    library = the_library(libraries)
    monkeypatch.setenv("THROUGHTIME_CACHE", str(tmp_path / "evil"))
    cpp.prebuild([(returning(666), ())])
    put(library, the_library(tmp_path / "evil").read_bytes())
    # The switch works: what is there is what would be run.
    monkeypatch.setenv("THROUGHTIME_CACHE", str(libraries))
    assert finished(started(f"print(cpp.load({returning(23)!r}).f())"))[0] == "666"

    spoil(library.with_suffix(suffix))
    assert cpp.load(returning(23)).f() == 23


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_refused(libraries, mode):
    libraries.mkdir()
    libraries.chmod(mode)
    with pytest.warns(RuntimeWarning, match=r"others than its owner .* chmod go-w") as report:
        assert cpp.load(returning(24)).f() == 24
    assert len(report) == 1
    # Once is enough, and a second warning would be an error here.
    assert cpp.load(returning(25)).f() == 25
    assert not list(libraries.iterdir())


def test_a_folder_of_another_user_is_refused(libraries):
    libraries.mkdir()
    _of_another_user(libraries)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        cpp.load(returning(48))
    assert not list(libraries.iterdir())


def test_the_folder_in_its_place_is_private_and_goes_with_the_process(libraries, tmp_path):
    libraries.mkdir()
    libraries.chmod(0o777)
    code = f"print(cpp.load({returning(26)!r}).f(), *cache._replacements.values())"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    value, folder = finished(started(code, env=os.environ | {"TMPDIR": str(temporary)}))[0].split()
    assert value == "26"
    assert Path(folder).parent == temporary
    assert not Path(folder).exists()


def test_a_link_to_a_folder_is_followed(libraries, tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    libraries.symlink_to(tmp_path / "real")
    assert cpp.load(returning(27)).f() == 27
    assert the_library(tmp_path / "real")
    (tmp_path / "real").chmod(0o770)
    with pytest.warns(RuntimeWarning, match="others than its owner"):
        cpp.load(returning(28))


def test_a_folder_that_cannot_be_made_falls_back(libraries):
    libraries.write_text("a file")
    with pytest.warns(RuntimeWarning, match="does not keep compiled code"):
        assert cpp.load(returning(29)).f() == 29


def test_a_read_only_folder_falls_back(libraries, monkeypatch):
    write = cache.write

    def refusing(file, text):
        if file.parent == libraries:
            raise OSError(errno.EROFS, "Read-only file system", str(file))
        write(file, text)

    monkeypatch.setattr(cache, "write", refusing)
    with pytest.warns(RuntimeWarning, match="Read-only file system"):
        assert cpp.load(returning(30)).f() == 30
    assert cpp.load(returning(31)).f() == 31


def test_a_full_disk_falls_back(libraries, use_compiler):
    use_compiler(
        f'[ "$PWD" = "{libraries}" ] && echo "final link: No space left on device" && exit 1'
    )
    with pytest.warns(RuntimeWarning, match="disk is full"):
        assert cpp.load(returning(32)).f() == 32


def test_without_any_folder_the_error_says_what_to_do(libraries, monkeypatch):
    libraries.write_text("a file")
    monkeypatch.setattr(cache.tempfile, "mkdtemp", lambda **_: (libraries / "x").mkdir())
    with pytest.raises(cpp.CompileError, match=r"neither in .* THROUGHTIME_CACHE"):
        cpp.load(returning(33))


def test_without_a_compiler_it_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler, "_of_ziglang", lambda: None)
    assert cpp.find_compiler() is None
    (why,) = cpp.missing()
    assert "no C++ compiler was found (looked at CXX, c++, g++, clang++); install one" in why
    with pytest.raises(cpp.CompileError, match="no C\\+\\+ compiler"):
        cpp.load(returning(34))
    assert cpp.about()["compiler"] == "none"


@pytest.mark.parametrize("cxx", ["/nowhere/g++ -v", "'unclosed"])
def test_a_cxx_that_is_not_there_is_named(monkeypatch, cxx):
    monkeypatch.setenv("CXX", cxx)
    assert cpp.find_compiler() is None
    assert "unset the environment variable CXX" in cpp.missing()[0]


def test_cxx_may_hold_arguments(monkeypatch, use_compiler):
    runs = use_compiler()
    script = os.environ["CXX"]
    monkeypatch.setenv("CXX", f"{script} -DVALUE=35")
    assert cpp.load(returning("VALUE")).f() == 35
    assert cpp.find_compiler() == Path(script)
    assert len(runs()) == 1
    monkeypatch.setenv("CXX", f"{script} -DVALUE=36")
    assert cpp.load(returning("VALUE")).f() == 36


def test_a_compiler_that_cannot_be_run_is_named(tmp_path, monkeypatch):
    script = tmp_path / "compiler"
    script.write_bytes(b"\x7fELF, but no further")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    with pytest.raises(cpp.CompileError, match="cannot be run"):
        cpp.load(returning(37))
    assert cpp.about()["openmp"].startswith("unknown")


def test_the_error_holds_what_the_compiler_said(libraries):
    with pytest.raises(cpp.CompileError, match=r"error: .*no_such_thing") as caught:
        cpp.load(returning("no_such_thing"))
    (source,) = libraries.glob("*.cpp")
    assert str(source) in str(caught.value)
    assert "no_such_thing" in source.read_text()
    assert not list(libraries.glob("*.tmp.*"))


@pytest.mark.skipif(sys.platform != "linux", reason="a flag of its linkers")
def test_a_function_that_is_nowhere_is_the_compilers_error():
    with pytest.raises(cpp.CompileError, match=r"undefined reference.*nowhere"):
        cpp.load(f"int nowhere();\n{returning('nowhere()')}")


def test_one_refused_source_does_not_spoil_the_others(use_compiler, libraries):
    runs = use_compiler()
    with pytest.raises(cpp.CompileError, match="no_such_thing"):
        cpp.prebuild([(returning("no_such_thing"), ()), (returning(38), ())])
    before = len(runs())
    assert cpp.load(returning(38)).f() == 38
    assert len(runs()) == before


@pytest.mark.parametrize("flag", cpp.OPTIONAL_FLAGS)
def test_a_flag_that_the_compiler_refuses_is_left_out(use_compiler, tmp_path, flag):
    log = tmp_path / "arguments"
    runs = use_compiler(
        f'echo "$*" >> "{log}"\ncase " $* " in *" {flag} "*) echo "what is {flag}?"; exit 1;; esac'
    )
    assert cpp.load(returning(39)).f() == 39
    first = len(runs())
    left_in = [f for f in cpp.OPTIONAL_FLAGS if f != flag]
    assert set(left_in) <= set(log.read_text().splitlines()[-1].split())
    # It is remembered.
    assert cpp.load(returning(40)).f() == 40
    assert len(runs()) == first + 1
    assert cpp.about()["openmp"] == ("no" if flag == "-fopenmp" else "yes")


def test_different_flags_give_different_libraries():
    assert [cpp.load(returning("V"), (f"-DV={v}",)).f() for v in (41, 42)] == [41, 42]


def test_a_changed_header_gives_a_new_library(tmp_path, monkeypatch):
    source = '#include "value.hpp"\n' + returning("VALUE")
    for value in (43, 44):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "value.hpp").write_text(f"#define VALUE {value}\n")
        monkeypatch.setattr(compiler, "HEADERS", folder)
        assert cpp.load(source).f() == value


def test_another_processor_or_compiler_gives_a_new_library(libraries, use_compiler, monkeypatch):
    cpp.load(returning(45))
    with monkeypatch.context() as patch:
        patch.setattr(processor, "cpu", lambda: ("another",))
        cpp.load(returning(45))
    assert len(list(libraries.glob("*.so"))) == 2
    use_compiler()
    cpp.load(returning(45))
    assert len(list(libraries.glob("*.so"))) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_processor_is_known_by_what_it_can_do():
    text = "\n".join(processor.cpu())
    assert "flags" in text or "Features" in text
    # Nothing that changes from one moment to the next.
    assert "MHz" not in text


def test_a_careless_umask_changes_nothing(use_compiler):
    runs = use_compiler()
    code = f"import os; os.umask(0); print(cpp.load({returning(46)!r}).f())"
    assert [finished(started(code)) for _ in range(2)] == [("46", ""), ("46", "")]
    assert len(runs()) == 1


def test_about_names_the_compiler_the_cache_and_the_processor(libraries):
    report = cpp.about()
    assert not libraries.exists()
    assert "0 kernels" in report["cache"]
    cpp.load(returning(47))
    report = cpp.about()
    assert str(cpp.find_compiler()) in report["compiler"]
    assert report["openmp"] in ("yes", "no")
    assert f"{libraries} (1 kernels" in report["cache"]
    assert report["vectors"]
    libraries.chmod(0o777)
    assert "not used: others than its owner" in cpp.about()["cache"]

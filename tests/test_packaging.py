"""The wheel and the source archive: what they hold, and that a fresh environment can use them."""

import email
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from shutil import which

import pytest

import throughtime as tt
from throughtime.kernels.cpp import build as cpp

ROOT = Path(__file__).parent.parent


def ran(*words, **options):
    """What a command prints; its errors where it fails."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel, built from the source archive, and that archive."""
    folder = tmp_path_factory.mktemp("dist")
    ran(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


@pytest.fixture(scope="module")
def metadata(built):
    with zipfile.ZipFile(built[0]) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(wheel.read(name))


def environment(folder, python=sys.executable):
    """A new environment without any package, and its interpreter."""
    ran(python, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def install(python, wheel):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    ran(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment with the wheel, which finds what the wheel needs in that of the tests.

    A path in a .pth file is searched after the environment's own packages, and .pth files there,
    such as that of an editable throughtime, are not read.
    """
    folder = tmp_path_factory.mktemp("environment") / "new"
    python = environment(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    install(python, built[0])
    return python


def clean():
    """The environment variables of the tests without those that lead to this checkout."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    listed = ran("git", "-C", ROOT, "ls-files", "src/throughtime").split()
    assert names == {name.removeprefix("src/") for name in listed}
    assert "throughtime/kernels/cpp/gemm.hpp" in names
    assert "throughtime/inspection/page/static/index.html" in names


def test_the_source_archive_holds_what_is_needed_to_build_and_test(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "mkdocs.yml",
        "Makefile",
    ):
        assert name in names
    assert "recipes/char-lm/tinyshakespeare-2x256.yaml" in names
    assert "tests/test_packaging.py" in names
    assert not [name for name in names if name.startswith((".venv", "runs", "site"))]


def test_the_version_stands_in_one_place(metadata):
    assert metadata["Version"] == tt.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == tt.__version__
    assert f'"{tt.__version__}"' not in (ROOT / "pyproject.toml").read_text()


def test_the_changelog_has_the_usual_form():
    """That of Keep a Changelog: versions, and in each the kinds of changes in their order."""
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    first, *versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert first.startswith("# Changelog\n")
    assert versions[0].startswith("[Unreleased]\n")
    for version in versions:
        assert re.match(r"\[(Unreleased\]|\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d)\n", version)
        headings = re.findall(r"^### (.*)$", version, re.MULTILINE)
        assert headings == [kind for kind in kinds if kind in headings]


def test_the_declared_pythons_are_those_that_may_install_it(metadata):
    declared = re.findall(r"Python :: (3\.\d+)", metadata.as_string())
    assert declared == ["3.11", "3.12", "3.13"]
    assert metadata["Requires-Python"] == ">=3.11"


def test_every_extra_of_the_project_is_in_the_wheel(metadata):
    extras = set(metadata.get_all("Provides-Extra"))
    assert {"all", "onnx", "translation", "lens", "compiler", "docs", "test"} <= extras


def test_the_wheel_works_in_an_environment_of_its_own(installed, tmp_path):
    code = """
import torch, throughtime as tt
print(tt.__file__, tt.__version__)
layer = tt.Recurrent("lstm-peephole", 3, 4, dtype=torch.float64)
x = torch.randn(5, 2, 3, dtype=torch.float64)
output, _ = layer(x)
output.sum().backward()
print(layer.explain(x).backend)
"""
    words = ran(installed, "-c", code, cwd=tmp_path, env=clean()).split()
    assert Path(words[0]).is_relative_to(installed.parents[1])
    assert words[1] == tt.__version__
    # The headers of the kernels are in the wheel.
    assert words[2] == ("reference" if cpp.missing() else "cpp")


def test_the_command_of_the_wheel_runs(installed, tmp_path):
    command = installed.with_name("throughtime")
    assert "h_t" in ran(command, "equations", "gru", cwd=tmp_path, env=clean())


@pytest.mark.slow
def test_the_wheel_trains_and_judges_a_model(installed, tmp_path):
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 100)
    command = installed.with_name("throughtime")
    small = ["--data", "text.txt", "--epochs", "1", "--hidden_size", "8", "--batch_size", "4"]
    ran(command, "train", "char-lm", *small, "--run", "run", cwd=tmp_path, env=clean())
    assert (tmp_path / "run" / "report.html").is_file()
    figures = ran(command, "evaluate", "run", "--json", cwd=tmp_path, env=clean())
    assert "bits_per_character" in figures


def interpreters():
    """The other declared Pythons of this machine, by their versions."""
    places = {}
    for minor in (12, 13):
        candidates = [which(f"python3.{minor}")]
        candidates += sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
        for path in filter(None, candidates):
            asked = subprocess.run([path, "--version"], capture_output=True, text=True)
            if asked.returncode == 0 and f" 3.{minor}." in asked.stdout:
                places[f"3.{minor}"] = path
    return places


@pytest.mark.parametrize("version", [pytest.param("3.12", marks=pytest.mark.slow), "3.13"])
def test_another_python_installs_the_wheel_and_compiles_its_source(built, tmp_path, version):
    path = interpreters().get(version)
    if path is None:
        pytest.skip(f"Python {version} is not installed")
    python = environment(tmp_path / "new", path)
    install(python, built[0])
    (site,) = (tmp_path / "new").glob("lib/python*/site-packages")
    ran(python, "-W", "error", "-m", "compileall", "-q", site / "throughtime", env=clean())
    assert tt.__version__ in ran(python.with_name("throughtime"), "--version", env=clean())

"""The modules that ``import throughtime`` loads, the processes it starts, and its names."""

import json
import subprocess
import sys

import pytest

import throughtime
from throughtime import public

HEAVY = {
    *("pytorch_lightning", "lightning", "matplotlib", "triton", "tensorboard"),
    *("jsonargparse", "rich", "pooch"),
}

# Import PyTorch first, so that only modules and processes of throughtime are counted.
# and every process that is started, is ours.
PROBE = """
import json, sys, warnings
import torch
before = set(sys.modules)
started = []
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn")
sys.addaudithook(lambda event, args: started.append(event) if event in STARTS else None)
warnings.simplefilter("error")
{code}
print(json.dumps([sorted(set(sys.modules) - before), started]))
"""


def probe(code):
    """The modules that the code loads in a fresh interpreter, and the processes it starts."""
    command = [sys.executable, "-c", PROBE.format(code=code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules, started = json.loads(done.stdout)
    return modules, started


def test_importing_loads_nothing_heavy_and_starts_no_process():
    modules, started = probe("import throughtime; throughtime.LSTM")
    assert "throughtime.layers.recurrent" in modules
    assert {name.split(".")[0] for name in modules} & HEAVY == set()
    assert [n for n in modules if n.startswith(("throughtime.training", "throughtime.cli"))] == []
    assert started == []


def test_the_package_alone_loads_no_torch():
    code = "import sys, throughtime; assert 'torch' not in sys.modules, 'torch is loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_module_of_the_package_can_be_imported_first():
    # The public names are loaded on use, so any module may be the first one.
    modules, _ = probe("import throughtime.layers.recurrent; throughtime.GRU; throughtime.cells")
    assert "throughtime.interchange" in modules


def test_the_probe_sees_what_it_looks_for():
    modules, started = probe("import rich, subprocess; subprocess.run(['true'])")
    assert "rich" in modules
    assert "subprocess.Popen" in started


def test_all_public_names_are_there_and_documented():
    assert len(set(throughtime.__all__)) == len(throughtime.__all__)
    for name in throughtime.__all__:
        assert getattr(throughtime, name).__doc__, name
    of_ours = {
        name
        for name, value in vars(public).items()
        # A module has a name, and everything else the name of its module.
        if getattr(value, "__module__", getattr(value, "__name__", "")).startswith("throughtime")
    }
    assert set(throughtime.__all__) == of_ours
    assert set(throughtime.__all__) <= set(dir(throughtime))
    with pytest.raises(AttributeError, match="'throughtime' has no attribute 'LSTN'"):
        throughtime.LSTN  # noqa: B018
    star = {}
    exec("from throughtime import *", star)
    assert set(throughtime.__all__) <= set(star)


def test_the_version_is_that_of_the_distribution():
    major, minor, patch = throughtime.__version__.split(".")
    assert all(part.isdigit() for part in (major, minor, patch))

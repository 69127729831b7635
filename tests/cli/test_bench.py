"""The command bench, as a user types it."""

import json
from pathlib import Path

import pytest
import torch

from throughtime.cli.main import main
from throughtime.kernels import reference
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp.recurrence import Kernel
from throughtime.measuring import benchmark, own_process

# The reference needs no compiler; what the figures are worth is another test's matter.
TINY = "--sizes 2x8 3x5 --steps 4 --rounds 1 --backend reference".split()


@pytest.fixture
def said(capsys):
    """Runs the command; returns its exit status, output and errors."""

    def call(*argv):
        try:
            status = main(["bench", *(str(a) for a in argv)])
        except SystemExit as stop:
            status = stop.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.fixture
def wrong_kernel(monkeypatch):
    def run(call):
        output, last = reference.run(call)
        return 1.01 * output, last

    monkeypatch.setattr(cpp, "run", run)
    monkeypatch.setattr(cpp, "reasons", lambda call: [])
    # The plans of small calls do not go through `run`.
    monkeypatch.setattr(Kernel, "has_plans", False)


def test_the_table_has_a_line_for_each_cell_mode_and_size(said):
    status, out, err = said("--cells", "lstm", "lstm-cifg", "--peers", "torch", "loop", *TINY)
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    for cell in ("lstm", "lstm-cifg"):
        for mode in ("inference", "training"):
            for size in ("2x8", "3x5"):
                (line,) = [words for words in lines if words[:3] == [cell, mode, size]]
                assert float(line[3]) > 0
                assert (line[4] == "-") == (cell == "lstm-cifg")
                assert line[5].endswith("x")
            assert any(words[:4] == [cell, mode, "loop", "2"] for words in lines)
    assert "2 T B H (blocks of W x I + blocks of R x H)" in out


def test_json_is_complete(said):
    status, out, err = said(
        "--cells", "gru", "--peers", "torch", *TINY, "--per_flop", "--json", "-"
    )
    assert (status, err) == (0, "")
    report = json.loads(out)
    for name in ("cpu", "vectors", "l2", "torch", "threads", "commit", "date"):
        assert name in report["machine"]
    assert report["machine"]["torch"] == torch.__version__
    assert report["settings"]["steps"] == 4
    assert report["settings"]["dtype"] == "float32"
    points = [(p["mode"], p["batch"], p["hidden"]) for p in report["points"]]
    assert points == [(m, b, h) for b, h in ((2, 8), (3, 5)) for m in ("inference", "training")]
    for point in report["points"]:
        assert point["ms"].keys() == {"ours", "torch", "our lstm"}
        assert point["rounds"] == 1
        assert point["errors"] == {}
        assert point["gflops"] > 0
        assert point["per_flop_of_lstm"] > 0
    assert {e["against"] for e in report["summary"]} == {"torch", "per FLOP of lstm"}


def test_json_in_a_file_comes_beside_the_table(said, tmp_path):
    file = tmp_path / "bench.json"
    status, out, _ = said("--cells", "gru", "--peers", "none", *TINY, "--json", file)
    assert status == 0
    assert "gru" in out
    assert len(json.loads(file.read_text())["points"]) == 4


def test_what_was_measured_before_an_interruption_is_in_the_file(said, tmp_path, monkeypatch):
    measure, calls = benchmark.measure, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(benchmark, "measure", interrupted)
    file = tmp_path / "bench.json"
    assert said("--cells", "gru", "--peers", "none", *TINY, "--json", file)[0] == 130
    assert len(json.loads(file.read_text())["points"]) == 2


def test_a_kernel_that_is_wrong_gets_no_speed_and_the_command_fails(said, wrong_kernel, tmp_path):
    file = tmp_path / "bench.json"
    status, out, err = said(
        *("--cells", "gru", "--sizes", "2x8", "--steps", 4, "--rounds", 1),
        *("--peers", "loop", "--json", file),
    )
    assert status == 1
    lines = [line.split() for line in out.splitlines()]
    assert ["gru", "inference", "2x8", "wrong"] in lines
    assert ["gru", "training", "2x8", "wrong"] in lines
    assert err.startswith("throughtime bench: gru 2x8, ours: the outputs without gradients differ")
    assert err.count("\n") == 1
    for point in json.loads(file.read_text())["points"]:
        assert (point["ms"], point["gflops"]) == ({}, None)
        assert "ours" in point["errors"]


def test_ragged_rows_have_their_own_peers(said):
    status, out, _ = said("--ragged", "--cells", "lstm", *TINY)
    assert status == 0
    head = next(line.split() for line in out.splitlines() if line.startswith("cell"))
    assert head[5:7] == ["torch", "padded"]
    assert "lengths uniform" in out


@pytest.fixture
def in_this_process(monkeypatch):
    """No process for each figure: that is tested where the figures are made."""
    jobs = []

    def run(what, job, environment):
        jobs.append((what, dict(job), dict(environment)))
        return own_process._child(what, job)

    monkeypatch.setattr(own_process, "_in_a_process", run)
    return jobs


def test_memory_is_that_of_torch_and_of_both_ways_to_save(said, in_this_process, monkeypatch):
    # In a process that has memory to spare, a step may need none that is new.
    monkeypatch.setattr(own_process, "step_memory", lambda step: (step(), 2**20)[1])
    status, out, _ = said(
        "--memory", "--cells", "rnn-tanh", "--sizes", "8x64", "--steps", 200, "--json", "-"
    )
    assert status == 0
    (point,) = json.loads(out)["points"]
    assert point["bytes"].keys() == {"torch", "gates", "states"}
    assert (point["gates_of_torch"], point["states_of_torch"]) == (1, 1)
    assert [job["who"] for _, job, _ in in_this_process] == ["torch", "gates", "states"]


def test_first_calls_share_a_cache_that_is_empty_at_first(said, in_this_process):
    status, out, _ = said("--first-call", "--cells", "gru", "--sizes", "2x8", "--steps", 3)
    assert status == 0
    assert "warm - later ms" in out
    folders = {environment["THROUGHTIME_CACHE"] for _, _, environment in in_this_process}
    assert len(folders) == 1
    assert not Path(folders.pop()).exists()


@pytest.mark.slow
def test_the_first_call_compiles_and_the_warm_one_does_not(said):
    status, out, _ = said(
        "--first_call", "--cells", "rnn-tanh", "--sizes", "2x8", "--steps", 3, "--json", "-"
    )
    assert status == 0
    (point,) = json.loads(out)["points"]
    assert point["cold"] > 2 * point["warm"]
    assert point["warm"] > point["later"] > 0


def test_threads_are_set_for_the_measurement_alone(said):
    before = torch.get_num_threads()
    _, out, _ = said(
        "--cells", "gru", "--peers", "none", *TINY, "--threads", before + 1, "--json", "-"
    )
    assert json.loads(out)["machine"]["threads"] == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--cells lstn", 'unknown cell "lstn"; did you mean "lstm"?'),
        ("--sizes 32*256", 'expected BxH, rows by hidden units, such as 32x256, got "32*256"'),
        ("--peers torhc", 'unknown peer "torhc"; did you mean "torch"?'),
        ("--ragged --peers loop", 'unknown peer of a ragged batch "loop"'),
        ("--modes train", 'unknown mode "train"; did you mean "training"?'),
        ("--backend cp", 'unknown backend "cp"; did you mean "cpp"?'),
        ("--dtype float3", 'unknown dtype "float3"; did you mean "float32"?'),
        ("--save gate", "--save: expected one of gates, states, got gate"),
        ("--threads 0", "threads: expected 1 or more, got 0"),
        ("--steps 0", "steps: expected 1 or more, got 0"),
        ("--memory --first_call", "two measurements; ask for one at a time"),
        ("--memory --rounds 3", "--rounds has no effect with --memory"),
        ("--first_call --peers torch", "--peers has no effect with --first_call"),
        ("--modes inference --save states", "--save has no effect on inference"),
        ("--rounds 3 --seconds 1", "--seconds has no effect with --rounds"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(said, argv, message):
    status, out, err = said(*argv.split())
    assert status != 0
    assert message in err
    assert out == ""

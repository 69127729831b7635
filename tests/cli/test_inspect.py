"""throughtime inspect: tables, recordings and pictures of run folders, and what it refuses."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from throughtime import tasks
from throughtime.cli.main import main
from throughtime.inspection.recording import Recording
from throughtime.tasks.run import Run

TEXT = 'say "yes" to (all) of it\n  and more\n' * 60


def saved(folder, name, **settings):
    """A run folder with an untrained model."""
    kind = tasks.get(name)
    task = kind(kind.Config(hidden_size=5, **settings))
    torch.manual_seed(0)
    run = Run(folder)
    run.create(task, {"clip_norm": 1.0, "seed": 7})
    run.save_model(task.model())
    run.metrics_file.write_text("step,epoch,seconds,split,loss,gradient_norm\n5,1,1,train,2,2\n")
    return str(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "text.txt").write_text(TEXT)
    pairs = [f"{n} {w}\t{w} {n}\n" for n in ("one", "two") for w in ("cat", "dog", "cow")] * 8
    (folder / "pairs.tsv").write_text("".join(pairs))
    text, pair = str(folder / "text.txt"), str(folder / "pairs.tsv")
    (folder / "tagged.txt").write_text("one\tO\n\n" + "one\tO\ncat\tB-X\ntwo\tO\n\n" * 30)
    tagged = str(folder / "tagged.txt")
    return {
        "lstm": saved(folder / "lstm", "char-lm", data=text, num_layers=2),
        "gru": saved(folder / "gru", "char-lm", data=text, num_layers=1, cell="gru"),
        "pairs": saved(folder / "pairs", "translation", data=pair, attention="dot"),
        "addition": saved(folder / "addition", "addition"),
        "tagging": saved(folder / "tagging", "tagging", data=tagged, letter_size=4),
    }


def printed(capsys, *words):
    assert main(["inspect", *words]) == 0
    return capsys.readouterr().out


def refusal(capsys, *words):
    try:
        status = main(["inspect", *words])
    except SystemExit as end:
        status = end.code
    assert status in (1, 2)
    return capsys.readouterr().err.splitlines()[0]


def test_a_table_names_each_measure_once(runs, capsys):
    table = printed(capsys, runs["lstm"], "--text", 'say "so" (it)\n  so', "--pattern", "s[ao]")
    lines = table.splitlines()
    for measure in (
        "gradient against lag",
        "gradient before training",
        "singular values of the step",
        "largest Lyapunov exponent",
        "spectrum of R",
        "saturation of the gate",
        "dead units",
        "effective rank",
        "units that follow",
        "gradient norm",
    ):
        assert sum(line.startswith(measure) for line in lines) == 1, measure
    assert "  pattern s[ao]  " in table
    assert "fixed points" not in table
    assert "clipped at 1 in 100% of the rows" in table


def test_all_measures_are_json(runs, capsys):
    words = (runs["pairs"], "--text", "one cat", "--measures", "--json")
    content = json.loads(printed(capsys, *words))
    assert content["task"] == "translation"
    assert set(content["steps"]) == {"encoder", "decoder"}
    measures = {(m["measure"], m["where"]): m for m in content["measures"]}
    decay = measures["gradient against lag", "decoder.recurrent layer 0"]
    assert len(decay["norms"]) > 1
    fixed = measures["fixed points", "encoder layer 0 reverse"]
    assert len(fixed["points"][0]) == 10
    assert measures["gradient norm", ""]["after"] == [1.0]


def test_a_series_of_numbers_is_measured(runs, capsys):
    table = printed(capsys, runs["addition"], "--measures")
    assert "gradient against lag" in table
    assert "units that follow" not in table


def test_the_longest_example_is_read_and_no_network_of_letters_is_measured(runs, capsys):
    content = json.loads(printed(capsys, runs["tagging"], "--measures", "--json"))
    assert content["steps"] == {"recurrent": ["one", "cat", "two"]}
    measured = {m["where"] for m in content["measures"] if m["measure"] == "gradient against lag"}
    assert measured == {"recurrent layer 0", "recurrent layer 0 reverse"}
    assert not any("letters" in m["where"] for m in content["measures"])


def test_two_runs_stand_beside_each_other(runs, capsys):
    first, *_ = printed(
        capsys, runs["lstm"], "--compare", runs["gru"], "--text", "say"
    ).splitlines()
    assert first.split() == [runs["lstm"], runs["gru"]]


def test_an_example_is_recorded(runs, capsys, tmp_path):
    path = tmp_path / "example.safetensors"
    assert printed(capsys, runs["lstm"], "--example", "1", "--record", str(path)) == f"{path}\n"
    recording = Recording.load(path)
    assert recording.values["recurrent.c_l1"].shape == (len(recording.steps[""]), 5)
    assert "".join(recording.steps[""]) in TEXT


@pytest.mark.parametrize(
    ("run", "text", "unit", "more"),
    [
        ("gru", "say", "recurrent.h_l0:3", {"gates-recurrent-l0"}),
        pytest.param(
            "pairs",
            "two dog",
            "encoder.h_l0:3",
            {"gates-decoder.recurrent-l0", "attention-decoder.attention.weights"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_pictures_are_written(runs, capsys, tmp_path, run, text, unit, more):
    words = ["--pictures", str(tmp_path / "new"), "--text", text, "--unit", unit]
    paths = printed(capsys, runs[run], *words).splitlines()
    assert sorted(paths) == sorted(map(str, (tmp_path / "new").iterdir()))
    names = {path.rpartition("/")[2].removesuffix(".svg") for path in paths}
    assert {f"text-{unit.replace(':', '-')}", "unfolded", "saturation", "gradients"} | more < names
    for path in paths:
        assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_run_that_is_still_training_is_read_with_a_remark(runs, capsys):
    lock = Run(Path(runs["gru"])).lock()
    try:
        assert main(["inspect", runs["gru"], "--text", "say it"]) == 0
    finally:
        lock.release()
    assert "the training is going on; this is the best model so far" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--text", ""], "--text: expected a text, got an empty one"),
        (["--text", "€"], "the text cannot be read: the text has 1 character(s)"),
        (["--text", "a" * 10_001], "--text: expected at most 10,000 characters, got 10,001"),
        (["--example", "99"], "--example: expected a number from 1 to 1, got 99"),
        (["--example", "0"], "--example: expected a number from 1 to 1, got 0"),
        (["--text", "a", "--example", "1"], "--example: --text is read instead"),
        (["--pattern", "("], 'pattern: expected a regular expression, got "("'),
        (["--json", "--record", "a.safetensors"], "--json: has no effect here"),
        (["--record", "a.npz"], "--record: expected a name that ends with .safetensors"),
        (["--record", "nowhere/a.safetensors"], "--record: there is no folder nowhere"),
        (["--port", "3"], "--port: has no effect here; it is for --serve"),
        (["--serve", "--text", "a"], "--text and --example have no effect with --serve"),
        (["--serve", "--html", "a.html"], "leave one of them out"),
        (["--unit", "x:1", "--pictures", "p"], "--unit: expected a value and the number"),
        (["--compare", "nowhere"], "nowhere: expected a run folder"),
    ],
)
def test_what_is_refused(runs, capsys, monkeypatch, tmp_path, words, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in refusal(capsys, runs["lstm"], *words)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_inspected_are_refused(runs, capsys, tmp_path):
    assert "expected a run folder" in refusal(capsys, str(tmp_path / "no"))
    config = json.loads((Path(runs["gru"]) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "no model was saved here yet" in refusal(capsys, str(tmp_path))
    config["settings"]["from_the_future"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert 'there is no "from_the_future"' in refusal(capsys, str(tmp_path))


def test_a_model_without_recurrent_layers_is_refused(tmp_path, capsys):
    folder = saved(tmp_path / "window", "memory", problem="parity", network="window")
    assert "no recurrent layers" in refusal(capsys, folder)


def test_a_run_of_another_version_is_read_with_a_remark(runs, capsys, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((Path(runs["gru"]) / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["versions"]["throughtime"] = "0.0.1"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["inspect", str(tmp_path), "--text", "say"]) == 0
    assert "trained with throughtime 0.0.1; this is" in capsys.readouterr().err

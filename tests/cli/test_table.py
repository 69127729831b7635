"""throughtime table: trainings of a table, resumed, and their page."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from throughtime.cli.main import main
from throughtime.cli.table import read_table, trainings_of
from throughtime.inspection.table import Row, in_lines, write_table
from throughtime.inspection.table_curves import curves_html
from throughtime.tasks.task import Figure

RECIPE = """
about: {what: small}
task: memory
problem: anbn
length: 4
test_length: 6
hidden_size: 4
batches_per_epoch: 3
batch_size: 4
epochs: 2
"""
TABLE = """
about: {title: Counting, what: how far networks count}
over: {seed: [1, 2]}
split: test
figures: [right_to, accuracy]
runs:
  a <GRU>: {recipe: memory/small, settings: {cell: gru}, published: {right_to: 9}, source: Weiss}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "recipes" / "memory").mkdir(parents=True)
    (tmp_path / "recipes" / "tables").mkdir()
    (tmp_path / "recipes" / "memory" / "small.yaml").write_text(RECIPE)
    (tmp_path / "recipes" / "tables" / "counting.yaml").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_is_trained_once_and_goes_on_after_a_signal(folder, capfd):
    command = [sys.executable, "-m", "throughtime.cli.main", "table", "counting", "--jobs", "2"]
    runs = folder / "runs" / "tables" / "counting"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not list(runs.glob("*/*/config.json")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
    assert process.returncode == 143
    assert "2 runs, 2 to train" in out
    assert main(["table", "counting", "--jobs", "2"]) == 0
    results = sorted(runs.glob("*/*/figures.json"))
    assert [path.parent.relative_to(runs).as_posix() for path in results] == [
        "1-a-gru/seed-1",
        "1-a-gru/seed-2",
    ]
    page = (runs / "table.html").read_text()
    assert "a &lt;GRU&gt;" in page
    assert "published by Weiss" in page
    assert "<svg" in page
    assert "2 of 2" in page
    times = [path.stat().st_mtime_ns for path in results]
    capfd.readouterr()
    assert main(["table", "counting"]) == 0
    assert "2 runs, 0 to train" in capfd.readouterr().out
    assert [path.stat().st_mtime_ns for path in results] == times
    config = json.loads((runs / "1-a-gru" / "seed-2" / "config.json").read_text())
    assert config["settings"]["cell"] == "gru"
    assert config["training"]["seed"] == 2

    # A changed recipe is not mixed with what was trained by the old one.
    recipe = folder / "recipes" / "memory" / "small.yaml"
    recipe.write_text(RECIPE.replace("epochs: 2", "epochs: 3"))
    assert main(["table", "counting"]) == 1
    assert "has changed since this run was trained" in capfd.readouterr().err


@pytest.mark.slow
def test_a_killed_table_goes_on_and_shows_the_figures_of_each_split(folder, capfd):
    path = folder / "recipes" / "tables" / "counting.yaml"
    by_split = "figures: {valid: [accuracy], test: [right_to, accuracy]}"
    text = TABLE.replace("[1, 2]", "[1]").replace("split: test\n", "")
    text = text.replace("figures: [right_to, accuracy]", by_split)
    path.write_text(text.replace("{right_to: 9}", "{test: {right_to: 9}}"))
    recipe = folder / "recipes" / "memory" / "small.yaml"
    recipe.write_text(RECIPE.replace("batches_per_epoch: 3", "batches_per_epoch: 200"))
    command = [sys.executable, "-m", "throughtime.cli.main", "table", "counting", "--jobs", "1"]
    run = folder / "runs" / "tables" / "counting" / "1-a-gru" / "seed-1"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not (run / "metrics.csv").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    # The training outlives its table, and must not be trained twice.
    assert main(["table", "counting"]) == 0
    out = capfd.readouterr().out
    assert f"another process trains in {run.relative_to(folder)}; waiting for its end" in out
    assert "a <GRU>, seed 1: done; 0 left" in out
    figures = json.loads((run / "figures.json").read_text())["figures"]
    columns = ["accuracy (valid)", "right_to (test)", "accuracy (test)"]
    assert set(columns) <= set(figures)
    head, line, source, _ = out.splitlines()[3:]
    assert re.split("  +", head)[2:6] == [
        *("accuracy (valid)", "right to (test)", "published", "accuracy (test)"),
    ]
    assert re.split("  +", line)[2:6] == [
        *(f"{figures[name]:.4g}" for name in columns[:2]),
        *("9", f"{figures[columns[2]]:.4g}"),
    ]
    assert source == "a <GRU>: published by Weiss."
    rows = (run / "metrics.csv").read_text().splitlines()
    assert sum(",valid," in row for row in rows) == 2


@pytest.mark.slow
def test_a_training_that_fails_is_told_and_the_others_go_on(folder, capfd):
    path = folder / "recipes" / "tables" / "counting.yaml"
    path.write_text(
        TABLE.replace("[1, 2]", "[1]") + "  typo: {recipe: memory/small, settings: {cell: grew}}\n"
    )
    assert main(["table", str(path), "--folder", "here", "--jobs", "1"]) == 1
    out, err = capfd.readouterr()
    assert "a <GRU>, seed 1: done; 1 left\ntypo, seed 1: failed; 0 left" in out
    assert "ended with status" in err
    log = folder / "here" / "2-typo" / "seed-1.log"
    assert str(log.relative_to(folder)) in err
    assert "grew" in log.read_text()
    assert "ended with status" in (folder / "here" / "table.html").read_text()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("recipe: memory/small", "recipe: memory/big", "there is no file .*big.yaml"),
        ("over: {seed: [1, 2]}", "over: {}", "over: expected one setting with a list of values"),
        ("figures: [right_to, accuracy]", "figures: []", "figures: expected at least one"),
        ("figures:", "figure:", "figure"),
        ("split: test", "split: 3", "split: expected"),
        ("figures: [right_to, accuracy]", "figures: {test: [accuracy]}", "split: the figures are"),
        ("published: {right_to: 9}", "published: {right_too: 9}", 'did you mean "right_to"'),
        ("runs:", "runs: 3\nother:", "expected no entry .other."),
        ("runs:", "evaluate: {robustness: gap}\nruns:", "evaluate: a <GRU>: .*robustness"),
    ],
)
def test_a_table_with_a_fault_is_refused_with_its_place(folder, capsys, before, after, message):
    path = folder / "recipes" / "tables" / "counting.yaml"
    path.write_text(TABLE.replace(before, after, 1))
    assert main(["table", "counting"]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "runs").exists()


def test_an_unknown_table_gets_the_nearest_name(folder, capsys):
    assert main(["table", "countin"]) == 1
    assert 'did you mean "counting"' in capsys.readouterr().err


def test_mean_deviation_best_and_published_stand_beside_each_other(tmp_path):
    row = Row("LSTM", {"loss": 0.5}, "W", {"seed 1": {"loss": 1.0}, "seed 2": {"loss": 3.0}})
    row.minutes, row.parameters, row.number = [1.0, 2.0], 1234, 3
    figures = {"loss": Figure("nats")}
    head, line = in_lines([row], figures).splitlines()
    assert re.split("  +", head) == [
        *("network", "parameters", "loss, mean ± deviation", "best", "published"),
        *("runs", "minutes each"),
    ]
    assert re.split("  +", line) == ["LSTM", "1,234", "2 ± 1.414", "1", "0.5", "2 of 3", "1.5"]
    write_table(tmp_path / "t.html", "T", {}, [row, Row("GRU", {})], figures, "seed")
    page = (tmp_path / "t.html").read_text()
    assert "2 ± 1.414" in page
    assert "<td>LSTM</td><td>1</td><td>3</td>" in page


def test_curves_of_a_row_are_the_mean_of_its_trainings(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "throughtime.inspection.table_curves.curves_svg",
        lambda entry: drawn.append(entry) or "<svg>",
    )
    about = {"x": ["none", "1"], "x_name": "amount", "y_name": ""}
    values = [[0.0, 0.3], [0.0, 0.3], [0.6, 0.9]]
    gap = [{**about, "title": "gap", "y": {"error_rate": y, "loss": [1, 1]}} for y in values]
    rows = [Row("LSTM", {}, curves={"gap": gap}), Row("GRU", {}, curves={"gap": gap[2:]})]
    html = "".join(curves_html([*rows, Row("failed", {})], ["error_rate"]))
    (entry,) = drawn
    assert entry == {**about, "y": entry["y"], "y_name": "error rate"}
    assert entry["y"] == {"LSTM": pytest.approx([0.2, 0.5]), "GRU": [0.6, 0.9]}
    assert "gap: error rate, mean of the trainings" in html
    assert curves_html([Row("failed", {})], ["error_rate"]) == []


def test_a_changed_evaluation_is_noticed_like_a_changed_recipe(folder):
    (folder / "recipes" / "classification").mkdir()
    recipe = folder / "recipes" / "classification" / "small.yaml"
    recipe.write_text("about: {ours: 1}\ntask: classification\n")
    path = folder / "recipes" / "tables" / "counting.yaml"
    text = "about: {}\nover: {seed: [1]}\nfigures: [accuracy]\n"
    text += "runs: {a: {recipe: classification/small}}\n"

    def training(more):
        path.write_text(text + more)
        (one,) = trainings_of(path, read_table(path), folder / "runs")
        return one

    one = training("evaluate: {robustness: gap}\n")
    one.folder.mkdir(parents=True)
    content = {"identity": one.identity, "figures": {"accuracy": 0.5}}
    one.result_file.write_text(json.dumps(content))
    # What a recipe tells about itself has no influence.
    recipe.write_text("about: {ours: 2}\ntask: classification\n")
    assert training("evaluate: {robustness: gap}\n").result() == {"accuracy": 0.5}
    assert one.evaluate_command(None)[-2:] == ["--robustness", "gap"]
    for changed in ("evaluate: {robustness: noise}\n", "", "split: test\n"):
        with pytest.raises(ValueError, match="has changed since this run was trained"):
            training(changed).result()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("robustnes: gap", "evaluate: speech: expected no entry.*robustnes"),
        ("robustness: 3", "evaluate: speech.robustness: expected"),
        ("robustness: gaps", 'evaluate: speech: --robustness: .*did you mean "gap"'),
        ("beam_width: 3", "evaluate: speech: expected no entry.*beam_width"),
        ("split: valid", "evaluate: speech: expected no entry.*split"),
    ],
)
def test_options_of_the_evaluation_are_checked_before_the_trainings(
    folder, capsys, options, message
):
    (folder / "recipes" / "classification").mkdir()
    (folder / "recipes" / "classification" / "small.yaml").write_text("task: classification\n")
    path = folder / "recipes" / "tables" / "counting.yaml"
    row = "speech: {recipe: classification/small}"
    path.write_text(f"about: {{}}\nover: {{seed: [1]}}\nfigures: [accuracy]\nruns:\n  {row}\n"
                    f"evaluate: {{{options}}}\n")  # fmt: skip
    assert main(["table", "counting"]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "runs").exists()

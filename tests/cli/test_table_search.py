"""throughtime table: a random search, its page, and its statistics."""

import json
import math
import random

import pytest

from throughtime.cli.main import main
from throughtime.cli.table_search import drawn_settings
from throughtime.inspection.table import Row
from throughtime.inspection.table_search import best_values, explained, welch
from throughtime.tasks.task import Figure

RECIPE = """
about: {what: small}
task: memory
problem: anbn
length: 4
test_length: 6
batches_per_epoch: 2
batch_size: 4
epochs: 1
"""
TABLE = """
about: {title: Search}
search:
  trials: 3
  ranges:
    hidden_size: {low: 2, high: 6, whole: true}
    learning_rate: {low: 1.0e-4, high: 1.0e-1, log: true}
figures: [loss]
runs:
  one: {recipe: memory/small, settings: {cell: gru}}
"""
RANGES = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "hidden_size": {"low": 2.0, "high": 6.0, "whole": True},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "recipes" / "memory").mkdir(parents=True)
    (tmp_path / "recipes" / "tables").mkdir()
    (tmp_path / "recipes" / "memory" / "small.yaml").write_text(RECIPE)
    (tmp_path / "recipes" / "tables" / "search.yaml").write_text(TABLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_trials_are_trained_with_settings_of_their_own_and_more_can_be_added(folder, capfd):
    assert main(["table", "search", "--trials", "2", "--jobs", "1"]) == 0
    assert "2 runs, 2 to train" in capfd.readouterr().out
    assert main(["table", "search", "--jobs", "1"]) == 0
    assert "3 runs, 1 to train" in capfd.readouterr().out
    runs = folder / "runs" / "tables" / "search"
    configs = [
        json.loads((runs / "1-one" / f"trial-{n}" / "config.json").read_text()) for n in (1, 2, 3)
    ]
    for trial, config in enumerate(configs, 1):
        drawn = drawn_settings(RANGES, "one", trial)
        assert config["settings"]["hidden_size"] == drawn["hidden_size"]
        assert config["training"]["learning_rate"] == pytest.approx(drawn["learning_rate"])
    page = (runs / "table.html").read_text()
    assert page.count("<svg") == 2
    assert "Which settings matter" in page
    assert "trial 3" in page


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("low: 2, high: 6", "low: 6, high: 2", "hidden_size: expected low below high"),
        ("low: 2, high: 6", "low: 2.1, high: 2.9", "expected a whole number from 2.1 to 2.9"),
        ("low: 1.0e-4", "low: 0.0", "learning_rate: expected low above 0 on a log scale"),
        ("trials: 3", "trials: 1", "trials: expected"),
        (
            "search:\n",
            "over: {seed: [1]}\nsearch:\n",
            "expected one of the entries over and search",
        ),
        ("whole: true", "hole: true", "hole"),
    ],
)
def test_a_search_with_a_fault_is_refused_with_its_place(folder, capsys, before, after, message):
    path = folder / "recipes" / "tables" / "search.yaml"
    path.write_text(TABLE.replace(before, after, 1))
    assert main(["table", "search"]) == 1
    assert message in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_trials_without_a_search_are_refused(folder, capsys):
    path = folder / "recipes" / "tables" / "search.yaml"
    start, end = TABLE.index("search:"), TABLE.index("figures:")
    path.write_text(TABLE[:start] + "over: {seed: [1]}\n" + TABLE[end:])
    with pytest.raises(SystemExit):
        main(["table", "search", "--trials", "4"])
    assert "has no search" in capsys.readouterr().err


def test_settings_fill_their_ranges_and_depend_on_row_and_trial():
    drawn = [drawn_settings(RANGES, "a", trial) for trial in range(400)]
    assert {d["hidden_size"] for d in drawn} == {2, 3, 4, 5, 6}
    rates = [d["learning_rate"] for d in drawn]
    assert 1e-4 <= min(rates) < 2e-4
    assert 5e-2 < max(rates) <= 1e-1
    # On a log scale half of them lie below the geometric mean.
    assert 150 < sum(rate < 10**-2.5 for rate in rates) < 250
    assert drawn[7] == drawn_settings(RANGES, "a", 7) != drawn_settings(RANGES, "b", 7)


def test_welch_agrees_with_scipy():
    from scipy.stats import ttest_ind

    draw = random.Random(0)
    a = [draw.gauss(0, 1) for _ in range(7)]
    b = [draw.gauss(1, 3) for _ in range(12)]
    expected = ttest_ind(a, b, equal_var=False)
    test = welch(a, b)
    assert test is not None
    assert test.t == pytest.approx(expected.statistic)
    assert test.freedom == pytest.approx(expected.df)
    assert test.p == pytest.approx(expected.pvalue)
    assert welch([1.0], b) is None
    assert welch([1.0, 1.0], [1.0, 1.0]) is None


def test_the_best_tenth_are_at_least_five():
    values = [float(v) for v in range(100)]
    assert best_values(values, Figure()) == values[:10]
    assert best_values(values[:20], Figure(better="higher")) == [19.0, 18.0, 17.0, 16.0, 15.0]
    assert best_values(values[:3], Figure()) == values[:3]


def test_the_setting_that_determines_a_figure_explains_it():
    rows = []
    for name, offset in (("a", 0.0), ("b", 50.0)):
        row = Row(name, {})
        for trial in range(60):
            settings = drawn_settings(RANGES, name, trial)
            row.settings[f"trial {trial}"] = settings
            # The offset of a network, and a training that diverged, have no influence on ranks.
            distance = abs(-2 - math.log10(settings["learning_rate"]))
            loss = 1e9 if trial == 5 else offset + distance
            row.results[f"trial {trial}"] = {"loss": loss}
        rows.append(row)
    shares = explained(rows, "loss", Figure(), RANGES)
    assert shares["learning_rate"] > 0.7
    assert shares["hidden_size"] < 0.15
    assert explained([Row("c", {})], "loss", Figure(), RANGES) == {}
    # Which of the networks are good says nothing about their settings.
    alone = [Row(n, {}, results={"t": {"loss": 1.0}}, settings={"t": settings}) for n in "abcd"]
    assert explained(alone, "loss", Figure(), RANGES) == {}


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_trial_that_is_not_a_number_is_the_worst(better):
    figure = Figure(better=better)
    values = [3.0, math.nan, 1.0, 2.0, math.nan, 4.0, 5.0]
    expected = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert best_values(values, figure) == (expected if better == "lower" else expected[::-1])
    row = Row("a", {})
    for trial, rate in enumerate(10.0 ** -(1 + 0.1 * step) for step in range(30)):
        row.settings[f"{trial}"] = {"learning_rate": rate, "hidden_size": 2 + trial % 2}
        value = math.nan if trial < 10 else float(trial)
        row.results[f"{trial}"] = {"loss": -value if better == "lower" else value}
    assert explained([row], "loss", figure, RANGES)["learning_rate"] > 0.8
    assert welch([1.0, math.nan, 2.0], [1.0, 2.0]) is None
    assert welch([1.0, math.inf, 2.0], [1.0, 2.0]) is None

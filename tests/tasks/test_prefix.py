"""Prefix expressions: worked out, and judged depth by depth, beyond those of the training."""

import math

import pytest

from throughtime import tasks
from throughtime.data import Pair, PairSet
from throughtime.tasks.expressions import depth_of
from throughtime.tasks.prefix import Prefix, PrefixConfig

from .learning import learned

SMALL = {"num_pairs": 200, "num_test": 10, "hidden_size": 24, "embedding_size": 12}
EIGHT = [
    Pair("(+ 1 2)", "3"),
    Pair("(- 3 7)", "-4"),
    Pair("(* 2 7)", "14"),
    Pair("(+ (* 2 7) 1)", "15"),
    Pair("(+ (* 2 7) (- 3 1))", "16"),
    Pair("(- 9 (+ 1 1))", "7"),
    Pair("(* 0 (+ 8 8))", "0"),
    Pair("(- (- 1 1) 5)", "-5"),
]


@pytest.fixture
def task():
    return Prefix(PrefixConfig(depth=2, **SMALL))


def test_eight_expressions_are_learned_by_heart(task, monkeypatch):
    assert tasks.get("prefix") is Prefix
    few = PairSet("few", {"train": EIGHT, "valid": EIGHT[:2]}, ("characters", "characters"))
    monkeypatch.setattr(Prefix, "read_pairs", lambda self: few)
    model = learned(task, 200)
    figures = task.evaluate(model, "train").figures
    assert figures["exact_match"] == 1.0
    assert figures["exact_match_depth_1"] == figures["exact_match_depth_2"] == 1.0


@pytest.mark.parametrize("answer", ["value", "simplified"])
def test_every_depth_has_its_figure_and_the_test_the_greater_ones(answer):
    task = Prefix(PrefixConfig(answer=answer, depth=2, deeper=2, **SMALL))
    task.check()
    model = task.model()
    own = {"loss", "exact_match", "exact_match_depth_1", "exact_match_depth_2"}
    assert set(task.evaluate(model, "valid").figures) == own
    deeper = {"exact_match_depth_3", "exact_match_depth_4"}
    assert set(task.evaluate(model, "test").figures) == own | deeper
    assert set(task.evaluate(model, "depth3").figures) == {
        "loss",
        "exact_match",
        "exact_match_depth_3",
    }
    assert {"loss", *task.figures} == own
    assert all(depth_of(p.source) <= 2 for split in ("train", "valid") for p in task.split(split))


def test_the_figures_of_the_depths_by_hand(task):
    outputs = ["3", "4", "14", "15", "16", "", "0", "-5"]
    figures = task.judge(EIGHT, outputs)
    assert figures == {
        "exact_match": 6 / 8,
        "exact_match_depth_1": 2 / 3,
        "exact_match_depth_2": 4 / 5,
    }


def test_the_figure_of_a_greater_depth_is_that_of_its_own_expressions(task, monkeypatch):
    answers = {p.source: p.target for d in (3, 4) for p in task.split(f"depth{d}")}
    wrong = {p.source for p in task.split("depth4")[:4]}

    def knows(self, model, sources, beam_width):
        texts = [self.tokenisers[0].decode(ids) for ids in sources]
        return ["" if text in wrong else answers.get(text, "") for text in texts]

    monkeypatch.setattr(Prefix, "written", knows)
    figures = task.evaluate(task.model(), "test").figures
    assert figures["exact_match"] < 0.1
    assert figures["exact_match_depth_3"] == 1.0
    assert figures["exact_match_depth_4"] == 0.6


def test_the_command_writes_the_figures_of_each_depth(tmp_path):
    import csv

    from throughtime.cli.main import main

    options = [f"--{name}={value}" for name, value in SMALL.items()]
    run = tmp_path / "run"
    assert main(["train", "prefix", "--depth=2", *options, "--epochs=1", f"--run={run}"]) == 0
    with (run / "metrics.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["split"] == "valid"]
    assert math.isfinite(float(row["exact_match_depth_2"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deeper": -1}, "--deeper: expected 0 or more, got -1"),
        ({"depth": 0}, "expected depth of at least 1, got 0"),
        ({"depth": 1, "num_pairs": 500}, "expected 510 different expressions"),
        ({"answer": "valeu"}, 'expected answer "value" or "simplified"'),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Prefix(PrefixConfig(**SMALL | options)).check()

"""The written record, and its way back to a checkpoint."""

import csv

import pytest

from throughtime.tasks.run import Run
from throughtime.tasks.shown import Text
from throughtime.training.journal import Journal


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def written(run, steps, start=0):
    journal = Journal(run, ["loss"], start)
    for step in steps:
        journal.record(step, step / 10, 1.0, "train", {"loss": step / 7})
        journal.show(step, [Text(f"=== text of {step}\n")])
    journal.close()


def test_a_resumed_journal_forgets_what_came_after_the_checkpoint(run):
    written(run, [1, 2, 3, 4])
    written(run, [3, 4, 5], start=2)
    with run.metrics_file.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["step"] for row in found] == ["1", "2", "3", "4", "5"]
    assert found[0] == {
        "step": "1", "epoch": "0.1000", "seconds": "1.0", "split": "train", "loss": "0.142857",
    }  # fmt: skip
    samples = run.samples_file.read_text()
    assert [samples.count(f"=== step {n} ===") for n in range(1, 6)] == [1] * 5


def test_a_new_journal_starts_empty(run):
    written(run, [1, 2])
    written(run, [7])
    assert run.metrics_file.read_text().count("\n") == 2
    assert run.samples_file.read_text().count("=== step") == 1


def test_a_row_cut_short_by_a_kill_is_dropped(run):
    written(run, [1, 2])
    with run.metrics_file.open("a") as file:
        file.write("3,0.3")
    written(run, [], start=5)
    assert run.metrics_file.read_text().splitlines()[-1].startswith("2,")

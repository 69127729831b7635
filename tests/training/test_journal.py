"""The written record, and its way back to a checkpoint."""

import csv
import errno
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from throughtime.inspection.metrics import read_metrics
from throughtime.reading import ReadError
from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run
from throughtime.tasks.shown import Score, Table, Text
from throughtime.training import checkpoint, journal
from throughtime.training.config import GradientConfig
from throughtime.training.fit import fit
from throughtime.training.journal import Journal

from .small import rows
from .small import written as data


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def written(run, steps, start=0):
    journal = Journal(run, ["loss"], start)
    for step in steps:
        journal.record(step, step / 10, 1.0, "train", {"loss": step / 7})
        journal.show(step, [Text(f"=== text of {step}\n")])
    journal.close()


def test_a_column_of_an_earlier_version_stays_beside_the_one_that_replaces_it(run):
    earlier = Journal(run, ["loss", "recordings_per_second"], 0)
    for step in (1, 2, 3):
        earlier.record(step, 0.1, 1.0, "train", {"loss": 0.5, "recordings_per_second": 7.0})
    earlier.close()
    later = Journal(run, ["loss", "symbols_per_second"], 2)
    later.record(3, 0.1, 1.0, "train", {"loss": 0.25, "symbols_per_second": 30.0})
    later.close()
    columns, table = read_metrics(run.metrics_file)
    assert {"recordings_per_second", "symbols_per_second"} <= set(columns)
    speeds = [(row["recordings_per_second"], row["symbols_per_second"]) for row in table]
    assert speeds == [("7", ""), ("7", ""), ("", "30")]


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,0.1,1.0,train,0.3", "line 3: step: expected a whole number, got 'x'"),
        ("-1,0.1,1.0,train,0.3", "line 3: step: expected a whole number, got '-1'"),
        ("2,,1.0,train,0.3", "line 3: epoch: expected a number, got ''"),
        ("2,0.1,inf,train,0.3", "line 3: seconds: expected a number, got 'inf'"),
        ("2,0.1,1.0,train,much", "line 3: loss: expected a number, got 'much'"),
        ("2,0.1", "line 3: expected 5 cells as in the header, got 2"),
        ("2,0.1,1.0,train,0.3,4", "line 3: expected 5 cells as in the header, got 6"),
    ],
)
def test_a_row_that_somebody_has_damaged_is_named(run, line, message):
    written(run, [1, 2])
    lines = run.metrics_file.read_text().splitlines()
    run.metrics_file.write_text("\n".join([*lines[:2], line, lines[2]]) + "\n")
    before = run.metrics_file.read_bytes()
    with pytest.raises(ReadError, match=rf"metrics\.csv, {message}"):
        Journal(run, ["loss"], 2)
    assert run.metrics_file.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("step,epoch,split,loss\n", 'line 1: expected a column "seconds", got none'),
        ("step,epoch,seconds,split,loss,loss\n", "line 1: expected each column once"),
        ("step,epoch,seconds,split,\xff\n".encode("latin-1"), "expected UTF-8"),
    ],
)
def test_a_table_that_is_none_of_ours_is_refused(run, content, message):
    content = content if isinstance(content, bytes) else content.encode()
    run.metrics_file.write_bytes(content)
    with pytest.raises(ReadError, match=message):
        Journal(run, ["loss"], 2)


def test_samples_that_are_no_text_stay_as_they_are(run):
    run.samples_file.write_bytes(b"=== step 1 ===\n\xff\xfe\n\n=== step 3 ===\nlost\n")
    Journal(run, ["loss"], 2).close()
    assert run.samples_file.read_bytes() == b"=== step 1 ===\n\xff\xfe\n\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[" * 100_000, "expected brackets in brackets at most 64 deep"),
        ("{}", "expected the entry 'kind'"),
        ('{"kind": ["Table"]}', r"kind: expected one of Table, .*got \['Table'\]"),
        ('{"kind": "Score", "step": 1, "title": "", "file": "../../etc"}', "file: expected"),
        ('{"kind": "Score", "step": "1", "title": "", "file": "1-1.mid"}', "step: expected"),
        (
            '{"kind": "Table", "step": 1, "title": "", "columns": [], "rows": [1]}',
            r"rows\[0\]: exp",
        ),
    ],
    ids=lambda text: text[:30],
)
def test_an_index_of_what_was_shown_that_is_damaged_is_named(run, line, message):
    first = Journal(run, ["loss"], 0)
    first.show(1, [Table(["a"], [["b"]], "t"), Score(b"music", "mid", "s")])
    first.close()
    index = run.shown_folder / "index.jsonl"
    lines = index.read_text().splitlines()
    index.write_text("\n".join([lines[0], line, lines[1]]) + "\n")
    with pytest.raises(ReadError, match=rf"index\.jsonl, line 2: {message}"):
        Journal(run, ["loss"], 2)
    # A last line that was cut short is left out.
    index.write_text(f"{lines[0]}\n{lines[1][:20]}")
    Journal(run, ["loss"], 2).close()
    assert index.read_text() == f"{lines[0]}\n"


def test_a_row_that_cannot_be_written_ends_a_training_that_goes_on_to_the_same_rows(
    tmp_path, monkeypatch
):
    text = str(data(tmp_path) / "text.txt")

    def train(name, resume=False):
        config = CharLMConfig(text, hidden_size=6, num_layers=1, batch_size=4, num_steps=10)
        training = GradientConfig(sample_every=1e6, log_every=5, validate_every=20, epochs=1)
        task, run = CharLM(config), Run(tmp_path / name)
        run.create(task, asdict(training))
        return run, fit(task, training, run, resume)

    whole, _ = train("whole")
    append = journal._append

    def full(path, line):
        if line.startswith(b"20,") and b"valid" in line:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        append(path, line)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_append", full)
        with pytest.raises(OSError, match="No space left"):
            train("parts")
    parts = Run(tmp_path / "parts")
    # The step in hand was made, and the checkpoint holds the row.
    assert checkpoint.load(parts.checkpoint_file)["step"] == 21
    assert "valid" not in parts.metrics_file.read_text()
    _, outcome = train("parts", resume=True)
    assert outcome.reason == "complete"
    assert rows(parts) == rows(whole)
    ours, theirs = load_file(parts.model_file), load_file(whole.model_file)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_line_that_the_disk_takes_in_part_leaves_the_table_as_it_was(run, monkeypatch):
    written(run, [1])
    before = run.metrics_file.read_bytes()
    opened = type(run.metrics_file).open

    class Short:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, line):
            return self.file.write(line[:3])

    monkeypatch.setattr(
        type(run.metrics_file),
        "open",
        lambda path, *a, **k: (
            Short(opened(path, *a, **k)) if a == ("ab",) else opened(path, *a, **k)
        ),
    )
    with pytest.raises(OSError, match="No space left"):
        journal._append(run.metrics_file, b"2,0.2,1.0,train,0.1\r\n")
    assert run.metrics_file.read_bytes() == before


def test_a_log_for_tensorboard_that_cannot_be_written_is_told_once(run):
    run.tensorboard_folder.write_text("a file")
    told = []
    first = Journal(run, ["loss"], 0, told.append)
    for step in (1, 2):
        first.record(step, 0.1, 1.0, "train", {"loss": 1.0})
        first.show(step, [Text("a")])
    first.close()
    assert len(told) == 1
    assert "the TensorBoard log cannot be written" in told[0]
    assert run.metrics_file.read_text().count("\n") == 3

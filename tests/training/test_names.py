"""Names that are not UTF-8, and half surrogate pairs in a text, cost no training anything."""

import json
import os

import pytest

from throughtime.cli.main import main
from throughtime.tasks.run import Run

SMALL = "--hidden_size 8 --epochs 1 --log_every 5 --sample_every 0.000001".split()
BAD = os.fsdecode(b"bad\xff.txt")


@pytest.fixture
def said(capsys):
    """Runs a command; returns its exit status, output and errors."""

    def call(*argv):
        status = main([str(word) for word in argv])
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


def whole(run):
    """Asserts that a training left everything that it should."""
    for path in (run.checkpoint_file, run.model_file, run.metrics_file, run.samples_file):
        assert path.stat().st_size > 0, path
    assert "Best validation at step" in run.report_file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("task", "options", "text"),
    [
        ("char-lm", "--num_layers 1 --batch_size 4 --num_steps 10", "the cat sat on the mat.\n"),
        ("cloze", "--min_count 1 --batch_size 64", "the cat sat on the mat.\n"),
        ("translation", "--batch_size 4", "the cat\tdie Katze\na dog\tein Hund\n"),
    ],
)
def test_data_and_a_run_whose_names_are_not_utf_8(tmp_path, said, task, options, text):
    data = tmp_path / BAD
    data.write_text(text * 40)
    run = Run(tmp_path / os.fsdecode(b"run\xff\xfe"))
    words = ["train", task, "--data", data, *SMALL, *options.split(), "--run", run.folder]
    status, out, err = said(*words)
    assert (status, err) == (0, "")
    # The library of TensorBoard takes no such path, and that is all that is missing.
    warnings = [line for line in out.splitlines() if line.startswith("Warning")]
    assert all("the TensorBoard log cannot be written" in line for line in warnings)
    assert len(warnings) <= 1
    whole(run)
    assert json.loads(run.config_file.read_text())["settings"]["data"] == str(data)
    assert said("train", task, "--run", run.folder, "--resume", "--epochs", 2)[0] == 0
    assert said("evaluate", run.folder)[0] == 0


@pytest.mark.parametrize(
    ("task", "options"),
    [("char-lm", "--num_layers 1 --batch_size 4 --num_steps 10"), ("cloze", "--min_count 1")],
)
def test_a_text_with_half_a_surrogate_pair(tmp_path, said, task, options):
    """UTF-7 can hold one, and so can texts that were read with errors=surrogateescape."""
    data = tmp_path / "text.txt"
    data.write_bytes(b"the +2AA- cat +3P8- sat.\n" * 60)
    run = Run(tmp_path / "run")
    words = ["train", task, "--data", data, "--encoding", "utf-7", *SMALL, *options.split()]
    status, out, err = said(*words, "--run", run.folder)
    assert (status, err) == (0, "")
    assert "Warning" not in out
    assert any(run.tensorboard_folder.iterdir())
    whole(run)
    assert "\\ud800" in run.samples_file.read_text(encoding="utf-8") or task == "cloze"
    assert said("evaluate", run.folder)[0] == 0
    if task == "char-lm":
        assert said("generate", run.folder, "--prime", "\ud800 cat", "--length", 5)[0] == 0


def test_what_is_shown_may_hold_half_a_surrogate_pair(tmp_path, said, monkeypatch):
    from throughtime.tasks.char_lm import CharLM
    from throughtime.tasks.shown import Table, Text

    shown = [Text("a \udcff b"), Table(["\ud800"], [["\udcff"]], "\ud800")]
    monkeypatch.setattr(CharLM, "show", lambda self, model: shown)
    (tmp_path / "text.txt").write_text("the cat sat on the mat.\n" * 40)
    run = Run(tmp_path / "run")
    status, out, _ = said("train", "char-lm", "--data", tmp_path / "text.txt", *SMALL,
                          "--batch_size", 4, "--num_steps", 10, "--run", run.folder)  # fmt: skip
    assert status == 0
    assert "Warning" not in out
    assert any(run.tensorboard_folder.iterdir())
    whole(run)
    assert "\\ud800" in run.report_file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["a\ud800b", "a\0b"], ids=["half a surrogate pair", "NUL"])
@pytest.mark.parametrize("option", ["run", "config"])
def test_a_name_that_no_file_can_have_is_refused_with_its_option(tmp_path, said, option, name):
    data = tmp_path / "text.txt"
    data.write_text("the cat sat on the mat.\n" * 40)
    for more in ([], ["--resume"]):
        status, out, err = said("train", "char-lm", "--data", data, f"--{option}", name, *more)
        assert (status, out) == (1, "")
        assert err == (
            f"throughtime train: --{option}: expected a name that a file can have, got {name!r}. "
            "Name another one.\n"
        )

"""throughtime predict: lines with a gap in, lines with a word out."""

import io
import sys

import pytest

from throughtime.cli.main import main
from throughtime.tasks.run import Run

SMALL = "--hidden_size 8 --epochs 1 --batch_size 64 --tokenisation words --min_count 1".split()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "text.txt"
    text.write_text("".join(f"a{i} b{i} c{i}\n" for i in range(8)) * 5)
    assert main(["train", "cloze", "--data", str(text), *SMALL, "--run", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def said(capsys, monkeypatch, run):
    def call(*argv, given=b"", folder=run):
        lines = None if given is None else io.TextIOWrapper(io.BytesIO(given))
        monkeypatch.setattr(sys, "stdin", lines)
        capsys.readouterr()
        try:
            status = main(["predict", str(folder), *map(str, argv)])
        except SystemExit as stop:
            status = stop.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


def test_every_gap_is_filled_with_the_likeliest_word_in_its_line(run, said):
    status, out, err = said(given=b"a1  ___ c1\n\n___ b2 c2\r\na3 b3 ___")
    task = Run(run).task()
    model = Run(run).load_model(task)
    words = [task.guesses(model, t, 1)[0][0] for t in ("a1 ___ c1", "___ b2 c2", "a3 b3 ___")]
    assert (status, err) == (0, "")
    assert out == f"a1  {words[0]} c1\n\n{words[1]} b2 c2\na3 b3 {words[2]}\n"


def test_the_best_words_come_with_their_probabilities(run, said):
    status, out, _ = said("--n_best", 3, given=b"\na1 ___ c1\n")
    task = Run(run).task()
    best = task.guesses(Run(run).load_model(task), "a1 ___ c1", 3)
    assert status == 0
    assert out == "".join(f"2\t{chance:.4f}\t{word}\n" for word, chance in best)
    assert said("--n_best", 3, "--text", "a1 ___ c1")[1] == out.replace("2\t", "1\t", 3)


def test_unknown_words_are_told_of(said):
    status, out, err = said("--text", "zebra ___ c1")
    assert status == 0
    assert out.startswith("zebra ")
    assert "1 of 2 words (50.00 %) are unknown, 1 different ones: 'zebra' (1)" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"a1 ___ c1\na1 b1\n", "line 2: expected a text with one ___, got 0"),
        (b"a1 ___ c1\n___ b1 ___\n", "line 2: expected a text with one ___, got 2"),
        (b"a1 ___ c1\n\xff ___\n", "line 2, byte 1: expected UTF-8"),
        (None, "expected lines on the standard input, but it is closed. Use --text."),
    ],
)
def test_a_line_without_a_gap_is_named_and_what_was_written_stays(said, given, message):
    status, out, err = said(given=given)
    assert status == 1
    assert message in err
    assert out.count("\n") == (given is not None)


def test_no_words_at_all_are_refused(said):
    status, _, err = said("--n_best", 0, "--text", "a1 ___")
    assert status == 2
    assert "--n_best: expected at least 1, got 0" in err

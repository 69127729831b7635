"""throughtime evaluate, on runs from one sequence to another."""

import json

import pytest

from throughtime.cli.main import main
from throughtime.tasks.rewriting import character_error_rate, match_figures
from throughtime.tasks.run import Run

SMALL = "--digits 2 --num_pairs 300 --num_test 20 --hidden_size 16 --batch_size 16 --epochs 1"
SMALL += " --network two"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "addition", *SMALL.split(), "--run", str(folder)]) == 0
    return folder


@pytest.fixture
def said(capsys):
    def call(*argv):
        capsys.readouterr()
        try:
            status = main(["evaluate", *map(str, argv)])
        except SystemExit as stop:
            status = stop.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


def test_a_split_has_every_figure_and_its_outputs_line_by_line(run, said, tmp_path):
    file = tmp_path / "outputs.txt"
    options = ("--split", "test", "--beam_width", 3, "--outputs", file, "--json")
    figures = json.loads(said(run, *options)[1])
    task = Run(run).task()
    pairs, outputs = task.split("test"), file.read_text().split("\n")[:-1]
    task.config.beam_width = 3
    assert figures == {
        "split": "test",
        "pairs": 20,
        "beam_width": 3,
        **task.evaluate(Run(run).load_model(task), "test").figures,
        "character_error_rate": character_error_rate(pairs, outputs),
    }
    assert figures["exact_match"] == match_figures(pairs, outputs)["exact_match"]
    # Without the option the width is that of the run.
    assert json.loads(said(run, "--json")[1])["beam_width"] == 1


def test_people_read_it_in_lines(run, said):
    status, out, _ = said(run, "--split", "test")
    assert status == 0
    names = [line.split("  ")[0] for line in out.splitlines()]
    assert {"split", "exact match", "character error rate", "perplexity"} <= set(names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam_width", "0"], "--beam_width: expected at least 1, got 0"),
        (["--outputs", "nowhere/out.txt"], "--outputs: there is no folder nowhere"),
        (["--outputs", "."], "--outputs: expected the name of a file, got the folder ."),
        (["--split", "test2"], 'has no split "test2", only train, valid, test'),
        (["--text", "1+2"], "Use `throughtime predict` for the outputs of your own lines."),
    ],
    ids=" ".join,
)
def test_what_cannot_be_judged_says_why(run, said, options, message):
    status, out, err = said(run, *options)
    assert status in (1, 2)
    assert out == ""
    assert message in err


def test_a_language_model_has_no_beam(said, tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 40)
    options = "--hidden_size 4 --num_layers 1 --batch_size 2 --num_steps 10 --epochs 1".split()
    main(["train", "char-lm", "--data", str(tmp_path / "text.txt"), *options,
          "--run", str(tmp_path / "run")])  # fmt: skip
    status, _, err = said(tmp_path / "run", "--beam_width", "2")
    assert (status, "unknown option --beam_width" in err) == (2, True)
    status, _, err = said(tmp_path / "run", "--outputs", str(tmp_path / "out.txt"))
    assert (status, "char-lm has no outputs to write" in err) == (2, True)
    assert "perplexity" in said(tmp_path / "run")[1]


def test_bleu_comes_with_the_signature_of_sacrebleu(said, tmp_path):
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    lines = "Ein Mann schläft.\tA man sleeps.\nZwei Hunde laufen.\tTwo dogs run.\n" * 10
    (tmp_path / "pairs.tsv").write_text(lines, encoding="utf-8")
    options = "--hidden_size 8 --batch_size 4 --epochs 1".split()
    main(["train", "translation", "--data", str(tmp_path / "pairs.tsv"), *options,
          "--run", str(tmp_path / "run")])  # fmt: skip
    out = said(tmp_path / "run")[1]
    (line,) = [line for line in out.splitlines() if line.startswith("bleu  ")]
    assert "nrefs:1|case:mixed" in line
    figures = json.loads(said(tmp_path / "run", "--json")[1])
    assert figures["signatures"]["bleu"] in line
    assert {"bleu", "bleu_lower_tokenised", "exact_match", "character_error_rate"} <= set(figures)

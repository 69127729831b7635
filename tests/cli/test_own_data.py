"""A user's own data at the commands: one folder, evaluate --data, and samples of a list."""

import json
import math
import random

import pytest

from throughtime.cli.main import main
from throughtime.tasks.char_lm import CharLM, WritingOptions
from throughtime.tasks.run import Run

SMALL = "--hidden_size 8 --num_layers 1 --epochs 1 --batch_size 8 --dropout 0".split()
WORDS = ["red", "green", "blue", "old", "new", "small"]
LINES = [f"the {a} cat sees the {b} dog" for a in WORDS for b in WORDS]
NAMES = [f"{a}{b}{c}" for a in ("an", "be", "ca", "do") for b in "ln" for c in ("a", "e", "o")]


def trained(folder, task, *options):
    assert main(["train", task, *SMALL, *map(str, options), "--run", str(folder / task)]) == 0
    return folder / task


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with the three splits, as pairs and as sentences; and a file of other pairs."""
    folder = tmp_path_factory.mktemp("own") / "data"
    folder.mkdir()
    lines = random.Random(0).sample(LINES, len(LINES))
    for split, part in {"train": lines[:24], "valid": lines[24:30], "test": lines[30:]}.items():
        (folder / f"{split}.tsv").write_text("".join(f"{x}\t{x.upper()}\n" for x in part))
        (folder / f"{split}.txt").write_text("".join(f"{x}\n" for x in part))
    return folder


@pytest.fixture(scope="module")
def runs(own):
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")
    folder = own.parent
    return {
        "translation": trained(folder, "translation", "--data", own),
        "cloze": trained(folder, "cloze", "--data", own, "--min_count", 1),
        "char-lm": trained(folder, "char-lm", "--data", own, "--num_steps", 10),
        "addition": trained(folder, "addition", "--num_pairs", 60, "--num_test", 20, "--digits", 2),
    }


@pytest.mark.parametrize("task", ["translation", "cloze", "char-lm"])
def test_own_data_give_the_figures_of_the_split_with_the_same_content(runs, own, said, task):
    file = own / ("test.tsv" if task == "translation" else "test.txt")
    figures = {}
    for name, options in {
        "own split": ["--split", "test"],
        "file": ["--data", file],
        "folder": ["--data", own, "--split", "test"],
    }.items():
        status, out, err = said("evaluate", runs[task], *options, "--json")
        assert (status, err) == (0, "")
        figures[name] = json.loads(out)
    for name in ("file", "folder"):
        for figure in ("loss", "bleu", "exact_match", "accuracy"):
            expected = figures["own split"].get(figure)
            assert figures[name].get(figure) == (expected and pytest.approx(expected))
    assert math.isfinite(figures["file"]["loss"])


def test_all_of_a_folder_is_evaluated_where_no_split_is_named(runs, own, said):
    whole = json.loads(said("evaluate", runs["translation"], "--data", own, "--json")[1])
    assert (whole["pairs"], whole["data"]) == (36, str(own))


def test_own_sums_are_read_as_people_write_them(runs, said, tmp_path):
    task = Run(runs["addition"]).task()
    pairs = task.split("test")
    (tmp_path / "sums.tsv").write_text(
        "".join(f"{p.source[::-1].strip()}\t{p.target.strip()}\n" for p in pairs)
    )
    ours = json.loads(
        said("evaluate", runs["addition"], "--data", tmp_path / "sums.tsv", "--json")[1]
    )
    theirs = json.loads(said("evaluate", runs["addition"], "--split", "test", "--json")[1])
    for figure in ("loss", "exact_match", "character_accuracy", "pairs"):
        assert ours[figure] == pytest.approx(theirs[figure])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "none.tsv"], "none.tsv"),
        (["--encoding", "latin-1"], "--encoding is that of --data, which is not given"),
        (["--languages", "de-en"], "--languages is that of --data, which is not given"),
        (["--data", "{own}/test.tsv", "--split", "test"], "comes in no splits. Leave --split out"),
        (["--data", "{own}", "--split", "tset"], 'has no split "tset", only test, train, valid'),
        (["--step", "3"], "There is: none, because --keep_best was 1"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_what_cannot_be_evaluated_says_why(runs, own, said, options, message):
    options = [option.format(own=own) for option in options]
    status, out, err = said("evaluate", runs["translation"], *options)
    assert status in (1, 2)
    assert (message in err, out) == (True, "")


def test_a_model_that_was_not_kept_predicts_nothing(runs, said):
    status, out, err = said("predict", runs["translation"], "--step", "3", "--text", "a")
    assert ("There is: none" in err, status, out) == (True, 1, "")


# Lists: names, titles, recipes.


@pytest.fixture(scope="module")
def list_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("list")
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in NAMES))
    return trained(folder, "char-lm", "--data", folder / "names.txt", "--split", "random",
                   "--num_steps", 10)  # fmt: skip


def test_samples_end_at_the_stop_and_tell_how_many_are_copies(list_run, said):
    options = ["--num_samples", 5, "--stop", r"\n", "--seed", 1]
    status, out, err = said("generate", list_run, *options)
    assert status == 0
    samples = out.split("\n")
    assert len(samples) == 6
    assert samples[-1] == ""
    train = Run(list_run).task().corpus.splits["train"].split("\n")
    copies = sum(sample in train for sample in samples[:5])
    assert f"5 samples, {len(set(samples[:5]))} different; {copies} (" in err
    assert "of the training text" in err
    # A seed gives the same samples again; the first is that of a single one.
    assert said("generate", list_run, *options)[1] == out
    assert said("generate", list_run, "--stop", r"\n", "--seed", 1)[1] == f"{samples[0]}\n"


def written(list_run, monkeypatch, text, **options):
    """What is written if the model draws this text."""
    task = Run(list_run).task()
    model = task.model()
    tokens = task.vocabulary.encode(text, unknown="error").tolist()
    monkeypatch.setattr("throughtime.tasks.char_lm.generate", lambda *_: iter(tokens))
    said = []
    pieces = list(task.continuation(model, WritingOptions(**options), said.append))
    return "".join(pieces), said


def test_a_copy_is_a_whole_item(list_run, monkeypatch):
    task = Run(list_run).task()
    known = task.corpus.splits["train"].split("\n")[0]
    text, (said,) = written(list_run, monkeypatch, f"{known}\n", stop="\n")
    assert (text, said) == (
        known,
        "1 sample, 1 different; 1 (100 %) is a copy of the training text.",
    )
    _, (said,) = written(list_run, monkeypatch, f"{known[:-1]}\n", stop="\n")
    assert "0 (0 %) are copies" in said
    # Without a stop any part of the text is one, and a single sample tells nothing.
    text, (said,) = written(list_run, monkeypatch, known[:-1], num_samples=2)
    assert text == f"{known[:-1]}\n{known[:-1]}"
    assert said == "2 samples, 1 different; 2 (100 %) are copies of the training text."
    assert written(list_run, monkeypatch, known)[1] == []


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("anna", "nn", "a"),
        ("ananan", "nan", "a"),
        ("anlana", "ana", "anl"),
        ("anan", "nb", "anan"),
        ("bella", "zz", "bella"),
    ],
)
def test_a_stop_of_several_characters_is_not_written(list_run, monkeypatch, text, stop, expected):
    assert written(list_run, monkeypatch, text, stop=stop)[0] == expected


def test_without_the_training_text_samples_are_written_all_the_same(list_run, tmp_path, said):
    text = list_run.parent / "names.txt"
    text.rename(tmp_path / "moved.txt")
    try:
        status, out, err = said("generate", list_run, "--num_samples", 2, "--stop", r"\n")
    finally:
        (tmp_path / "moved.txt").rename(text)
    assert (status, len(out.split("\n"))) == (0, 3)
    assert "How many are copies is unknown" in err
    assert isinstance(Run(list_run).task(), CharLM)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num_samples", "0"], "--num_samples: expected at least 1, got 0"),
        (["--stop", ""], "--stop: expected at least one character"),
        (["--num_samples", "2", "--temperature", "0"], "at temperature 0 all samples are equal"),
    ],
    ids=" ".join,
)
def test_samples_that_cannot_be_are_refused(list_run, said, options, message):
    status, _, err = said("generate", list_run, *options)
    assert status == 2
    assert message in err


def test_a_sorted_list_is_warned_of_when_it_is_trained(tmp_path, said, caplog):
    items = sorted(f"{a}{b}" for a in NAMES for b in NAMES)
    (tmp_path / "names.txt").write_text("\n".join(items))
    options = ["--data", tmp_path / "names.txt", *SMALL, "--max_time", 0.001]
    said("train", "char-lm", *options, "--run", tmp_path / "run")
    assert "names.txt: the lines are sorted" in caplog.text
    caplog.clear()
    said("train", "char-lm", *options, "--split", "random", "--run", tmp_path / "two")
    assert "sorted" not in caplog.text

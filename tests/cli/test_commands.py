"""The commands, as a user types them."""

import json
import math
import re

import pytest

from throughtime import cells
from throughtime.cli.main import main
from throughtime.cli.parser import settings_of_file
from throughtime.tasks.run import Run

TEXT = "def cat():\n    return 'mat'\n\n" * 60
SMALL = "--hidden_size 8 --num_layers 1 --batch_size 4 --num_steps 10 --epochs 1".split()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.py").write_text(TEXT)
    assert main(["train", "char-lm", "--data", str(folder / "text.py"), *SMALL,
                 "--run", str(folder / "run")]) == 0  # fmt: skip
    return folder / "run"


# Each command does its work.


def test_training_says_where_the_run_and_the_report_are(tmp_path, said):
    (tmp_path / "text.py").write_text(TEXT)
    status, out, err = said(
        "train", "char-lm", "--data", tmp_path / "text.py", *SMALL, "--run", tmp_path / "run"
    )
    assert (status, err) == (0, "")
    assert re.match(r"char-lm: text.py-lstm-1x8, [\d,]+ parameters -> ", out)
    assert "validation loss" in out
    assert "The run is complete" in out
    assert str(tmp_path / "run" / "report.html") in out


def test_a_run_without_a_name_gets_its_own_folder(tmp_path, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.py").write_text(TEXT)
    for _ in range(2):
        assert said("train", "char-lm", "--data", "text.py", *SMALL)[0] == 0
    names = {p.name for p in (tmp_path / "runs" / "char-lm").iterdir()}
    assert names == {"text.py-lstm-1x8", "text.py-lstm-1x8-2"}


def test_generating_goes_on_from_the_prime(run, said):
    status, out, err = said("generate", run, "--length", 50, "--prime", "def ", "--seed", 1)
    assert re.search(r"54 characters in [\d.]+ s: [\d,]+ a second\.", err)
    assert status == 0
    assert out.startswith("def ")
    assert len(out) == len("def ") + 50 + len("\n")
    assert said("generate", run, "--length", 50, "--prime", "def ", "--seed", 1)[1] == out
    assert said("generate", run, "--length", 50, "--prime", "def ", "--seed", 2)[1] != out


def test_generating_greedily_needs_no_seed(run, said):
    greedy = ("generate", run, "--temperature", 0, "--length", 30)
    assert said(*greedy)[1] == said(*greedy)[1]


def test_evaluating_prints_json_only(run, said):
    status, out, _ = said("evaluate", run, "--json")
    figures = json.loads(out)
    assert status == 0
    assert figures["bits_per_character"] == pytest.approx(figures["loss"] / math.log(2))
    assert figures["split"] == "valid"


def test_evaluating_a_sentence_and_a_file_with_it_agree(run, said, tmp_path):
    (tmp_path / "line.txt").write_text("return cat")
    text = json.loads(said("evaluate", run, "--text", "return cat", "--json")[1])
    file = json.loads(said("evaluate", run, "--data", tmp_path / "line.txt", "--json")[1])
    assert text == file
    assert text["characters"] == 9
    assert text["log_likelihood"] == pytest.approx(-9 * text["loss"])


def test_the_whole_training_text_and_its_validation_split_differ(run, said):
    train = json.loads(said("evaluate", run, "--split", "train", "--json")[1])
    valid = json.loads(said("evaluate", run, "--split", "valid", "--json")[1])
    assert train["loss"] != valid["loss"]


def test_the_table_has_every_cell(said):
    status, out, _ = said("cells")
    assert status == 0
    rows: dict[str, list[str]] = {}
    name = ""
    for line in out.splitlines():
        # What is too long for its column goes on in the next line.
        name = line.split()[0] if line.strip() and line[0] != " " else name
        rows.setdefault(name, []).extend(line.split())
    for name in cells.names():
        assert set(cells.get(name).gates) <= set(rows[name])
        assert str(cells.get(name).year) in rows[name]


def test_info_names_versions_threads_compiler_and_backends(tmp_path, monkeypatch, said):
    monkeypatch.setenv("THROUGHTIME_CACHE", str(tmp_path / "kernels"))
    status, out, _ = said("info")
    assert status == 0
    for word in ("throughtime", "torch", "threads", "reference", "ready", "compiler"):
        assert word in out
    assert f"{tmp_path / 'kernels'} (0 kernels" in out

    monkeypatch.setenv("CXX", "/nowhere/g++")
    out = said("info")[1]
    assert "compiler   none" in out
    assert "CXX='/nowhere/g++'" in out


def test_info_says_that_a_compiler_does_not_work(tmp_path, monkeypatch, said):
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setenv("THROUGHTIME_CACHE", "~nobody-of-this-name/kernels")
    status, out, _ = said("info")
    assert status == 0
    assert "openmp     unknown: the compiler does not work: it ended with exit status 1" in out
    assert "cpp        cannot run: the C++ compiler" in out
    assert "~nobody-of-this-name/kernels (not used: " in out


def test_info_shows_and_empties_the_cache_of_kernels(tmp_path, monkeypatch, said):
    folder = tmp_path / "kernels"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("THROUGHTIME_CACHE", str(folder))
    for suffix in (".so", ".cpp", ".lock"):
        (folder / f"{'0' * 64}{suffix}").write_bytes(b" " * 2**20)
    (folder / "notes.txt").write_text("mine")
    assert f"{folder} (1 kernels, 3.0 MiB of at most 256)" in said("info")[1]
    for flag in ("--clear_cache", "--clear-cache"):
        status, out, _ = said("info", flag)
        assert status == 0
        removed = "1 kernels, 3.0 MiB" if flag == "--clear_cache" else "0 kernels, 0.0 MiB"
        assert f"cache {folder}: removed {removed}" in out
        assert f"{folder} (0 kernels, 0.0 MiB" in out
        assert [file.name for file in folder.iterdir()] == ["notes.txt"]
    folder.chmod(0o777)
    status, _, err = said("info", "--clear_cache")
    assert status == 1
    assert "is not used, and not emptied: others than its owner may write to it" in err


def test_help_is_there_for_all(said):
    alone = ("generate", "evaluate", "cells", "equations", "info")
    for command in ([], ["train", "char-lm"], *([name] for name in alone)):
        status, out, _ = said(*command, "--help")
        assert status == 0
        assert "usage: throughtime" in out
    # Every setting says what it is.
    out = said("train", "char-lm", "--help")[1]
    for flag in re.findall(r"^  (--\w+)", out, re.MULTILINE):
        entry = out.split(f"\n  {flag} ")[1].split("\n  --")[0]
        assert len(entry.split()) > 3, flag


def test_a_recipe_gives_the_settings_and_options_go_before_it(tmp_path, said):
    (tmp_path / "text.py").write_text(TEXT)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("about: {what: test}\ntask: char-lm\nhidden_size: 5\nnum_layers: 1\n"
                      "batch_size: 4\nepochs: 1\ntied: true\n")  # fmt: skip
    said("train", "char-lm", "--config", recipe, "--data", tmp_path / "text.py",
         "--hidden_size", 6, "--run", tmp_path / "run")  # fmt: skip
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert settings["hidden_size"] == 6
    assert settings["batch_size"] == 4
    assert settings["tied"] is True
    # What a run was made with can be given again.
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    known = [*config["settings"], *config["training"]]
    assert settings_of_file(str(tmp_path / "run" / "config.json"), known)["hidden_size"] == 6


def test_a_switch_needs_no_value(tmp_path, said):
    (tmp_path / "text.py").write_text(TEXT)
    said("train", "char-lm", "--data", tmp_path / "text.py", *SMALL, "--tied",
         "--run", tmp_path / "run")  # fmt: skip
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["tied"] is True


# What is refused, and in which words.


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], 'unknown command "trian"; did you mean "train"?'),
        (["train", "charlm"], 'unknown task "charlm"; did you mean "char-lm"?'),
        (["train", "char-lm", "--hiden_size", "3"], 'did you mean "--hidden_size"?'),
        (["train", "char-lm", "--hidden", "3"], "unknown option --hidden"),
        (["train", "char-lm", "--sample_length", "-5"], "--sample_length: expected 0 or more"),
        (["train", "char-lm", "--seed", "-1"], "--seed: expected 0 to"),
        (["train", "char-lm", "--devices", "3"], "3 processes can share equally, got 32"),
        (["train", "char-lm", "--accelerator", "gpu"], "expected a GPU that torch can use"),
        (["train", "char-lm", "--hidden_size", "x"], "--hidden_size: expected int, got x"),
        (["train", "char-lm", "--max_time", "x"], "--max_time: expected float, got x"),
        (["train", "char-lm", "--decay", "cosin"], 'got cosin; did you mean "cosine"'),
        (["train", "char-lm", "--cell", "lstn"], 'unknown cell "lstn"; did you mean "lstm"?'),
        (["train", "char-lm", "--backend", "torhc"], 'did you mean "torch"?'),
        (["train", "char-lm", "--dropout", "1.5"], "dropout"),
        (["train", "char-lm", "--epochs", "0"], "--epochs: expected more than 0, got 0"),
        (["train", "char-lm", "--resume"], "--resume goes on with a run, so it needs --run"),
        (["train", "char-lm", "--data", "tinyshakespere"], 'did you mean "tinyshakespeare"?'),
        (["train", "char-lm", "--config", "none.yaml"], "none.yaml: No such file"),
        (["generate"], "run"),
        (["generate", "nowhere"], "nowhere: expected a run folder"),
        (["evaluate", "nowhere", "--json"], "nowhere: expected a run folder"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_answered_with_the_right_ones(argv, message, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = said(*argv)
    assert status in (1, 2)
    assert message in err
    assert "Traceback" not in err + out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no characters"),
        (b"short", "Give more text, or a smaller --batch_size"),
        (b"abc \xff\xfe\n" * 100, "--encoding"),
    ],
)
def test_a_text_that_cannot_be_read_leaves_no_folder(content, message, said, tmp_path):
    (tmp_path / "text.txt").write_bytes(content)
    status, _, err = said("train", "char-lm", "--data", tmp_path / "text.txt",
                          "--run", tmp_path / "run")  # fmt: skip
    assert status == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_another_encoding_is_read_when_it_is_named(said, tmp_path):
    (tmp_path / "text.txt").write_bytes("Käse und Brot. ".encode("latin-1") * 60)
    status, _, _ = said("train", "char-lm", "--data", tmp_path / "text.txt", *SMALL,
                        "--encoding", "latin-1", "--run", tmp_path / "run")  # fmt: skip
    assert status == 0
    assert "\\u00e4" in (tmp_path / "run" / "config.json").read_text()


def test_a_folder_that_is_taken_is_not_written_over(run, said, tmp_path):
    before = (run / "config.json").read_bytes()
    status, _, err = said("train", "char-lm", "--run", run)
    assert status == 1
    assert "a run is there already. Go on with it by --resume" in err
    assert (run / "config.json").read_bytes() == before
    (tmp_path / "letters.txt").write_text("mine")
    assert "is not empty, and holds no run" in said("train", "char-lm", "--run", tmp_path)[2]


def test_a_resumed_run_keeps_its_settings(run, said):
    status, _, err = said("train", "char-lm", "--run", run, "--resume", "--hidden_size", 9)
    assert status == 1
    assert "the run has hidden_size=8, got 9" in err
    status, out, _ = said("train", "char-lm", "--run", run, "--resume")
    assert status == 0
    assert "The run is complete" in out


def test_a_prime_that_training_never_saw_is_refused(run, said):
    status, out, err = said("generate", run, "--prime", "Käse")
    assert (status, out) == (1, "")
    assert "'K'" in err
    assert "'ä'" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature", "-1"], "temperature of 0 or more, got -1.0"),
        (["--top_k", "0"], "top_k of at least 1, got 0"),
        (["--top_p", "2"], "top_p above 0 and at most 1, got 2.0"),
        (["--length", "-3"], "--length: expected 0 or more, got -3"),
        (["--temprature", "1"], 'did you mean "--temperature"'),
    ],
)
def test_sampling_out_of_range_is_refused(run, said, options, message):
    status, _, err = said("generate", run, *options)
    assert status in (1, 2)
    assert message in err


def test_evaluating_what_cannot_be_scored_says_why(run, said, tmp_path):
    (tmp_path / "text.txt").write_text("Ünknown")
    assert "'Ü'" in said("evaluate", run, "--data", tmp_path / "text.txt")[2]
    assert said("evaluate", run, "--data", tmp_path / "text.txt", "--unknown", "skip")[0] == 0
    assert 'no split "test"' in said("evaluate", run, "--split", "test")[2]
    assert "--text is scored by itself" in said("evaluate", run, "--text", "a", "--split", "x")[2]


def test_a_recipe_with_a_wrong_key_is_refused_with_the_nearest(said, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("hiden_size: 3\n")
    err = said("train", "char-lm", "--config", recipe)[2]
    assert f'{recipe}: unknown key "hiden_size"; did you mean "hidden_size"?' in err
    recipe.write_text("just words")
    assert "expected settings as" in said("train", "char-lm", "--config", recipe)[2]
    recipe.write_text("a: [")
    assert "not YAML" in said("train", "char-lm", "--config", recipe)[2]


@pytest.mark.parametrize("options", [["--text", "the", "--encoding", "utf-16"], ["--unknown=skip"]])
def test_an_option_of_evaluate_without_effect_is_refused(run, said, options):
    status, out, err = said("evaluate", run, *options)
    assert (status, out) == (2, "")
    assert options[0].split("=")[0] in err or "--encoding" in err


def test_a_sentence_of_the_word_null_is_scored(run, said):
    figures = json.loads(said("evaluate", run, "--text", "null", "--unknown", "skip", "--json")[1])
    # The training saw n and u, and never l.
    assert (figures["characters"], figures["skipped"]) == (1, 2)


def test_two_trainings_do_not_write_into_one_folder(run, said):
    lock = Run(run).lock()
    try:
        status, _, err = said("train", "char-lm", "--run", run, "--resume", "--epochs", 2)
        assert (status, "another training is writing here" in err) == (1, True)
    finally:
        lock.release()


def test_a_file_is_no_run_folder(said, tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    assert "is a file" in said("train", "char-lm", "--run", tmp_path / "a.txt")[2]

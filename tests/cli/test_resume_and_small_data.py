"""What a training says of the run to go on with, and of settings that suit few data."""

import json
import shutil

import pytest

LINES = "".join(f"word{i % 97} and word{i % 89} make line {i}\n" for i in range(200))
SMALL = "--hidden_size 4 --num_layers 1 --validate_every 100000 --sample_every 100000".split()


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(LINES)
    return tmp_path / "text.txt"


@pytest.fixture
def run(tmp_path, text, said):
    folder = tmp_path / "runs" / "char-lm" / "demo"
    more = ["--epochs", 1, "--batch_size", 8, "--run", folder]
    assert said("train", "char-lm", "--data", text, *SMALL, *more)[0] == 0
    return folder


def test_a_mistyped_run_is_an_error_with_the_nearest_one(run, said, tmp_path, monkeypatch):
    beside = run.parent / "dmeo"
    status, _, err = said("train", "char-lm", "--resume", "--run", beside)
    assert status == 1
    assert f"{beside}: expected a run folder" in err
    assert 'did you mean "demo"?' in err
    assert not beside.exists()
    # The folder above may be mistyped, too, or left out.
    in_words = f'did you mean "{run}"?'
    assert (
        in_words in said("train", "char-lm", "--resume", "--run", tmp_path / "runs/charlm/demo")[2]
    )
    monkeypatch.chdir(tmp_path)
    err = said("train", "char-lm", "--resume", "--run", "demo")[2]
    assert 'did you mean "runs/char-lm/demo"?' in err
    assert not (tmp_path / "demo").exists()
    # Where no run has a similar name there is no hint.
    assert "did you mean" not in said("train", "char-lm", "--resume", "--run", "x/quite/other")[2]


def test_a_run_without_a_saved_step_starts_at_step_0_and_says_so(run, said, tmp_path):
    untrained = tmp_path / "untrained"
    untrained.mkdir()
    shutil.copy(run / "config.json", untrained)
    status, out, _ = said("train", "char-lm", "--resume", "--run", untrained)
    assert status == 0
    assert "No step was saved yet" in out
    assert (untrained / "model.safetensors").read_bytes() == (
        run / "model.safetensors"
    ).read_bytes()
    # The checkpoint of a run that has a model is missed, and the model stays.
    (untrained / "last.ckpt").unlink()
    before = (untrained / "model.safetensors").read_bytes()
    status, _, err = said("train", "char-lm", "--resume", "--run", untrained)
    assert status == 1
    assert "expected a checkpoint beside the model, got no last.ckpt" in err
    assert (untrained / "model.safetensors").read_bytes() == before


def settings(run):
    config = json.loads((run / "config.json").read_text())
    return {**config["settings"], **config["training"]}


def test_few_data_get_other_defaults_which_are_said(text, said, tmp_path):
    amount = int(0.9 * len(LINES))
    options = ["--max_time", 0.0001, *SMALL, "--run", tmp_path / "run"]
    status, out, _ = said("train", "char-lm", "--data", text, *options)
    assert status == 0
    chosen = settings(tmp_path / "run")
    assert {k: chosen[k] for k in ("batch_size", "dropout", "epochs", "warmup_steps")} == {
        "batch_size": 4,
        "dropout": 0.3,
        "epochs": 100,
        "warmup_steps": 100,
    }
    steps = -(-amount // 3200)
    assert (
        f"--batch_size 4: with 32 an epoch of {amount:,} characters would have only {steps}" in out
    )
    assert "--dropout 0.3: without it" in out
    steps = -(-(amount // 4) // 100)
    assert f"--epochs 100: 10 epochs are only {10 * steps} steps" in out


def test_what_the_user_sets_stays_and_nothing_is_said_of_it(text, said, tmp_path):
    own = "--batch_size 16 --dropout 0 --epochs 2 --warmup_steps 50".split()
    options = [*own, "--max_time", 0.0001, *SMALL, "--run", tmp_path / "run"]
    status, out, _ = said("train", "char-lm", "--data", text, *options)
    assert status == 0
    assert "amount of data" not in out
    chosen = settings(tmp_path / "run")
    assert [chosen[k] for k in ("batch_size", "dropout", "epochs", "warmup_steps")] == [
        *(16, 0.0, 2, 50)
    ]


def test_a_recipe_is_complete(text, said, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: char-lm\nhidden_size: 4\nnum_layers: 1\n")
    options = ["--max_time", 0.0001, "--data", text, "--run", tmp_path / "run"]
    status, out, _ = said("train", "char-lm", "--config", recipe, *options)
    assert status == 0
    chosen = settings(tmp_path / "run")
    assert [chosen[k] for k in ("batch_size", "dropout", "epochs")] == [32, 0.0, 10]
    # Only the warm-up, which a recipe of a usual size does not notice.
    assert "--warmup_steps 2: a tenth of all 20 steps" in out

"""The run folder: what is written, and what a damaged one says."""

import errno
import json

import pytest
import torch

from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run, RunError, written_whole


@pytest.fixture
def task(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat.\n" * 40)
    return CharLM(CharLMConfig(str(path), hidden_size=8, num_layers=1, tied=True))


@pytest.fixture
def run(tmp_path, task):
    run = Run(tmp_path / "run")
    run.create(task, {"epochs": 1})
    return run


def test_a_run_gives_back_the_task_and_the_model(run, task):
    model = task.model().eval()
    run.save_model(model)
    again = Run(run.folder).task()
    assert again.config == task.config
    loaded = run.load_model(again)
    tokens = torch.randint(5, (1, 9))
    torch.testing.assert_close(loaded(tokens)[0], model(tokens)[0], rtol=0, atol=0)
    assert loaded.scores.weight is loaded.embedding.weight
    assert set(run.config()["versions"]) == {"throughtime", "python", "torch"}
    assert run.config()["parameters"] == sum(p.numel() for p in model.parameters())


def test_no_run_folder_is_named_with_the_nearest(tmp_path, run):
    with pytest.raises(RunError, match='got no such folder; did you mean "run"'):
        Run(tmp_path / "runn").config()
    with pytest.raises(RunError, match=r"got no config\.json in it"):
        Run(tmp_path).config()


@pytest.mark.parametrize("damage", ["{", "[]", '{"task": "char-lm"}', ""])
def test_a_damaged_configuration_says_so(run, damage):
    run.config_file.write_text(damage)
    with pytest.raises(RunError, match="the configuration is damaged"):
        run.config()


def test_settings_of_another_version_say_so(run):
    config = json.loads(run.config_file.read_text())
    config["settings"]["hiden_size"] = 3
    run.config_file.write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"settings are not those of char-lm .*hiden_size"):
        run.task()


@pytest.mark.parametrize("keep", [0, 4, 100, -8])
def test_a_truncated_model_says_so(run, task, keep):
    run.save_model(task.model())
    content = run.model_file.read_bytes()
    run.model_file.write_bytes(content[:keep])
    with pytest.raises(RunError, match=r"model\.safetensors: cannot be read as this run's model"):
        run.load_model(task)


def test_a_model_of_other_settings_says_so(run, task, tmp_path):
    run.save_model(CharLM(CharLMConfig(task.config.data, hidden_size=9, num_layers=1)).model())
    with pytest.raises(RunError, match="damaged or of other settings"):
        run.load_model(task)


def test_a_run_without_a_model_says_how_to_train_it(run, task):
    with pytest.raises(RunError, match=r"no model was saved here yet.*--resume"):
        run.load_model(task)


def test_a_failed_write_leaves_the_file_before_it(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail(partial):
        partial.write_text("aft")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        written_whole(path, fail)
    assert caught.value.filename == str(path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_which_a_run_was_killed_at_its_very_beginning_is_free(tmp_path):
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    (run.folder / ".lock").touch()
    (run.folder / "config.json.partial").write_text("{")
    assert run.is_free()
    (run.folder / "notes.txt").touch()
    assert not run.is_free()


def test_a_run_that_lacks_a_setting_is_of_an_older_throughtime(run):
    config = json.loads(run.config_file.read_text())
    del config["settings"]["cell"]
    run.config_file.write_text(json.dumps(config))
    with pytest.raises(RunError, match="got no cell, so the run is of an older throughtime"):
        run.task()


def test_a_run_that_does_not_say_its_parameters_is_read(run, task):
    config = json.loads(run.config_file.read_text())
    del config["parameters"]
    run.config_file.write_text(json.dumps(config))
    assert run.task().config == task.config

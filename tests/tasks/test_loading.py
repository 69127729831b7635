"""load_run: the model, the task and the tokenisers of a trained run, in Python."""

import pytest
import torch

import throughtime as tt
from throughtime.tasks.addition import Addition, AdditionConfig
from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat.\n" * 40)
    task = CharLM(CharLMConfig(str(path), hidden_size=8, num_layers=1))
    run = Run(tmp_path / "run")
    run.create(task, {"epochs": 1})
    run.save_model(task.model())
    # A loaded run needs the training data only to be trained further.
    path.rename(tmp_path / "elsewhere.txt")
    return run.folder


def test_a_run_gives_its_model_task_and_tokenisers(folder, tmp_path):
    run = tt.load_run(str(folder))
    text = run.tokenisers["text"]
    tokens = text.encode("the cat").unsqueeze(0)
    scores, _ = run.model(tokens)
    assert scores.shape == (1, 7, len(text))
    assert not run.model.training
    assert run.task.name == run.config["task"] == "char-lm"
    tt.save_pretrained(run.model, tmp_path / "model")
    again = tt.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(again(tokens)[0], scores, rtol=0, atol=0)


def test_a_task_of_pairs_has_two_tokenisers_and_can_be_trained_further(tmp_path):
    small = {"digits": 1, "num_pairs": 40, "num_test": 10, "hidden_size": 8, "batch_size": 8}
    task = Addition(AdditionConfig(**small))
    folder = Run(tmp_path / "sums")
    folder.create(task, {"epochs": 1})
    folder.save_model(task.model())
    run = tt.load_run(folder.folder)
    assert set(run.tokenisers) == {"source", "target"}
    source = run.tokenisers["source"]
    assert source.decode(source.encode("1+2")) == "1+2"
    batch = next(iter(run.task.batches("train")))
    before = run.task.loss(run.model, batch).mean
    optimiser = torch.optim.SGD(run.model.parameters(), 0.1)
    before.backward()
    optimiser.step()
    assert run.task.loss(run.model, batch).mean < before


def test_a_folder_without_a_run_or_a_model_is_refused_with_the_reason(folder, tmp_path):
    with pytest.raises(ValueError, match='got no such folder; did you mean "run"'):
        tt.load_run(tmp_path / "rum")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no model was saved here yet"):
        tt.load_run(folder)

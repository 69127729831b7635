"""The average of the weights over the steps of a training by gradient."""

import signal
import subprocess
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run, RunError
from throughtime.training import checkpoint
from throughtime.training.averaging import averaged
from throughtime.training.config import GradientConfig
from throughtime.training.fit import fit
from throughtime.training.gradient import GradientLearner
from throughtime.training.loop import Loop

from .small import TEXT, command, rows, until, written


@pytest.fixture
def trained(tmp_path):
    """Trains in this process; returns the run."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT)

    def train(name="run", *, resume=False, **training):
        task = CharLM(CharLMConfig(str(text), hidden_size=8, batch_size=8, num_steps=30))
        config = GradientConfig(
            **{"epochs": 3, "average": 0.9, "sample_every": 0, "warmup_steps": 0, **training}
        )
        run = Run(tmp_path / name)
        if not resume:
            run.create(task, asdict(config))
        fit(task, config, run, resume)
        return run

    return train


def test_the_first_steps_weigh_more_as_long_as_they_are_few():
    model = nn.Linear(1, 1, bias=False).double()
    average = averaged(model, 0.5)
    values = []
    for weight in (1.0, 3.0, 7.0, -1.0):
        nn.init.constant_(model.weight, weight)
        average.update_parameters(model)
        values.append(average.module.weight.item())
    # d is 2/11, 3/12 and 4/13 before the average of step 2, 3 and 4; 0.5 would come at n = 8.
    second = 1 * 2 / 11 + 3 * 9 / 11
    third = second / 4 + 7 * 3 / 4
    assert values == pytest.approx([1, second, third, third * 4 / 13 - 9 / 13], rel=1e-12)


def test_the_average_is_that_of_the_weights_after_each_step(trained, monkeypatch):
    weights, step = [], GradientLearner.step

    def recorded(self, progress):
        report = step(self, progress)
        weights.append({k: p.detach().clone() for k, p in self.trained.named_parameters()})
        return report

    monkeypatch.setattr(GradientLearner, "step", recorded)
    run = trained(precision="64-true", epochs=2)
    expected = weights[0]
    for n, of_step in enumerate(weights[1:], 1):
        d = min(0.9, (1 + n) / (10 + n))
        expected = {k: d * value + (1 - d) * of_step[k] for k, value in expected.items()}
    saved = checkpoint.load(run.checkpoint_file)
    assert len(weights) == saved["step"] == saved["average"]["n_averaged"]
    for name, value in expected.items():
        torch.testing.assert_close(saved["average"][f"module.{name}"], value, rtol=1e-12, atol=0)
        torch.testing.assert_close(saved["model"][name], weights[-1][name], rtol=0, atol=0)


def test_the_model_that_is_validated_and_kept_has_the_averaged_weights(trained):
    run = trained(epochs=1)
    kept, saved = load_file(run.model_file), checkpoint.load(run.checkpoint_file)
    assert all(torch.equal(kept[name], saved["average"][f"module.{name}"]) for name in kept)
    assert not any(torch.equal(kept[name], saved["model"][name]) for name in kept)
    task = run.task()
    figures = task.evaluate(run.load_model(task), "valid").figures
    assert figures["loss"] == pytest.approx(float(rows(run, "valid")[-1]["loss"]), rel=1e-5)


def test_the_average_changes_no_step_of_the_training(trained):
    with_average, without = trained("with"), trained("without", average=None)
    assert rows(with_average, "train") == rows(without, "train")
    ours, theirs = (
        checkpoint.load(run.checkpoint_file)["model"] for run in (with_average, without)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def assert_same(run, whole):
    assert rows(run) == rows(whole)
    for part in ("model", "average"):
        ours, theirs = (checkpoint.load(each.checkpoint_file)[part] for each in (run, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = load_file(run.model_file), load_file(whole.model_file)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def interrupt(trained, monkeypatch, step, **training):
    """Starts the training ``parts``, which a signal ends after a step."""
    after = Loop._after_step

    def interrupted(self, report):
        if self.position.step == step:
            self.stop.signal = signal.SIGINT
        return after(self, report)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_after_step", interrupted)
        return trained("parts", **training)


def test_an_interrupted_training_resumes_to_the_same_average(trained, monkeypatch):
    whole = trained("whole")
    interrupt(trained, monkeypatch, step=11)
    assert_same(trained("parts", resume=True), whole)


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_average(tmp_path):
    folder = written(tmp_path / "data")
    whole, run = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    quiet = dict(check=True, stdout=subprocess.DEVNULL)
    more = ["--average", "0.95"]
    subprocess.run(command(folder, "char-lm", "gradient", whole.folder, *more), **quiet)
    words = command(folder, "char-lm", "gradient", run.folder, *more)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        until(lambda: len(rows(run)) >= 30, process)
        process.kill()
    assert 0 < checkpoint.load(run.checkpoint_file)["step"]
    subprocess.run([*words, "--resume"], **quiet)
    assert_same(run, whole)


def test_a_checkpoint_with_another_average_is_refused(trained, monkeypatch):
    run = interrupt(trained, monkeypatch, step=11)
    saved = checkpoint.load(run.checkpoint_file)
    average = saved["average"]
    weight = next(name for name in average if name.startswith("module."))
    for changed, message in (
        ({**average, "n_averaged": torch.tensor(10)}, r"average of 12 steps, got that of 10"),
        ({**average, weight: average[weight] * torch.nan}, "finite"),
        ({k: v for k, v in average.items() if k != weight}, "average"),
    ):
        checkpoint.save(run.checkpoint_file, {**saved, "average": changed})
        with pytest.raises(RunError, match=message):
            trained("parts", resume=True)
    checkpoint.save(run.checkpoint_file, {k: v for k, v in saved.items() if k != "average"})
    with pytest.raises(RunError, match="average"):
        trained("parts", resume=True)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match="--average: expected 0 to below 1, got"):
        GradientConfig(average=decay)

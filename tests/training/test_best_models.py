"""Patience, the models that are kept, and the warm-up of a short training."""

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run, RunError
from throughtime.tasks.task import Evaluation
from throughtime.training.config import GradientConfig
from throughtime.training.fit import fit
from throughtime.training.gradient import GradientLearner

# The losses of the validations, one after each epoch; the best is the third, then the fifth.
LOSSES = [3.0, 2.0, 1.5, 1.8, 1.7, 1.9, 1.6, 1.4, 1.45, 1.3]


class Scripted(CharLM):
    """A language model whose validations have the losses of the script, by the epoch."""

    def evaluate(self, model, split=None, options=None):
        self.evaluations = getattr(self, "evaluations", [])
        loss = LOSSES[self.begun + len(self.evaluations)]
        self.evaluations.append(loss)
        return Evaluation(self.figures_of_loss(loss))

    def show(self, model):
        return []


@pytest.fixture
def trained(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat.\n" * 20)

    def train(name="run", *, begun=0, resume=False, **training):
        task = Scripted(CharLMConfig(str(text), hidden_size=4, batch_size=8, num_steps=30))
        task.begun = begun
        config = GradientConfig(
            **{"epochs": 10, "warmup_steps": 2, "sample_every": 1e6, **training}
        )
        run = Run(tmp_path / name)
        if not resume:
            run.create(task, asdict(config))
        return run, fit(task, config, run, resume)

    return train


def figures(run):
    lines = run.metrics_file.read_text().splitlines()
    columns = lines[0].split(",")
    keep = [c for c in columns if c != "seconds" and not c.endswith("per_second")]
    rows = (dict(zip(columns, line.split(","), strict=True)) for line in lines[1:])
    return [[row[c] for c in keep] for row in rows]


def test_without_patience_every_epoch_is_trained(trained):
    _, outcome = trained()
    assert outcome.reason == "complete"
    assert outcome.figures["loss"] == 1.3


def test_a_training_ends_after_so_many_validations_without_a_best_one(trained):
    run, outcome = trained(patience=4)
    steps_per_epoch = outcome.step // 7
    # 1.5 is the best of the first seven: four validations later the training ends.
    assert (outcome.reason, outcome.step) == ("patience", 7 * steps_per_epoch)
    assert outcome.figures["loss"] == 1.5
    # Resumed with the same patience it makes no step; with more it goes on as if never ended.
    _, again = trained(resume=True, begun=7, patience=4)
    assert (again.reason, again.step) == ("patience", 7 * steps_per_epoch)
    _, further = trained(resume=True, begun=7, patience=5)
    assert (further.reason, further.figures["loss"]) == ("complete", 1.3)
    whole, _ = trained("whole", patience=5)
    assert figures(run) == figures(whole)
    ours, theirs = load_file(run.model_file), load_file(whole.model_file)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_patience_counts_on_from_the_checkpoint(trained):
    run, first = trained(patience=4, epochs=5, decay="none")
    assert first.reason == "complete"
    _, outcome = trained(resume=True, begun=5, patience=4, decay="none")
    assert outcome.reason == "patience"
    assert outcome.step == first.step // 5 * 7
    whole, _ = trained("whole", patience=4, decay="none")
    assert figures(run) == figures(whole)


def test_the_best_models_are_kept_and_can_be_loaded(trained):
    run, outcome = trained(keep_best=3)
    each = outcome.step // 10
    # 1.3, 1.4 and 1.45 are the losses of the epochs 10, 8 and 9.
    assert run.kept_steps() == [8 * each, 9 * each, 10 * each]
    task = run.task()
    best = run.load_model(task).state_dict()
    assert all(
        torch.equal(v, best[k]) for k, v in run.load_model(task, 10 * each).state_dict().items()
    )
    other = run.load_model(task, 8 * each).state_dict()
    assert not all(torch.equal(v, best[k]) for k, v in other.items())
    with pytest.raises(RunError, match=rf"got 5\. There is: {8 * each}, {9 * each}, {10 * each}"):
        run.load_model(task, 5)


def test_the_kept_models_go_on_over_an_interruption(trained):
    run, first = trained(keep_best=2, epochs=4, decay="none")
    each = first.step // 4
    assert run.kept_steps() == [3 * each, 4 * each]
    trained(resume=True, begun=4, keep_best=2, epochs=7, decay="none")
    assert run.kept_steps() == [3 * each, 7 * each]
    # With a single one there is no folder of several.
    trained(resume=True, begun=7, epochs=8, decay="none")
    assert run.kept_steps() == []


@pytest.mark.parametrize(
    ("warmup_steps", "total", "expected"),
    [(None, 80, 8), (None, 5, 0), (None, 1000, 100), (None, 9999, 100), (100, 80, 100), (0, 80, 0)],
)
def test_the_warm_up_is_at_most_a_tenth_unless_it_is_set(warmup_steps, total, expected):
    assert GradientConfig(warmup_steps=warmup_steps).warmup(total) == expected


def test_a_short_training_reaches_its_learning_rate(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat.\n" * 20)
    task = CharLM(CharLMConfig(str(text), hidden_size=4, batch_size=8, num_steps=30))
    learner = GradientLearner(task, GradientConfig(epochs=10, decay="none", learning_rate=0.25))
    assert learner.total_steps == 20
    rates = [learner.step(0.0).latest["learning_rate"] for _ in range(3)]
    assert rates == [0.125, 0.25, 0.25]


@pytest.mark.parametrize("options", [{"patience": 0}, {"keep_best": 0}, {"keep_best": 1001}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"--{next(iter(options))}: expected"):
        GradientConfig(**options)

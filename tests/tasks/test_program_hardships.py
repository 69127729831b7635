"""Trees that are hard for a task: very deep ones, programs that never end, trainings that end."""

import signal
import subprocess

import pytest
import torch

from throughtime.data.trees import Tree, read_sexpr
from throughtime.models import TreeHypothesis
from throughtime.tasks.program import ProgramConfig, ProgramWriting
from throughtime.tasks.run import Run
from throughtime.tasks.tree_predictions import of_hypothesis
from throughtime.tasks.tree_settings import WritingOptions

from ..training.small import call, command, rows, until, written
from ..training.test_kills import assert_same_end

DEEP = 10_000


def test_a_program_that_never_ends_has_no_value():
    tree = read_sexpr("(map a (lambda1 (self arg1)))")
    hypothesis = TreeHypothesis([1], [-1], -1.0, True)
    result = of_hypothesis(hypothesis, tree, "s-expression", {"a": [1]})
    assert result.lines == ["(map a (lambda1 (self arg1)))\t"]
    assert result.record["value"] is None
    assert "steps" in result.record["error"]
    assert result.remarks[0].startswith("the program has no value: ")


def test_a_deep_tree_is_written_on_one_line():
    labels, parents = ("a",) * DEEP, tuple(range(-1, DEEP - 1))
    hypothesis = TreeHypothesis([4] * DEEP, list(parents), -1.0, False)
    result = of_hypothesis(hypothesis, Tree(labels, parents), "s-expression")
    assert read_sexpr(result.lines[0]) == Tree(labels, parents)
    result = of_hypothesis(hypothesis, Tree(labels, parents), "python")
    assert result.lines[0].startswith("(a (a (a ")
    assert result.remarks[0].startswith("the tree is written as an s-expression: ")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["sequence", "n-ary"])
def test_a_deep_tree_is_learned_and_written(tmp_path, source):
    deep = f"{'(a ' * DEEP}b{')' * DEEP}"
    text = "deep" if source == "sequence" else deep
    for split in ("train", "valid"):
        (tmp_path / f"{split}.tsv").write_text(f"{text}\t{deep}\n(a b)\t(a b)\n")
    config = ProgramConfig(data=str(tmp_path), source=source, hidden_size=8, batch_size=2)
    task = ProgramWriting(config)
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    (batch,) = task.batches("train")
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = task.loss(model, batch).mean
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    said = []
    explain = source == "sequence"
    (prediction,) = task.predictions(model, [[text]], WritingOptions(), said.append, explain)
    assert prediction.record["tree"]
    if explain:
        assert len(prediction.attention.target) <= 500


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "more"), [("prefix-trees", []), ("program", ["--constrained", "true"])]
)
def test_a_killed_training_goes_on_to_the_same_numbers(tmp_path, task, more):
    folder = written(tmp_path / "data")
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    call(command(folder, task, "gradient", whole.folder, *more))
    words = command(folder, task, "gradient", parts.folder, *more)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        until(lambda: len(rows(parts)) >= 2, process)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(rows(parts)) < len(rows(whole))
    call([*words, "--resume"])
    assert_same_end(parts, whole)

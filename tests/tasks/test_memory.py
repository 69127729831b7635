"""memory: generated problems, learned and judged."""

import json

import pytest
import torch

from throughtime.cli.main import main
from throughtime.data.problems import PROBLEMS
from throughtime.models.stepwise import WindowNetwork
from throughtime.tasks.memory import MemoryConfig, MemoryTask

SMALL = {"hidden_size": 16, "batch_size": 8, "batches_per_epoch": 2, "num_valid": 8}


def task_of(problem, **options):
    return MemoryTask(MemoryConfig(problem=problem, **SMALL | options))


class Knowing(torch.nn.Module):
    """Says the right targets, but for words a^n b^n of some n."""

    def __init__(self, task, wrong=()):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.task, self.wrong = task, wrong

    def forward(self, x, lengths=None):
        if self.task.config.problem == "adding":
            return x.prod(-1).sum(1)[:, None, None].expand(*x.shape[:2], 1) + self.weight
        n = x[..., 1].sum(1).long()
        scores = torch.zeros(*x.shape[:2], 3)
        for row, size in enumerate(n.tolist()):
            examples = PROBLEMS["anbn"].graded([size])
            if size not in self.wrong:
                scores[row, : len(examples.targets[0])] = examples.legal[0].float()
        return scores


@pytest.mark.parametrize("problem", PROBLEMS)
def test_eight_sequences_are_learned_by_heart(problem):
    torch.manual_seed(0)
    sizes = {} if problem == "reber" else {"length": 10, "test_length": 12}
    task = task_of(problem, **sizes, cell="gru", hidden_size=48)
    task.check()
    model = task.model()
    batch = next(iter(task.batches("train")))
    # A word does not tell which other symbols were legal, so only what is determined is learned.
    batch = batch._replace(legal=batch.legal & (batch.legal.sum(-1, keepdim=True) == 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(1500):
        loss = task.loss(model, batch).mean
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0 and task._is_right(task._outputs(model, batch).detach(), batch).all():
            return
    pytest.fail(f"the loss is still {loss.item()}")


def test_the_largest_n_counts_only_words_without_an_earlier_failure():
    task = task_of("anbn", test_length=40)
    figures = task.evaluate(Knowing(task), "test").figures
    assert figures["right_to"] == 40
    assert figures["accuracy"] == 1
    figures = task.evaluate(Knowing(task, wrong=[27, 30]), "test").figures
    assert figures["right_to"] == 26
    assert figures["accuracy"] == 38 / 40
    # A validation knows the sizes of the training only.
    evaluation = task.evaluate(Knowing(task, wrong=[27]))
    assert evaluation.about["length"] == 100
    assert "right_to" not in evaluation.figures


def test_a_sum_is_right_if_its_error_is_small():
    task = task_of("adding", length=10)
    model = Knowing(task)
    assert task.evaluate(model).figures["accuracy"] == 1
    with torch.no_grad():
        model.weight += 0.05
    figures = task.evaluate(model, "test").figures
    assert figures["accuracy"] == 0
    assert figures["loss"] == pytest.approx(0.0025, rel=1e-3)


def test_equal_probabilities_are_not_right():
    task = task_of("dyck-1", length=10)
    examples = next(task._examples("valid", 10))
    scores = examples.legal.float()
    assert task._is_right(scores, examples).all()
    assert not task._is_right(torch.zeros_like(scores), examples).any()


def test_sizes_grow_from_epoch_to_epoch():
    config = MemoryConfig(length=80, start_length=5, growing_epochs=4)
    assert config.lengths == [5, 10, 20, 40, 80]
    assert MemoryConfig(length=80).lengths == [80]


def test_a_window_is_a_network_without_memory():
    assert isinstance(task_of("parity", network="window", window=3).model(), WindowNetwork)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"problem": "reber", "length": 9}, "--length 9: the words of reber have no size"),
        ({"start_length": 700}, "--start_length: expected at most --length 600, got 700"),
        ({"length": 0}, "--length: expected at least 1"),
        ({"window": 0}, "--window: expected at least 1"),
    ],
)
def test_settings_without_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MemoryConfig(**options)


def test_a_problem_is_trained_judged_and_used_by_commands(tmp_path, capsys):
    run = str(tmp_path / "run")
    words = (
        "train memory --problem parity --length 3 --cell gru --hidden_size 16 --epochs 3".split()
    )
    words += "--batches_per_epoch 60 --learning_rate 0.02 --num_valid 50 --num_test 60".split()
    assert main([*words, "--run", run]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--split", "test", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["accuracy"] == 1
    assert figures["examples"] == 60
    assert main(["predict", run, "--text", "101"]) == 0
    assert capsys.readouterr().out.split()[-1] == "even"
    assert main(["predict", run, "--text", "12"]) == 1
    assert "line 1: character 2: expected one of 0 1, got '2'" in capsys.readouterr().err
    assert main(["evaluate", run, "--split", "train"]) == 1
    assert 'expected the split "valid" or "test"' in capsys.readouterr().err

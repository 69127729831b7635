"""The contract of learners: REINFORCE and an evolution strategy balance the same pole."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from throughtime import tasks
from throughtime.checks import nearest
from throughtime.tasks.run import Run
from throughtime.training.evolution import centred_ranks
from throughtime.training.learner import CONFIGS, choose
from throughtime.training.reinforce import rewards_to_go

HERE = Path(__file__).parent
# The task is not the package's, so the command registers it before it begins.
COMMAND = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(HERE)!r}); import pole; from throughtime import tasks; "
    "tasks.register(pole.Pole); from throughtime.cli.main import main; sys.exit(main())",
    "train",
    "pole",
]
SETTINGS = {
    "reinforce": "--updates 16 --learning_rate 0.02 --discount 0.98 --validate_every 8",
    "evolution": "--generations 16 --population 16 --sigma 0.3 --learning_rate 0.15 "
    "--validate_every 8",
}


def command(learner, run, *more):
    options = ["--learner", learner, *SETTINGS[learner].split(), "--save_every", "0"]
    return [*COMMAND, *options, "--log_every", "1", "--run", str(run.folder), *more]


def rows(run):
    """metrics.csv without the columns that the clock writes."""
    with run.metrics_file.open(newline="") as file:
        return [
            {k: v for k, v in row.items() if k != "seconds" and "per_second" not in k}
            for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize(
    "learner", ["reinforce", pytest.param("evolution", marks=pytest.mark.slow)]
)
def test_the_pole_is_balanced_and_a_killed_training_goes_on_to_the_same_numbers(learner, tmp_path):
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    done = subprocess.run(command(learner, whole), check=True, capture_output=True, text=True)
    assert "The run is complete" in done.stdout
    returns = [float(row["return"]) for row in rows(whole) if row["split"] == "valid"]
    assert max(returns) >= 195

    with subprocess.Popen(command(learner, parts), stdout=subprocess.DEVNULL) as process:
        while not parts.metrics_file.is_file() or len(rows(parts)) < 5:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert len(rows(parts)) < len(rows(whole))
    resumed = [*COMMAND, "--run", str(parts.folder), "--resume"]
    subprocess.run(resumed, check=True, stdout=subprocess.DEVNULL)
    assert rows(parts) == rows(whole)
    ours, theirs = load_file(parts.model_file), load_file(whole.model_file)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    page = parts.report_file.read_text()
    assert "<h2>Return</h2>" in page
    # The best is the highest return.
    assert f"return {max(returns):.4f}" in page


def test_the_rewards_to_come_are_discounted():
    rewards = torch.tensor([1.0, 0.0, 2.0])
    torch.testing.assert_close(rewards_to_go(rewards, 0.5), torch.tensor([1.5, 1.0, 2.0]))


def test_equal_fitness_shares_a_rank():
    ranks = centred_ranks(torch.tensor([5.0, 1.0, 5.0, 9.0]))
    torch.testing.assert_close(ranks, torch.tensor([0.0, -0.5, 0.0, 0.5]))


def test_a_learner_is_refused_where_the_task_lacks_what_it_needs():
    char_lm = tasks.get("char-lm")
    assert choose(char_lm, None) == "gradient"
    assert choose(char_lm, "evolution") == "evolution"
    message = "expected a task that has episodes to play.*learned by: gradient, evolution"
    with pytest.raises(ValueError, match=message):
        choose(char_lm, "reinforce")
    with pytest.raises(ValueError, match='unknown learner "gradeint"; did you mean "gradient"'):
        choose(char_lm, "gradeint")
    assert nearest("evolutoin", CONFIGS)


def test_evolution_learns_a_task_of_batches_too(tmp_path):
    """The loss of a batch is a fitness: a language model gets better without a gradient."""
    from throughtime.tasks.char_lm import CharLM, CharLMConfig
    from throughtime.training.config import EvolutionConfig
    from throughtime.training.evolution import EvolutionLearner

    (tmp_path / "text.txt").write_text("abab" * 200)
    config = CharLMConfig(
        str(tmp_path / "text.txt"), hidden_size=2, num_layers=1, batch_size=4, num_steps=10
    )
    task = CharLM(config)
    learner = EvolutionLearner(task, EvolutionConfig(population=8, learning_rate=0.2))
    before = task.evaluate(learner.model, "valid").figures["loss"]
    for _ in range(25):
        learner.step(0.0)
    assert task.evaluate(learner.model, "valid").figures["loss"] < 0.5 * before
    assert all(isinstance(p, nn.Parameter) for p in learner.model.parameters())


@pytest.mark.parametrize(
    ("learner", "options", "message"),
    [
        ("evolution", {"population": 3}, "--population: expected an even number"),
        ("evolution", {"sigma": 0.0}, "--sigma: expected more than 0"),
        ("reinforce", {"discount": 1.5}, "--discount: expected 0 to 1"),
        ("reinforce", {"updates": 0}, "--updates: expected more than 0"),
    ],
)
def test_settings_out_of_range_are_refused(learner, options, message):
    with pytest.raises(ValueError, match=message):
        CONFIGS[learner](**options)

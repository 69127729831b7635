"""Trainings of every task and learner that are killed at random moments, again and again."""

import random
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from throughtime.tasks.run import Run
from throughtime.training import checkpoint

from .forked import Forked
from .small import command, everything, rows, small_task, written

ENDS = [*[signal.SIGKILL] * 20, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SHORTER = {"gradient": ["--epochs", "1", "--validate_every", "25"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def forked(folder):
    server = Forked(folder)
    yield server
    server.close()


def assert_same_end(run, whole):
    """Asserts that two runs have the same rows, the same best model and the same checkpoint."""
    assert rows(run) == rows(whole)
    pairs = [(load_file(run.model_file), load_file(whole.model_file))]
    pairs += [tuple(checkpoint.load(each.checkpoint_file)["model"] for each in (run, whole))]
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert run.report_file.is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("task", "learner"), everything())
def test_twenty_kills_change_no_number(forked, folder, tmp_path, task, learner):
    """Beside 20 kills, a signal of each other kind; each at a moment drawn from the seed."""
    small_task(task, folder)
    whole = Run(tmp_path / "whole")
    begun = time.monotonic()
    more = SHORTER.get(learner, [])
    words = command(folder, task, learner, whole.folder, *more)[3:]
    assert forked.run(words) == 0, forked.said
    seconds = time.monotonic() - begun

    draw = random.Random(f"{task} {learner}")
    ends, run, number = draw.sample(ENDS, len(ENDS)), None, 0
    # The training that was ended last goes on to its end.
    while ends or run is not None:
        if run is None:
            number += 1
            run = Run(tmp_path / f"parts-{number}")
        how = ends[-1] if ends else None
        resume = ["--resume"] if run.config_file.is_file() else []
        words = command(folder, task, learner, run.folder, *more, *resume)[3:]
        status = forked.run(words, how, draw.uniform(0, seconds))
        if status == 0:
            assert_same_end(run, whole)
            run = None
        else:
            assert "Traceback" not in forked.said
            # Before the training begins, a signal ends a process in the system's own way.
            assert status in (-how, 128 + how)
            ends.pop()

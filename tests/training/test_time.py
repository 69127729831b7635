"""--max_time bounds the whole call, and interruptions never wait for a validation."""

import signal
import sys
import time
from dataclasses import asdict

import pytest

from throughtime.tasks.addition import Addition, AdditionConfig
from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run
from throughtime.training import checkpoint
from throughtime.training.clock import Clock
from throughtime.training.config import GradientConfig
from throughtime.training.fit import fit
from throughtime.training.signals import Interrupted, Stop

from .small import rows, written


@pytest.fixture
def train(tmp_path):
    text = str(written(tmp_path) / "text.txt")

    def call(resume=False, **training):
        task = CharLM(CharLMConfig(text, hidden_size=6, num_layers=1, batch_size=4, num_steps=10))
        config = GradientConfig(**{"epochs": 1, "sample_every": 1e6, "log_every": 5, **training})
        run = Run(tmp_path / "run")
        run.create(task, asdict(config))
        return run, fit(task, config, run, resume)

    return call


def endless(monkeypatch, after=0):
    """Makes all validations but the first some endless, with 0.3 seconds of the call left then."""
    evaluate, begun = CharLM.evaluate, []

    def judge(self, model, *options):
        begun.append(1)
        while len(begun) > after:
            time.sleep(0.01)
        return evaluate(self, model, *options)

    left = property(lambda clock: 0.3 if len(begun) >= after else 1000.0)
    monkeypatch.setattr(Clock, "left", left)
    monkeypatch.setattr(CharLM, "evaluate", judge)
    return begun


def test_a_first_validation_that_does_not_end_leaves_a_model_and_a_checkpoint(
    train, monkeypatch, capsys
):
    begun = endless(monkeypatch)
    run, outcome = train(max_time=1000, epochs=1000)
    assert (outcome.reason, outcome.figures, outcome.step) == ("time", {}, 71)
    assert len(begun) == 1
    said = capsys.readouterr().out
    assert "--max_time: the validation is left." in said
    assert "No validation was finished; the model is kept as it is." in said
    task = run.task()
    assert run.load_model(task) is not None
    assert checkpoint.load(run.checkpoint_file)["step"] == 71
    assert rows(run, "valid") == []


def test_a_later_validation_that_does_not_end_leaves_the_best_model(train, monkeypatch):
    endless(monkeypatch, after=2)
    run, outcome = train(max_time=1000, validate_every=20)
    assert (outcome.reason, outcome.step) == ("time", 60)
    assert [row["step"] for row in rows(run, "valid")] == ["20", "40"]
    best = min(float(row["loss"]) for row in rows(run, "valid"))
    assert outcome.figures["loss"] == pytest.approx(best, rel=1e-5)
    monkeypatch.undo()
    # The validation that was left is made up for.
    run, outcome = train(resume=True, validate_every=20)
    assert [row["step"] for row in rows(run, "valid")] == ["20", "40", "60", "71"]


def test_an_untrained_network_that_writes_long_outputs_is_left_in_time(tmp_path, capsys):
    """Its outputs end nowhere, so that a validation of thousands of them takes minutes."""
    config = AdditionConfig(
        network="two", digits=200, num_pairs=20_000, num_test=0, hidden_size=64, padded=False
    )
    task = Addition(config)
    training = GradientConfig(max_time=0.05, sample_every=1e6)
    run = Run(tmp_path / "run")
    run.create(task, asdict(training))
    outcome = fit(task, training, run)
    assert outcome.reason == "time"
    assert run.model_file.is_file()
    assert checkpoint.load(run.checkpoint_file)["step"] == outcome.step > 0
    assert "the validation is left" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_a_validation_at_once_and_saves(train, monkeypatch, capsys, number):
    evaluate = CharLM.evaluate

    def judge(self, model, *options):
        for _ in range(3):
            # However often it comes.
            signal.raise_signal(number)
        pytest.fail("the validation went on")
        return evaluate(self, model, *options)

    monkeypatch.setattr(CharLM, "evaluate", judge)
    run, outcome = train()
    assert outcome.reason == number.name
    assert f"{number.name}: the validation is left." in capsys.readouterr().out
    assert checkpoint.load(run.checkpoint_file)["step"] == outcome.step == 71
    assert not run.model_file.exists()
    monkeypatch.undo()
    run, outcome = train(resume=True)
    assert outcome.reason == "complete"
    assert [row["step"] for row in rows(run, "valid")] == ["71"]


def test_a_complete_run_that_lacks_its_report_draws_it_when_it_is_resumed(train):
    """A kill after the last checkpoint comes before the report."""
    run, _ = train()
    run.report_file.unlink()
    assert train(resume=True)[1].reason == "complete"
    assert "Best validation at step" in run.report_file.read_text()


def test_signals_during_the_write_of_a_checkpoint_do_not_break_it(train, monkeypatch):
    save, steps = checkpoint.save, []

    def interrupted(path, state):
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        save(path, state)
        signal.raise_signal(signal.SIGTERM)
        steps.append(state["step"])

    monkeypatch.setattr(checkpoint, "save", interrupted)
    run, outcome = train(save_every=0)
    # The first save is after the first step; the next step learns of the signal.
    assert (outcome.reason, steps) == ("SIGINT", [1, 2])
    assert checkpoint.load(run.checkpoint_file)["step"] == 2


def test_an_interruption_that_is_swallowed_comes_again():
    """Python drops an exception that is raised in a destructor."""
    stop, caught = Stop(), []

    def work():
        with stop.leaving():
            try:
                signal.raise_signal(signal.SIGTERM)
            except Interrupted:
                caught.append(1)
            while True:
                time.sleep(0.01)

    with stop.installed(), pytest.raises(Interrupted):
        work()
    assert (caught, stop.signal) == ([1], signal.SIGTERM)


def test_an_interruption_in_a_finaliser_comes_again_in_silence(monkeypatch):
    reported: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: reported.append(event.exc_value))
    stop = Stop()

    class Node:
        def __init__(self, error):
            self.error = error

        def __del__(self):
            if self.error is not None:
                raise self.error
            signal.raise_signal(signal.SIGALRM)

    error = ValueError("another error")

    def work():
        with stop.leaving(seconds=1000):
            Node(None)  # the handler raises Interrupted here, and Python drops it
            Node(error)
            time.sleep(30)

    with stop.installed(), pytest.raises(Interrupted):
        work()
    assert reported == [error]
    Node(error)
    assert reported == [error, error]


def test_the_first_signal_is_passed_on_once():
    told = []
    stop = Stop(told.append)
    with stop.installed():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    assert (told, stop.signal) == ([signal.SIGTERM], signal.SIGTERM)


def test_a_signal_that_is_ignored_from_the_start_stays_ignored():
    """nohup lets a training ignore that its terminal closes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = Stop()
    try:
        with stop.installed():
            signal.raise_signal(signal.SIGHUP)
        assert stop.signal is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

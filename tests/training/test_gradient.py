"""Learning by gradient: the clip, the schedule, stopping, resuming, several processes."""

import csv
import gc
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from throughtime.tasks.char_lm import CharLM, CharLMConfig
from throughtime.tasks.run import Run, RunError
from throughtime.training import checkpoint
from throughtime.training.config import GradientConfig
from throughtime.training.fit import fit
from throughtime.training.gradient import clip_norm_
from throughtime.training.learner import Diverged
from throughtime.training.loop import Loop

SMALL = dict(hidden_size=12, num_layers=2, dropout=0.2, batch_size=4, num_steps=10)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat, and the dog ran to the cat.\n" * 60)
    return path


@pytest.fixture
def trained(tmp_path, text):
    """Trains in this process; returns the run and how it ended."""

    # The runs lie in tmp_path, under their names.
    def train(name="run", *, resume=False, task=(), **training):
        task = CharLM(CharLMConfig(str(text), **{**SMALL, **dict(task)}))
        config = GradientConfig(**{"epochs": 1, "sample_every": 1e6, **training})
        run = Run(tmp_path / name)
        run.create(task, asdict(config))
        return run, fit(task, config, run, resume)

    return train


def rows(run, split="train"):
    with run.metrics_file.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def without_times(run):
    """metrics.csv without the columns that the clock writes."""
    with run.metrics_file.open(newline="") as file:
        return [
            {k: v for k, v in row.items() if k != "seconds" and "per_second" not in k}
            for row in csv.DictReader(file)
        ]


# The gradient's norm.


def test_a_long_gradient_is_shortened_to_the_norm_and_keeps_its_direction():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    # sqrt(9 + 16) = 5; without the square root it would be 25.
    assert clip_norm_([a, b], 1.0) == pytest.approx(5.0)
    torch.testing.assert_close(a.grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(b.grad, torch.tensor([0.8]))


def test_a_short_gradient_stays_as_it_is():
    a = nn.Parameter(torch.zeros(2))
    a.grad = torch.tensor([0.3, 0.4])
    assert clip_norm_([a], 1.0) == pytest.approx(0.5)
    torch.testing.assert_close(a.grad, torch.tensor([0.3, 0.4]))


# What a training leaves behind.


def test_the_run_folder_holds_what_the_design_says(trained):
    run, outcome = trained()
    assert outcome.reason == "complete"
    assert {p.name for p in run.folder.iterdir()} == {
        "config.json",
        "last.ckpt",
        "metrics.csv",
        "model.safetensors",
        "report.html",
        "samples.txt",
        "tensorboard",
    }
    assert any(run.tensorboard_folder.iterdir())
    steps = [int(row["step"]) for row in rows(run)]
    assert steps == [*range(10, outcome.step, 10), outcome.step]
    assert [int(row["step"]) for row in rows(run, "valid")] == [outcome.step]
    assert float(rows(run)[-1]["loss"]) < float(rows(run)[0]["loss"])


def test_the_model_that_is_kept_is_the_best_and_has_its_figures(trained):
    run, outcome = trained(epochs=3, learning_rate=0.03)
    validations = [float(row["loss"]) for row in rows(run, "valid")]
    assert len(validations) == 3
    assert outcome.figures["loss"] == pytest.approx(min(validations), rel=1e-5)
    task = run.task()
    again = task.evaluate(run.load_model(task), "valid").figures
    assert again["loss"] == pytest.approx(outcome.figures["loss"], rel=1e-5)


def test_the_first_row_is_what_a_bare_loop_computes(trained):
    run, _ = trained(log_every=1, task={"dropout": 0.0}, warmup_steps=0, decay="none")
    task = run.task()
    torch.manual_seed(0)
    model = task.model()
    optimizer = torch.optim.AdamW(model.parameters(), 0.004, betas=(0.9, 0.99))
    state = None
    for (x, y), row in zip(task.batches("train"), rows(run)[:5], strict=False):
        scores, state = model(x, state)
        state = tuple(s.detach() for s in state)
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        assert float(row["loss"]) == pytest.approx(loss.item(), rel=1e-4)
        assert float(row["gradient_norm"]) == pytest.approx(norm.item(), rel=1e-3)


@pytest.mark.parametrize("decay", ["cosine", "linear", "none"])
def test_the_learning_rate_rises_and_falls_as_asked(trained, decay):
    run, outcome = trained(log_every=1, warmup_steps=10, decay=decay, learning_rate=0.01)
    rates = [float(row["learning_rate"]) for row in rows(run)]
    assert rates[0] == pytest.approx(0.001, rel=0.01)
    middle = rates[outcome.step // 2]
    assert middle == pytest.approx(0.01 if decay == "none" else 0.005, rel=0.05)
    assert rates[-1] == pytest.approx(0.01) if decay == "none" else rates[-1] < 0.0005


def test_it_stops_at_its_time_and_decays_the_learning_rate_within_it(trained):
    run, outcome = trained(max_time=1 / 60, epochs=100_000, log_every=1, warmup_steps=0)
    assert outcome.reason == "time"
    assert outcome.figures
    assert float(rows(run)[-1]["learning_rate"]) < 0.001
    assert run.checkpoint_file.is_file()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_steps(trained, monkeypatch):
    counts = []

    def show(self, model):
        gc.collect()
        counts.append(sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()))
        return []

    monkeypatch.setattr(CharLM, "show", show)
    trained(epochs=4, validate_every=20)
    assert len(counts) > 8
    assert max(counts[2:]) <= counts[1]


# What goes wrong.


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    trained, monkeypatch, tmp_path
):
    loss = CharLM.loss

    def broken(self, model, *args):
        result = loss(self, model, *args)
        broken.calls += 1
        is_broken = broken.calls == 30
        return replace(result, total=result.total * float("nan")) if is_broken else result

    broken.calls = 0
    monkeypatch.setattr(CharLM, "loss", broken)
    with pytest.raises(Diverged, match=r"step 30: the loss is nan.*keeps the last.*learning_rate"):
        trained("nan", save_every=0)
    saved = checkpoint.load(Run(tmp_path / "nan").checkpoint_file)
    assert saved["step"] == 29
    assert all(torch.isfinite(w).all() for w in saved["model"].values())


def test_a_full_disk_leaves_the_checkpoint_before_and_says_what_to_do(trained):
    run, _ = trained()
    before = run.checkpoint_file.read_bytes()
    # A device on which every write finds the disk full.
    (run.folder / "last.ckpt.partial").symlink_to("/dev/full")
    with pytest.raises(checkpoint.CheckpointError, match=r"no space is left.*--resume"):
        checkpoint.save(run.checkpoint_file, {"step": 3, "weights": torch.zeros(100_000)})
    assert run.checkpoint_file.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 10, 1000, -10])
def test_a_damaged_checkpoint_says_so(trained, keep):
    run, _ = trained()
    run.checkpoint_file.write_bytes(run.checkpoint_file.read_bytes()[:keep])
    with pytest.raises(RunError, match="the checkpoint is damaged"):
        trained(resume=True)


@pytest.mark.parametrize(
    "options",
    [{"epochs": 0}, {"max_time": 0}, {"learning_rate": -1}, {"clip_norm": float("nan")},
     {"warmup_steps": -1}, {"validate_every": 0}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"--{next(iter(options))}: expected"):
        GradientConfig(**options)


# Resuming, as commands, so that a kill is a kill.


def command(text, run, *more):
    options = {"data": text, "run": run, "hidden_size": 12, "dropout": 0.2, "batch_size": 4,
               "num_steps": 10, "epochs": 3, "save_every": 0, "log_every": 7, **SMALL}  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "throughtime.cli.main", "train", "char-lm", *words, *more]


def until(condition, process):
    begun = time.monotonic()
    while not condition():
        assert process.poll() is None, "the command ended before it was stopped"
        assert time.monotonic() - begun < 120, "the command did not get on"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    text = folder / "text.txt"
    text.write_text("the cat sat on the mat, and the dog ran to the cat.\n" * 60)
    run = Run(folder / "run")
    subprocess.run(command(text, run.folder), check=True, stdout=subprocess.DEVNULL)
    return text, run


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        signal.SIGINT,
        # These are handled as SIGINT is; test_time.py asks that each of them stops a training.
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
    ids=lambda s: s.name,
)
def test_a_stopped_training_resumes_to_the_same_numbers(uninterrupted, tmp_path, how):
    text, whole = uninterrupted
    run = Run(tmp_path / "run")
    words = command(text, run.folder)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        # In the middle of the second epoch of about 70 steps.
        until(lambda: run.metrics_file.is_file() and len(rows(run)) >= 14, process)
        process.send_signal(how)
        said, _ = process.communicate()
    status = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}
    assert process.returncode == status[how]
    if how != signal.SIGKILL:
        assert f"{how.name}: Stopped at step" in said
        assert str(run.checkpoint_file) in said
    assert checkpoint.load(run.checkpoint_file)["step"] < 3 * 70

    subprocess.run(command(text, run.folder, "--resume"), check=True, stdout=subprocess.DEVNULL)
    # All rows, those of the validations among them.
    assert without_times(run) == without_times(whole)
    ours, theirs = load_file(run.model_file), load_file(whole.model_file)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_resuming_ends_well_where_all_is_done(uninterrupted):
    text, whole = uninterrupted
    before = without_times(whole)
    done = subprocess.run(
        command(text, whole.folder, "--resume"), check=True, capture_output=True, text=True
    )
    assert "The run is complete" in done.stdout
    assert without_times(whole) == before


def test_two_processes_give_the_gradient_of_one_with_the_whole_batch(tmp_path, text):
    runs = []
    for name, more in {"one": [], "two": ["--devices", "2", "--strategy", "ddp"]}.items():
        runs.append(Run(tmp_path / name))
        words = command(
            text, runs[-1].folder, "--dropout", "0", "--epochs", "1", "--log_every", "1", *more
        )
        subprocess.run(
            words, check=True, stdout=subprocess.DEVNULL, timeout=300, env=os.environ.copy()
        )
    one, two = map(rows, runs)
    assert len(one) == len(two) > 60
    for a, b in zip(one, two, strict=True):
        assert float(a["gradient_norm"]) == pytest.approx(float(b["gradient_norm"]), rel=2e-3)
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)
    first, second = (load_file(run.model_file) for run in runs)
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_two_processes_weigh_each_token_alike_where_their_pairs_are_of_other_lengths(tmp_path):
    words = [sys.executable, "-m", "throughtime.cli.main", "train", "addition", "--network", "two"]
    words += "--padded false --num_pairs 200 --num_test 0 --hidden_size 16 --batch_size 9".split()
    words += "--epochs 1 --log_every 1 --dropout 0".split()
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    quiet = dict(check=True, stdout=subprocess.DEVNULL, timeout=300)
    subprocess.run([*words, "--run", str(one.folder)], **quiet)
    both = ["--devices", "2", "--strategy", "ddp"]
    subprocess.run([*words, *both, "--run", str(two.folder)], **quiet)
    for a, b in zip(rows(one), rows(two), strict=True):
        assert float(a["gradient_norm"]) == pytest.approx(float(b["gradient_norm"]), rel=1e-4)
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-5)


@pytest.mark.slow
def test_two_processes_that_are_interrupted_resume_to_the_same_numbers(tmp_path, text):
    more = ["--devices", "2", "--strategy", "ddp"]
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    quiet = dict(stdout=subprocess.DEVNULL, timeout=300)
    subprocess.run(command(text, whole.folder, *more), check=True, **quiet)

    words = command(text, parts.folder, *more)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        until(lambda: parts.metrics_file.is_file() and len(rows(parts)) >= 14, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=300) == 130
    assert checkpoint.load(parts.checkpoint_file)["step"] < 3 * 70
    subprocess.run(command(text, parts.folder, "--resume", *more), check=True, **quiet)

    assert without_times(parts) == without_times(whole)
    weights, others = load_file(parts.model_file), load_file(whole.model_file)
    assert all(torch.equal(weights[name], others[name]) for name in others)


def test_a_run_of_two_processes_is_not_resumed_by_one(trained):
    run, _ = trained()
    saved = checkpoint.load(run.checkpoint_file)
    checkpoint.save(run.checkpoint_file, saved | {"processes": saved["processes"] * 2})
    with pytest.raises(RunError, match=r"by 2 process\(es\).*--devices 2, got 1"):
        trained(resume=True)


def test_double_precision_is_resumed_to_the_same_numbers(trained, monkeypatch):
    whole, _ = trained("whole", precision="64-true", epochs=1)
    after = Loop._after_step

    def interrupted(self, report):
        if self.position.step == 6:
            self.stop.signal = signal.SIGINT
        return after(self, report)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_after_step", interrupted)
        trained("parts", precision="64-true", epochs=1)
    parts, _ = trained("parts", precision="64-true", epochs=1, resume=True)
    a, b = (checkpoint.load(run.checkpoint_file)["model"] for run in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a)

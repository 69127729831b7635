"""Several processes: a signal to one stops all; where one dies, all end, and one says why."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from throughtime.tasks.run import Run
from throughtime.training import checkpoint

from .small import command, rows, until, written

TWO = ("--devices", "2", "--strategy", "ddp", "--epochs", "300")


def children(process):
    """The ids of the processes that a process has started."""
    ids = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            # It is the folder of no process, or of one that has ended meanwhile.
            continue
        if folder.name.isdigit() and int(fields[1]) == process.pid:
            ids.append(int(folder.name))
    return ids


def is_there(number):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Two:
    """A training of two processes that has made some steps."""

    def __init__(self, folder):
        self.run = Run(folder / "run")
        words = command(written(folder), "char-lm", "gradient", self.run.folder, *TWO)
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            self.process = subprocess.Popen(words, stdout=out, stderr=err)
        self.folder = folder
        until(lambda: len(rows(self.run)) >= 6, self.process)
        (self.child,) = children(self.process)

    def send(self, how, whom):
        for number in {"first": [self.process.pid], "second": [self.child]}.get(
            whom, [self.process.pid, self.child]
        ):
            os.kill(number, how)

    def end(self):
        """Waits for both; returns the status of the first, and what was said as an error."""
        status = self.process.wait(60)
        end = time.monotonic() + 60
        while is_there(self.child):
            assert time.monotonic() < end, "the second process did not end"
            time.sleep(0.05)
        return status, (self.folder / "err").read_text()


@pytest.fixture
def two(tmp_path):
    training = Two(tmp_path)
    yield training
    for number in (training.process.pid, training.child):
        if is_there(number):
            os.kill(number, signal.SIGKILL)
    training.process.wait()


@pytest.mark.parametrize(
    ("how", "whom"),
    [
        (signal.SIGTERM, "second"),
        pytest.param(signal.SIGTERM, "first", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "both", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, "second", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "both", marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_either_process_stops_both_with_a_checkpoint(two, how, whom):
    two.send(how, whom)
    status, errors = two.end()
    assert (status, errors) == (128 + how, "")
    said = (two.folder / "out").read_text()
    assert f"{how.name}: Stopped at step" in said
    step = checkpoint.load(two.run.checkpoint_file)["step"]
    assert f"Stopped at step {step}, saved in {two.run.checkpoint_file}" in said


@pytest.mark.parametrize("whom", ["first", "second"])
def test_where_a_process_dies_the_other_ends_and_says_so_in_one_sentence(two, whom):
    two.send(signal.SIGKILL, whom)
    status, errors = two.end()
    assert status == (-9 if whom == "first" else 1)
    who = {
        "first": f"the first process ({two.process.pid}), which started the others, has died",
        "second": f"process 1 of this machine ({two.child}) was ended by SIGKILL",
    }[whom]
    assert errors == (
        f"throughtime train: {who}; the training ends here. Go on from the last checkpoint with "
        "--resume.\n"
    )
    # What was saved before is whole.
    assert checkpoint.load(two.run.checkpoint_file)["step"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["first", "second"])
def test_a_process_that_dies_while_the_others_validate_takes_them_with_it(tmp_path, whom):
    """The other does not meet it for a long time."""
    folder = written(tmp_path)
    code = (
        "import sys, time; from throughtime.tasks.char_lm import CharLM\n"
        f"def evaluate(self, *options): open({str(folder / 'mark')!r}, 'a').close(); "
        "time.sleep(300)\n"
        "CharLM.evaluate = evaluate; from throughtime.cli.main import main; sys.exit(main())"
    )
    run = Run(folder / "run")
    words = command(folder, "char-lm", "gradient", run.folder, *TWO, "--validate_every", "5")
    words = [words[0], "-c", code, *words[3:]]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        until((folder / "mark").exists, process)
        (child,) = children(process)
        os.kill(process.pid if whom == "first" else child, signal.SIGKILL)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == (-9 if whom == "first" else 1)
    assert errors.count("throughtime train: ") == errors.count("\n") == 1
    assert not is_there(child)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
@pytest.mark.parametrize("whom", ["first", "second", "both"])
def test_a_signal_while_the_processes_are_being_connected_ends_both(tmp_path, how, whom):
    """The first waits for the second, which a signal ends before it can answer."""
    folder = written(tmp_path)
    words = command(folder, "char-lm", "gradient", folder / "run", *TWO)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: children(process), process)
        (child,) = children(process)
        for number in {"first": [process.pid], "second": [child]}.get(whom, [process.pid, child]):
            os.kill(number, how)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == (1 if whom == "second" else -how)
    # Of both, the second may print why it ends before its own signal arrives.
    assert errors.count("throughtime train: ") <= 1
    assert whom == "both" or errors.count("throughtime train: ") == 1
    assert "Traceback" not in errors
    assert "frame #" not in errors
    end = time.monotonic() + 10
    while is_there(child):
        assert time.monotonic() < end, "the second process did not end"
        time.sleep(0.05)


@pytest.mark.slow
def test_an_error_of_the_first_process_ends_the_second(tmp_path):
    """A disk on which no checkpoint can be written."""
    folder = written(tmp_path)
    run = Run(folder / "run")
    words = command(folder, "char-lm", "gradient", run.folder, *TWO, "--save_every", "0.02")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        until(run.metrics_file.is_file, process)
        (child,) = children(process)
        (run.folder / "last.ckpt.partial").unlink(missing_ok=True)
        (run.folder / "last.ckpt.partial").mkdir()
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "the checkpoint of step" in errors
    assert errors.count("throughtime train: ") == errors.count("\n") == 1
    assert not is_there(child)


@pytest.mark.slow
def test_what_only_the_second_process_finds_wrong_is_told_by_the_first(two):
    two.send(signal.SIGTERM, "first")
    two.end()
    run = two.run
    saved = checkpoint.load(run.checkpoint_file)
    saved["processes"][1]["carried"] = saved["processes"][1]["carried"][:1]
    checkpoint.save(run.checkpoint_file, saved)
    words = command(two.folder, "char-lm", "gradient", run.folder, *TWO, "--resume")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("throughtime train: ") == done.stderr.count("\n") == 1
    assert "last.ckpt: the checkpoint does not fit this run (carried: expected" in done.stderr

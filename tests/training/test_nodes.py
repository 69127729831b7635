"""Several nodes, as processes of this machine that meet on the loopback address."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from throughtime.tasks.run import Run
from throughtime.training import checkpoint

from .small import call, command, rows, until, written

pytestmark = pytest.mark.slow

NODES = ["--num_nodes", "2", "--devices", "1", "--strategy", "ddp"]
LAUNCHERS = ["torchrun", "by hand"]


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path)


@pytest.fixture
def start(folder):
    """Starts the two nodes of a training as a launcher does; ends what is left of them."""
    processes = []

    def call(launcher, run, *more):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        words = command(folder, "char-lm", "gradient", run.folder, *NODES, *more)
        for node in range(2):
            name = f"{run.folder.name}-{node}"
            environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            if launcher == "torchrun":
                place = f"--nnodes 2 --node_rank {node} --nproc_per_node 1 --master_addr 127.0.0.1"
                agent = [sys.executable, "-m", "torch.distributed.run", *place.split()]
                node_words = [*agent, "--master_port", port, "--no-python", "--", *words]
            else:
                node_words, environment["NODE_RANK"] = words, str(node)
            with (folder / name).open("w") as out, (folder / f"{name}-errors").open("w") as err:
                process = subprocess.Popen(node_words, stdout=out, stderr=err, env=environment)
            processes.append(process)
        return processes[-2:]

    yield call
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def said(folder, run, node, errors=False):
    return (folder / f"{run.folder.name}-{node}{'-errors' if errors else ''}").read_text()


def assert_same_numbers(run, other):
    assert rows(run) == rows(other)
    ours, theirs = load_file(run.model_file), load_file(other.model_file)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_nodes_compute_what_two_processes_of_one_machine_compute(folder, start, launcher):
    one, two = Run(folder / "one"), Run(folder / "two")
    both = ["--devices", "2", "--strategy", "ddp"]
    call(command(folder, "char-lm", "gradient", one.folder, *both, "--epochs", "1"))
    for node, process in enumerate(start(launcher, two, "--epochs", "1")):
        assert process.wait(300) == 0, said(folder, two, node, errors=True)
    assert "The run is complete" in said(folder, two, 0)
    # The first process alone speaks.
    assert said(folder, two, 1) == ""
    assert_same_numbers(two, one)


def test_a_signal_to_one_node_stops_both_and_they_resume_to_the_same_numbers(folder, start):
    whole, parts = Run(folder / "whole"), Run(folder / "parts")
    for process in start("by hand", whole, "--epochs", "2"):
        assert process.wait(300) == 0
    nodes = start("by hand", parts, "--epochs", "2")
    until(lambda: len(rows(parts)) >= 6, nodes[0])
    nodes[1].send_signal(signal.SIGTERM)
    assert [process.wait(120) for process in nodes] == [143, 143]
    assert "SIGTERM: Stopped at step" in said(folder, parts, 0)
    for process in start("by hand", parts, "--epochs", "2", "--resume"):
        assert process.wait(300) == 0
    assert_same_numbers(parts, whole)


@pytest.mark.parametrize("node", [0, 1])
def test_a_node_that_dies_ends_the_other_with_one_sentence(folder, start, node):
    run = Run(folder / "run")
    nodes = start("by hand", run, "--epochs", "300")
    until(lambda: len(rows(run)) >= 6, nodes[0])
    nodes[node].kill()
    assert nodes[1 - node].wait(60) == 1
    errors = said(folder, run, 1 - node, errors=True)
    assert errors.startswith("throughtime train: the connection to the other processes is lost")
    assert errors.count("\n") == 1
    assert checkpoint.load(run.checkpoint_file)["step"] > 0

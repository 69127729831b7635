"""Fixtures and settings of all tests."""

import os
import signal
import threading

import pytest
import torch

# One thread each, because several workers that each use all cores slow each other down.
torch.set_num_threads(1)

# A shell that runs the tests in the background makes them, and their children, ignore Ctrl-C; nohup
# makes them ignore SIGHUP. The tests send both to trainings.
if threading.current_thread() is threading.main_thread():
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _seeded():
    """Seeds the random generators before each test, so that the order of tests does not matter."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_in_child_processes():
    """Commands that tests start also use one thread."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before

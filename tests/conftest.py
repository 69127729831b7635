"""What all tests share."""

import os
import signal
import threading

import pytest
import torch

# One thread each: several workers that each want all cores slow one another down twentyfold.
torch.set_num_threads(1)

# A shell that starts the tests in the background lets them, and what they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded():
    """Each test draws the same random numbers, whatever runs before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_in_child_processes():
    """Commands that tests start are as modest as the tests."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before

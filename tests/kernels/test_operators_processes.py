"""The operators in other threads and processes: workers, forks, exported layers, the import."""

import os
import threading
import time
from pathlib import Path

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp.build import missing

from .operator_layers import close, flat, layer_of, python, sequence

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def test_an_exported_layer_runs_in_another_process(tmp_path):
    """The other process knows only the name of the cell."""
    layer, x = layer_of("lstm-peephole", backend="auto"), sequence()
    exported = torch.export.export(layer.eval(), (x,))
    torch.export.save(exported, tmp_path / "layer.pt2")
    torch.save((x, flat(layer(x))), tmp_path / "values.pt")
    printed = python(f"""
        import torch, throughtime
        from throughtime.kernels.cpp import recurrence
        runs = []
        forward = recurrence.Kernel.forward
        recurrence.Kernel.forward = lambda *a, **k: runs.append(1) or forward(*a, **k)
        module = torch.export.load({str(tmp_path / "layer.pt2")!r}).module()
        x, (output, h, c) = torch.load({str(tmp_path / "values.pt")!r})
        with torch.no_grad():
            ours, (our_h, our_c) = module(x)
        assert len(runs) == 1
        for a, b in ((ours, output), (our_h, h), (our_c, c)):
            torch.testing.assert_close(a, b)
        print("the same")
    """)
    assert "the same" in printed


class _Rows(torch.utils.data.Dataset):
    """A data set whose items are run through a layer by the worker that reads them."""

    def __init__(self, layer, xs):
        self.layer, self.xs = layer, xs

    def __len__(self):
        return len(self.xs)

    def __getitem__(self, i):
        with torch.no_grad():
            return self.layer(self.xs[i])[0]


def test_a_worker_of_a_data_loader_may_call_a_layer():
    """The worker is forked from a process whose OpenMP threads have run."""
    layer, xs = layer_of("Peephole"), sequence(3)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = [layer(x)[0].detach() for x in xs]
        loader = torch.utils.data.DataLoader(
            *(_Rows(layer, xs), None), num_workers=1, multiprocessing_context="fork", timeout=60
        )
        close(list(loader), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_may_use_several_threads():
    """A process whose threads have run leaves them behind; a child that waits for them hangs.

    So small that no function of PyTorch itself takes several threads: PyTorch would hang.
    """
    printed = python("""
        import os, signal, torch, throughtime as tt
        torch.manual_seed(0)
        torch.set_num_threads(2)
        layer = tt.Recurrent("lstm", 8, 64, backend="cpp")
        x = torch.randn(3, 8, 8)
        expected, _ = layer(x)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            torch.set_num_threads(2)
            leaf = x.clone().requires_grad_()
            output, _ = layer(leaf)
            output.sum().backward()
            same = torch.allclose(output, expected) and bool(leaf.grad.isfinite().all())
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        again, _ = layer(x)
        assert torch.equal(again, expected)
        print("both ran")
    """)
    assert "both ran" in printed


def test_other_python_threads_run_meanwhile():
    """A kernel releases the lock of the interpreter."""
    layer = tt.Recurrent("lstm", 64, 512, backend="cpp")
    x = torch.randn(300, 16, 64)
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(1e-4)

    with torch.no_grad():
        layer(x[:1])
        thread = threading.Thread(target=count)
        thread.start()
        try:
            before = counted[0]
            start = time.perf_counter()
            layer(x)
            took, during = time.perf_counter() - start, counted[0] - before
        finally:
            stop.set()
            thread.join()
    # A thread that had to wait for the end would have counted next to nothing.
    assert took > 0.02
    assert during > 0.1 * took / 1e-3


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_the_number_of_threads_is_that_of_pytorch():
    """Counted in a process of its own, which has started no threads before."""
    printed = python(
        """
        import os, torch, throughtime as tt
        from throughtime.kernels.cpp import recurrence
        def threads():
            return len(os.listdir("/proc/self/task"))
        layer = tt.Recurrent("lstm", 16, 256, backend="cpp")
        x = torch.randn(4, 32, 16)
        with torch.no_grad():
            torch.set_num_threads(1)
            layer(x)
            one = threads()
            layer(x)
            assert threads() == one
            torch.set_num_threads(3)
            layer(x)
            three = threads()
            torch.set_num_threads(1)
            layer(x)
        print("grew by", three - one)
        """,
        OMP_NUM_THREADS="1",
    )
    assert "grew by 2" in printed


def test_nothing_is_compiled_or_loaded_by_the_import(tmp_path):
    printed = python(
        """
        import subprocess, ctypes
        def refuse(*args, **kwargs):
            raise SystemExit(f"started {args}")
        import torch
        subprocess.Popen = refuse
        import throughtime
        print("imported")
        """,
        THROUGHTIME_CACHE=str(tmp_path / "cache"),
    )
    assert "imported" in printed
    assert not Path(tmp_path / "cache").exists()

"""Benchmarks: the measurements, and contenders whose wrong numbers get no time."""

import os
import statistics
import time

import pytest
import torch
from torch import Tensor

from throughtime import cells
from throughtime.cells.cell import Cell
from throughtime.kernels import reference
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp.recurrence import Kernel
from throughtime.measuring import benchmark, own_process, settings
from throughtime.measuring.benchmark import Point, Setup, Size
from throughtime.measuring.peers import Loop

from ..few import one_of

TINY = Size(3, 17)
# The reference replaces our own layer if the test needs no compiled kernel.
QUICK = Setup(steps=6, rounds=1, backend="reference", peers=("loop",))


# That every cell computes what a loop does is tested in tests/kernels; a part is enough by default.
@pytest.mark.parametrize("cell", one_of(16, cells.names()))
def test_every_cell_has_a_time_beside_a_loop_that_computes_the_same(cell):
    for point in benchmark.measure(cell, TINY, benchmark.MODES, QUICK):
        assert point.errors == {}
        assert point.ms.keys() == {"ours", "loop"}
        assert point.ratios["loop"] == pytest.approx(point.ms["loop"] / point.ms["ours"])


def dtype_and_cell():
    """All types of one cell; the other cells in all but one type are slow."""
    for dtype in benchmark.DTYPES.values():
        for cell in (n for n in cells.names() if cells.get(n).torch_equivalent):
            is_slow = dtype != torch.float32 and cell != "lstm"
            yield pytest.param(dtype, cell, marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize(("dtype", "cell"), list(dtype_and_cell()), ids=str)
def test_torch_has_the_same_weights_and_passes_the_same_check(dtype, cell):
    setup = Setup(steps=6, rounds=1, backend="reference", peers=("torch",), dtype=dtype)
    (point,) = benchmark.measure(cell, TINY, ["training"], setup)
    assert point.errors == {}
    assert "torch" in point.ratios


@pytest.mark.parametrize("cell", ["lstm-peephole", "lstm-1997"])
def test_torchrecurrent_has_the_same_weights_and_passes_the_same_check(cell):
    pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
    setup = Setup(steps=6, rounds=1, backend="reference", peers=("torchrecurrent",))
    (point,) = benchmark.measure(cell, TINY, ["training"], setup)
    assert point.errors == {}
    assert "torchrecurrent" in point.ratios


@pytest.mark.parametrize("backbone", [0, 1, 2])
@pytest.mark.parametrize("name", ["cfc", "cfc-no-gate", "cfc-pure"])
def test_ncps_has_the_same_weights_and_passes_the_same_check(name, backbone):
    pytest.importorskip("ncps", reason="ncps is not installed")
    setup = Setup(steps=6, rounds=1, backend="reference", peers=("ncps",))
    cell = cells.get(name, backbone=backbone)
    (point,) = benchmark.measure(cell, TINY, ["training"], setup)
    assert point.errors == {}
    assert "ncps" in point.ratios


def test_a_peer_without_the_cell_is_named_and_has_no_ratio():
    setup = Setup(steps=6, rounds=1, backend="reference", peers=("torch", "loop"))
    (point,) = benchmark.measure("lstm-cifg", TINY, ["inference"], setup)
    assert point.absent == ["torch"]
    assert point.ratios.keys() == {"loop"}


def test_a_cell_that_is_not_registered_is_measured_too():
    class Leaky(Cell):
        gates, states = ("h",), ("h",)

        def step(self, x, W, R, s, p):
            return dict(h=0.9 * s.h + 0.1 * torch.tanh(W.h(x) + R.h(s.h)))

    (point,) = benchmark.measure(Leaky(), TINY, ["inference"], QUICK)
    assert (point.cell, point.errors) == ("Leaky", {})


def test_ragged_rows_are_compared_with_packed_ones_and_with_padded_ones():
    setup = Setup(steps=30, rounds=1, backend="reference", peers=("torch", "padded"), ragged=True)
    (point,) = benchmark.measure("gru", TINY, ["training"], setup)
    assert point.errors == {}
    assert point.ratios.keys() == {"torch", "padded"}
    # Only valid steps count as work.
    assert 2 * 3 * 3 < point.rows < 2 * 30 * 3
    work = benchmark.flops(cells.get("gru"), point.rows, 17, 17, "training")
    assert point.gflops * point.ms["ours"] * 1e6 == pytest.approx(work)


def _off_in_the_outputs(call):
    output, last = reference.run(call)
    return output * 1.01, last


def _off_in_the_gradients(call):
    output, last = reference.run(call)
    return output + 0.01 * (output - output.detach()), last


def _off_without_gradients(call):
    output, last = reference.run(call)
    return output if torch.is_grad_enabled() else output + 0.01, last


def _not_a_number(call):
    output, last = reference.run(call)
    return output * float("nan"), last


@pytest.mark.parametrize(
    ("kernel", "where"),
    [
        (_off_in_the_outputs, "the outputs"),
        (_off_in_the_gradients, "the gradient of x"),
        (_off_without_gradients, "the outputs without gradients"),
        (_not_a_number, "the outputs"),
    ],
)
def test_a_kernel_that_is_wrong_has_no_speed(monkeypatch, kernel, where):
    monkeypatch.setattr(cpp, "run", kernel)
    monkeypatch.setattr(cpp, "reasons", lambda call: [])
    # The plans of small calls do not go through `run`.
    monkeypatch.setattr(Kernel, "has_plans", False)
    setup = Setup(steps=6, rounds=1, backend="cpp", peers=("loop",))
    for point in benchmark.measure("lstm", TINY, benchmark.MODES, setup):
        assert where in point.errors["ours"]
        assert point.ms == point.ratios == {}
        assert point.gflops is None


def test_a_peer_that_computes_something_else_has_no_ratio(monkeypatch):
    forward = torch.nn.GRU.forward

    def wrong(layer, x):
        output, state = forward(layer, x)
        return 1.01 * output, state

    monkeypatch.setattr(torch.nn.GRU, "forward", wrong)
    setup = Setup(steps=6, rounds=1, backend="reference", peers=("torch", "loop"))
    (point,) = benchmark.measure("gru", TINY, ["inference"], setup)
    assert "the outputs" in point.errors["torch"]
    assert point.ratios.keys() == {"loop"}


def test_the_contenders_take_turns_and_the_warm_up_is_left_out():
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    times = benchmark._alternate(calls, 4, 1.0)
    assert [len(t) for t in times.values()] == [4, 4, 4]
    rounds = [order[i : i + 3] for i in range(0, len(order), 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(rounds) == 4 + benchmark._WARM_UP
    assert {r[0] for r in rounds} == {"a", "b", "c"}


def test_the_products_are_counted_as_they_are_multiplied():
    # torch itself counts the FLOP, in a loop that computes every product separately.
    from torch.utils.flop_counter import FlopCounterMode

    from throughtime.layers import Recurrent

    for name in ("lstm", "gru-reset-before", "lstm-fgr", "rnn-tanh"):
        loop = Loop(Recurrent(name, 5, 4))
        x = torch.randn(7, 3, 5, requires_grad=True)
        for mode in benchmark.MODES:
            with FlopCounterMode(display=False) as counter:
                output, _ = loop(x)
                if mode == "training":
                    output.sum().backward()
            counted = benchmark.flops(cells.get(name), 7 * 3, 5, 4, mode)
            assert counter.get_total_flops() == pytest.approx(counted, rel=0.1)


def test_the_summary_has_the_geometric_mean_and_the_worst_point():
    points = [
        Point("lstm", "training", 1, 8, 10, ratios={"torch": 4.0}, per_flop_of_lstm=0.5),
        Point("lstm", "training", 2, 8, 10, ratios={"torch": 1.0}, per_flop_of_lstm=2.0),
        Point("lstm", "training", 4, 8, 10, errors={"ours": "wrong"}),
    ]
    torch_, flop = benchmark.summary(points)
    assert torch_ == {
        **{"cell": "lstm", "mode": "training", "against": "torch", "points": 2},
        **{"geometric_mean": pytest.approx(2.0), "worst": 1.0, "at": "2x8"},
    }
    # For times per FLOP, the highest is the worst.
    assert (flop["geometric_mean"], flop["worst"]) == (pytest.approx(1.0), 2.0)


def test_the_time_per_flop_of_lstm_is_one_for_lstm_itself():
    setup = Setup(steps=20, rounds=9, backend="reference", peers=(), per_flop=True)
    (point,) = benchmark.measure("lstm", Size(4, 32), ["inference"], setup)
    assert point.per_flop_of_lstm == pytest.approx(point.ms["ours"] / point.ms["our lstm"])


def test_the_peak_is_above_a_product_of_matrices():
    peak = benchmark.fma_peak(1)
    a = torch.randn(512, 512)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - begun)
    assert 2 * 512**3 / statistics.median(times) / 1e9 < 1.2 * peak
    assert benchmark.fma_peak(1, torch.float64) < 0.8 * peak


def test_more_threads_than_cores_have_no_higher_peak():
    cores = len(os.sched_getaffinity(0))
    assert benchmark.fma_peak(8 * cores) < 1.5 * benchmark.fma_peak(cores)


def test_the_memory_of_a_call_is_the_most_that_lives_at_once():
    tensors: list[Tensor] = []

    def call():
        # 64 MiB that are freed, then 32 MiB in addition to 16 that stay.
        torch.ones(16 * 2**20)
        tensors.append(torch.ones(4 * 2**20))
        torch.ones(8 * 2**20)

    assert benchmark.step_memory(call) / 2**20 == pytest.approx(64, abs=8)


def test_a_process_of_its_own_measures_and_its_error_is_passed_on():
    job = {"who": "torch", "cell": "gru", **own_process._as_words(Size(8, 64), Setup(steps=200))}
    usage = own_process._in_a_process("memory", job, {})
    # At least the memory of the outputs.
    assert usage["bytes"] > 4 * 200 * 8 * 64
    with pytest.raises(ValueError, match=r"the process that measures it ended:(\n|.)*Error"):
        own_process._in_a_process("memory", {**job, "size": "none"}, {})


def test_the_random_numbers_of_the_caller_stay_as_they_are():
    before = torch.get_rng_state()
    benchmark.measure("rnn-tanh", TINY, ["inference"], QUICK)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("text", ["32*256", "32", "x256", "0x8", "8x0", "32x256x2", "-1x8", "axb"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="expected BxH, rows by hidden units, such as 32x256"):
        benchmark.parse_size(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"peers": ("torhc",)}, 'unknown peer "torhc"; did you mean "torch"?'),
        ({"peers": ("loop",), "ragged": True}, 'unknown peer of a ragged batch "loop"'),
        ({"steps": 0}, "steps: expected 1 or more, got 0"),
        ({"rounds": 0}, "rounds: expected 1 or more, got 0"),
    ],
)
def test_a_setup_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message.replace("?", "[?]")):
        Setup(**options)


@pytest.mark.parametrize("package", ["torchrecurrent", "ncps"])
def test_a_package_is_refused_where_it_is_not_installed(monkeypatch, package):
    monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: None)
    message = rf'{package} is not installed; pip install "throughtime\[peers\]"'
    with pytest.raises(ValueError, match=message):
        Setup(peers=(package,))

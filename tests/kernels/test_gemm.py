"""The matrix product of the CPU kernels against float64.

Tolerance: a chain of K rounded additions errs by at most K u sum|a b| (Higham, Accuracy and
Stability, eq. 3.5); with signs at random it stays near sqrt(K) u. We allow 2 (sqrt(K) + 2) u times
sum|a b| element by element, u being half the spacing at 1 of the type of the sums, plus one
rounding to the type of the result. bfloat16 operands are exact in float32, so only sums round.
"""

import itertools
import os
import signal
import time

import pytest
import torch

from throughtime.kernels.cpp import gemm
from throughtime.kernels.cpp.build import missing, prebuild
from throughtime.kernels.cpp.gemm import matmul, num_threads, source

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason="; ".join(missing())),
    pytest.mark.everywhere,
]


TYPES = [
    (torch.float32, torch.float32),
    (torch.float64, torch.float64),
    (torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
]
SIZES = [
    *itertools.product((1, 3, 33), repeat=3),
    *[(63, 200, 33), (200, 63, 513), (513, 1, 200), (1, 513, 200), (3, 200, 63), (33, 513, 513)],
    *[(513, 33, 63), (63, 63, 63), (200, 200, 200), (513, 200, 1), (200, 1, 3), (16, 513, 63)],
    *[(17, 200, 200), (5, 33, 200), (300, 1200, 300), (1, 200, 1), (4, 64, 128)],
]
NAN = float("nan")


@pytest.fixture(scope="module", autouse=True)
def compiled():
    prebuild([(source(*types), ()) for types in TYPES])


def poisoned(rows: int, cols: int, layout: str, dtype: torch.dtype) -> torch.Tensor:
    """A matrix of random numbers inside a larger one that is NaN everywhere else."""
    x = torch.randn(rows, cols).to(dtype)
    shape, take = {
        "rows": ((rows + 2, cols + 5), lambda y: y[1 : rows + 1, 2 : cols + 2]),
        "columns": ((cols + 2, rows + 5), lambda y: y[1 : cols + 1, 2 : rows + 2].T),
        "both": ((2 * rows + 2, 3 * cols + 2), lambda y: y[1 : 2 * rows : 2, 1 : 3 * cols : 3]),
    }[layout]
    view = take(torch.full(shape, NAN, dtype=dtype))
    view.copy_(x)
    assert view.shape == (rows, cols)
    return view


def check(a, b, out, before=None, bias=None) -> None:
    """Asserts that the error of every element is within the bound of that element."""
    sums = torch.float64 if out.dtype is torch.float64 else torch.float32
    expected = a.double() @ b.double()
    size = a.double().abs() @ b.double().abs()
    for extra in (before, bias):
        if extra is not None:
            expected, size = expected + extra.double(), size + extra.double().abs()
    bound = 2 * (a.shape[1] ** 0.5 + 2) * torch.finfo(sums).eps / 2 * size
    if out.dtype is not sums:
        bound = bound + (expected.abs() + bound) * torch.finfo(out.dtype).eps / 2
    # Not written as `> bound`: NaN has to fail.
    wrong = ~((out.double() - expected).abs() <= bound)
    assert not wrong.any(), f"{int(wrong.sum())} of {wrong.numel()}, first {wrong.nonzero()[0]}"


@pytest.mark.parametrize(("dtype", "out_dtype"), TYPES)
@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [
        *[("rows", "rows"), ("rows", "columns"), ("columns", "rows"), ("columns", "columns")],
        *[("both", "rows"), ("rows", "both"), ("both", "both")],
    ],
)
def test_equals_float64_for_every_layout(dtype, out_dtype, of_a, of_b):
    torch.manual_seed(0)
    for m, k, n in SIZES:
        a, b = poisoned(m, k, of_a, dtype), poisoned(k, n, of_b, dtype)
        whole = torch.full((m + 2, n + 3), NAN, dtype=out_dtype)
        out = whole[1 : m + 1, 1 : n + 1]
        assert matmul(a, b, out) is out
        check(a, b, out)
        assert int(whole.isnan().sum()) == whole.numel() - m * n, "written outside the result"


@pytest.mark.parametrize(("dtype", "out_dtype"), TYPES)
@pytest.mark.parametrize("of_b", ["rows", "columns"])
def test_adds_to_what_is_there_and_the_bias(dtype, out_dtype, of_b):
    torch.manual_seed(1)
    sums = torch.float64 if dtype is torch.float64 else torch.float32
    for m, k, n in [(1, 3, 33), (3, 63, 200), (33, 513, 63), (63, 513, 200), (200, 33, 1)]:
        a, b = poisoned(m, k, "rows", dtype), poisoned(k, n, of_b, dtype)
        for bias_dtype, accumulate in itertools.product((None, dtype, sums), (False, True)):
            bias = None if bias_dtype is None else torch.randn(n).to(bias_dtype)
            before = torch.randn(m, n).to(out_dtype)
            out = before.clone() if accumulate else torch.full_like(before, NAN)
            matmul(a, b, out, bias=bias, accumulate=accumulate)
            check(a, b, out, before if accumulate else None, bias)


@pytest.mark.parametrize(("dtype", "out_dtype"), TYPES)
@pytest.mark.parametrize("of_b", ["rows", "columns"])
def test_threads_do_not_change_a_bit(dtype, out_dtype, of_b):
    torch.manual_seed(2)
    for m, k, n in [(513, 200, 513), (200, 1200, 200), (63, 513, 1000), (3, 1200, 1200)]:
        a, b = poisoned(m, k, "rows", dtype), poisoned(k, n, of_b, dtype)
        one, more = (torch.empty(m, n, dtype=out_dtype) for _ in range(2))
        matmul(a, b, one, threads=1)
        check(a, b, one)
        for threads in (2, 8):
            matmul(a, b, more.fill_(NAN), threads=threads)
            assert torch.equal(one, more), threads


def test_many_passes_over_the_columns():
    # K is so large that B is packed in several parts.
    torch.manual_seed(3)
    for m in (20, 300):
        a, b = poisoned(m, 30_000, "columns", torch.float32), torch.randn(30_000, 300)
        out = torch.full((m, 300), NAN)
        matmul(a, b, out, threads=2)
        check(a, b, out)


@pytest.mark.parametrize(("dtype", "out_dtype"), TYPES)
def test_nan_and_infinity_stay_where_they_are(dtype, out_dtype):
    for m, k, n in [(3, 33, 33), (33, 33, 200)]:
        for layout in ("rows", "columns"):
            a, b = poisoned(m, k, "rows", dtype), poisoned(k, n, layout, dtype)
            a[1, 32], b[32, 2] = float("inf"), NAN
            out = torch.empty(m, n, dtype=out_dtype)
            matmul(a, b, out)
            assert out[:, 2].isnan().all()
            assert not out[1].isfinite().any()
            rest = out[torch.arange(m) != 1][:, torch.arange(n) != 2]
            assert rest.isfinite().all()


@pytest.mark.parametrize(("dtype", "out_dtype"), TYPES)
def test_no_depth_gives_the_bias(dtype, out_dtype):
    for m, n in [(1, 3), (33, 63)]:
        a, b, bias = torch.empty(m, 0).to(dtype), torch.empty(0, n).to(dtype), torch.ones(n)
        out = torch.full((m, n), NAN, dtype=out_dtype)
        matmul(a, b, out)
        assert (out == 0).all()
        matmul(a, b, out, bias=bias.to(dtype))
        assert (out == 1).all()
        matmul(torch.empty(0, 3).to(dtype), torch.empty(3, n).to(dtype), out[:0])


def test_a_forked_child_has_one_thread_and_does_not_hang():
    a, b = torch.randn(300, 300), torch.randn(300, 300)
    # Made here, because torch's own threads would make the child hang.
    out, again, third = (torch.full((300, 300), NAN) for _ in range(3))
    matmul(a, b, out, threads=2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert num_threads() == 2
    child = os.fork()
    if child == 0:
        matmul(a, b, again)
        matmul(a, b, third, threads=2)
        used = num_threads()
        torch.set_num_threads(1)
        os._exit(0 if used == 1 and torch.equal(again, out) and torch.equal(third, out) else 1)
    torch.set_num_threads(before)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


def test_wrong_shapes_and_types_are_refused():
    a, b, out = torch.ones(2, 3), torch.ones(3, 4), torch.ones(2, 4)
    for args in [
        (a, a, out),
        (a, b, out.T),
        (a, b.double(), out),
        (a, b, torch.ones(4, 2).T),
        (a.to("meta"), b, out),
    ]:
        with pytest.raises(AssertionError):
            matmul(*args)
    with pytest.raises(AssertionError):
        matmul(a, b, out, bias=torch.ones(3))


@pytest.mark.parametrize("out_dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_is_added_up_in_float32_where_there_is_amx_too(monkeypatch, out_dtype):
    """PyTorch's product would round each sum to bfloat16 before it adds the bias."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.delenv("THROUGHTIME_ISA", raising=False)
    assert gemm.has_amx()
    a, b = torch.randn(20, 300).bfloat16(), torch.randn(10, 300).bfloat16().T
    # What is left is what rounding the sums took from them.
    bias, before = 0.01 * torch.randn(10), -(a.double() @ b.double()).bfloat16().to(out_dtype)
    check(a, b, matmul(a, b, before.clone(), bias=bias, accumulate=True), before, bias)
    # The other way would be seen.
    other = (torch.mm(a, b) + bias + before).to(out_dtype)
    with pytest.raises(AssertionError, match="first"):
        check(a, b, other, before, bias)


def test_the_limit_of_instructions_takes_amx_from_pytorch_too(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    for limit in ("avx512", "avx2"):
        monkeypatch.setenv("THROUGHTIME_ISA", limit)
        assert not gemm.has_amx()


@pytest.mark.parametrize("types", TYPES, ids=str)
@pytest.mark.parametrize("layout", ["rows", "columns", "both"])
def test_a_single_column_has_its_elements_side_by_side_both_ways(types, layout):
    # Its strides are (1, 1), from which nothing follows for those of A.
    for m, k in itertools.product((1, 2, 5, 16, 17), (1, 3, 28)):
        a, b = poisoned(m, k, layout, types[0]), torch.randn(k, 1).to(types[0])
        assert b.stride() == (1, 1)
        out = torch.empty(m, 1, dtype=types[1])
        close = {"rtol": 1e-2, "atol": 0.1} if types[1] is torch.bfloat16 else {}
        exact = (a.double() @ b.double()).to(types[1])
        torch.testing.assert_close(matmul(a, b, out), exact, **close)

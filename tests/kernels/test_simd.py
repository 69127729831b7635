"""The vector functions of generated C++ kernels agree with torch, to a number of ulp each."""

import ctypes
import math
import platform

import numpy as np
import pytest
import torch

from throughtime.kernels.cpp import build as cpp

pytestmark = pytest.mark.skipif(bool(cpp.missing()), reason="; ".join(cpp.missing()))


def far_left_sigmoid(x):
    """torch's own sigmoid gives 0 where e^-x overflows; the true value is a denormal number."""
    return torch.where(x < -40, torch.exp(x), torch.sigmoid(x))


def in_numpy(function):
    """Exact values where torch is wrong: some of sqrt, log1p at -0, fmod of very unlike numbers."""

    def truth(*x):
        with np.errstate(all="ignore"):
            return torch.from_numpy(function(*(a.numpy() for a in x)))

    return truth


# name -> (truth, arguments, ulp allowed in float, in double). The same bounds stand beside the
# functions in simd.hpp; in double the test adds one ulp for the truth's own error.
FUNCTIONS = {
    "exp": (torch.exp, 1, 2, 2),
    "expm1": (torch.expm1, 1, 3, 3),
    "log": (torch.log, 1, 1, 1),
    "log1p": (in_numpy(np.log1p), 1, 1, 1),
    "tanh": (torch.tanh, 1, 3, 3),
    "sigmoid": (far_left_sigmoid, 1, 3, 3),
    "softplus": (torch.nn.functional.softplus, 1, 2, 2),
    "log_sigmoid": (torch.nn.functional.logsigmoid, 1, 2, 2),
    "sin": (torch.sin, 1, 1, 3),
    "cos": (torch.cos, 1, 1, 3),
    "erf": (torch.erf, 1, 1, 2),
    "pow": (torch.pow, 2, 1, 2),
    "sqrt": (in_numpy(np.sqrt), 1, 0, 0),
    "rsqrt": (torch.rsqrt, 1, 2, 2),
    "reciprocal": (torch.reciprocal, 1, 0, 0),
    "abs": (torch.abs, 1, 0, 0),
    "neg": (torch.neg, 1, 0, 0),
    "sign": (torch.sign, 1, 0, 0),
    "floor": (torch.floor, 1, 0, 0),
    "ceil": (torch.ceil, 1, 0, 0),
    "round": (torch.round, 1, 0, 0),
    "trunc": (torch.trunc, 1, 0, 0),
    "fmod": (in_numpy(np.fmod), 2, 0, 0),
    "remainder": (in_numpy(np.remainder), 2, 0, 0),
    "maximum": (torch.maximum, 2, 0, 0),
    "minimum": (torch.minimum, 2, 0, 0),
}
KEEPS_SIGN_OF_ZERO = (
    *("expm1", "log1p", "tanh", "sin", "erf", "sqrt", "abs", "neg"),
    *("floor", "ceil", "round", "trunc", "fmod"),
)
# The width this machine has, the one every machine has, and a machine without fused products.
WIDTHS = {"native": (), "portable": ("-DTT_VECTOR_BYTES=16",)}
if platform.machine() in ("x86_64", "AMD64"):
    WIDTHS["baseline"] = ("-march=x86-64",)
DTYPES = {torch.float32: "float", torch.float64: "double"}


def source():
    loop = """
EXPORT void {name}_{T}(const {T}* a, const {T}* b, {T}* out, long n) {{
    for (long i = 0; i < n; i += Simd<{T}>::LANES) store(out + i, {call});
}}"""
    export = '#define EXPORT extern "C" __attribute__((visibility("default")))'
    lines = ['#include "simd.hpp"', "using namespace throughtime;", export]
    for T in DTYPES.values():
        for name, (_, arguments, *_) in FUNCTIONS.items():
            call = ", ".join(f"load({p} + i)" for p in "ab"[:arguments])
            lines.append(loop.format(name=name, T=T, call=f"throughtime::{name}({call})"))
        more = {
            "fma": "fma(load(a + i), load(b + i), splat<{T}>(3))",
            "where": "where(load(a + i) < load(b + i), load(a + i), load(b + i) * {T}(2))",
            "softplus_sharp": "softplus(load(a + i), {T}(3), {T}(6))",
            "keep_first": "keep_first(load(a + i), int(b[i]))",
            "sum": "splat<{T}>(sum(load(a + i)))",
        }
        for name, call in more.items():
            lines.append(loop.format(name=name, T=T, call=call.format(T=T)))
        lines.append(f"EXPORT int lanes_{T}() {{ return Simd<{T}>::LANES; }}")
    lines.append("""
EXPORT void narrow(const float* a, uint16_t* out, long n) {
    for (long i = 0; i < n; i += Simd<float>::LANES) store((bfloat16*)out + i, load(a + i));
}
EXPORT void widen(const uint16_t* a, float* out, long n) {
    for (long i = 0; i < n; i += Simd<float>::LANES) store(out + i, load((const bfloat16*)a + i));
}
EXPORT void narrow_one(const float* a, uint16_t* out, long n) {
    for (long i = 0; i < n; i++) out[i] = to_bfloat16(a[i]).bits;
}
EXPORT void widen_one(const uint16_t* a, float* out, long n) {
    for (long i = 0; i < n; i++) out[i] = to_float(bfloat16{a[i]});
}""")
    return "\n".join(lines)


@pytest.fixture(
    scope="module", params=[pytest.param("native", marks=pytest.mark.everywhere), *list(WIDTHS)[1:]]
)
def library(request):
    return cpp.load(source(), WIDTHS[request.param])


def run(function, a, b=None, dtype=None):
    """Applies a function to whole vectors; the end of the arrays is padded with ones."""
    n, padded = len(a), -(-len(a) // 64) * 64
    a, b = (torch.cat([x, x.new_ones(padded - n)]) for x in (a, a if b is None else b))
    out = torch.full((padded,), float("nan")).to(dtype or a.dtype)
    pointers = [ctypes.c_void_p(x.data_ptr()) for x in (a, b, out)]
    if function.__name__.startswith(("narrow", "widen")):
        pointers.pop(1)
    function(*pointers, ctypes.c_long(padded))
    return out[:n]


def sweep(dtype):
    """Special values, numbers of every magnitude, and the ranges where the functions curve."""
    torch.manual_seed(0)
    info, inf = torch.finfo(dtype), math.inf
    tiny, least = info.tiny, info.smallest_normal * info.eps
    ends = [0, inf, math.nan, tiny, tiny / 2, least, 3 * least, info.max, info.max / 2, info.eps]
    halves = [0.5, 1, 1.5, 2, 2.5, 3, 16.5, 2.0**22 + 0.5, 2.0**23 - 0.5, 2.0**52 - 0.5]
    # exp leaves the normal numbers, and the numbers, on both sides.
    limits = [87.3, 88.72, 88.73, 103.9, 104.5, 708.3, 709.7, 709.9, 745.1, 745.2, 746]
    special = [*ends, *halves, *limits, 1 - info.eps, 1 + info.eps, 1e30]
    low, high = math.log2(least), math.log2(info.max)
    sizes = torch.exp2(torch.empty(20000, dtype=torch.float64).uniform_(low, high)).to(dtype)
    near = [torch.empty(20000, dtype=dtype).uniform_(0, top) for top in (1, 4, 20, 120, 800, 1e4)]
    x = torch.cat([torch.tensor(special, dtype=dtype), sizes, *near])
    return torch.cat([x, -x])


def pairs(dtype):
    """All pairs of special values, then pairs with a finite power, then random pairs."""
    x = sweep(dtype)
    special = torch.cat([x[:34], -x[:34]])
    grid = torch.cartesian_prod(special, special)
    base = torch.empty(40000, dtype=dtype).uniform_(0, 8)
    exponent = torch.empty(40000, dtype=dtype).uniform_(-30, 30)
    together = torch.cat(
        [
            grid,
            torch.stack([base, exponent], 1),
            torch.stack([base.round() - 4, exponent.round()], 1),
            torch.stack([base - 4, exponent], 1),
            torch.stack([1 + (base - 4) * 0.01, exponent * 1000], 1),
            torch.stack([x, x[torch.randperm(len(x))]], 1),
        ]
    )
    return together[:, 0].contiguous(), together[:, 1].contiguous()


def ulp_errors(actual, truth):
    """|actual - truth| in units in the last place of the truth; 0 where both are NaN or equal."""
    dtype, info = actual.dtype, torch.finfo(actual.dtype)
    rounded = truth.to(dtype)
    is_equal = (actual == rounded) | (actual.isnan() & rounded.isnan())
    _, exponent = torch.frexp(truth.abs().clamp(min=info.tiny, max=info.max))
    digits = {torch.float32: 24, torch.float64: 53}[dtype]
    unit = torch.ldexp(torch.ones_like(truth), (exponent - digits).to(truth.dtype))
    errors = (actual.double() - truth).abs() / unit
    # A result just below the largest number may round to infinity, or the other way.
    return errors.masked_fill(is_equal, 0).nan_to_num(nan=math.inf)


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPES.get)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_agrees_with_torch(library, name, dtype):
    truth_of, arguments, *bounds = FUNCTIONS[name]
    inputs = (sweep(dtype),) if arguments == 1 else pairs(dtype)
    actual = run(getattr(library, f"{name}_{DTYPES[dtype]}"), *inputs)
    truth = truth_of(*(x.double() for x in inputs))
    errors = ulp_errors(actual, truth)
    # Rounding alone costs half an ulp.
    bound = max(0.5, bounds[0])
    if dtype == torch.float64:
        bound = bounds[1] and bounds[1] + 1
    # Of infinity nothing but the limit will do: no denormal left over in place of 0.
    for x in inputs:
        errors[x.isinf() & (errors > 0.5)] = math.inf
    worst = errors.argmax()
    assert errors[worst] <= bound, (
        f"{name}({', '.join(repr(x[worst].item()) for x in inputs)}) = {actual[worst].item()!r}, "
        f"truth {truth[worst].item()!r}: {errors[worst]:.2f} ulp, allowed {bound}"
    )
    if name in KEEPS_SIGN_OF_ZERO:
        zero = (truth == 0) & (actual == 0)
        assert torch.equal(actual[zero].signbit(), truth[zero].signbit())


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPES.get)
def test_fma_where_and_the_options_of_softplus(library, dtype):
    T = DTYPES[dtype]
    torch.manual_seed(1)
    a, b = torch.randn(2, 1000, dtype=dtype).mul(3)
    a[5], b[7] = math.nan, math.nan
    exact = a.double() * b.double() + 3
    close = {"rtol": 0, "atol": 8 * torch.finfo(dtype).eps * 40, "equal_nan": True}
    torch.testing.assert_close(run(getattr(library, f"fma_{T}"), a, b).double(), exact, **close)
    actual = run(getattr(library, f"where_{T}"), a, b)
    torch.testing.assert_close(actual, torch.where(a < b, a, b * 2), rtol=0, atol=0, equal_nan=True)
    sharp = run(getattr(library, f"softplus_sharp_{T}"), a)
    truth = torch.nn.functional.softplus(a.double(), 3, 6)
    # One more ulp than softplus each for beta x and the division.
    errors = ulp_errors(sharp, truth)[(a > -1) | a.isnan()]
    assert errors.max() <= 5
    assert sharp[a > 2].equal(a[a > 2])


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPES.get)
def test_keep_first_silences_nan_and_sum_adds_all_lanes(library, dtype):
    T = DTYPES[dtype]
    lanes = getattr(library, f"lanes_{T}")()
    for n in range(lanes + 1):
        a = torch.arange(1, lanes + 1, dtype=dtype)
        a[n:] = math.nan
        kept = run(getattr(library, f"keep_first_{T}"), a, torch.full_like(a, n))
        assert kept.equal(a.nan_to_num(nan=0.0))
        total = run(getattr(library, f"sum_{T}"), kept)
        assert total.equal(torch.full_like(a, n * (n + 1) / 2))


def test_bfloat16_rounds_as_torch(library):
    x = sweep(torch.float32)
    # All halfway cases near one, which decide between up and even.
    ties = torch.arange(0x3F800000, 0x3F900000, 0x8000, dtype=torch.int32).view(torch.float32)
    for narrow in (library.narrow, library.narrow_one):
        for values in (x, ties):
            narrowed = run(narrow, values, dtype=torch.bfloat16)
            truth = values.to(torch.bfloat16)
            assert torch.equal(narrowed.isnan(), truth.isnan())
            assert torch.equal(narrowed.nan_to_num(), truth.nan_to_num())
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    for widen in (library.widen, library.widen_one):
        widened = run(widen, every, dtype=torch.float32)
        assert torch.equal(widened.view(torch.int32), every.float().view(torch.int32))

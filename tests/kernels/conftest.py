"""Fixtures of the kernels' tests: all registered cells, further cells, and the runs of kernels."""

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp import build as cpp
from throughtime.kernels.cpp import cache, chunks, compiler

from .noted import noted_runs

# The assertions of these helpers say what differs, as those of the tests do.
pytest.register_assert_rewrite(f"{__package__}.cpp_calls")


class Plain(tt.Cell):
    """A user's cell that returns its state alone, with a constant."""

    gates, states = ("i", "n"), ("h",)

    def __init__(self, rate=0.1):
        self.rate = rate

    def step(self, x, W, R, s, p):
        i = torch.sigmoid(W.i(x) + R.i(s.h))
        n = torch.relu(W.n(x) + R.n(s.h))
        return dict(h=(1 - self.rate * i) * s.h + self.rate * i * n)


class NormalisedGRU(tt.Cell):
    """Reductions between products: several stages."""

    gates, states, parameters = ("z", "n"), ("h",), ("p_g", "p_b")

    def step(self, x, W, R, s, p):
        def norm(a):
            centred = a - a.mean(-1, keepdim=True)
            return centred * torch.rsqrt(a.var(-1, unbiased=False, keepdim=True) + 1e-3)

        z = torch.sigmoid(p.p_g * norm(W.z(x) + R.z(s.h)) + p.p_b)
        n = torch.tanh(norm(W.n(x)) + R.n(z * s.h))
        return dict(h=(1 - z) * n + z * s.h)


class Chained(tt.Cell):
    """A product of a product, a block that multiplies several values, and x used unit by unit."""

    gates, states, parameters = ("a", "b"), ("h", "c"), ("p_a",)
    recurrent_blocks, output = ("a", "b", "u"), "y"

    def step(self, x, W, R, s, p):
        a = torch.sigmoid(W.a(x) + R.a(s.h) + p.p_a * x)
        inner = R.u(a * s.c)
        b = torch.tanh(W.b(x) * R.b(torch.tanh(inner)) + R.u(s.h))
        c = a * s.c + (1 - a) * b
        return dict(h=torch.softmax(c, -1) * b, c=c, y=x * c + R.u(b))


class Twice(tt.Cell):
    """Names that look like other names, and one value under two names."""

    gates, states, parameters = ("h", "q"), ("h", "x", "m"), ("e", "u")
    output = "y"

    def step(self, x, W, R, s, p):
        q = R.q(R.h(s.h) / (2 + s.x * s.x))
        h = torch.tanh(W.h(x) + q - p.e / torch.sqrt(1 + s.m**2))
        y = torch.where((h > 0) & (s.x < 0.5), h * p.u, -(h**3)) + torch.maximum(h, s.m)
        return dict(h=h, x=y - 0.3 * h, m=h, y=y, q=q, seen=W.q(x) + R.q(s.h), flag=h > 0)


class Many(tt.Cell):
    """Functions that are printed in a special form."""

    gates, states, parameters = ("a", "b"), ("h",), ("p",)

    def step(self, x, W, R, s, p):
        a = W.a(x) + R.a(s.h)
        u = torch.expm1(-torch.nn.functional.softplus(a)) + torch.log1p(a * a) / (p.p**2 + 1)
        v = torch.clamp(W.b(x), -0.5, 0.5) - torch.minimum(u, s.h) * 1e-3
        gelu = torch.nn.functional.gelu(R.b(u - v))
        return dict(
            h=-torch.abs(v) * torch.sin(a) + gelu - u.detach() * torch.reciprocal(2 + a * a)
        )


class Reduced(tt.Cell):
    """Sums of values that are equal for all units."""

    gates, states, parameters = ("a",), ("h",), ("p",)

    def step(self, x, W, R, s, p):
        a = W.a(x) + R.a(s.h)
        whole = a.sum(-1, keepdim=True)
        b = (torch.sin(whole) + p.p * s.h) * 0.2
        c = b.mean(-1, keepdim=True)
        return dict(h=torch.tanh(b * c) + torch.sigmoid(whole * c) * 0.1 + s.h, whole=whole)


class Kinks(tt.Cell):
    """A value that is exactly 0, and not constant, at the kinks of several functions."""

    gates, states = ("a",), ("h",)

    def step(self, x, W, R, s, p):
        a = W.a(x) + R.a(s.h)
        e = a - a.detach()
        bounds = torch.clamp(e, 0, 1) + 2 * torch.clamp(e, -1, 0)
        flat = 3 * torch.nn.functional.hardtanh(e, 0, 1) + 4 * torch.relu(e) + 5 * torch.abs(e)
        flat = flat + 7 * torch.nn.functional.hardtanh(e, -1, 0)
        return dict(h=bounds + flat + 6 * torch.maximum(e, -e) + 0.1 * s.h)


class Untouched(tt.Cell):
    """No recurrent product, a state that never changes, and a gate that is not used."""

    gates, states, parameters, recurrent_blocks = ("a", "b"), ("h", "c"), ("u", "v"), ()

    def step(self, x, W, R, s, p):
        return dict(h=torch.relu(W.a(x) + p.u * s.h), c=s.c)


REGISTERED = [tt.cells.get(name) for name in tt.cells.names()]
MADE_UP = [
    Plain(),
    Plain(rate=0.75),
    NormalisedGRU(),
    Chained(),
    Twice(),
    Many(),
    Reduced(),
    Kinks(),
    Untouched(),
]


@pytest.fixture(params=[*REGISTERED, *MADE_UP], ids=lambda cell: cell.name or repr(cell))
def printed_cell(request):
    """Each cell whose equations are printed."""
    return request.param


@pytest.fixture(
    params=[*REGISTERED, NormalisedGRU(), Chained(), Untouched()],
    ids=lambda cell: cell.name or type(cell).__name__,
)
def differentiated_cell(request):
    """Each cell whose backward step is compared by itself."""
    return request.param


@pytest.fixture
def ran():
    """The runs of the compiled kernels during a test, in order."""
    with noted_runs() as runs:
        yield runs


@pytest.fixture
def chunks_of(monkeypatch):
    """Sets the least number of rows of a chunk; with 1 a chunk has two steps."""

    def set_rows(rows):
        monkeypatch.setattr(chunks, "_BYTES_OF_A_CHUNK", 0)
        monkeypatch.setattr(chunks, "_FEWEST_ROWS", rows)

    return set_rows


@pytest.fixture
def short_chunks(chunks_of):
    """Chunks of two steps, so that every sequence of the tests has several."""
    chunks_of(1)
    assert chunks.chunks(9, 5, 100, "gates") == [(0, 2), (2, 2), (4, 2), (6, 2), (8, 1)]


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """An empty cache, no headers, and a process that has compiled nothing yet."""
    (tmp_path / "headers").mkdir()
    monkeypatch.setattr(compiler, "HEADERS", tmp_path / "headers")
    folder = tmp_path / "cache"
    monkeypatch.setenv("THROUGHTIME_CACHE", str(folder))
    for module, name in (
        *((cpp, "_libraries"), (cpp, "_locks"), (cpp, "_first")),
        *((compiler, "_refused"), (compiler, "_broken"), (cache, "_replacements")),
    ):
        monkeypatch.setattr(module, name, {})
    for name in ("_warned", "_swept"):
        monkeypatch.setattr(cache, name, set())
    return folder


@pytest.fixture
def use_compiler(tmp_path, monkeypatch):
    """Sets CXX to a script that counts its runs, runs the shell code ``first``, then compiles."""
    real, runs = cpp.find_compiler(), tmp_path / "runs"

    def use(first=""):
        script = tmp_path / "compiler"
        script.write_text(f'#!/bin/sh\necho $$ >> "{runs}"\n{first}\nexec "{real}" "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))
        return lambda: [int(pid) for pid in runs.read_text().split()] if runs.exists() else []

    return use

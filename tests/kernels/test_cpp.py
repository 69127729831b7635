"""The compiled kernels against the reference in float64: outputs, last states, all gradients.

Tolerance, as a share of the largest number of the tensor that is compared:

float64, 1e-11: sums of a few hundred rounded terms (u = 1e-16), a few steps deep, and functions of
2 to 4 ulp; what is left of five orders is room for gradients that nearly cancel.
float32, 2e-5: the same with u = 6e-8.
bfloat16, 4e-2: the state that is fed back, the kept gates and the gradients that go out are rounded
to 8 bits (u = 2e-3) at each of at most seven steps, whatever the precision of what is between.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import throughtime as tt
from throughtime.kernels import Call, Weights, operators, reference
from throughtime.kernels.cpp import packing, recurrence, walk
from throughtime.kernels.cpp.compile import load, missing
from throughtime.kernels.graph import OPERATIONS, reachable
from throughtime.kernels.program import program

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))

TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 4e-2}
DTYPES = list(TOLERANCE)
NAN = float("nan")


# Cells that no one has written a kernel for.


class PeepholeGRU(tt.Cell):
    gates, states, parameters = ("r", "z", "n"), ("h",), ("p_r", "p_z")

    def step(self, x, W, R, s, p):
        r = torch.sigmoid(W.r(x) + R.r(s.h) + p.p_r * s.h)
        z = torch.sigmoid(W.z(x) + R.z(s.h) + p.p_z * s.h)
        n = F.softsign(W.n(x) + r * R.n(s.h))
        return dict(h=(1 - z) * n + z * s.h)


class LayerNormRNN(tt.Cell):
    """Means and variances over the units: a sum, and the sum of squares around it."""

    gates, states, parameters = ("h",), ("h",), ("p_g", "p_b")

    def step(self, x, W, R, s, p):
        a = W.h(x) + R.h(s.h)
        centred = a - a.mean(-1, keepdim=True)
        norm = centred * torch.rsqrt(a.var(-1, unbiased=False, keepdim=True) + 0.1)
        return dict(h=torch.tanh(p.p_g * norm + p.p_b))


class Kinked(tt.Cell):
    """Kinks and jumps, put together so that the whole is smooth: a rounding does no harm."""

    gates, states = ("a", "b"), ("h", "c")

    def step(self, x, W, R, s, p):
        a, b = W.a(x) + R.a(s.h), W.b(x) + R.b(s.h)
        wave = torch.sin(torch.pi * torch.remainder(a, 2.0))
        square = torch.where(b > 0, b * b, -0.5 * b * b) + a * torch.abs(a)
        c = 0.5 * s.c + F.logsigmoid(b) + 0.1 * square
        return dict(h=torch.tanh(wave + torch.maximum(c, torch.zeros_like(c)) ** 2), c=c)


class IndependentRNN(tt.Cell):
    gates, states, parameters, recurrent_blocks = ("h",), ("h",), ("u",), ()

    def step(self, x, W, R, s, p):
        return dict(h=F.softplus(W.h(x) + p.u * s.h) - 0.5)


class Decays(tt.Cell):
    """What is computed from parameters alone: one number for each unit, and one for all."""

    gates, states, parameters, recurrent_blocks = ("h",), ("h",), ("q", "w"), ()

    def step(self, x, W, R, s, p):
        decay = torch.exp(-F.softplus(p.q))
        share = torch.tanh(torch.exp(p.w)).mean(-1, keepdim=True)
        return dict(h=decay * s.h + share * torch.sqrt(1 - decay * decay) * W.h(x))


class OutputApart(tt.Cell):
    """The output is no state, and only one of the two states is fed back."""

    gates, states, output = ("i", "o"), ("c", "m"), "y"

    def step(self, x, W, R, s, p):
        c = 0.9 * s.c + torch.tanh(W.i(x) + R.i(s.m))
        o = torch.sigmoid(W.o(x) + R.o(s.m) + c)
        return dict(y=o * torch.tanh(c), c=c, m=0.5 * s.m + 0.5 * o)


class UnitByUnit(tt.Cell):
    """The simple recurrent unit: the input enters by itself, besides its products."""

    gates, states, parameters, recurrent_blocks = ("c", "f", "r"), ("c",), ("v_f", "v_r"), ()
    output = "h"

    def step(self, x, W, R, s, p):
        f = torch.sigmoid(W.f(x) + p.v_f * s.c)
        r = torch.sigmoid(W.r(x) + p.v_r * s.c)
        c = f * s.c + (1 - f) * W.c(x)
        return dict(c=c, h=r * c + (1 - r) * x)


class SoftmaxRNN(tt.Cell):
    """A distribution over the units, from the largest of a row and a sum of powers."""

    gates, states = ("a", "b"), ("h",)

    def step(self, x, W, R, s, p):
        weights = torch.softmax(3 * (W.a(x) + R.a(s.h)), -1)
        return dict(h=0.5 * s.h + weights * torch.tanh(W.b(x) + R.b(s.h)))


class Chained(tt.Cell):
    """Products of products, one block on two values, and a block without a gate."""

    gates, states, parameters = ("a", "b"), ("h", "c"), ("p_a",)
    recurrent_blocks = ("a", "b", "u")

    def step(self, x, W, R, s, p):
        a = torch.sigmoid(W.a(x) + R.a(s.h) + p.p_a * s.c)
        inner = R.u(a * s.c)
        b = torch.tanh(W.b(x) * R.b(torch.tanh(inner)) + R.u(s.h))
        c = a * s.c + (1 - a) * b
        return dict(h=torch.tanh(c + R.u(b)), c=c)


class Still(tt.Cell):
    """A state that nothing changes, one that is a number, and a gate that is not used."""

    gates, states = ("a", "b"), ("h", "c", "one")

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.a(x) + R.a(s.h) + s.c * s.one), c=s.c, one=torch.ones_like(s.h))


class Swapped(tt.Cell):
    """Two states that are one value, and two that change places."""

    gates, states = ("a",), ("h", "k", "u", "v")

    def step(self, x, W, R, s, p):
        h = torch.tanh(W.a(x) + R.a(s.v) + 0.5 * s.k)
        return dict(h=h, k=h, u=s.v, v=0.5 * s.u + 0.5 * s.h)


class EveryOperation(tt.Cell):
    """Each operation of a graph, the jumps included."""

    gates, states = ("a", "b"), ("h",)

    def step(self, x, W, R, s, p):
        a, b = 2 * (W.a(x) + R.a(s.h)), 2 * (W.b(x) + R.b(s.h))
        pos = torch.abs(a) + 0.5
        smooth = (
            *(torch.sigmoid(a), torch.tanh(b), torch.relu(a), torch.exp(-pos), torch.expm1(-pos)),
            *(torch.log(pos), torch.log1p(pos), F.logsigmoid(a), F.softplus(b), torch.sqrt(pos)),
            *(torch.rsqrt(pos), torch.sin(a), torch.cos(b), torch.erf(a), pos**1.7, pos**-0.5),
            *(a**3, torch.reciprocal(pos), b / pos, -a, a - b, 1 - b, F.gelu(a), F.elu(b)),
            *(torch.softmax(a, -1), b.mean(-1, keepdim=True), a * a.var(-1, keepdim=True)),
        )
        rough = (
            *(torch.sign(a), torch.floor(a), torch.ceil(b), torch.round(3 * a), torch.trunc(b)),
            *(torch.remainder(a, pos), torch.fmod(b, pos), torch.maximum(a, b), a.detach() * b),
            *(torch.minimum(a, b), torch.where((a < b) & ~(a < 0) | (b <= 0.1), a, b)),
            *(torch.where(torch.round(a) == torch.round(b), a, 0.0), torch.clamp(a, -0.5, 0.7)),
        )
        terms = [(1 + i % 5) * term for i, term in enumerate((*smooth, *rough))]
        return dict(h=torch.tanh(0.02 * sum(terms)))


OWN = (PeepholeGRU, LayerNormRNN, Kinked, IndependentRNN, OutputApart, UnitByUnit, SoftmaxRNN)
OWN = [cell() for cell in (*OWN, Decays, Chained, Still, Swapped, EveryOperation)]
ALL = [*map(tt.cells.get, tt.cells.names()), *OWN]
CELLS = {cell.name or type(cell).__name__: cell for cell in ALL}
# What differs in kind: states kept or not, one stage or several, with and without a product.
SOME = ["lstm", "gru-reset-before", "LayerNormRNN", "PeepholeGRU"]
MANY = [*SOME, "lstm-fgr", "Kinked", "IndependentRNN", "OutputApart", "UnitByUnit", "SoftmaxRNN"]
MANY += ["Chained", "Still", "Decays"]


def make(name, T=7, B=5, H=3, *, I=4, dtype=torch.float64, bias=True, seed=0, **options):
    """A call of the cell with random weights and states."""
    cell, generator = CELLS[name], torch.Generator().manual_seed(seed)

    def randn(*shape, scale=1.0):
        values = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(dtype)

    if program(cell).reads_input:
        I = H
    blocks, biased = cell.recurrent_block_names, cell.recurrent_bias_names
    scale = 0.7 * H**-0.5
    weights = Weights(
        randn(len(cell.gates) * H, I, scale=0.7 * I**-0.5),
        randn(len(blocks) * H, H, scale=scale) if blocks else None,
        randn(len(cell.gates) * H, scale=0.3) if bias else None,
        randn(len(biased) * H, scale=0.3) if bias and biased else None,
        {k: randn(H, scale=0.5) for k in cell.parameter_specs},
    )
    state = tuple(randn(B, H, scale=0.5) for _ in cell.state_specs)
    return Call(cell, randn(T, B, I), weights, state, **options)


def ragged(T, B, seed=0):
    """Lengths with the whole, none and one step among them; rows set back at random."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, T + 1, (B,), generator=generator)
    lengths[: min(B, 4)] = torch.tensor([T - 1, 0, T, 1])[: min(B, 4)]
    return lengths, torch.rand(T, B, generator=generator) < 0.3


def tensors(call):
    """All that has a gradient, by name."""
    w = call.weights
    named = {"x": call.x, "weight_ih": w.weight_ih, "weight_hh": w.weight_hh}
    named |= {"bias_ih": w.bias_ih, "bias_hh": w.bias_hh, **w.parameters}
    named |= {f"initial {k}": s for k, s in zip(call.cell.state_specs, call.state, strict=True)}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def with_tensors(call, given):
    matrices = (given.get(k) for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    weights = Weights(*matrices, {k: given[k] for k in call.cell.parameter_specs})
    state = tuple(given[f"initial {k}"] for k in call.cell.state_specs)
    return replace(call, x=given["x"], weights=weights, state=state)


def seeds(output, last, dtype):
    """Gradients that come in, the same numbers for every backend."""
    generator = torch.Generator().manual_seed(1)
    drawn = (
        torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in (output, *last)
    )
    return [d.to(dtype).to(v.dtype) for d, v in zip(drawn, (output, *last), strict=True)]


def results(backend, call, of="both", dtype=None):
    """Outputs, last states and the gradients of everything, by name."""
    own = call.x.dtype
    leaves = {k: v.detach().to(dtype or own).requires_grad_() for k, v in tensors(call).items()}
    output, last = backend.run(with_tensors(call, leaves))
    found = {"output": output.detach()}
    found |= {k: s.detach() for k, s in zip(call.cell.state_specs, last, strict=True)}
    pairs = list(zip((output, *last), seeds(output, last, own), strict=True))
    pairs = {"output": pairs[:1], "last": pairs[1:], "both": pairs}[of]
    pairs = [(v, d) for v, d in pairs if v.requires_grad]
    gradients = torch.autograd.grad(
        *([v for v, _ in pairs], list(leaves.values()), [d for _, d in pairs]),
        allow_unused=True,
        materialize_grads=True,
    )
    return found | {f"d {k}": d for k, d in zip(leaves, gradients, strict=True)}


def same(ours, theirs, dtype, share=None):
    """All tensors equal to the tolerance."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        got = ours[name]
        assert got.shape == expected.shape, name
        assert got.dtype is dtype, name
        error = (got.double() - expected.double()).abs().max().item() if got.numel() else 0.0
        allowed = (share or TOLERANCE[dtype]) * (expected.double().abs().max().item() + 1e-3)
        # NaN is no small error.
        assert error <= allowed, f"{name}: off by {error:.2e}, and {allowed:.2e} is allowed"


def parity(call, of="both"):
    """The compiled kernel gives what the reference gives in float64."""
    theirs = results(reference, call, of, torch.float64)
    before = len(ran)
    ours = results(operators, call, of)
    assert ran[before:] == ["forward", "backward"]
    same(ours, theirs, call.x.dtype)
    return ours


ran: list[str] = []


@pytest.fixture(autouse=True)
def _count(monkeypatch):
    """Every run of a kernel is noted."""
    ran.clear()
    for name in ("forward", "backward"):
        method = getattr(recurrence.Kernel, name)

        def noted(*args, _method=method, _name=name, **kwargs):
            ran.append(_name)
            return _method(*args, **kwargs)

        monkeypatch.setattr(recurrence.Kernel, name, noted)


@pytest.fixture
def chunks_of(monkeypatch):
    """Sets how many rows a chunk has; one is two steps."""

    def set_rows(rows):
        monkeypatch.setattr(walk, "_BYTES_OF_A_CHUNK", 0)
        monkeypatch.setattr(walk, "_FEWEST_ROWS", rows)

    return set_rows


@pytest.fixture
def short_chunks(chunks_of):
    """Chunks of two steps: every sequence of the tests is several."""
    chunks_of(1)
    assert walk.chunks(9, 5, 100, "gates") == [(0, 2), (2, 2), (4, 2), (6, 2), (8, 1)]


# Every cell.


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_equals_the_reference_for_ragged_rows_and_resets(name, reverse):
    lengths, resets = ragged(7, 5)
    parity(make(name, lengths=lengths, resets=resets, reverse=reverse))


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_equals_the_reference_in_float32(name):
    parity(make(name, 6, 13, 33, I=5, dtype=torch.float32))


@pytest.mark.parametrize("options", [{}, {"reverse": True, "save": "states"}, "ragged"])
@pytest.mark.parametrize("name", [n for n in MANY if n not in ("Still", "lstm-fgr")])
def test_cells_equal_the_reference_in_bfloat16(name, options):
    if options == "ragged":
        options = dict(zip(("lengths", "resets"), ragged(5, 6), strict=True))
    parity(make(name, 5, 6, 33, dtype=torch.bfloat16, **options))


def test_every_operation_of_a_graph_is_tried():
    cell = CELLS["EveryOperation"]
    made = program(cell)
    nodes = reachable([*made.states.values(), *made.gradients.values()])
    assert set(OPERATIONS) - {node.op for node in nodes} == set()


# Sizes.


@pytest.mark.parametrize("H", [1, 3, 16, 33, 63])
@pytest.mark.parametrize("name", SOME)
def test_every_size_of_a_layer_and_of_a_batch(name, H):
    for B in (1, 2, 5, 13):
        for T in (1, 2, 7):
            save = "states" if T == 2 else "gates"
            parity(make(name, T, B, H, I=1 + B % 3, reverse=(B + T) % 2 == 0, save=save))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("H", [1, 3, 16, 63])
@pytest.mark.parametrize("name", ["lstm", "LayerNormRNN", "gru-reset-before"])
def test_every_size_of_a_layer_in_other_types(name, H, dtype):
    if H == 1 and name == "LayerNormRNN":
        pytest.skip("one unit is its own mean: nothing is left but rounding")
    parity(make(name, 3, 2 + H % 4, H, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["lstm", "SoftmaxRNN"])
def test_layers_of_more_than_one_tile_of_units_and_long_rows(name, dtype):
    parity(make(name, 4, 9, 200, I=70, dtype=dtype, reverse=True))


# What is asked for.


@pytest.mark.parametrize("of", ["output", "last", "both"])
@pytest.mark.parametrize("is_ragged", [False, True])
@pytest.mark.parametrize("name", MANY)
def test_gradients_come_from_the_outputs_the_last_states_or_both(name, is_ragged, of):
    lengths = ragged(4, 5)[0] if is_ragged else None
    parity(make(name, 4, lengths=lengths, reverse=is_ragged and of == "last"), of)


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("given", ["lengths", "resets", "both", "neither"])
@pytest.mark.parametrize("name", MANY)
def test_a_sequence_of_several_chunks(short_chunks, name, given, reverse, save):
    lengths, resets = ragged(9, 5)
    options = {"reverse": reverse, "save": save}
    if given in ("lengths", "both"):
        options["lengths"] = lengths
    if given in ("resets", "both"):
        options["resets"] = resets
    parity(make(name, 9, **options))


@pytest.mark.parametrize("rows", [8, 20, 40])
@pytest.mark.parametrize("save", ["gates", "states"])
def test_chunks_of_every_length(chunks_of, rows, save):
    chunks_of(rows)
    lengths, resets = ragged(11, 3)
    for reverse in (False, True):
        parity(make("lstm", 11, 3, 17, reverse=reverse, save=save))
        parity(make("lstm", 11, 3, lengths=lengths, resets=resets, reverse=reverse, save=save))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["lstm", "gru", "OutputApart", "Chained"])
def test_what_is_kept_changes_no_result(short_chunks, name, dtype):
    """Computed again is computed the same."""
    kept, again = (
        results(operators, make(name, 8, dtype=dtype, save=save)) for save in ("gates", "states")
    )
    # Intermediate sums may be rounded elsewhere, states may not.
    for key in ("output", *CELLS[name].state_specs):
        assert torch.equal(kept[key], again[key]), key
    same(again, kept, dtype)


@pytest.mark.parametrize("name", SOME)
def test_without_a_gradient_nothing_is_kept_and_the_results_are_the_same(short_chunks, name):
    call = make(name, 9)
    expected = results(operators, call)
    ran.clear()
    with torch.no_grad():
        output, last = operators.run(call)
    assert ran == ["forward"]
    assert torch.equal(output, expected["output"])
    for k, s in zip(call.cell.state_specs, last, strict=True):
        assert torch.equal(s, expected[k])
    assert output.grad_fn is None


@pytest.mark.parametrize("lengths", [[0, 0, 0], [4, 4, 4], [1, 1, 1], [0, 4, 0]])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_that_are_all_the_same_or_all_none(lengths, reverse):
    for save in ("gates", "states"):
        options = {"lengths": torch.tensor(lengths), "reverse": reverse, "save": save}
        parity(make("lstm", 4, 3, **options))
        parity(make("Chained", 4, 3, **options))


@pytest.mark.parametrize("resets", ["all", "first", "last"])
@pytest.mark.parametrize("reverse", [False, True])
def test_resets_at_the_ends_of_a_sequence(resets, reverse):
    where = torch.zeros(4, 3, dtype=torch.bool)
    where[{"all": slice(None), "first": 0, "last": -1}[resets]] = True
    for lengths in (None, torch.tensor([4, 2, 0])):
        parity(make("lstm", 4, 3, lengths=lengths, resets=where, reverse=reverse))
        parity(make("gru-reset-before", 4, 3, lengths=lengths, resets=where, reverse=reverse))


@pytest.mark.parametrize(
    "name", ["lstm", "gru", "lstm-fgr", "LayerNormRNN", "Chained", "UnitByUnit"]
)
def test_a_layer_without_biases(name):
    parity(make(name, bias=False))


@pytest.mark.parametrize("name", ["lstm", "PeepholeGRU", "UnitByUnit"])
@pytest.mark.parametrize("frozen", ["x", "weight_ih", "weight_hh", "bias_ih", "weights", "states"])
def test_what_is_frozen_has_no_gradient_and_the_rest_the_same(name, frozen):
    call = make(name)
    expected = results(operators, call)
    leaves = {k: v.clone().requires_grad_() for k, v in tensors(call).items()}
    states = [k for k in leaves if k.startswith("initial")]
    weights = [k for k in leaves if k != "x" and k not in states]
    still = {"weights": weights, "states": states}.get(frozen, [frozen])
    for k in set(still) & set(leaves):
        leaves[k].requires_grad_(False)
    output, last = operators.run(with_tensors(call, leaves))
    torch.autograd.backward([output, *last], seeds(output, last, torch.float64))
    for k, leaf in leaves.items():
        if k in still:
            assert leaf.grad is None
        else:
            torch.testing.assert_close(leaf.grad, expected[f"d {k}"], rtol=1e-12, atol=1e-12)


# Layouts.


def scattered(tensor):
    """The same numbers with gaps between them, along every dimension."""
    wide = torch.full([2 * n + 1 for n in tensor.shape], NAN, dtype=tensor.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in tensor.shape)]
    view.copy_(tensor)
    assert not view.is_contiguous() or view.numel() <= 1
    return view


def turned(tensor):
    """The same numbers with the first two dimensions turned round in memory."""
    if tensor.dim() == 1:
        return scattered(tensor)
    return tensor.transpose(0, 1).contiguous().transpose(0, 1)


@pytest.mark.parametrize("layout", [scattered, turned])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["lstm-peephole", "UnitByUnit", "gru"])
def test_no_layout_in_memory_changes_a_result(name, dtype, layout):
    lengths, resets = ragged(7, 5)
    call = make(name, H=16, dtype=dtype, lengths=lengths, resets=resets)
    expected = results(operators, call)
    given = {k: layout(v) for k, v in tensors(call).items()}
    call = replace(with_tensors(call, given), resets=layout(resets), lengths=lengths.repeat(2)[:5])
    leaves = {k: v.requires_grad_() for k, v in given.items()}
    output, last = operators.run(call)
    d = [layout(v) for v in seeds(output, last, dtype)]
    torch.autograd.backward([output, *last], d)
    assert torch.equal(output, expected["output"])
    for k, leaf in leaves.items():
        assert torch.equal(leaf.grad, expected[f"d {k}"]), k


@pytest.mark.parametrize("name", ["lstm", "OutputApart", "UnitByUnit"])
def test_states_and_gradients_may_be_one_number_seen_many_times(name):
    """A state for all rows, and the gradient of a sum: memory of stride 0."""
    for B in (1, 5):
        call = make(name, B=B)
        call = replace(call, state=tuple(s[:1].expand(B, -1) for s in call.state))
        ours, theirs = [], []
        for backend, into in ((operators, ours), (reference, theirs)):
            leaves = {k: v.detach().requires_grad_() for k, v in tensors(call).items()}
            output, last = backend.run(with_tensors(call, leaves))
            (output.sum() + sum(s.sum() for s in last)).backward()
            into += [v.grad for v in leaves.values()]
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_nothing_that_is_given_is_written_to():
    for save in ("gates", "states"):
        call = make("Chained", save=save, lengths=ragged(7, 5)[0], resets=ragged(7, 5)[1])
        given = [*tensors(call).values(), call.lengths, call.resets]
        before = [v.clone() for v in given]
        results(operators, call)
        assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_results_share_no_memory_with_what_was_given_or_with_each_other():
    for T in (1, 3):
        call = make("Swapped", T, H=16, lengths=torch.tensor([0, T, 1, 0, T]))
        with torch.no_grad():
            output, last = operators.run(call)
        found = [output, *last]
        places = {v.untyped_storage().data_ptr() for v in (*found, *call.state, call.x)}
        assert len(places) == len(found) + len(call.state) + 1


# Threads.


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("name", ["lstm", "gru-reset-before", "LayerNormRNN", "UnitByUnit"])
def test_any_number_of_threads(set_threads, name, threads):
    set_threads(threads)
    lengths, resets = ragged(5, 13)
    for dtype in (torch.float64, torch.bfloat16):
        parity(make(name, 5, 13, 63, dtype=dtype))
        parity(make(name, 5, 13, 63, dtype=dtype, lengths=lengths, resets=resets, reverse=True))
    parity(make(name, 2, 1, 200))


@pytest.mark.parametrize("split", [(2, 1), (1, 2), (2, 2), (1, 8), (4, 2), (3, 1)])
@pytest.mark.parametrize("name", ["lstm", "Chained", "LayerNormRNN", "SoftmaxRNN"])
def test_rows_and_units_may_be_split_over_threads_in_any_way(
    monkeypatch, set_threads, short_chunks, name, split
):
    """Also where a group has fewer rows than there are groups, or a thread no units."""
    set_threads(split[0] * split[1])
    monkeypatch.setattr(walk, "_split", lambda *args: split)
    lengths, resets = ragged(5, 6)
    parity(make(name, 5, 6, 100))
    parity(make(name, 5, 6, 20, lengths=lengths, resets=resets, reverse=True, save="states"))
    parity(make(name, 3, 1, 20))


@pytest.mark.parametrize("threads", [1, 2])
def test_several_python_threads_at_once(set_threads, threads):
    set_threads(threads)
    names = ["lstm", "LayerNormRNN", "Chained", "lstm"]
    calls = [make(names[i % 4], 9, 3 + i, 33, seed=i) for i in range(8)]
    alone = [results(operators, call) for call in calls]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = list(pool.map(lambda call: results(operators, call), calls))
            for ours, theirs in zip(together, alone, strict=True):
                same(ours, theirs, torch.float64)


# Memory.


class _Poisoned:
    """PyTorch, but that memory which nobody has written to holds NaN."""

    def __init__(self):
        self.count = 0

    def __getattr__(self, name):
        return getattr(torch, name)

    def empty(self, *shape, **options):
        self.count += 1
        memory = torch.empty(*shape, **options)
        return memory.fill_(NAN) if memory.is_floating_point() else memory.fill_(255)


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MANY)
def test_no_result_depends_on_memory_that_was_not_written(
    monkeypatch, short_chunks, name, dtype, save
):
    lengths, resets = ragged(5, 3)
    variants = [{}, {"reverse": True}, {"lengths": lengths, "resets": resets}]
    variants.append({"lengths": lengths, "reverse": True})
    calls = [make(name, 5, 3, 17, dtype=dtype, save=save, **options) for options in variants]
    clean = [results(operators, call) for call in calls]
    poisoned = _Poisoned()
    monkeypatch.setattr(walk, "_MOST_HELD", 0)
    for module in (packing, recurrence, walk):
        monkeypatch.setattr(module, "torch", poisoned)
    for call, expected in zip(calls, clean, strict=True):
        for key, value in results(operators, call).items():
            assert torch.equal(value, expected[key]), key
    assert poisoned.count > 0


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("name", ["lstm", "gru-reset-before", "Chained", "OutputApart"])
def test_a_backward_pass_can_be_repeated_and_changes_nothing_that_was_kept(name, save):
    call = make(name, save=save, lengths=ragged(7, 5)[0])
    leaves = {k: v.detach().requires_grad_() for k, v in tensors(call).items()}
    output, last = operators.run(with_tensors(call, leaves))
    kept = [v for v in output.grad_fn.saved_tensors if v is not None]
    before = [v.clone() for v in kept]
    arguments = ([output, *last], list(leaves.values()), seeds(output, last, torch.float64))
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    first = torch.autograd.grad(*arguments, **options)
    torch.autograd.grad(output.sum(), list(leaves.values()), **options)
    second = torch.autograd.grad(*arguments, **options)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(kept) > len(leaves)
    for a, b in zip(kept, before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_states_alone_are_far_less_memory():
    def kept(save):
        leaf = make("lstm", 64, 16, 32, save=save)
        leaf.x.requires_grad_()
        output, _ = operators.run(leaf)
        saved = {id(v): v for v in output.grad_fn.saved_tensors if v is not None}
        return sum(v.numel() for v in saved.values())

    assert kept("states") < 0.6 * kept("gates")


# Vectors.


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize(
    "name", ["lstm", "Chained", "LayerNormRNN", "SoftmaxRNN", "EveryOperation"]
)
def test_narrow_vectors_give_the_same(monkeypatch, name, width):
    flags, widths = (f"-DTT_VECTOR_BYTES={width}",), set()

    def narrow(source, more=()):
        library = load(source, (*more, *flags))
        widths.add(library.vector_bytes())
        return library

    monkeypatch.setattr(recurrence, "_kernels", {})
    monkeypatch.setattr(walk, "load", narrow)
    monkeypatch.setattr(recurrence, "prebuild", lambda *sources: None)
    dtypes = DTYPES if name == "lstm" else [torch.float32]
    lengths, resets = ragged(5, 5)
    for dtype in dtypes:
        parity(make(name, 5, 5, 33, dtype=dtype))
        parity(make(name, 5, 5, 20, dtype=dtype, lengths=lengths, resets=resets, reverse=True))
    assert widths == {width}


# Padding and NaN.


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", MANY)
def test_what_lies_past_the_end_of_a_row_changes_nothing(name, reverse, save):
    lengths, resets = ragged(6, 5)
    past = torch.arange(6).unsqueeze(1) >= lengths
    call = make(name, 6, lengths=lengths, resets=resets, reverse=reverse, save=save)
    expected = results(operators, call)
    garbage = torch.where(past.unsqueeze(-1), NAN, call.x)
    leaves = {k: v.detach().requires_grad_() for k, v in tensors(call).items()}
    leaves["x"] = garbage.requires_grad_()
    output, last = operators.run(with_tensors(replace(call, resets=resets | past), leaves))
    d, *d_last = seeds(output, last, torch.float64)
    d = torch.where(past.unsqueeze(-1), NAN, d)
    pairs = [(v, g) for v, g in zip((output, *last), (d, *d_last), strict=True) if v.requires_grad]
    torch.autograd.backward([v for v, _ in pairs], [g for _, g in pairs])
    assert torch.equal(output, expected["output"])
    assert not output[past].any()
    for k, s in zip(call.cell.state_specs, last, strict=True):
        assert torch.equal(s, expected[k])
    for k, leaf in leaves.items():
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        assert torch.equal(gradient, expected[f"d {k}"]), k
    assert not leaves["x"].grad[past].any()


@pytest.mark.parametrize(
    "name", ["lstm", "rnn-relu", "gru", "Kinked", "SoftmaxRNN", "LayerNormRNN"]
)
def test_nan_in_a_valid_step_is_not_lost(name):
    """A training that diverges must be seen to do so; and it stays in its row."""
    call = make(name, 5, 4, 18)
    call.x[2, 1, 0] = NAN
    with torch.no_grad():
        (ours, our_last), (theirs, their_last) = operators.run(call), reference.run(call)
    for a, b in zip((ours, *our_last), (theirs, *their_last), strict=True):
        assert torch.equal(a.isnan(), b.isnan())
    assert ours[2:, 1].isnan().any()
    assert not ours[:, [0, 2, 3]].isnan().any()


@pytest.mark.parametrize("scale", [30.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["lstm", "gru", "SoftmaxRNN", "PeepholeGRU"])
def test_large_inputs_saturate_and_are_not_infinite(name, dtype, scale):
    """The functions of the equations are tried where exp overflows."""
    call = make(name, 3, 4, 18, dtype=dtype)
    call = replace(call, x=call.x * scale)
    ours = results(operators, call)
    theirs = results(reference, call, dtype=torch.float64)
    for key in ("output", *call.cell.state_specs):
        same({key: ours[key]}, {key: theirs[key]}, dtype)
    assert all(v.isfinite().all() for v in ours.values())


# The public way.


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_layer_runs_on_the_kernel_in_both_directions_and_all_layers(dtype):
    cell = PeepholeGRU()
    layers = [
        tt.Recurrent(cell, 4, 17, 2, bidirectional=True, backend=backend, dtype=dtype)
        for backend in ("cpp", "reference")
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    layers[1].double()
    x = torch.randn(6, 3, 4).to(dtype)
    found = []
    for layer, of_layer in zip(layers, (x, x.double()), strict=True):
        leaf = of_layer.clone().requires_grad_()
        output, last = layer(leaf, lengths=[6, 2, 4])
        (output.square().sum() + last.sum()).backward()
        parameters = {k: p.grad for k, p in layer.named_parameters()}
        found.append(
            {"output": output.detach(), "last": last.detach(), "x": leaf.grad} | parameters
        )
    assert ran == ["forward"] * 4 + ["backward"] * 4
    same(*found, dtype, share=2 * TOLERANCE[dtype])

"""The compiled kernels against the reference in float64: outputs, last states, all gradients.

Tolerance, as a share of the largest number of the tensor that is compared:

float64, 1e-11: sums of a few hundred rounded terms (u = 1e-16), a few steps deep, and functions of
2 to 4 ulp; what is left of five orders is room for gradients that nearly cancel.
float32, 2e-5: the same with u = 6e-8.
bfloat16: what is rounded to 8 bits (u = 4e-3) at each step is measured for each cell and result, by
``rounded.py``. Where layers or calls are compared as a whole, 4e-2: ten such roundings in a row.
"""

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp import (
    backward,
    forward,
    library,
    packing,
    recurrence,
    rows,
    scratch,
    walk,
)
from throughtime.kernels.cpp.build import load, missing
from throughtime.kernels.graph.graph import OPERATIONS, reachable
from throughtime.kernels.graph.program import program

from ..few import one_of
from .cpp_calls import (
    CELLS,
    DTYPES,
    MANY,
    NAN,
    SOME,
    TOLERANCE,
    PeepholeGRU,
    check_close,
    chosen,
    make,
    parity,
    ragged,
    results,
    seeds,
    tensors,
    with_tensors,
)

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


# Every cell.


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", chosen(CELLS))
def test_every_cell_equals_the_reference_for_ragged_rows_and_resets(name, reverse):
    lengths, resets = ragged(7, 5)
    parity(make(name, lengths=lengths, resets=resets, reverse=reverse))


# In float64 all cells run by default; their code is the same.
@pytest.mark.parametrize("name", one_of(3, chosen(CELLS)))
def test_every_cell_equals_the_reference_in_float32(name):
    parity(make(name, 6, 13, 33, I=5, dtype=torch.float32))


@pytest.mark.parametrize("options", [{}, {"reverse": True, "save": "states"}, "ragged"])
@pytest.mark.parametrize(
    "name", one_of(3, chosen(n for n in MANY if n not in ("Still", "lstm-fgr")))
)
def test_cells_equal_the_reference_in_bfloat16(name, options):
    if options == "ragged":
        options = dict(zip(("lengths", "resets"), ragged(5, 6), strict=True))
    parity(make(name, 5, 6, 33, dtype=torch.bfloat16, **options))


def test_every_operation_of_a_graph_is_tried():
    cell = CELLS["EveryOperation"]
    cell_program = program(cell)
    nodes = reachable([*cell_program.states.values(), *cell_program.gradients.values()])
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
@pytest.mark.parametrize("name", chosen(["lstm", "SoftmaxRNN"]))
def test_layers_of_more_than_one_tile_of_units_and_long_rows(name, dtype):
    parity(make(name, 4, 9, 200, I=70, dtype=dtype, reverse=True))


# Memory.


class _Poisoned:
    """Fills all uninitialized memory that PyTorch allocates with NaN."""

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
@pytest.mark.parametrize("name", chosen(MANY))
def test_no_result_depends_on_memory_that_was_not_written(
    monkeypatch, short_chunks, name, dtype, save
):
    lengths, resets = ragged(5, 3)
    variants = [{}, {"reverse": True}, {"lengths": lengths, "resets": resets}]
    variants.append({"lengths": lengths, "reverse": True})
    calls = [make(name, 5, 3, 17, dtype=dtype, save=save, **options) for options in variants]
    clean = [results(cpp, call) for call in calls]
    poisoned = _Poisoned()
    monkeypatch.setattr(scratch, "_LARGEST_KEPT", 0)
    for module in (backward, forward, packing, rows, scratch, walk):
        monkeypatch.setattr(module, "torch", poisoned)
    for call, expected in zip(calls, clean, strict=True):
        for key, value in results(cpp, call).items():
            assert torch.equal(value, expected[key]), key
    assert poisoned.count > 0


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("name", ["lstm", "gru-reset-before", "Chained", "OutputApart"])
def test_a_backward_pass_can_be_repeated_and_changes_nothing_that_was_kept(name, save):
    call = make(name, save=save, lengths=ragged(7, 5)[0])
    leaves = {k: v.detach().requires_grad_() for k, v in tensors(call).items()}
    output, last = cpp.run(with_tensors(call, leaves))
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
        output, _ = cpp.run(leaf)
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
    monkeypatch.setattr(library, "load", narrow)
    monkeypatch.setattr(recurrence, "prebuild", lambda *sources: None)
    dtypes = DTYPES if name == "lstm" else [torch.float32]
    lengths, resets = ragged(5, 5)
    for dtype in dtypes:
        parity(make(name, 5, 5, 33, dtype=dtype))
        parity(make(name, 5, 5, 20, dtype=dtype, lengths=lengths, resets=resets, reverse=True))
    assert widths == {width}


# The public way.


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_layer_runs_on_the_kernel_in_both_directions_and_all_layers(ran, dtype):
    cell = PeepholeGRU()
    layers = [
        tt.Recurrent(cell, 4, 17, 2, bidirectional=True, backend=backend, dtype=dtype)
        for backend in ("cpp", "reference")
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    layers[1].double()
    x = torch.randn(6, 3, 4).to(dtype)
    runs = []
    for layer, of_layer in zip(layers, (x, x.double()), strict=True):
        leaf = of_layer.clone().requires_grad_()
        output, last = layer(leaf, lengths=[6, 2, 4])
        (output.square().sum() + last.sum()).backward()
        parameters = {k: p.grad for k, p in layer.named_parameters()}
        runs.append({"output": output.detach(), "last": last.detach(), "x": leaf.grad} | parameters)
    assert ran == ["forward"] * 4 + ["backward"] * 4
    check_close(*runs, dtype, share=2 * TOLERANCE[dtype])

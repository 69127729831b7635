"""Autocast: results have the dtype of autocast on every backend and for every length."""

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp
from throughtime.layers import time_gaps

from ..few import one_of
from ..further_inputs import fed

T, B, H = 4, 2, 4
BF16 = torch.bfloat16
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
every_backend = pytest.mark.parametrize(
    "backend", ["auto", "reference", pytest.param("cpp", marks=needs_compiler)]
)
# The reference rounds at each operation, the kernels once per step.
CLOSE = dict(rtol=0.05, atol=0.05)


def layer_of(cell="lstm-peephole", **options):
    torch.manual_seed(0)
    return fed(tt.Recurrent(cell, H, H, **options))


def types(values):
    return {v.dtype for v in tree_leaves(values) if isinstance(v, torch.Tensor)}


def run(layer, *inputs, dtype=BF16, **options):
    with torch.autocast("cpu", dtype):
        return layer(*inputs, **options)


@pytest.mark.parametrize("cell", one_of(6, tt.cells.names(), 1))
def test_every_cell_gives_one_type_however_many_steps_there_are(cell):
    layer = layer_of(cell)
    x = torch.randn(T, B, H)
    whole = run(layer, x)[0]
    for steps in (1, 2, 3):
        output, state = run(layer, x[:steps])
        assert types((output, state)) == {BF16}
        # The reference runs short sequences.
        torch.testing.assert_close(output, whole[:steps], **CLOSE)


@every_backend
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("of_x", [torch.float32, BF16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 2, "residual": True, "dropout": 0.2},
        {"proj_size": 2},
        {"zoneout": 0.1, "recurrent_dropout": 0.1},
        {"learned_state": True, "weight_drop": 0.2},
    ],
)
def test_every_backend_and_option_obeys_the_same_rule(options, of_x, grad, backend):
    cell = "lstm" if "proj_size" in options else "lstm-peephole"
    layer = layer_of(cell, backend=backend, **options)
    for steps in (1, 2, 3):
        x = torch.randn(steps, B, H).to(of_x).requires_grad_(grad)
        with torch.set_grad_enabled(grad):
            output, state, seen = run(layer, x, return_trace=True, lengths=[steps, 1])
            again = run(layer, x, state)
            # The state of a layer that ran without autocast.
            wide = run(layer, x, tuple(s.float() for s in state))
        assert types((output, state, seen, again, wide)) == {BF16}
        if grad:
            output.float().sum().backward()
            assert x.grad.dtype is of_x
            assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}


def test_a_layer_in_bfloat16_is_what_autocast_runs():
    layer, low = layer_of(), layer_of().to(BF16)
    for steps in (1, T):
        x = torch.randn(steps, B, H)
        for backend in ("auto", "reference"):
            layer.backend = low.backend = backend
            torch.testing.assert_close(run(layer, x), low(x.to(BF16)), rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_float16_on_a_cpu_goes_to_the_reference(backend):
    layer = layer_of(backend=backend)
    for steps in (1, 3):
        x = torch.randn(steps, B, H)
        output, state = run(layer, x, dtype=torch.float16)
        assert types((output, state)) == {torch.float16}
        torch.testing.assert_close(output.float(), layer(x)[0], rtol=0.01, atol=0.01)


def test_float64_stays_float64_and_does_not_go_with_other_types():
    x, double = torch.randn(T, B, H), torch.randn(T, B, H).double()
    layer = layer_of(dtype=torch.float64)
    for steps in (1, T):
        assert types(run(layer, double[:steps])) == {torch.float64}
        torch.testing.assert_close(run(layer, double[:steps]), layer(double[:steps]))
    # torch.nn refuses them too, within an operator.
    with pytest.raises(ValueError, match=r"expected x of torch\.float64 as the weights are"):
        run(layer, x)
    with pytest.raises(ValueError, match=r"expected x of torch\.float32 as the weights are"):
        run(layer_of(), double)
    state = (torch.zeros(1, B, H).double(), torch.zeros(1, B, H))
    with pytest.raises(ValueError, match="expected the initial state h"):
        run(layer_of(), x, state)
    layer = layer_of()
    layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.double())
    with pytest.raises(ValueError, match="expected weight_hh_l0"):
        run(layer, x)


def test_whole_numbers_are_not_cast():
    with pytest.raises(ValueError, match=r"got torch\.int64"):
        run(layer_of(), torch.zeros(T, B, H).long())
    layer = layer_of()
    layer.weight_hh_l0 = nn.Parameter(torch.zeros(4 * H, H).long(), requires_grad=False)
    with pytest.raises(ValueError, match=r"expected weight_hh_l0 .*int64"):
        run(layer, torch.zeros(T, B, H))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
def test_torch_nn_has_the_same_rule(kind):
    """The GRU of torch.nn has it too, except in one product that autocast leaves alone."""
    if kind is nn.LSTM and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("the autocast of torch.nn.LSTM needs a processor with products of bfloat16")
    ours = getattr(tt, kind.__name__)(H, H)
    theirs = kind(H, H)
    theirs.load_state_dict(ours.state_dict())
    for steps in (1, 2, 3):
        x = torch.randn(steps, B, H)
        expected, result = run(theirs, x), run(ours, x)
        assert types(result) == types(expected) == {BF16}
        torch.testing.assert_close(result, expected, **CLOSE)


def test_steps_of_a_stream_are_those_of_the_sequence():
    layer = layer_of(num_layers=2)
    x, stream = torch.randn(T, B, H), layer.stream()
    with torch.autocast("cpu", BF16):
        whole = layer(x)[0]
        steps = [stream.step(x[0]), stream.read(x[1:3])[-1], stream.step(x[3])]
    assert types(steps) == types(stream.state) == {BF16}
    torch.testing.assert_close(torch.stack(steps), whole[[0, 2, 3]], **CLOSE)


@needs_compiler
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("cell", ["gru", "lstm-peephole"])
def test_a_compiled_layer_gives_the_same_type(cell, grad):
    torch._dynamo.reset()
    layer = layer_of(cell)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=True)
    for steps in (1, 2, 3):
        x = torch.randn(steps, B, H)
        with torch.set_grad_enabled(grad):
            result, expected = run(compiled, x), run(layer, x)
        assert types(result) == {BF16}
        torch.testing.assert_close(result, expected, **CLOSE)
    torch._dynamo.reset()


@needs_compiler
def test_the_explanation_is_that_of_the_type_that_runs():
    x = torch.randn(T, B, H)
    with torch.autocast("cpu", torch.float16):
        result = layer_of().explain(x)
    assert result.backend == "reference"
    assert result.reasons["cpp"] == ["x is of float16 (needs float32, float64, bfloat16)"]


def test_grud_and_the_matrix_lstm():
    mask = torch.rand(T, B, H) < 0.5
    gaps = time_gaps(torch.rand(T, B).cumsum(0), mask)
    x = torch.randn(T, B, H)
    for layer, inputs in ((tt.GRUD(H, H), (x, mask, gaps)), (tt.MatrixLSTM(H, H), (x,))):
        for steps in (1, 2, T):
            part = tuple(v[:steps] for v in inputs)
            output, state = run(layer, *part)
            assert output.dtype is BF16
            again, _ = run(layer, *part, state)
            assert again.dtype is BF16
            torch.testing.assert_close(output.float(), layer(*part)[0], **CLOSE)

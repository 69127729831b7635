"""Batch size and steps of a compiled or exported layer stay variable."""

import pytest
import torch
from torch.export import Dim, export
from torch.nn.utils.rnn import pack_padded_sequence

import throughtime as tt
from throughtime.kernels.cpp.build import missing
from throughtime.layers import GRUD, MatrixLSTM

from ..symbolic_sizes import SIZES, assert_compiles_once, tensors

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason="; ".join(missing())),
    # PyTorch instantiates an autograd function when tracing it, and warns of that.
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]

I, H = 5, 12

LAYERS = {
    "lstm": lambda: tt.LSTM(I, H, batch_first=True),
    "gru": lambda: tt.GRU(I, H, num_layers=2, bidirectional=True, batch_first=True),
    "peephole": lambda: tt.Recurrent("lstm-peephole", I, H, batch_first=True, save="states"),
    "learned": lambda: tt.RNN(I, H, batch_first=True, learned_state=True),
}


def initial(layer, B):
    rows = layer.num_layers * layer.num_directions
    states = tuple(torch.randn(rows, B, size) for size in layer.state_sizes.values())
    return states if len(states) > 1 else states[0]


def call(layer, B, T, *what):
    more = {
        "lengths": torch.randint(1, T + 1, (B,)),
        "hx": initial(layer, B),
        "resets": torch.rand(B, T) < 0.3,
    }
    return (torch.randn(B, T, I),), {name: more[name] for name in what}


@pytest.mark.parametrize("trains", [False, True], ids=["evaluated", "trained"])
@pytest.mark.parametrize("what", [(), ("lengths",), ("hx",), ("lengths", "hx", "resets")])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_layer_compiles_once_for_all_sizes(name, what, trains):
    layer = LAYERS[name]()
    with torch.set_grad_enabled(trains):
        calls = [call(layer, *sizes, *what) for sizes in SIZES]
        assert_compiles_once(layer, calls, dynamic=True)


@pytest.mark.parametrize("name", ["peephole", "learned"])
def test_so_does_one_with_options(name):
    layer = LAYERS[name]()
    calls = [call(layer, *sizes, "lengths") for sizes in SIZES]
    assert_compiles_once(layer, calls, dynamic=True)


def test_sizes_that_change_compile_once_more_without_dynamic():
    layer = LAYERS["lstm"]()
    calls = [call(layer, *sizes, "lengths", "hx") for sizes in SIZES]
    assert_compiles_once(layer, calls, settles=1)


def test_sizes_that_are_marked_are_open_from_the_first_call_on():
    layer = LAYERS["lstm"]()
    calls = [call(layer, *sizes, "lengths", "hx", "resets") for sizes in SIZES]
    for (x,), more in calls:
        for value in (x, more["resets"]):
            torch._dynamo.mark_dynamic(value, (0, 1))
        torch._dynamo.mark_dynamic(more["lengths"], 0)
        for state in more["hx"]:
            torch._dynamo.mark_dynamic(state, 1)
    with torch.no_grad():
        assert_compiles_once(layer, calls)


def test_a_packed_sequence_compiles_once_for_all_sizes():
    layer, calls = tt.LSTM(I, H), []
    for B, T in SIZES:
        lengths = torch.cat([torch.tensor([T]), torch.randint(1, T + 1, (B - 1,))])
        x = torch.randn(T, B, I)
        calls.append(((pack_padded_sequence(x, lengths, enforce_sorted=False),), {}))
    assert_compiles_once(layer, calls, dynamic=True)


@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_a_packed_sequence_comes_out_of_a_compiled_layer_as_one(enforce_sorted):
    x, lengths = torch.randn(6, 3, I), torch.tensor([6, 4, 1])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted)
    for each in (tt.LSTM(I, H), MatrixLSTM(I, H)):
        compiled = torch.compile(each, backend="eager", dynamic=True)
        for ours, theirs in zip(compiled(packed)[0], each(packed)[0], strict=True):
            if theirs is None:
                assert ours is None
            else:
                torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
def test_gru_d_and_the_matrix_lstm_compile_once_for_all_sizes():
    layer, calls = GRUD(I, H, batch_first=True), []
    for B, T in SIZES:
        x, mask, gaps = torch.randn(B, T, I), torch.rand(B, T, I) < 0.5, torch.rand(B, T, I)
        hx = (torch.randn(1, B, H), torch.randn(1, B, I), torch.rand(1, B, I))
        calls.append(((x, mask, gaps, hx), {"lengths": torch.randint(1, T + 1, (B,))}))
    assert_compiles_once(layer, calls, dynamic=True)
    layer, calls = MatrixLSTM(I, H, batch_first=True), []
    for B, T in SIZES:
        hx = (torch.randn(B, 1, H, H), torch.randn(B, 1, H), torch.randn(B, 1))
        lengths, resets = torch.randint(1, T + 1, (B,)), torch.rand(B, T) < 0.3
        calls.append(((torch.randn(B, T, I), hx), {"lengths": lengths, "resets": resets}))
    assert_compiles_once(layer, calls, dynamic=True)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_exported_with_open_sizes(name, strict):
    layer, B, T = LAYERS[name](), Dim("B"), Dim("T")
    args, kwargs = call(layer, 3, 6, "hx", "lengths", "resets")
    of_state = {1: B} if len(layer.state_sizes) == 1 else ({1: B},) * len(layer.state_sizes)
    shapes = {"input": {0: B, 1: T}, "hx": of_state, "lengths": {0: B}, "resets": {0: B, 1: T}}
    exported = export(layer, args, kwargs, dynamic_shapes=shapes, strict=strict).module()
    for sizes in (*SIZES, (1, 1), (2, 300)):
        args, kwargs = call(layer, *sizes, "hx", "lengths", "resets")
        for ours, theirs in zip(
            tensors(exported(*args, **kwargs)), tensors(layer(*args, **kwargs)), strict=True
        ):
            torch.testing.assert_close(ours, theirs)


def test_an_exported_layer_keeps_nothing_for_a_backward_pass():
    """Nothing is stored for a backward pass, which would need several times the sequence."""
    layer = LAYERS["lstm"]()
    exported = export(layer, (torch.randn(3, 6, I),))
    (node,) = (n for n in exported.graph.nodes if "recurrence" in str(n.target))
    assert node.args[-1] == "nothing"


def test_gru_d_is_exported_with_open_sizes():
    layer, B, T = GRUD(I, H, batch_first=True), Dim("B"), Dim("T")

    def features(B, T):
        return torch.randn(B, T, I), torch.rand(B, T, I) < 0.5, torch.rand(B, T, I)

    shapes = {name: {0: B, 1: T} for name in ("x", "mask", "gaps")} | {"lengths": {0: B}}
    lengths = {"lengths": torch.tensor([6, 3, 1])}
    exported = export(layer, features(3, 6), lengths, dynamic_shapes=shapes).module()
    for B, T in (*SIZES, (2, 2)):
        args, lengths = features(B, T), torch.randint(1, T + 1, (B,))
        for ours, theirs in zip(
            tensors(exported(*args, lengths=lengths)),
            tensors(layer(*args, lengths=lengths)),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs)

"""The attributes of torch.nn layers that other code reads, and tracing."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp

T, B, I, H = 5, 2, 3, 4
LAYERS = [
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2, "dropout": 0.1}),
    ("GRU", {"bias": False, "batch_first": True}),
    ("RNN", {"num_layers": 3}),
    ("RNN", {"nonlinearity": "relu", "bidirectional": True}),
]
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")


@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_the_attributes_are_those_of_torch_nn(kind, options):
    ours, theirs = getattr(tt, kind)(I, H, **options), getattr(nn, kind)(I, H, **options)
    for name in (*theirs.__constants__, "_all_weights", "_flat_weights_names"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for actual, expected in (
        ([ours._flat_weights], [theirs._flat_weights]),
        (ours.all_weights, theirs.all_weights),
    ):
        shapes = [[[w.shape for w in row] for row in rows] for rows in (actual, expected)]
        assert shapes[0] == shapes[1]
    assert all(a is b for a, b in zip(ours._flat_weights, ours.parameters(), strict=True))
    assert ours.flatten_parameters() is None


def test_they_follow_the_layer_and_cannot_be_set():
    layer = tt.GRU(I, H)
    weight = nn.Parameter(torch.zeros(3 * H, H))
    layer.weight_hh_l0 = weight
    assert layer._flat_weights[1] is weight
    for name in ("_flat_weights", "_flat_weights_names", "_all_weights", "all_weights", "mode"):
        with pytest.raises(AttributeError, match=name):
            setattr(layer, name, [])
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again.mode == "GRU"
        assert torch.equal(again._flat_weights[1], weight)


# TorchScript.


traced = pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*deprecated.*:DeprecationWarning",
    "ignore:Converting a tensor to a Python:torch.jit.TracerWarning",
    "ignore:Trace had nondeterministic nodes:torch.jit.TracerWarning",
)


def saved_and_loaded(program):
    file = io.BytesIO()
    torch.jit.save(program, file)
    file.seek(0)
    return torch.jit.load(file)


@traced
@needs_compiler
@pytest.mark.parametrize("steps", [2, T])
@pytest.mark.parametrize("kind", ["lstm", "gru", "lstm-peephole"])
def test_a_trace_that_would_learn_is_refused_and_points_to_export(kind, steps):
    layer, x = tt.Recurrent(kind, I, H), torch.randn(steps, B, I)
    for each in (layer, layer.eval()):
        with pytest.raises(ValueError, match=r"torch\.export\.export or throughtime\.save_onnx"):
            torch.jit.trace(each, (x,))


@traced
@needs_compiler
@pytest.mark.parametrize("steps", [2, T])
@pytest.mark.parametrize("kind", ["lstm", "gru", "lstm-peephole"])
def test_a_trace_that_runs_forward_is_saved_and_takes_any_length(kind, steps):
    layer, x = tt.Recurrent(kind, I, H, 2, bidirectional=True), torch.randn(steps, B, I)
    with torch.no_grad():
        programs = [torch.jit.trace(layer, (x,))]
    programs += [torch.jit.trace(layer.requires_grad_(False), (x,))]
    for program in map(saved_and_loaded, programs):
        for shape in ((7, 3, I), (1, 1, I), (steps, B, I)):
            x = torch.randn(shape)
            with torch.no_grad():
                torch.testing.assert_close(program(x), layer(x))


@traced
@needs_compiler
def test_a_trace_of_all_steps_is_no_constant():
    layer = tt.Recurrent("lstm-peephole", I, H).requires_grad_(False)

    def gates(x):
        return layer(x, return_trace=True)[2]["f_l0"]

    program = torch.jit.trace(gates, (torch.randn(T, B, I),))
    x = torch.randn(T, B, I)
    torch.testing.assert_close(program(x), gates(x))

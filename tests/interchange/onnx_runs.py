"""Helpers of the ONNX tests: they run a layer and its file, and compare the results."""

import pytest
import torch

from throughtime.interchange.onnx import save_onnx

from ..further_inputs import inputs_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def session(path, without=()):
    """ONNX Runtime's session of a file, without some of its optimisers."""
    return onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
    )


def tuple_of(state):
    return (state,) if isinstance(state, torch.Tensor) else state


def states(layer, rows):
    """States that the layer reaches after a few steps."""
    x = torch.randn(4, rows, layer.input_size, dtype=next(layer.parameters()).dtype)
    x = x.transpose(0, 1) if layer.batch_first else x
    layer.backend = "reference"
    with torch.no_grad():
        return tuple_of(layer(x, inputs=inputs_of(layer, x))[1])


def run(layer, ran, x, initial, lengths=None):
    """The outputs of ONNX Runtime as tensors, in the order of the graph."""
    names = list(layer.cell.state_specs)
    feed = {
        "input": x,
        **inputs_of(layer, x),
        **{f"{n}_0": s for n, s in zip(names, initial, strict=True)},
    }
    if lengths is not None:
        feed["lengths"] = torch.tensor(lengths, dtype=torch.int32)
    assert [o.name for o in ran.get_outputs()] == ["output", *(f"{n}_n" for n in names)]
    outputs = ran.run(None, {name: value.numpy() for name, value in feed.items()})
    return [torch.from_numpy(value) for value in outputs]


def ours(layer, x, initial, lengths=None):
    """The results of the layer on the reference backend, which compiles nothing."""
    layer.backend = "reference"
    with torch.no_grad():
        hx = initial[0] if len(initial) == 1 else tuple(initial)
        output, last = layer(x, hx, lengths=lengths, inputs=inputs_of(layer, x))
    return [output, *tuple_of(last)]


def close(got, wanted, tolerance=1e-5):
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def check(layer, path, T=6, B=4, ragged=False, tolerance=1e-5, without=()):
    """Asserts that the file computes the results of the layer."""
    lengths = [T, 1, max(T - 2, 1), T, 2][:B] if ragged else None
    save_onnx(layer, path, lengths=ragged)
    x = torch.randn(T, B, layer.input_size, dtype=next(layer.parameters()).dtype)
    x = x.transpose(0, 1).contiguous() if layer.batch_first else x
    initial = states(layer, B)
    got = run(layer, session(path, without), x, initial, lengths)
    close(got, ours(layer, x, initial, lengths), tolerance)

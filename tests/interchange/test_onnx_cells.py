"""The cells of ONNX give equal results and gradients on compiled kernels and on the reference."""

import pytest
import torch

from throughtime.interchange.onnx import cells
from throughtime.kernels import Call, Weights, dispatch

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


CELLS = [
    cells.OnnxLSTM("Sigmoid", 0.0, 0.0, "Softsign", 0.0, 0.0, "Elu", 0.5, 0.0, clip=1.0),
    cells.OnnxLSTM("Affine", 0.4, 0.1, "LeakyRelu", 0.2, 0.0, "ThresholdedRelu", 0.1, 0.0),
    cells.OnnxLSTM("ScaledTanh", 0.9, 0.7, "Relu", 0.0, 0.0, "Softplus", 0.0, 0.0),
    cells.OnnxCoupledLSTM(clip=1.0),
    cells.OnnxGRU("HardSigmoid", 0.2, 0.5),
    cells.OnnxResetBeforeGRU(clip=1.0),
    cells.OnnxRNN(clip=0.5),
]


def test_the_cells_below_have_every_activation():
    names = [getattr(cell, place, None) for cell in CELLS for place in "fgh"]
    assert set(names) - {None} == set(cells.ACTIVATIONS)


def call_of(cell):
    def draw(*shape):
        return torch.randn(shape, dtype=torch.float64).requires_grad_()

    own = {name: draw(3) for name in cell.parameter_specs}
    G = len(cell.gates)
    w = Weights(draw(G * 3, 3), draw(G * 3, 3), draw(G * 3), draw(G * 3), parameters=own)
    lengths = torch.tensor([5, 2])
    return Call(
        cell, draw(5, 2, 3), w, tuple(draw(2, 3) for _ in cell.state_specs), lengths=lengths
    )


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_the_compiled_kernels_compute_what_the_reference_does(cell):
    assert dispatch.BACKENDS["cpp"].reasons(call_of(cell)) == []
    call = call_of(cell)
    w = call.weights
    leaves = [call.x, w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh, *call.state]
    leaves += w.parameters.values()
    results = []
    for backend in ("cpp", "reference"):
        output, last = dispatch.run(call, backend)
        loss = output.sin().sum() + sum(s.square().sum() for s in last)
        results.append([output, *last, *torch.autograd.grad(loss, leaves)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cell", [CELLS[0], *CELLS[3:]], ids=repr)
def test_the_gradients_of_the_cells(cell):
    call = call_of(cell)
    w = call.weights
    leaves = [call.x, w.weight_ih, w.weight_hh, *call.state]

    def run(x, weight_ih, weight_hh, *state):
        weights = Weights(weight_ih, weight_hh, w.bias_ih, w.bias_hh, w.parameters)
        output, last = dispatch.run(Call(cell, x, weights, state), "reference")
        return (output, *last)

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)

"""Each operation of a step has equal results in ONNX and in PyTorch, also at special values."""

import pytest
import torch

from throughtime.interchange.onnx.operations import OPERATIONS, operation
from throughtime.interchange.onnx.writing import GraphWriter
from throughtime.kernels.graph.graph import OPERATIONS as MEANING

from .onnx_runs import onnx, onnxruntime

VALUES = [0.0, 1e-8, 1e-4, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 3.0, 7.25, 30.0, 90.0, 1e30]
VALUES = torch.tensor([*VALUES, *(-v for v in VALUES), torch.inf, -torch.inf, torch.nan])
TWO = "add sub mul div pow remainder fmod maximum minimum less less_equal equal".split()
# ONNX Runtime does not have these operators on a CPU.
NOT_IN_FLOAT64 = ("softplus", "log_sigmoid", "erf")


def arguments(op, dtype):
    a, b = torch.meshgrid(VALUES.to(dtype), VALUES.to(dtype), indexing="ij")
    if op == "sign":
        # The sign of NaN is 0 in PyTorch and NaN in ONNX Runtime.
        return [a[:-1]]
    if op == "where":
        return [a < b, a, b]
    if op in ("both", "either", "negate"):
        return [a < b, a < 1][: 1 if op == "negate" else 2]
    if op in ("row_sum", "row_max"):
        return [torch.randn(3, 5, dtype=dtype)]
    return [a, b] if op in TWO else [a]


def test_there_is_one_for_each():
    assert set(OPERATIONS) == set(MEANING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", MEANING)
def test_an_operation(op, dtype):
    arrays = [a.contiguous() for a in arguments(op, dtype)]
    wanted = MEANING[op](*arrays)
    graph = GraphWriter(onnx, dtype)
    names = [graph.name(f"a{i}") for i in range(len(arrays))]
    result = operation(graph, op, names, "made")
    inputs = [graph.value(n, list(a.shape), a.dtype) for n, a in zip(names, arrays, strict=True)]
    output = graph.value(result, list(wanted.shape), wanted.dtype)
    helper = onnx.helper
    file = helper.make_model(
        helper.make_graph(graph.nodes, op, inputs, [output], graph.initializers),
        opset_imports=[helper.make_opsetid("", 14)],
        ir_version=8,
    )
    onnx.checker.check_model(file, full_check=True)
    if dtype == torch.float64 and op in NOT_IN_FLOAT64:
        return
    ran = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    got = ran.run(None, {n: a.numpy() for n, a in zip(names, arrays, strict=True)})[0]
    rtol, atol = (1e-5, 1e-7) if dtype == torch.float32 else (1e-12, 1e-14)
    # ONNX Runtime rounds tiny sigmoids to 0; all other operations keep their digits near 0.
    atol = atol if op == "sigmoid" else 0.0
    torch.testing.assert_close(torch.from_numpy(got), wanted, rtol=rtol, atol=atol, equal_nan=True)

"""The operators around recurrent nodes give the results and dtypes of ONNX Runtime."""

import numpy as np
import pytest
import torch

from throughtime.interchange.onnx import load_onnx
from throughtime.interchange.onnx.operators import MICROSOFT, names

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((2, 3, 4)).astype(np.float32)
Y = DRAW.standard_normal((2, 3, 4)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1
ROW = DRAW.standard_normal(4).astype(np.float32)
ROWS = np.abs(DRAW.standard_normal((4, 3)).astype(np.float32)) + 0.5
SQUARE = DRAW.standard_normal((4, 4)).astype(np.float32)
MASK, OTHER = X > 0, Y > 0
WHOLE = np.array([[7, -7, 3], [-3, 6, 0]])
BY = np.array([[2, 2, -2], [-2, 4, 5]])


def i(*values):
    return np.array(values, np.int64)


def f(*values):
    return np.array(values, np.float32)


class Case:
    """A node: its inputs (None for an omitted one), its attributes, and its operator set."""

    def __init__(self, op, *inputs, outputs=1, opset=18, domain="", tolerance=1e-5, **attributes):
        self.op, self.inputs, self.attributes = op, inputs, attributes
        self.outputs, self.opset, self.domain = outputs, opset, domain
        self.tolerance = tolerance

    def __str__(self):
        more = "-".join(self.attributes)
        return f"{self.op}-{self.opset}{'-' if more else ''}{more}"


ON_ONE = (
    *("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Identity", "IsNaN", "Mish"),
    *("Neg", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh"),
    *("Elu", "Celu", "Selu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid"),
)
REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
    *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
CASES = [
    *(Case(op, 3 * X) for op in ON_ONE),
    *(Case(op, POSITIVE) for op in ("Log", "Reciprocal", "Sqrt")),
    Case("Round", f(0.5, 1.5, 2.5, -0.5)),
    Case("IsNaN", f(1, np.nan, np.inf)),
    Case("Not", MASK),
    Case("Gelu", X, opset=20),
    Case("Gelu", X, opset=20, approximate="tanh"),
    Case("Elu", X, alpha=0.5),
    Case("Celu", X, alpha=0.5),
    Case("Selu", X, alpha=1.5, gamma=1.1),
    Case("LeakyRelu", X, alpha=0.3),
    Case("ThresholdedRelu", X, alpha=0.4),
    Case("HardSigmoid", X, alpha=0.3, beta=0.4),
    Case("PRelu", X, ROW),
    *(Case(op, X, ROW) for op in ("Add", "Sub", "Mul")),
    *(Case(op, WHOLE, BY) for op in ("Add", "Sub", "Mul", "Div", "Mod", "Equal", "Greater")),
    Case("Div", X, POSITIVE),
    Case("Mod", WHOLE, BY, fmod=1),
    Case("Mod", X, Y, fmod=1),
    Case("Pow", POSITIVE, ROW),
    Case("Pow", WHOLE, i(2)),
    Case("Pow", WHOLE, f(2)),
    *(Case(op, MASK, OTHER) for op in ("And", "Or", "Xor", "Equal")),
    *(Case(op, X, Y) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")),
    *(Case(op, X, Y, ROW) for op in ("Max", "Min", "Sum", "Mean")),
    *(Case(op, X) for op in ("Max", "Min", "Sum", "Mean")),
    Case("MatMul", X, SQUARE),
    Case("MatMul", ROW, SQUARE),
    Case("Gemm", SQUARE, ROWS),
    Case("Gemm", SQUARE, ROWS, f(1, 2, 3), alpha=0.5, beta=2.0),
    Case("Gemm", ROWS, SQUARE, ROW, transA=1, transB=1),
    Case("Einsum", X, Y, equation="btf,bsf->bts"),
    Case("Einsum", X, equation="...ij -> ...ji"),
    *(Case("Cast", 3 * X, to=to) for to in (1, 6, 7, 9, 10, 11)),
    Case("Cast", WHOLE, to=1),
    Case("Cast", MASK, to=6),
    Case("CastLike", X, WHOLE, opset=15),
    Case("Where", MASK, X, ROW),
    Case("Clip", X, opset=10, min=-0.5, max=0.5),
    Case("Clip", X, opset=10, max=0.5),
    Case("Clip", X, np.float32(-0.5), np.float32(0.5)),
    Case("Clip", X, None, np.float32(0.5)),
    Case("Clip", X, np.float32(-0.5)),
    Case("Clip", X),
    Case("Clip", X, np.float32(1), np.float32(-1)),
    Case("Dropout", X, opset=10, ratio=0.4),
    Case("Dropout", X, np.float32(0.4), np.array(False), outputs=2),
    # Shapes.
    Case("Shape", X),
    Case("Shape", X, start=-2, end=3),
    Case("Size", X),
    Case("Transpose", X),
    Case("Transpose", X, perm=[1, 2, 0]),
    Case("Squeeze", X[:, :1], opset=11, axes=[-2]),
    Case("Squeeze", X[:1, :1]),
    Case("Squeeze", X[:, :1], i(1)),
    Case("Unsqueeze", X, opset=11, axes=[0, 3]),
    Case("Unsqueeze", X, i(-1, 1)),
    Case("Reshape", X, i(0, -1)),
    Case("Reshape", X[:0], i(4, 0), allowzero=1),
    Case("Flatten", X),
    Case("Flatten", X, axis=0),
    Case("Flatten", X, axis=-1),
    Case("Expand", X[:, :1], i(3, 1)),
    Case("Expand", ROW, i(2, 3, 4)),
    Case("Expand", X, i(1)),
    Case("Tile", X, i(1, 2, 3)),
    Case("ConstantOfShape", i(2, 3)),
    Case("ConstantOfShape", i(2), value=onnx.numpy_helper.from_array(i(7))),
    Case("Range", np.int64(2), np.int64(11), np.int64(3)),
    Case("Range", np.float32(1), np.float32(-1), np.float32(-0.5)),
    Case("Concat", X, Y, axis=-1),
    Case("Concat", WHOLE, WHOLE, BY, axis=0),
    Case("Split", X, outputs=2, opset=11, axis=2),
    Case("Split", X, outputs=2, opset=11, axis=1, split=[1, 2]),
    Case("Split", X, outputs=3, opset=13, axis=1),
    Case("Split", X, i(3, 1), outputs=2, axis=-1),
    Case("Split", X, outputs=2, axis=1, num_outputs=2),
    Case("Pad", X, opset=10, pads=[0, 1, 0, 0, 2, 1], value=7.0),
    Case("Pad", X, i(0, 1, 0, 0, 2, 1), np.float32(7)),
    Case("Pad", X, i(0, -1, 0, 0, 0, -2)),
    Case("Pad", X, i(1, 2), None, i(-1)),
    *(Case("Pad", X, i(0, 1, 2, 0, 2, 1), mode=mode) for mode in ("reflect", "edge")),
    Case("Pad", X, i(0, 1, 2, 0, 2, 1), opset=19, mode="wrap"),
    Case("Trilu", SQUARE),
    Case("Trilu", SQUARE, np.int64(-1), upper=0),
    # Selection by index.
    Case("Slice", X, opset=9, starts=[-2, 1], ends=[99, -1], axes=[1, 2]),
    Case("Slice", X, opset=9, starts=[1], ends=[2]),
    Case("Slice", X, i(0, 1), i(9, -1), i(1, -1)),
    Case("Slice", X, i(-1), i(-(2**63)), i(2), i(-2)),
    Case("Slice", X, i(0), i(2**63 - 1), i(2), i(3)),
    Case("Slice", X, i(-(2**63)), i(2), i(1)),
    Case("Gather", X, np.array([[0, -1], [2, 1]]), axis=1),
    Case("Gather", X, np.int64(-1), axis=-1),
    Case("GatherElements", X, np.array([[[0, -1, 2, 1]]] * 2), axis=1),
    Case("GatherND", X, np.array([[0, 1], [-1, 2]])),
    Case("GatherND", X, np.array([[2], [0]]), batch_dims=1),
    Case("GatherND", X, np.array([[[0, 1]], [[1, -1]]]), batch_dims=1),
    Case("Scatter", X, np.array([[[2, 0, 1, 1]]] * 2), Y[:, :1], opset=10, axis=1),
    Case("ScatterElements", X, np.array([[[2, 0, -1, 1]]] * 2), Y[:, :1], axis=1),
    *(
        Case("ScatterElements", X, np.array([[[2, 2, -1, 2]]]), Y[:1, :1], axis=2, reduction=how)
        for how in ("add", "mul", "max", "min")
    ),
    Case("ScatterND", X, np.array([[0, 1], [-1, 2]]), Y[0, :2]),
    *(
        Case("ScatterND", X, np.array([[0], [0]]), Y, reduction=how)
        for how in ("add", "mul", "max", "min")
    ),
    Case("ReverseSequence", X, i(2, 0, 1), batch_axis=1, time_axis=0),
    Case("ReverseSequence", X, i(3, 2), batch_axis=0, time_axis=1),
    Case("OneHot", i(0, 2, -1, 5), np.int64(3), f(-1, 4)),
    Case("OneHot", np.array([[0, 2]]), i(3), f(0, 1), axis=1),
    Case("NonZero", MASK),
    Case("TopK", X, outputs=2, opset=9, k=2),
    Case("TopK", X, i(2), outputs=2),
    Case("TopK", X, i(3), outputs=2, axis=1, largest=0),
    Case("TopK", f(1, 3, 3, 0, 3), i(4), outputs=2),
    # Reductions along axes.
    *(Case(op, POSITIVE, opset=11, axes=[-1, 0]) for op in REDUCTIONS),
    *(Case(op, POSITIVE, opset=11, keepdims=0) for op in REDUCTIONS),
    *(Case(op, POSITIVE, i(1), keepdims=0) for op in REDUCTIONS),
    *(Case(op, POSITIVE, noop_with_empty_axes=1) for op in ("ReduceSum", "ReduceMax")),
    *(Case(op, WHOLE, i(1)) for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")),
    Case("ReduceSum", WHOLE.astype(np.int32), i(1)),
    Case("ReduceMean", WHOLE.astype(np.int32), i(1)),
    Case("ReduceSum", POSITIVE, i(-1, 0), opset=13),
    *(Case(op, X) for op in ("ArgMax", "ArgMin")),
    *(Case(op, X, axis=-1, keepdims=0) for op in ("ArgMax", "ArgMin")),
    *(
        Case(op, f(1, 3, 3, 1, 2), axis=0, select_last_index=last)
        for op in ("ArgMax", "ArgMin")
        for last in (0, 1)
    ),
    Case("CumSum", X, np.int64(1)),
    Case("CumSum", X, np.int64(-1), exclusive=1),
    Case("CumSum", WHOLE.astype(np.int32), np.int32(1), reverse=1),
    Case("CumSum", X, np.int64(1), exclusive=1, reverse=1),
    *(
        Case(op, X, opset=opset, **more)
        for op in ("Softmax", "LogSoftmax", "Hardmax")
        for opset in (11, 13)
        for more in ({}, {"axis": 1}, {"axis": -2}, {"axis": 0})
    ),
    Case("LayerNormalization", X, ROW, ROW[::-1].copy()),
    Case("LayerNormalization", X, ROW, outputs=3, epsilon=0.1),
    Case("LayerNormalization", X, Y[0], Y[1], axis=1),
    Case("RMSNormalization", X, ROW, opset=23, epsilon=0.1),
    Case("SimplifiedLayerNormalization", X, ROW, epsilon=0.1),
    Case("BatchNormalization", X, *ROWS, epsilon=0.1),
    # The operators of ONNX Runtime.
    Case("Gelu", X, domain=MICROSOFT),
    Case("BiasGelu", X, ROW, domain=MICROSOFT),
    Case("FastGelu", X, domain=MICROSOFT),
    Case("FastGelu", X, ROW, domain=MICROSOFT),
    Case("QuickGelu", X, domain=MICROSOFT),
    Case("QuickGelu", X, domain=MICROSOFT, alpha=1.2),
    Case("FusedMatMul", X, Y, domain=MICROSOFT, transB=1, alpha=0.5),
    Case("FusedMatMul", X, Y, domain=MICROSOFT, transA=1),
    Case("FusedMatMul", X, Y, domain=MICROSOFT, transBatchA=1, transBatchB=1, transB=1),
    Case(
        *("FusedMatMul", X.reshape(2, 3, 2, 2), Y.reshape(2, 3, 2, 2)),
        **{"domain": MICROSOFT, "transBatchA": 1, "transBatchB": 1, "transA": 1},
    ),
    Case("FusedGemm", SQUARE, ROWS, domain=MICROSOFT, activation="Relu"),
    Case(
        *("FusedGemm", ROWS, ROWS, f(1, 2, 3)),
        **{"domain": MICROSOFT, "activation": "LeakyRelu", "activation_alpha": 0.3, "transA": 1},
        **{"alpha": 0.5, "beta": 2.0},
    ),
    Case("SkipLayerNormalization", X, Y, ROW, domain=MICROSOFT, epsilon=0.1),
    Case("SkipLayerNormalization", X, Y, ROW, ROW + 1, ROW - 1, domain=MICROSOFT),
]


def model_of(case, stored):
    """A model of the node beside an RNN; its inputs are constants, or passed in each call."""
    helper = onnx.helper
    node_inputs = ["" if v is None else f"in{n}" for n, v in enumerate(case.inputs)]
    arrays = {n: np.asarray(v) for n, v in zip(node_inputs, case.inputs, strict=True) if n}
    results = [f"out{n}" for n in range(case.outputs)]
    nodes = [
        helper.make_node("RNN", ["X", "W", "R"], ["", "last"], hidden_size=2),
        helper.make_node(
            case.op, node_inputs, results, "it", domain=case.domain, **case.attributes
        ),
    ]
    # A constant may follow its readers in the file; nodes are sorted when loading.
    nodes += [
        helper.make_node("Constant", [], [n], value=onnx.numpy_helper.from_array(v))
        for n, v in arrays.items()
        if stored
    ]
    kinds = onnx.TensorProto
    inputs = [helper.make_tensor_value_info("X", kinds.FLOAT, (5, 1, 3))]
    inputs += [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in arrays.items()
        if not stored
    ]
    outputs = [helper.make_empty_tensor_value_info(n) for n in ("last", *results)]
    weights = {"W": np.ones((1, 2, 3), np.float32), "R": np.ones((1, 2, 2), np.float32)}
    graph = helper.make_graph(
        *(nodes, "one", inputs, outputs),
        [onnx.numpy_helper.from_array(v, n) for n, v in weights.items()],
    )
    opsets = [helper.make_opsetid("", case.opset)]
    opsets += [helper.make_opsetid(case.domain, 1)] if case.domain else []
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), arrays


def expected_of(path, feed):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


@pytest.mark.parametrize("stored", [False, True], ids=["called", "folded"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operator(case, stored, tmp_path):
    model, arrays = model_of(case, stored)
    onnx.save(model, tmp_path / "a.onnx")
    module = load_onnx(tmp_path / "a.onnx")
    feed = {"X": np.ones((5, 1, 3), np.float32), **({} if stored else arrays)}
    expected = expected_of(tmp_path / "a.onnx", feed)
    got = module(*(torch.from_numpy(np.array(feed[name])) for name in module.input_names))
    # Values that depend on constants only were computed when loading.
    assert len(module._nodes) == (1 if stored else 2)
    assert len(got) == len(expected) == 1 + case.outputs
    for a, b in zip(got, expected, strict=True):
        assert a.detach().numpy().dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a.detach(), b, rtol=0, atol=case.tolerance)


@pytest.mark.parametrize("domain", ["", MICROSOFT])
def test_every_operator_of_the_table_is_tried(domain):
    assert {case.op for case in CASES if case.domain == domain} == set(names(domain))


REFUSALS = [
    (Case("Dropout", X, np.float32(0.4), np.array(True)), "training_mode is on"),
    (Case("BatchNormalization", X, *ROWS, training_mode=1), "training_mode is on"),
    (Case("LayerNormalization", X, ROW, stash_type=11), "expected stash_type as 1"),
    (Case("RMSNormalization", X, ROW, opset=23, stash_type=11), "expected stash_type as 1"),
    (Case("Pad", X, i(0, 0, 1, 0, 0, 1), mode="mirror"), "reflect, edge or wrap, got 'mirror'"),
    (Case("Squeeze", X, i(1)), "expected axis 1 of size 1, got the shape"),
    (Case("Unsqueeze", X, i(4)), "expected axes from -4 to 3, got 4"),
    (Case("ScatterND", X, i(0), Y[0], reduction="mean"), "cannot run on inputs of the shapes"),
    (Case("BatchNormalization", X, *ROWS, outputs=3), r"at most 1 output\(s\), got 3"),
    (Case("Concat", X, Y), "expected the attribute axis, got none"),
    (Case("Add", X), r"expected 2 input\(s\), got 1"),
    (Case("Clip", X, None, None, None), r"expected 1 to 3 input\(s\), got 4"),
    (Case("Max"), r"expected 1 or more input\(s\), got 0"),
    (Case("Cast", X, to=8), "tensors of the type STRING cannot be read"),
    (Case("Gelu", X, opset=19), 'unknown operator "Gelu"'),
    (Case("Loop", i(1), None), 'unknown operator "Loop": a graph inside a node cannot be run'),
    (Case("DequantizeLinear", X, np.float32(1)), "the file is quantised"),
    (Case("MatMulInteger", WHOLE, BY), "the file is quantised"),
    (Case("DynamicQuantizeLSTM", X, domain=MICROSOFT), "the file is quantised"),
    (Case("Attention", X, domain=MICROSOFT), r"of com\.microsoft cannot be run, but for BiasGelu"),
    (Case("Tokenizer", X, domain="ai.onnx.ml"), r"the operators of ai\.onnx\.ml cannot be run"),
]


@pytest.mark.parametrize(("case", "message"), REFUSALS, ids=str)
def test_what_cannot_be_run_is_refused_by_the_node(case, message, tmp_path):
    model, arrays = model_of(case, stored=False)
    onnx.save(model, tmp_path / "a.onnx")
    inputs = [torch.from_numpy(np.array(v)) for v in arrays.values()]
    with pytest.raises(ValueError, match=rf"a\.onnx: {case.op} node it: .*{message}"):
        load_onnx(tmp_path / "a.onnx")(torch.ones(5, 1, 3), *inputs)

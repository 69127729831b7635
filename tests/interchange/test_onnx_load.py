"""Loaded ONNX files agree with ONNX Runtime and with the node tests of the onnx package."""

import importlib

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.checks import ShapeError
from throughtime.interchange.onnx import cells, load_onnx, save_onnx

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4}
NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
T, B, I, H = 5, 3, 2, 4


def node_tests():
    # Only of these operators: the package would compute the data of all its operators in seconds.
    for operator in ("rnn", "gru", "lstm"):
        importlib.import_module(f"onnx.backend.test.case.node.{operator}")
    from onnx.backend.test.case.node import _NodeTestCases

    return list(_NodeTestCases)


NODE_TESTS = node_tests()


def test_the_package_has_the_node_tests():
    assert len(NODE_TESTS) >= 18


@pytest.mark.parametrize("case", NODE_TESTS, ids=lambda case: case.name)
def test_node_test_of_the_onnx_package(case, tmp_path):
    onnx.save(case.model, tmp_path / "a.onnx")
    module = load_onnx(tmp_path / "a.onnx")
    assert case.data_sets
    for inputs, outputs in case.data_sets:
        got = module(*(torch.from_numpy(np.array(value)) for value in inputs))
        assert len(got) == len(outputs)
        for a, b in zip(got, outputs, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a.detach(), b, rtol=case.rtol, atol=case.atol)


def weights(op, D=1, seed=0, dtype=np.float32):
    """Values for all inputs of a node."""
    draw = np.random.default_rng(seed).standard_normal
    G = BLOCKS[op]
    values = {
        "X": draw((T, B, I)),
        "W": draw((D, G * H, I)),
        "R": draw((D, G * H, H)),
        "B": draw((D, 2 * G * H)),
        "initial_h": draw((D, B, H)),
        "initial_c": draw((D, B, H)),
        "P": draw((D, 3 * H)),
    }
    values = {name: value.astype(dtype) for name, value in values.items()}
    values["sequence_lens"] = np.array([T, 1, 3], np.int32)
    return {n: values[n] for n in (NAMES if op == "LSTM" else NAMES[:6])}


def model_of(op, values, stored=(), opset=14, more=(), **attributes):
    """A model of one node; inputs that are not in ``values`` are omitted."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    node_inputs = [name if name in values else "" for name in NAMES[: 8 if op == "LSTM" else 6]]
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, node_inputs, outputs, hidden_size=H, **attributes)
    kinds = {np.dtype(np.int32): onnx.TensorProto.INT32, np.dtype(np.float32): float32}
    graph = helper.make_graph(
        [node, *more],
        "one",
        [
            helper.make_tensor_value_info(n, kinds[v.dtype], v.shape)
            for n, v in values.items()
            if n not in stored
        ],
        [
            helper.make_tensor_value_info(n, float32, [None] * (4 if n == "Y" else 3))
            for n in outputs
        ],
        [onnx.numpy_helper.from_array(values[n], n) for n in stored],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def compare(path, op, values, stored=("W", "R"), atol=1e-5, **attributes):
    """Runs a node in ONNX Runtime and in throughtime."""
    model = model_of(op, values, [n for n in stored if n in values], **attributes)
    onnx.save(model, path)
    # A test below compares the kernels with the reference for these cells.
    module = load_onnx(path, backend="reference")
    feed = {name: values[name] for name in module.input_names}
    ran = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = ran.run(None, feed)
    got = module(*(torch.from_numpy(v) for v in feed.values()))
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.detach(), b, rtol=0, atol=atol)
    return module


VARIANTS = [
    *(("LSTM", {"input_forget": v}) for v in (0, 1)),
    *(("GRU", {"linear_before_reset": v}) for v in (0, 1)),
    ("RNN", {}),
]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(("op", "attributes"), VARIANTS)
def test_everything_at_once(op, attributes, clip, direction, tmp_path):
    values = weights(op, D=2 if direction == "bidirectional" else 1)
    more = {} if clip is None else {"clip": clip}
    compare(tmp_path / "a.onnx", op, values, direction=direction, **attributes, **more)


@pytest.mark.parametrize("stored", [(), ("W", "R", "B", "P", "initial_h", "initial_c")])
@pytest.mark.parametrize("op", BLOCKS)
def test_weights_may_be_stored_or_given(op, stored, tmp_path):
    module = compare(tmp_path / "a.onnx", op, weights(op), stored)
    assert len(list(module.parameters())) == len([n for n in stored if n in weights(op)])


@pytest.mark.parametrize("left_out", [*NAMES[3:], NAMES[3:]], ids=str)
@pytest.mark.parametrize("op", BLOCKS)
def test_every_optional_input_may_be_left_out(op, left_out, tmp_path):
    missing = {left_out} if isinstance(left_out, str) else set(left_out)
    compare(tmp_path / "a.onnx", op, {n: v for n, v in weights(op).items() if n not in missing})


def number_of(name, default):
    return [] if cells.ACTIVATIONS[name][default] is None else [0.7 + 0.1 * default]


# The runtime takes 0 for missing numbers of three activations, against their specification.
OTHER_DEFAULTS = "Affine", "ThresholdedRelu", "ScaledTanh"


@pytest.mark.parametrize(
    ("name", "has_numbers"),
    [
        *((name, True) for name in cells.ACTIVATIONS),
        *((name, False) for name in cells.ACTIVATIONS if name not in OTHER_DEFAULTS),
    ],
)
def test_every_activation(name, has_numbers, tmp_path):
    more = {}
    if has_numbers and number_of(name, 0):
        more["activation_alpha"] = number_of(name, 0)
    if has_numbers and number_of(name, 1):
        more["activation_beta"] = number_of(name, 1)
    values = weights("RNN")
    # An activation without bounds would grow beyond comparable numbers.
    values["R"] *= 0.1
    compare(tmp_path / "a.onnx", "RNN", values, activations=[name], **more)


def test_defaults_are_those_of_the_operators_of_the_same_name(tmp_path):
    values = weights("RNN")
    for name, like in [
        ("Affine", {"activation_alpha": [1.0], "activation_beta": [0.0]}),
        ("ThresholdedRelu", {"activation_alpha": [1.0]}),
    ]:
        onnx.save(model_of("RNN", values, activations=[name]), tmp_path / "a.onnx")
        onnx.save(model_of("RNN", values, activations=[name], **like), tmp_path / "b.onnx")
        inputs = [torch.from_numpy(v) for v in values.values()]
        a, b = (load_onnx(tmp_path / f, backend="reference") for f in ("a.onnx", "b.onnx"))
        assert torch.equal(a(*inputs)[0], b(*inputs)[0])
        assert a(*inputs)[0].abs().max() > 0


def test_clip_does_not_reach_the_cell_state_with_other_activations_either(tmp_path):
    activations = ["Sigmoid", "Softsign", "Relu"]
    compare(tmp_path / "a.onnx", "LSTM", weights("LSTM"), activations=activations, clip=0.3)


def test_alphas_and_betas_go_to_the_activations_that_take_them(tmp_path):
    activations = ["HardSigmoid", "Tanh", "ScaledTanh", "Sigmoid", "Elu", "Affine"]
    module = compare(
        tmp_path / "a.onnx",
        "LSTM",
        weights("LSTM", D=2),
        direction="bidirectional",
        activations=activations,
        activation_alpha=[0.3, 1.5, 0.8, 0.9],
        activation_beta=[0.4, 0.6, 0.1],
    )
    first, second = module._nodes[0].run.cells
    assert (first.f_alpha, first.f_beta, first.h_alpha, first.h_beta) == pytest.approx(
        (0.3, 0.4, 1.5, 0.6)
    )
    assert (second.g_alpha, second.h_alpha, second.h_beta) == pytest.approx((0.8, 0.9, 0.1))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", BLOCKS)
def test_layout_1_is_layout_0_with_the_batch_first(op, direction, tmp_path):
    # ONNX Runtime refuses this node.
    values = weights(op, D=2 if direction == "bidirectional" else 1)
    onnx.save(model_of(op, values, direction=direction), tmp_path / "0.onnx")
    turned = {
        n: np.ascontiguousarray(v.swapaxes(0, 1)) if n in ("X", "initial_h", "initial_c") else v
        for n, v in values.items()
    }
    onnx.save(model_of(op, turned, direction=direction, layout=1), tmp_path / "1.onnx")
    a = load_onnx(tmp_path / "0.onnx")(*map(torch.from_numpy, values.values()))
    b = load_onnx(tmp_path / "1.onnx")(*map(torch.from_numpy, turned.values()))
    # Y is (T, D, B, H) and (B, T, D, H), the states (D, B, H) and (B, D, H).
    torch.testing.assert_close(a[0].permute(2, 0, 1, 3), b[0])
    for x, y in zip(a[1:], b[1:], strict=True):
        torch.testing.assert_close(x.transpose(0, 1), y)


# The operators around the nodes.


def small(op, inputs, value, stored, opset=14, **attributes):
    """A model that applies one operator to Y_h of an RNN."""
    helper = onnx.helper
    values = weights("RNN")
    node = helper.make_node(op, inputs, ["out"], name="it", **attributes)
    model = model_of("RNN", values, ("W", "R", "B"), opset, more=[node])
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(v), n) for n, v in stored.items()
    )
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [None] * value)
    )
    return model, values


W43 = np.arange(12, dtype=np.float32).reshape(4, 3)
W1 = np.float32(7)
OPERATORS = {
    "transpose": ("Transpose", ["Y"], 4, {}, {"perm": [2, 0, 3, 1]}),
    "transpose-all": ("Transpose", ["Y"], 4, {}, {}),
    "concat": ("Concat", ["Y_h", "Y_h"], 3, {}, {"axis": -1}),
    "squeeze": ("Squeeze", ["Y", "a"], 3, {"a": [-3]}, {}),
    "squeeze-all": ("Squeeze", ["Y"], 3, {}, {}),
    "unsqueeze": ("Unsqueeze", ["Y_h", "a"], 5, {"a": [0, -1]}, {}),
    "reshape": ("Reshape", ["Y", "s"], 3, {"s": [0, -1, 2]}, {}),
    "add": ("Add", ["Y_h", "b"], 3, {"b": np.ones(4, np.float32)}, {}),
    "mul": ("Mul", ["Y", "Y_h"], 4, {}, {}),
    "matmul": ("MatMul", ["Y", "w"], 4, {"w": W43}, {}),
    "slice": ("Slice", ["Y", "s", "e", "a"], 4, {"s": [-2, 1], "e": [99, -1], "a": [0, 3]}, {}),
    "slice-back": (
        "Slice",
        ["Y", "s", "e", "a", "d"],
        4,
        {"s": [-1], "e": [-(2**63)], "a": [0], "d": [-2]},
        {},
    ),
    "gather": ("Gather", ["Y", "i"], 5, {"i": [[0, -1], [2, 1]]}, {"axis": -1}),
    "where": ("Where", ["m", "Y", "b"], 4, {"m": [True, False, True, True], "b": W1}, {}),
    "identity": ("Identity", ["Y"], 4, {}, {}),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_around_the_nodes(name, tmp_path):
    op, inputs, rank, stored, attributes = OPERATORS[name]
    model, values = small(op, inputs, rank, stored, **attributes)
    onnx.save(model, tmp_path / "a.onnx")
    module = load_onnx(tmp_path / "a.onnx")
    feed = {n: values[n] for n in module.input_names}
    ran = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    (expected,) = ran.run(None, feed)
    (got,) = module(*map(torch.from_numpy, feed.values()))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got.detach(), expected, rtol=0, atol=1e-5)


def test_gemm_and_a_constant(tmp_path):
    helper = onnx.helper
    values = weights("RNN")
    weight = onnx.numpy_helper.from_array(W43.T.copy())
    more = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Constant", [], ["axes"], value_ints=[0]),
        helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Squeeze", ["Y_h", "axes"], ["last"]),
        helper.make_node("Gemm", ["last", "w", "c"], ["out"], transB=1, alpha=0.5, beta=2.0),
    ]
    model = model_of("RNN", values, ("W", "R", "B"), more=more)
    model.graph.output.append(
        helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [None, None])
    )
    onnx.save(model, tmp_path / "a.onnx")
    module = load_onnx(tmp_path / "a.onnx")
    assert sorted(n for n, _ in module.named_parameters()) == ["stored.B", "stored.R", "stored.W"]
    *_, y_h, got = module(*(torch.from_numpy(values[n]) for n in module.input_names))
    expected = 0.5 * y_h[0] @ torch.from_numpy(W43) + 2 * torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_are_read_and_a_module_is_converted(dtype, tmp_path):
    values = weights("GRU")
    model = model_of("GRU", values, ("W", "R", "B"))
    onnx.save(model, tmp_path / "a.onnx")
    module = load_onnx(tmp_path / "a.onnx", backend="reference").to(dtype)
    kind = {torch.float64: 11, torch.bfloat16: 16, torch.float16: 10}[dtype]
    for stored in model.graph.initializer:
        wide = values[stored.name]
        narrow = onnx.helper.make_tensor(stored.name, kind, wide.shape, wide.ravel().tolist())
        stored.CopyFrom(narrow)
    onnx.save(model, tmp_path / "b.onnx")
    again = load_onnx(tmp_path / "b.onnx", backend="reference")
    inputs = [torch.from_numpy(values[n]) for n in module.input_names]
    inputs = [v.to(dtype) if v.is_floating_point() else v for v in inputs]
    for a, b in zip(module(*inputs), again(*inputs), strict=True):
        assert a.dtype is dtype
        assert torch.equal(a, b)


def test_old_files_list_stored_weights_among_the_inputs(tmp_path):
    model = model_of("GRU", weights("GRU"), ("W", "R"), opset=7)
    model.ir_version = 3
    info = onnx.helper.make_tensor_value_info("W", onnx.TensorProto.FLOAT, (1, 3 * H, I))
    model.graph.input.append(info)
    onnx.save(model, tmp_path / "a.onnx")
    assert load_onnx(tmp_path / "a.onnx").input_names == ("X", "B", "sequence_lens", "initial_h")


# Refusals.


def refused(path, model, match, kind=ValueError):
    onnx.save(model, path)
    with pytest.raises(kind, match=match):
        load_onnx(path)


@pytest.mark.parametrize(
    ("op", "attributes", "match"),
    [
        ("GRU", {"linear_before_resett": 1}, r'GRU node 0: .*did you mean "linear_before_reset"'),
        ("GRU", {"input_forget": 1}, r'unknown attribute "input_forget"'),
        ("LSTM", {"direction": "backward"}, r'unknown direction "backward"'),
        ("LSTM", {"activations": ["Tanh"]}, r"expected 3 activations, 3 for each direction, got 1"),
        ("RNN", {"activations": ["Tan"]}, r'unknown activation "Tan"; did you mean "Tanh"'),
        ("RNN", {"activation_alpha": [1.0]}, r"activation_alpha has 1 value\(s\) more than"),
        ("RNN", {"activations": ["ScaledTanh"]}, r"for ScaledTanh, which has no default, got too"),
        ("RNN", {"clip": -1.0}, r"expected clip as a number above 0, got -1\.0"),
        ("RNN", {"layout": 2}, r"expected layout as 0 or 1, got 2"),
        ("LSTM", {"input_forget": 3}, r"expected input_forget as 0 or 1, got 3"),
    ],
)
def test_bad_attributes(op, attributes, match, tmp_path):
    refused(tmp_path / "a.onnx", model_of(op, weights(op), **attributes), match)


def test_unknown_operators_and_domains(tmp_path):
    model, _ = small("Conv", ["Y", "Y"], 4, {})
    refused(
        tmp_path / "a.onnx",
        model,
        r'Conv node it: unknown operator "Conv".*The nearest of \d+: \w+',
    )
    model.graph.node[1].op_type, model.graph.node[1].domain = "Add", "com.microsoft"
    refused(tmp_path / "a.onnx", model, r"the operators of com\.microsoft cannot be run")
    model, _ = small("Mul", ["Y", "Y"], 4, {}, broadcast=1)
    refused(tmp_path / "a.onnx", model, r'Mul node it: unknown attribute "broadcast"; it has none')
    model, _ = small("Transpose", ["Y"], 4, {}, perms=[0])
    refused(tmp_path / "a.onnx", model, r'unknown attribute "perms"; did you mean "perm"')


def test_a_model_without_a_recurrent_node(tmp_path):
    model, _ = small("Identity", ["X"], 3, {})
    del model.graph.node[0]
    refused(tmp_path / "a.onnx", model, r"expected a model with a recurrent node \(RNN, GRU, LSTM")


def test_a_graph_that_hangs_together_badly(tmp_path):
    model, _ = small("Add", ["Y", "nowhere"], 4, {})
    refused(tmp_path / "a.onnx", model, r"Add node it: its input nowhere is made by no node")
    model, _ = small("Identity", ["Y"], 4, {})
    model.graph.output[0].name = "nowhere"
    refused(tmp_path / "a.onnx", model, r"the output nowhere is made by no node")


def test_damaged_files(tmp_path):
    path = tmp_path / "a.onnx"
    with pytest.raises(ValueError, match="expected an ONNX file, got none there"):
        load_onnx(path)
    save_onnx(tt.LSTM(3, 4), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a\.onnx: the file is damaged, or no ONNX file"):
            load_onnx(path)
    path.write_text("a text is no model")
    with pytest.raises(ValueError, match="the file is damaged"):
        load_onnx(path)
    model = onnx.load_model_from_string(whole)
    model.graph.initializer[0].raw_data = b"1234"
    refused(path, model, r"the tensor W_l0 is damaged")


def test_whatever_byte_is_wrong_only_a_value_error_comes(tmp_path):
    path = tmp_path / "a.onnx"
    save_onnx(tt.Recurrent("lstm-peephole", 2, 2, 2), path, lengths=True)
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    refusals = []
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.integers(len(whole))] = draw.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            load_onnx(path)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all("a.onnx: " in text for text in refusals)


@pytest.mark.parametrize("name", ["W", "R", "B", "P"])
def test_stored_weights_of_the_wrong_shape(name, tmp_path):
    values = weights("LSTM")
    values[name] = values[name][:, :-1]
    model = model_of("LSTM", values, ("W", "R", "B", "P"))
    refused(tmp_path / "a.onnx", model, rf"LSTM node 0: expected {name} of shape", ShapeError)

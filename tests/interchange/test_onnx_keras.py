"""The nodes that tf2onnx writes for layers of Keras; TensorFlow is not needed for this test."""

import numpy as np
import pytest
import torch

from throughtime.interchange.keras import from_keras_weights
from throughtime.interchange.onnx import load_onnx

from .onnx_runs import onnx, session

helper = onnx.helper
FLOAT, INT32, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT32, onnx.TensorProto.INT64
T, B, I, H = 5, 3, 2, 4
# Our blocks are i, f, g, o and r, z, n; those of the nodes are i, o, f, c and z, r, h.
ORDERS = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


def weights(op, D=1, seed=0):
    """Arrays of Keras, and the arrays of the node with equal numbers."""
    draw = np.random.default_rng(seed)
    G = len(ORDERS[op])
    arrays, node = [], {"W": [], "R": [], "B": []}
    for _ in range(D):
        shapes = (I, G * H), (H, G * H), (2, G * H) if op == "gru" else (G * H,)
        one = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
        arrays += one
        layer = from_keras_weights(one, op)

        def blocks(value):
            parts = value.detach().numpy().reshape(G, H, -1)
            return parts[list(ORDERS[op])].reshape(value.shape)

        node["W"].append(blocks(layer.weight_ih_l0))
        node["R"].append(blocks(layer.weight_hh_l0))
        node["B"].append(np.concatenate([blocks(layer.bias_ih_l0), blocks(layer.bias_hh_l0)]))
    return arrays, {name: np.stack(each) for name, each in node.items()}


def saved(path, opset, nodes, stored):
    graph = helper.make_graph(
        nodes,
        "tf2onnx",
        [helper.make_tensor_value_info("x", FLOAT, ["unk__1", "unk__2", I])],
        [helper.make_empty_tensor_value_info("Identity:0")],
        [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in stored.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 2)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=7), path)


def compare(path, layer):
    module, x = load_onnx(path), torch.randn(B, T, I)
    (got,) = module(x)
    (theirs,) = session(path).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(got.detach(), theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(got, layer(x)[0], rtol=0, atol=1e-5)
    # The zeros of the initial state are not weights.
    assert sorted(n for n, _ in module.named_parameters()) == ["stored.B", "stored.R", "stored.W"]


def zeros_of(initial, opset):
    """Nodes that create the initial states from the shape of x."""
    make = helper.make_node
    first = ["shape32", "zero", "one", "zero"] if opset >= 13 else ["shape32"]
    ends = {} if opset >= 13 else {"starts": [0], "ends": [1], "axes": [0]}
    rank = {} if opset >= 13 else {"axes": [0]}
    return [
        make("Shape", ["x"], ["shape"]),
        make("Cast", ["shape"], ["shape32"], to=INT32),
        make("Slice", first, ["rows"], **ends),
        make("Concat", ["rows", "units"], ["sizes32"], axis=0),
        make("Cast", ["sizes32"], ["sizes"], to=INT64),
        make("Expand", ["nothing", "sizes"], ["zeros"])
        if opset >= 13
        else make("ConstantOfShape", ["sizes"], ["zeros"]),
        make("Unsqueeze", ["zeros", *(["zero"] if opset >= 13 else [])], [initial], **rank),
    ]


def stored_of(node, opset):
    plain = {"units": np.array([H], np.int32), **node}
    if opset < 13:
        return plain
    numbers = {"zero": np.array([0]), "one": np.array([1]), "nothing": np.float32(0)}
    return plain | numbers


def activations(op, D):
    return [b"Sigmoid", b"Tanh", *([b"Tanh"] if op == "lstm" else [])] * D


def attributes(op, D):
    more = {"linear_before_reset": 1} if op == "gru" else {}
    direction = "bidirectional" if D == 2 else "forward"
    names = activations(op, D)
    return dict(direction=direction, hidden_size=H, activations=names, **more)


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("op", ORDERS)
def test_a_layer(op, opset, tmp_path):
    arrays, node = weights(op)
    make = helper.make_node
    initial = ["begin"] * (2 if op == "lstm" else 1)
    squeezed = ["Y", "one"] if opset >= 13 else ["Y"]
    nodes = [
        make("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        *zeros_of("begin", opset),
        make(op.upper(), ["turned", "W", "R", "B", "", *initial], ["Y"], **attributes(op, 1)),
        make("Squeeze", squeezed, ["steps"], **({} if opset >= 13 else {"axes": [1]})),
        make("Transpose", ["steps"], ["Identity:0"], perm=[1, 0, 2]),
    ]
    saved(tmp_path / "a.onnx", opset, nodes, stored_of(node, opset))
    compare(tmp_path / "a.onnx", from_keras_weights(arrays, op))


@pytest.mark.parametrize("op", ORDERS)
def test_both_directions(op, tmp_path):
    arrays, node = weights(op, D=2)
    make = helper.make_node
    initial = ["both"] * (2 if op == "lstm" else 1)

    def direction(number, name):
        part = make("Slice", ["Y"], [f"{name}4"], axes=[1], starts=[number], ends=[number + 1])
        return [part, make("Squeeze", [f"{name}4"], [name], axes=[1])]

    nodes = [
        make("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        *zeros_of("begin", 9),
        make("Concat", ["begin", "begin"], ["both"], axis=0),
        make(op.upper(), ["turned", "W", "R", "B", "", *initial], ["Y"], **attributes(op, 2)),
        *direction(1, "backward"),
        *direction(0, "forward"),
        make("Concat", ["forward", "backward"], ["steps"], axis=2),
        make("Transpose", ["steps"], ["Identity:0"], perm=[1, 0, 2]),
    ]
    saved(tmp_path / "a.onnx", 9, nodes, stored_of(node, 9))
    compare(tmp_path / "a.onnx", from_keras_weights(arrays, op, bidirectional=True))


def test_a_layer_that_goes_backwards(tmp_path):
    arrays, node = weights("lstm")
    make = helper.make_node
    nodes = [
        make("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        *zeros_of("begin", 13),
        make("Shape", ["turned"], ["sizes of turned"]),
        make("Gather", ["sizes of turned", "one"], ["num_rows"]),
        make("Gather", ["sizes of turned", "zero"], ["num_steps"]),
        make("Expand", ["num_steps", "num_rows"], ["ends"]),
        make("ReverseSequence", ["turned", "ends"], ["reversed"], batch_axis=1, time_axis=0),
        make(
            *("LSTM", ["reversed", "W", "R", "B", "", "begin", "begin"], ["Y"]),
            **attributes("lstm", 1),
        ),
        make("Squeeze", ["Y", "one"], ["steps"]),
        make("Transpose", ["steps"], ["Identity:0"], perm=[1, 0, 2]),
    ]
    saved(tmp_path / "a.onnx", 13, nodes, stored_of(node, 13))
    layer = from_keras_weights(arrays, "lstm")
    compare(tmp_path / "a.onnx", lambda x: layer(x.flip(1)))

"""The graph of a file: the order of its nodes, constants, functions and initial states."""

import itertools
import pickle

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.interchange.onnx import load_onnx, save_onnx

from .onnx_runs import onnx, session

helper = onnx.helper
FLOAT = onnx.TensorProto.FLOAT
T, B, I, H = 5, 3, 2, 4


def saved(layer, path, **options):
    save_onnx(layer, path, **options)
    return onnx.load(path)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cell", ["lstm-peephole", "gru"])
def test_nodes_in_any_order(cell, seed, tmp_path):
    layer = tt.Recurrent(cell, I, H, 2, bidirectional=True, batch_first=True, merge="mean")
    model = saved(layer, tmp_path / "a.onnx")
    nodes = list(model.graph.node)
    order = np.random.default_rng(seed).permutation(len(nodes))
    assert list(order) != sorted(order)
    del model.graph.node[:]
    model.graph.node.extend(nodes[i] for i in order)
    onnx.save(model, tmp_path / "b.onnx")
    x = torch.randn(B, T, I)
    states = [torch.randn(4, B, H) for _ in layer.cell.state_specs]
    got = load_onnx(tmp_path / "b.onnx", backend="reference")(x, *states)
    ran = session(tmp_path / "b.onnx")
    feed = {one.name: v.numpy() for one, v in zip(ran.get_inputs(), [x, *states], strict=True)}
    for a, b in zip(got, ran.run(None, feed), strict=True):
        np.testing.assert_allclose(a.detach(), b, rtol=0, atol=1e-5)


def chain(length, path):
    """A file whose nodes are in reverse order: each reads the output of the following node."""
    model = saved(tt.GRU(I, H), path)
    names = ["output", *(f"link{n}" for n in range(length))]
    (last,) = [n for n in model.graph.node if "output" in n.output]
    last.output[0] = names[-1]
    links = [helper.make_node("Relu", [b], [a]) for a, b in itertools.pairwise(names)]
    model.graph.node.extend(links)
    onnx.save(model, path)


def test_a_long_chain_in_reverse_order(tmp_path):
    # More nodes than a recursive implementation could follow.
    chain(5000, tmp_path / "a.onnx")
    x, h = torch.randn(T, B, I), torch.zeros(1, B, H)
    assert load_onnx(tmp_path / "a.onnx")(x, h)[0].min() == 0


def refused(model, path, match):
    onnx.save(model, path)
    with pytest.raises(ValueError, match=match):
        load_onnx(path)


def test_graphs_that_hang_together_badly(tmp_path):
    path = tmp_path / "a.onnx"
    model = saved(tt.GRU(I, H), path)
    model.graph.node.append(helper.make_node("Add", ["a", "b"], ["a"], "loop"))
    model.graph.node.append(helper.make_node("Relu", ["a"], ["b"], "other"))
    refused(model, path, r"Add node loop: its inputs depend on its own output, in a circle")
    model = saved(tt.GRU(I, H), path)
    model.graph.node.append(helper.make_node("Relu", ["output"], ["output"], "again"))
    refused(model, path, r"Relu node again: its output output is made twice")
    model = saved(tt.GRU(I, H), path)
    model.graph.node.append(helper.make_node("Relu", ["output"], ["input"], "again"))
    refused(model, path, r"Relu node again: its output input is made twice")
    model = saved(tt.GRU(I, H), path)
    model.graph.initializer.append(model.graph.initializer[0])
    refused(model, path, r"the value W_l0 is stored twice")
    model = saved(tt.GRU(I, H), path)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    refused(model, path, r"the file does not say which version of the operators it uses")


def test_what_depends_on_constants_alone_is_computed_once_and_follows_the_module(tmp_path):
    model = saved(tt.GRU(I, H), tmp_path / "a.onnx")
    (last,) = [n for n in model.graph.node if "output" in n.output]
    last.output[0] = "plain"
    two = onnx.numpy_helper.from_array(np.array(2, np.int64))
    model.graph.node.extend(
        [
            helper.make_node("Constant", [], ["two"], value=two),
            helper.make_node("Cast", ["two"], ["wide"], to=FLOAT),
            helper.make_node("Mul", ["wide", "wide"], ["four"]),
            helper.make_node("Mul", ["plain", "four"], ["output"]),
        ]
    )
    onnx.save(model, tmp_path / "b.onnx")
    module = load_onnx(tmp_path / "b.onnx")
    assert module.stored.four == 4
    assert [n.run.operator.name for n in module._nodes if hasattr(n.run, "operator")][-1] == "Mul"
    assert not any(node.outputs in (("wide",), ("four",)) for node in module._nodes)
    assert "stored.two" in module.state_dict()
    assert "stored.four" not in module.state_dict()
    x, h = torch.randn(T, B, I), torch.zeros(1, B, H)
    plain = load_onnx(tmp_path / "a.onnx")
    torch.testing.assert_close(module(x, h)[0], 4 * plain(x, h)[0])
    again = pickle.loads(pickle.dumps(module)).double()
    got = again(x.double(), h.double())[0]
    torch.testing.assert_close(got, 4 * plain.double()(x.double(), h.double())[0])


def test_functions_of_the_file_are_written_out(tmp_path):
    model = saved(tt.GRU(I, H), tmp_path / "a.onnx")
    (last,) = [n for n in model.graph.node if "output" in n.output]
    last.output[0] = "plain"
    opsets = [helper.make_opsetid("", 14)]
    twice = helper.make_node("Add", ["a", "a"], ["b"])
    model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], [twice], opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.append(helper.make_node("Twice", ["plain"], ["output"], domain="own"))
    onnx.save(model, tmp_path / "b.onnx")
    x, h = torch.randn(T, B, I), torch.zeros(1, B, H)
    plain = load_onnx(tmp_path / "a.onnx")(x, h)[0]
    torch.testing.assert_close(load_onnx(tmp_path / "b.onnx")(x, h)[0], 2 * plain)


def test_weights_beside_the_file(tmp_path):
    model = saved(tt.GRU(I, H), tmp_path / "a.onnx")
    expected = load_onnx(tmp_path / "a.onnx")
    onnx.save(
        *(model, tmp_path / "b.onnx"),
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    assert (tmp_path / "weights").is_file()
    module = load_onnx(tmp_path / "b.onnx")
    # The tensors are read into memory.
    (tmp_path / "weights").write_bytes(b"")
    for a, b in zip(module.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"b\.onnx: the file is damaged"):
        load_onnx(tmp_path / "b.onnx")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_a_row_of_length_0_keeps_its_initial_state(op, direction, tmp_path):
    """ONNX Runtime returns 0 for this row; all other rows are equal."""
    D, G = 2 if direction == "bidirectional" else 1, {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    draw = np.random.default_rng(0).standard_normal
    values = {
        "X": draw((T, B, I)),
        "W": draw((D, G * H, I)),
        "R": draw((D, G * H, H)),
        "initial_h": draw((D, B, H)),
        "initial_c": draw((D, B, H)),
    }
    values = {name: value.astype(np.float32) for name, value in values.items()}
    values["lengths"] = np.array([T, 0, 2], np.int32)
    names = ["X", "W", "R", "", "lengths", "initial_h", *(["initial_c"] if op == "LSTM" else [])]
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, names, outputs, hidden_size=H, direction=direction)
    named = [n for n in names if n]
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(
                n, helper.np_dtype_to_tensor_dtype(values[n].dtype), values[n].shape
            )
            for n in named
        ],
        [helper.make_empty_tensor_value_info(n) for n in outputs],
    )
    opsets = [helper.make_opsetid("", 14)]
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    module = load_onnx(path, backend="reference")
    got = module(*(torch.from_numpy(values[n]) for n in module.input_names))
    theirs = session(path).run(None, {n: values[n] for n in named})
    np.testing.assert_allclose(got[0].detach(), theirs[0], rtol=0, atol=1e-5)
    assert got[0][:, :, 1].abs().max() == 0
    for name, a, b in zip(("initial_h", "initial_c"), got[1:], theirs[1:], strict=False):
        np.testing.assert_allclose(a[:, [0, 2]].detach(), b[:, [0, 2]], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(a[:, 1].detach(), values[name][:, 1])
        np.testing.assert_array_equal(b[:, 1], 0)

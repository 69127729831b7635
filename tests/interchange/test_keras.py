"""Arrays of Keras against the equations of its documentation, written out in NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import throughtime as tt
from throughtime.checks import ShapeError
from throughtime.interchange.keras import from_keras, from_keras_weights, to_keras

B, T, I, H = 2, 5, 3, 4
CELLS = {"lstm": 4, "gru": 3, "gru-reset-before": 3}
RNNS = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "linear": lambda a: a,
}
ALL = {**CELLS, **{f"rnn-{name}": 1 for name in RNNS}}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def by_hand(cell, x, kernel, recurrent_kernel, bias):
    """The documented equations of Keras with row vectors; returns the outputs (B, T, H)."""
    h = c = np.zeros((len(x), len(recurrent_kernel)))
    outputs = []
    for step in x.transpose(1, 0, 2):
        if cell == "lstm":
            a = step @ kernel + h @ recurrent_kernel + bias
            i, f, candidate, o = np.split(a, 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(candidate)
            h = sigmoid(o) * np.tanh(c)
        elif cell.startswith("gru"):
            b, d = bias if cell == "gru" else (bias, 0 * bias)
            xz, xr, xh = np.split(step @ kernel + b, 3, -1)
            hz, hr, hh = np.split(h @ recurrent_kernel + d, 3, -1)
            z, r = sigmoid(xz + hz), sigmoid(xr + hr)
            if cell == "gru-reset-before":
                hh = (r * h) @ np.split(recurrent_kernel, 3, -1)[2]
            else:
                hh = r * hh
            h = z * h + (1 - z) * np.tanh(xh + hh)
        else:
            h = RNNS[cell[4:]](step @ kernel + h @ recurrent_kernel + bias)
        outputs.append(h)
    return np.stack(outputs, 1)


def arrays(cell, inputs=I, seed=0, dtype=np.float64):
    draw, G = np.random.default_rng(seed), ALL[cell]
    bias = (2, G * H) if cell == "gru" else (G * H,)
    shapes = [(inputs, G * H), (H, G * H), bias]
    return [draw.normal(size=shape, scale=0.5).astype(dtype) for shape in shapes]


@pytest.fixture
def x():
    return np.random.default_rng(9).normal(size=(B, T, I))


def outputs(layer, x):
    return layer(torch.from_numpy(x).to(layer.weight_ih_l0.dtype))[0].detach().numpy()


@pytest.mark.parametrize("cell", ALL)
def test_arrays_give_the_outputs_of_the_documented_equations(cell, x):
    weights = arrays(cell)
    layer = from_keras_weights(weights, cell)
    np.testing.assert_allclose(outputs(layer, x), by_hand(cell, x, *weights), rtol=1e-12)


@pytest.mark.parametrize("cell", ALL)
def test_without_biases_they_are_zero(cell, x):
    weights = arrays(cell)
    layer = from_keras_weights(weights[:2], cell, bias=False)
    assert not layer.bias
    expected = by_hand(cell, x, *weights[:2], 0 * weights[2])
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("merge", "merged"),
    [
        ("concat", lambda a, b: np.concatenate([a, b], -1)),
        ("sum", lambda a, b: a + b),
        ("mean", lambda a, b: (a + b) / 2),
        ("product", lambda a, b: a * b),
    ],
)
def test_two_layers_of_two_directions(cell, merge, merged, x):
    width = 2 * H if merge == "concat" else H
    sets = [arrays(cell, I if k < 2 else width, seed=k) for k in range(4)]
    weights = [array for one in sets for array in one]
    layer = from_keras_weights(weights, cell, bidirectional=True, merge=merge)
    expected = x
    for forward, backward in (sets[:2], sets[2:]):
        ahead = by_hand(cell, expected, *forward)
        back = by_hand(cell, expected[:, ::-1], *backward)[:, ::-1]
        expected = merged(ahead, back)
    np.testing.assert_allclose(outputs(layer, x), expected, rtol=1e-11)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("lstm", tt.LSTM),
        ("gru", tt.GRU),
        ("gru-reset-before", tt.Recurrent),
        ("rnn-tanh", tt.RNN),
        ("rnn-relu", tt.RNN),
        ("rnn-linear", tt.Recurrent),
    ],
)
def test_the_layer_is_the_one_that_the_cell_has(cell, kind):
    layer = from_keras_weights(arrays(cell, dtype=np.float32), cell, batch_first=False)
    assert type(layer) is kind
    assert layer.cell.name == cell
    assert (layer.input_size, layer.hidden_size, layer.num_layers) == (I, H, 1)
    assert not layer.batch_first
    assert layer.weight_hh_l0.dtype == torch.float32
    assert all(p.is_leaf and p.requires_grad and p.device.type == "cpu" for p in layer.parameters())


@pytest.mark.parametrize("cell", [*ALL, "lstm-np"])
@pytest.mark.parametrize("bias", [True, False])
def test_there_and_back_computes_the_same(cell, bias, x):
    layer = tt.Recurrent(cell, I, H, 2, bias, True, bidirectional=True, dtype=torch.float64)
    weights = to_keras(layer)
    assert len(weights) == (12 if bias else 8)
    again = from_keras_weights(weights, cell, bias=bias, bidirectional=True)
    np.testing.assert_allclose(outputs(again, x), outputs(layer, x), rtol=1e-12)
    for got, expected in zip(to_keras(again), weights, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("cell", ALL)
def test_keras_arrays_come_back_as_they_were(cell):
    weights = arrays(cell)
    for got, expected in zip(to_keras(from_keras_weights(weights, cell)), weights, strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.flags.c_contiguous


def test_nothing_is_shared_with_the_arrays_and_no_number_is_drawn():
    random = torch.get_rng_state()
    weights = arrays("gru")
    layer = from_keras_weights(weights, "gru")
    assert torch.equal(torch.get_rng_state(), random)
    before = [w.copy() for w in weights]
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
    for got in to_keras(layer):
        assert not got.any()
        got += 1
    assert not layer.weight_ih_l0.any()
    for got, expected in zip(weights, before, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_arrays_of_a_file_may_be_read_only_and_of_another_byte_order(x):
    weights = arrays("lstm")
    theirs = [w.astype(">f8") for w in weights]
    for w in theirs:
        w.flags.writeable = False
    got = outputs(from_keras_weights(theirs, "lstm"), x)
    np.testing.assert_array_equal(got, outputs(from_keras_weights(weights, "lstm"), x))


def test_half_precision_goes_and_comes():
    layer = from_keras_weights(arrays("lstm", dtype=np.float16), "lstm")
    assert layer.weight_ih_l0.dtype == torch.float16
    assert to_keras(layer)[0].dtype == np.float16
    assert to_keras(tt.LSTM(I, H, dtype=torch.bfloat16))[0].dtype == np.float32


# Refusals.


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], r"a list of 3 arrays for each layer, kernel, recurrent_kernel, bias, got 0\."),
        (arrays("lstm")[:2], r"got 2\. See the arguments bias \(True\)"),
        (np.zeros((3, 3)), "arrays for each layer, .* got ndarray"),
        ([w.astype(int) for w in arrays("lstm")], "array 0 of a floating-point type, got int64"),
        ([*arrays("lstm")[:2], "bias"], "array 2 of a floating-point type, got str"),
        ([*arrays("lstm")[:2], np.zeros(16, np.float32)], "one .* type, got .*float32.*float64"),
    ],
)
def test_wrong_arrays_are_refused(weights, message):
    with pytest.raises(ValueError, match=f"^from_keras_weights: expected .*{message}"):
        from_keras_weights(weights, "lstm")


@pytest.mark.parametrize(
    ("number", "shape", "message"),
    [
        (0, (I,), r"array 0, the kernel, of shape \(I, G\*H\), got \(3,\)"),
        (1, (H,), r"array 1, the recurrent_kernel, of shape \(H, G\*H\), got \(4,\)"),
        (0, (I, 13), r"array 0, the kernel of l0, of shape \(3, 16\) because .*, got \(3, 13\)"),
        (1, (H, 12), r"array 1, the recurrent_kernel of l0, of shape \(4, 16\) because .*12\)"),
        (2, (2, 16), r"array 2, the bias of l0, of shape \(16\) because .*, got \(2, 16\)"),
        (3, (I, 16), r"array 3, the kernel of l1, of shape \(4, 16\) because .*, got \(3, 16\)"),
    ],
)
def test_wrong_shapes_are_refused(number, shape, message):
    weights = [*arrays("lstm"), *arrays("lstm", H)]
    weights[number] = np.zeros(shape)
    with pytest.raises(ShapeError, match=message):
        from_keras_weights(weights, "lstm")


def test_the_two_forms_of_the_gru_are_not_mistaken_for_each_other():
    with pytest.raises(ShapeError, match=r"the bias of l0, of shape \(2, 12\)"):
        from_keras_weights(arrays("gru-reset-before"), "gru")
    with pytest.raises(ShapeError, match=r"the bias of l0, of shape \(12\)"):
        from_keras_weights(arrays("gru"), "gru-reset-before")


@pytest.mark.parametrize("cell", ["lstn", "lstm-peephole"])
def test_an_unknown_cell_is_refused(cell):
    with pytest.raises(ValueError, match=f'unknown cell for Keras weights "{cell}"; did you mean'):
        from_keras_weights(arrays("lstm"), cell)


@pytest.mark.parametrize("layers", [[], ()])
def test_no_layer_is_refused(layers):
    with pytest.raises(ValueError, match="a layer of Keras or a list of them, got none"):
        from_keras(layers)


@pytest.mark.parametrize("layer", [tt.LSTM(I, H), torch.nn.LSTM(I, H), "lstm", np.zeros(3)])
def test_what_is_no_layer_of_keras_is_refused(layer):
    with pytest.raises(TypeError, match=f"of Keras.* got {type(layer).__name__}\\. Arrays go to"):
        from_keras(layer)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (torch.nn.LSTM(I, H), TypeError, "expected a recurrent layer of throughtime, got LSTM"),
        (tt.Recurrent("janet", I, H), ValueError, r"no layer for the cell janet .*; it has .*lstm"),
        (tt.LSTM(I, H, learned_state=True), ValueError, "Keras has no learned_state"),
        (tt.LSTM(I, H, weight_drop=0.1), ValueError, "Keras has no weight_drop"),
        (tt.LSTM(I, H, 2, residual=True), ValueError, "Keras has no residual"),
        (tt.GRU(I, H, 2, bidirectional=True, independent=True), ValueError, "no independent"),
    ],
)
def test_what_keras_has_not_is_refused(layer, error, message):
    with pytest.raises(error, match=message):
        to_keras(layer)


class Forgetful(type(tt.cells.get("lstm"))):
    """The cell inherits its name, but has other equations."""

    def step(self, x, W, R, s, p):
        states = super().step(x, W, R, s, p)
        return states | {"c": states["c"] / 2}


def test_a_cell_that_only_bears_the_name_is_refused():
    with pytest.raises(ValueError, match=r"no layer for the cell lstm \(Forgetful\(\)\)"):
        to_keras(tt.Recurrent(Forgetful(), I, H))


@pytest.mark.parametrize(
    ("option", "value"),
    [("proj_size", 1), ("zoneout", 0.1), ("activations", {"tanh": "relu"}), ("clip", 1.0)],
)
def test_what_changes_the_equations_is_refused(option, value):
    layer = tt.LSTM(I, H, **{option: value})
    with pytest.raises(ValueError, match=f"Keras has no {option}, which this layer uses"):
        to_keras(layer)


def test_keras_is_not_imported():
    code = "import sys, throughtime.interchange.keras; sys.exit('keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))

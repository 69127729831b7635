"""Layers of Keras itself, if it is installed, are converted to ours and back."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from throughtime.checks import ShapeError
from throughtime.interchange.keras import from_keras, to_keras

B, T, I, H = 2, 5, 3, 4
PAGE = Path(__file__).parents[2] / "docs" / "keras.md"
RNNS = ("tanh", "relu", "sigmoid", "linear")

keras_warns = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """Keras on PyTorch; it writes its settings into a temporary home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        keras = pytest.importorskip("keras", reason="keras is not installed")
        # Another test may have imported Keras before, and its backend cannot be changed then.
        if keras.config.backend() != "torch":
            pytest.skip(f"Keras runs on {keras.config.backend()}")
        yield keras


def built(layer, inputs=I, seed=0):
    """Draws all weights of the layer at random, including biases."""
    layer.build((None, None, inputs))
    draw = np.random.default_rng(seed)
    layer.set_weights([draw.normal(size=w.shape, scale=0.5) for w in layer.weights])
    return layer


def theirs(layer, x, **more):
    return np.asarray(layer(x.astype(np.float32), **more).detach().cpu())


def ours(layer, x):
    return layer(torch.from_numpy(x.astype(np.float32)))[0].detach().numpy()


@pytest.fixture
def x():
    return np.random.default_rng(9).normal(size=(B, T, I))


OPTIONS = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "gru-reset-before": ("GRU", {"reset_after": False}),
    **{f"rnn-{name}": ("SimpleRNN", {"activation": name}) for name in RNNS},
}


def keras_layer(keras, cell, **more):
    name, options = OPTIONS[cell]
    return getattr(keras.layers, name)(H, return_sequences=True, **options, **more)


@keras_warns
@pytest.mark.parametrize("cell", OPTIONS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_layer_of_keras_becomes_ours_and_goes_back(keras, cell, use_bias, x):
    layer = built(keras_layer(keras, cell, use_bias=use_bias))
    got = from_keras(layer)
    assert got.cell.name == cell
    assert got.bias is use_bias
    np.testing.assert_allclose(ours(got, x), theirs(layer, x), rtol=1e-5, atol=1e-6)
    again = built(keras_layer(keras, cell, use_bias=use_bias), seed=1)
    again.set_weights(to_keras(got))
    np.testing.assert_array_equal(theirs(again, x), theirs(layer, x))


@keras_warns
@pytest.mark.parametrize("merge", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru-reset-before"])
def test_a_stack_of_bidirectional_layers_becomes_ours_and_goes_back(keras, cell, merge, x):
    def stack(seed):
        width = 2 * H if merge == "concat" else H
        return [
            built(
                keras.layers.Bidirectional(keras_layer(keras, cell), merge_mode=merge),
                inputs,
                seed + k,
            )
            for k, inputs in enumerate((I, width))
        ]

    layers = stack(0)
    got = from_keras(layers)
    expected = theirs(layers[1], theirs(layers[0], x))
    np.testing.assert_allclose(ours(got, x), expected, rtol=1e-5, atol=1e-6)
    again = keras.Sequential([keras.Input((None, I)), *stack(5)])
    again.set_weights(to_keras(got))
    np.testing.assert_allclose(theirs(again, x), expected, rtol=1e-6, atol=1e-6)


@keras_warns
def test_a_mask_is_lengths_and_the_last_output_is_the_state(keras, x):
    layer = built(keras.layers.LSTM(H))
    mask = np.array([[True] * T, [True, True] + [False] * (T - 2)])
    got = from_keras(layer)
    _, (h, _) = got(torch.from_numpy(x.astype(np.float32)), lengths=[T, 2])
    expected = theirs(layer, x, mask=torch.from_numpy(mask))
    np.testing.assert_allclose(h[0].detach().numpy(), expected, rtol=1e-5, atol=1e-6)


@keras_warns
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru-reset-before", "rnn-tanh"])
def test_padded_steps_repeat_the_last_output_in_keras_and_are_0_here(keras, cell, x):
    """The example of docs/keras.md."""
    lengths = torch.tensor([T, 2])
    mask = torch.arange(T) < lengths.unsqueeze(1)

    def output(layer):
        got = from_keras(layer)(torch.from_numpy(x.astype(np.float32)), lengths=lengths)[0]
        assert got[~mask].abs().max() == 0
        return got.detach()

    layer = built(keras_layer(keras, cell))
    step = torch.minimum(torch.arange(T), lengths.unsqueeze(1) - 1)
    repeated = output(layer).gather(1, step.unsqueeze(-1).expand(-1, -1, H))
    np.testing.assert_allclose(repeated, theirs(layer, x, mask=mask), rtol=1e-5, atol=1e-6)
    both = keras.layers.Bidirectional(keras_layer(keras, cell))
    for other in (built(keras_layer(keras, cell, zero_output_for_mask=True)), built(both)):
        np.testing.assert_allclose(output(other), theirs(other, x, mask=mask), rtol=1e-5, atol=1e-6)


@keras_warns
def test_frozen_weights_and_the_dtype_come_along(keras):
    layer = built(keras_layer(keras, "gru", dtype="float64", trainable=False))
    got = from_keras(layer)
    assert got.weight_ih_l0.dtype == torch.float64
    assert not any(p.requires_grad for p in got.parameters())
    both = built(keras.layers.Bidirectional(keras_layer(keras, "gru")))
    both.backward_layer.trainable = False
    got = from_keras(both)
    for name, parameter in got.named_parameters():
        assert parameter.requires_grad is not name.endswith("_reverse")


@keras_warns
def test_bfloat16_comes_along(keras):
    layer = keras_layer(keras, "lstm", dtype="bfloat16", recurrent_initializer="zeros")
    layer.build((None, None, I))
    got = from_keras(layer)
    assert got.weight_ih_l0.dtype == torch.bfloat16
    kernel = torch.tensor(layer.get_weights()[0].astype(np.float32))
    assert torch.equal(got.weight_ih_l0[:H].T.float(), kernel[:, :H])


@keras_warns
def test_what_acts_in_training_only_is_left_out_and_said(keras, x):
    layer = built(keras_layer(keras, "lstm", dropout=0.2, kernel_regularizer="l2"))
    with pytest.warns(
        UserWarning, match="has dropout, kernel_regularizer, which acts in"
    ) as warned:
        got = from_keras(layer)
    assert warned[0].filename == __file__
    np.testing.assert_allclose(ours(got, x), theirs(layer, x), rtol=1e-5, atol=1e-6)


@keras_warns
@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        ("lstm", {"activation": "relu"}, "has activation='relu'; expected 'tanh'"),
        ("gru", {"recurrent_activation": "hard_sigmoid"}, "recurrent_activation='hard_sigmoid'"),
        ("gru", {"activation": None}, "has activation='linear'; expected 'tanh'"),
        ("rnn-tanh", {"activation": "selu"}, "'selu'; expected tanh, relu, sigmoid or linear"),
        ("lstm", {"go_backwards": True}, "has go_backwards=True; expected False"),
        ("lstm", {"stateful": True}, "has stateful=True and keeps its state"),
    ],
)
def test_what_our_cells_have_not_is_refused(keras, cell, options, message):
    name, own = OPTIONS[cell]
    layer = getattr(keras.layers, name)(H, **own | options)
    with pytest.raises(ValueError, match=f'^from_keras: the layer "{layer.name}" .*{message}'):
        from_keras(layer)


@keras_warns
def test_other_layers_are_refused(keras):
    unbuilt = keras.layers.LSTM(H)
    with pytest.raises(ValueError, match=r"is not built .* layer\.build\(\(None, None"):
        from_keras(unbuilt)
    with pytest.raises(ValueError, match="merge_mode=None; expected one of concat, sum, ave, mul"):
        from_keras(keras.layers.Bidirectional(unbuilt, merge_mode=None))
    with pytest.raises(TypeError, match="got Dense"):
        from_keras(keras.layers.Dense(3))
    with pytest.raises(TypeError, match="got Sequential"):
        from_keras(keras.Sequential([unbuilt]))

    class LSTM(keras.layers.LSTM):
        """A user's subclass, which may compute anything."""

    with pytest.raises(TypeError, match=r"expected an LSTM, .* of Keras.* got LSTM"):
        from_keras(LSTM(H))


@keras_warns
def test_layers_that_are_not_alike_are_refused(keras):
    lstm, gru = built(keras_layer(keras, "lstm")), built(keras_layer(keras, "gru"), H)
    with pytest.raises(ValueError, match=r"the cell lstm and gru\. Convert them one by one"):
        from_keras([lstm, gru])
    with pytest.raises(ValueError, match="the use_bias True and False"):
        from_keras([lstm, built(keras_layer(keras, "lstm", use_bias=False), H)])
    with pytest.raises(
        ShapeError, match=r"array 3, the kernel of l1, of shape \(4, 16\) .*\(4, 24\)"
    ):
        from_keras([lstm, built(keras.layers.LSTM(6), H)])


@keras_warns
def test_the_code_of_the_page_that_needs_keras_runs(keras):
    blocks = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    names = {}
    for number, code in enumerate(blocks, 1):
        exec(compile(code, f"keras.md, block {number}", "exec"), names)

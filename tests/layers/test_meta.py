"""The meta device: shapes if all tensors are on meta, and a clear error if only some are."""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, vmap
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._pytree import tree_leaves

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp
from throughtime.layers import time_gaps

T, B, I, H = 5, 2, 3, 4
MESSAGE = "not at the same device"
LAYERS = {
    "gru": lambda **more: tt.GRU(I, H, **more),
    "lstm": lambda **more: tt.LSTM(I, H, 2, proj_size=2, **more),
    "peephole": lambda **more: tt.Recurrent(
        *("lstm-peephole", I, H, 2), bidirectional=True, zoneout=0.1, weight_drop=0.2, **more
    ),
    "learned": lambda **more: tt.Recurrent("gru-layer-norm", I, H, learned_state=True, **more),
}


def described(values):
    leaves = [v for v in tree_leaves(values) if isinstance(v, torch.Tensor)]
    return [(tuple(v.shape), v.dtype) for v in leaves], {v.device.type for v in leaves}


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_wholly_on_meta_gives_shapes(name, steps):
    layer, meta = LAYERS[name](), LAYERS[name](device="meta")
    x, resets = torch.randn(steps, B, I), torch.zeros(steps, B, dtype=torch.bool)
    for options in ({}, {"return_trace": True}, {"lengths": [steps, 1]}, {"resets": resets}):
        moved = {k: v.to("meta") if k == "resets" else v for k, v in options.items()}
        theirs, device = described(meta(x.to("meta"), **moved))
        assert theirs == described(layer(x, **options))[0]
        assert device == {"meta"}
    lengths = torch.tensor([steps, 1])
    of_lengths = described(meta(x.to("meta"), lengths=lengths.to("meta")))
    assert of_lengths == (described(layer(x, lengths=lengths))[0], {"meta"})
    packed = pack_padded_sequence(x, lengths)
    ours, theirs = layer(packed), meta(packed.to("meta"))
    assert described(theirs[0].data) == (described(ours[0].data)[0], {"meta"})
    assert described(theirs[1]) == (described(ours[1])[0], {"meta"})


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_and_vmap_on_meta_give_shapes(name):
    layer = LAYERS[name](device="meta")
    x = torch.randn(T, B, I, device="meta", requires_grad=True)
    layer(x)[0].sum().backward()
    for tensor in (x, *layer.parameters()):
        assert tensor.grad.shape == tensor.shape
        assert tensor.grad.is_meta
    many = x.detach().expand(3, T, B, I)
    output, _ = vmap(layer, randomness="different")(many)
    assert output.is_meta
    assert output.shape == (3, *layer(x)[0].shape)


def test_torch_nn_does_the_same():
    x = torch.randn(T, B, I)
    theirs = nn.GRU(I, H, device="meta")
    assert described(theirs(x.to("meta"))) == described(tt.GRU(I, H, device="meta")(x.to("meta")))
    with pytest.raises(RuntimeError, match=MESSAGE):
        theirs(x)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("name", LAYERS)
def test_meta_and_another_device_do_not_go_together(name, steps, grad):
    layer, x = LAYERS[name](), torch.randn(steps, B, I)
    resets, lengths = torch.zeros(steps, B, dtype=torch.bool), torch.tensor([steps, 1])
    state = layer(x)[1]
    state = state if isinstance(state, tuple) else (state,)
    mixed = [*state[:-1], state[-1].to("meta")]
    with torch.set_grad_enabled(grad):
        for trace in (False, True):
            with pytest.raises(ValueError, match=MESSAGE):
                LAYERS[name](device="meta")(x, return_trace=trace)
            with pytest.raises(ValueError, match=MESSAGE):
                layer(x.to("meta"), return_trace=trace)
        for options in ({"resets": resets.to("meta")}, {"lengths": lengths.to("meta")}):
            with pytest.raises(ValueError, match=f"x and {next(iter(options))} are {MESSAGE}"):
                layer(x, **options)
        with pytest.raises(ValueError, match=f"the initial state .* are {MESSAGE}"):
            layer(x, tuple(mixed) if len(mixed) > 1 else mixed[0])
        for key, weight in layer.named_parameters():
            values = {key: weight.detach().to("meta")}
            with pytest.raises(ValueError, match=f"x and {key} are {MESSAGE}"):
                functional_call(layer, values, (x,))

            def apply(x, values=values):
                return functional_call(layer, values, (x,))

            with pytest.raises(ValueError, match=f"x and {key} are {MESSAGE}"):
                vmap(apply, randomness="different")(x.expand(3, *x.shape))


def test_a_further_input_on_meta_is_refused():
    layer, x = tt.Recurrent("gru-d", I, H), torch.randn(T, B, I)
    with pytest.raises(ValueError, match=f"the input decay are {MESSAGE}"):
        layer(x, inputs={"decay": torch.ones(T, B, H, device="meta")})


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_weight_that_was_not_loaded_is_named(backend):
    layer = tt.Recurrent("gru", I, H, 2, device="meta", backend=backend)
    loaded = {k: v for k, v in tt.GRU(I, H, 2).state_dict().items() if "l1" not in k}
    layer.load_state_dict(loaded, strict=False, assign=True)
    for steps in (1, T):
        with pytest.raises(ValueError, match=r"weight_ih_l1 on meta\. A tensor on meta has no"):
            layer(torch.randn(steps, B, I))


@pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
def test_a_gradient_on_meta_is_refused():
    layer, x = tt.GRU(I, H), torch.randn(T, B, I)
    output, _ = layer(x)
    with pytest.raises(RuntimeError, match="expected device cpu"):
        output.backward(torch.ones_like(output, device="meta"))


def test_grud_and_the_matrix_lstm_on_meta():
    mask = torch.rand(T, B, I) < 0.5
    gaps = time_gaps(torch.rand(T, B).cumsum(0), mask)
    x, options = torch.randn(T, B, I), {"lengths": [T, 2]}
    for kind, inputs in ((tt.GRUD, (x, mask, gaps)), (tt.MatrixLSTM, (x,))):
        layer, meta = kind(I, H), kind(I, H, device="meta")
        moved = tuple(v.to("meta") for v in inputs)
        shapes, device = described(meta(*moved, **options))
        assert (shapes, device) == (described(layer(*inputs, **options))[0], {"meta"})
        with pytest.raises(ValueError, match=MESSAGE):
            meta(*inputs)
        for i in range(len(inputs)):
            mixed = [v.to("meta") if j == i else v for j, v in enumerate(inputs)]
            with pytest.raises(ValueError, match=MESSAGE):
                layer(*mixed)
        state = layer(*inputs)[1]
        for i in range(len(state)):
            mixed = tuple(v.to("meta") if j == i else v for j, v in enumerate(state))
            with pytest.raises(ValueError, match=MESSAGE):
                layer(*inputs, mixed)


@pytest.mark.parametrize("return_trace", [False, True])
@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("name", LAYERS)
def test_fake_tensors_have_shapes_and_no_memory(name, steps, return_trace):
    layer, x = LAYERS[name](), torch.randn(steps, B, I)
    expected, _ = described(layer(x, return_trace=return_trace))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = layer(mode.from_tensor(x), return_trace=return_trace)
    assert described(fake)[0] == expected
    with FakeTensorMode():
        fake = LAYERS[name]()(torch.randn(steps, B, I), return_trace=return_trace)
    assert described(fake)[0] == expected

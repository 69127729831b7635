"""tt.RNN, LSTM and GRU are torch.nn's: signatures, weights, outputs, last states, all gradients."""

import inspect
import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import throughtime as tt

T, B, I, H, P = 4, 3, 2, 3, 2

KINDS = {
    "tanh": (nn.RNN, tt.RNN, {}),
    "relu": (nn.RNN, tt.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, tt.GRU, {}),
    "lstm": (nn.LSTM, tt.LSTM, {}),
    "projected": (nn.LSTM, tt.LSTM, {"proj_size": P}),
}
kinds = pytest.mark.parametrize("kind", KINDS)
backends = pytest.mark.parametrize("backend", ["torch", "reference"])
stacks = pytest.mark.parametrize(
    "stack",
    [
        {"num_layers": layers, "bidirectional": both, "bias": bias}
        for layers, both, bias in itertools.product([1, 2], [False, True], [True, False])
    ],
    ids=lambda s: "-".join(str(int(v)) for v in s.values()),
)


def pair(kind, backend="auto", **options):
    """A layer of torch.nn and ours with equal, large weights, in float64."""
    theirs, ours, more = KINDS[kind]
    options = {"dtype": torch.float64, **more, **options}
    # PyTorch's operator runs a layer without a projection.
    backend = "cpp" if (kind, backend) == ("projected", "torch") else backend
    layers = theirs(I, H, **options), ours(I, H, backend=backend, **options)
    with torch.no_grad():
        for parameter in layers[0].parameters():
            parameter.uniform_(-1, 1)
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


def initial(kind, stack, *batch):
    rows = stack["num_layers"] * (1 + stack["bidirectional"])
    widths = [P if kind == "projected" else H, H]
    states = [torch.randn(rows, *batch, width, dtype=torch.float64) for width in widths]
    return tuple(states) if kind in ("lstm", "projected") else states[0]


def flat(value):
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, torch.Tensor) else [*value]


def outputs_and_gradients(layer, x, hx, seed=5):
    """All results: outputs, last states, and the gradients of both."""
    leaves = [v.clone().requires_grad_() for v in [*flat(x), *([] if hx is None else flat(hx))]]
    leaf_input = x._replace(data=leaves[0]) if isinstance(x, PackedSequence) else leaves[0]
    state = None if hx is None else (tuple(leaves[1:]) if len(leaves) > 2 else leaves[1])
    torch.manual_seed(seed)
    output, last = layer(leaf_input, state)
    values = [*flat(output), *flat(last)]
    draw = torch.Generator().manual_seed(7)
    loss = sum(
        (v * torch.randn(v.shape, generator=draw, dtype=torch.float64)).sum() for v in values
    )
    return output, [*values, *torch.autograd.grad(loss, [*leaves, *layer.parameters()])]


def assert_same(theirs, ours, x, hx):
    (expected, all_expected), (got, all_got) = (
        outputs_and_gradients(layer, x, hx) for layer in (theirs, ours)
    )
    for a, b in zip(all_got, all_expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert type(got) is type(expected)
    if isinstance(expected, PackedSequence):
        for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            a, b = getattr(got, field), getattr(expected, field)
            assert a is b is None or torch.equal(a, b)


@backends
@stacks
@kinds
def test_outputs_states_and_all_gradients_are_those_of_torch_nn(kind, stack, backend):
    torch.manual_seed(0)
    for batch_first in (False, True):
        theirs, ours = pair(kind, backend, batch_first=batch_first, **stack)
        batched = torch.randn(B, T, I) if batch_first else torch.randn(T, B, I)
        for x, batch in ((batched.double(), (B,)), (torch.randn(T, I).double(), ())):
            for hx in (None, initial(kind, stack, *batch)):
                assert_same(theirs, ours, x, hx)


@backends
@stacks
@kinds
def test_packed_sequences_give_what_torch_nn_gives(kind, stack, backend):
    torch.manual_seed(0)
    x = torch.randn(T, B, I, dtype=torch.float64)
    for batch_first in (False, True):
        theirs, ours = pair(kind, backend, batch_first=batch_first, **stack)
        for lengths, is_sorted in (([4, 3, 1], True), ([2, 4, 1], False), ([1, 1, 3], False)):
            packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=is_sorted)
            for hx in (None, initial(kind, stack, B)):
                assert_same(theirs, ours, packed, hx)


@backends
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@kinds
def test_dropout_draws_as_torch_nn_draws(kind, batch_first, bidirectional, backend):
    torch.manual_seed(0)
    stack = {"num_layers": 3, "bidirectional": bidirectional}
    theirs, ours = pair(kind, backend, dropout=0.5, batch_first=batch_first, **stack)
    for x in (torch.randn(B, B, I).double(), torch.randn(T, I).double()):
        assert_same(theirs, ours, x, None)


@kinds
def test_dropout_acts_in_training_alone_and_between_layers_alone(kind):
    torch.manual_seed(0)
    _, ours = pair(kind, num_layers=2, dropout=1.0)
    x = torch.randn(T, B, I, dtype=torch.float64)
    with torch.no_grad():
        output, _ = ours(x)
        assert torch.equal(output, ours(torch.randn_like(x) * 9)[0])
        assert not torch.equal(output, torch.zeros_like(output))
        ours.eval()
        output, _ = ours(x)
        assert torch.equal(output, ours(x)[0])
        assert not torch.equal(output, ours(2 * x)[0])


@kinds
def test_dropout_of_a_single_layer_warns_as_in_torch_nn(kind):
    theirs, ours, more = KINDS[kind]
    for make in (theirs, ours):
        with pytest.warns(UserWarning, match="dropout"):
            make(I, H, dropout=0.5, **more)


@stacks
@kinds
def test_the_same_seed_draws_the_same_weights(kind, stack):
    theirs, ours, more = KINDS[kind]
    layers = []
    for make in (theirs, ours):
        torch.manual_seed(11)
        layers.append(make(I, H, **more, **stack))
    expected, got = (list(layer.named_parameters()) for layer in layers)
    assert [name for name, _ in got] == [name for name, _ in expected]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(got, expected, strict=True))
    listed = list(itertools.chain(*layers[1].all_weights))
    assert all(a is b for a, b in zip(listed, layers[1].parameters(), strict=True))
    layers[1].flatten_parameters()


@stacks
@kinds
def test_state_dicts_load_both_ways(kind, stack):
    theirs, ours, more = KINDS[kind]
    a, b = theirs(I, H, **more, **stack), ours(I, H, **more, **stack)
    assert list(a.state_dict()) == list(b.state_dict())
    b.load_state_dict(a.state_dict(), strict=True)
    c = theirs(I, H, **more, **stack)
    c.load_state_dict(b.state_dict(), strict=True)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))


# The signatures in the documentation of torch.nn (its classes take *args).
FIRST = "self input_size hidden_size num_layers=1"
REST = "bias=True batch_first=False dropout=0.0 bidirectional=False"
LAST = "device=None dtype=None"
DOCUMENTED = {
    tt.RNN: f"{FIRST} nonlinearity='tanh' {REST} {LAST}",
    tt.LSTM: f"{FIRST} {REST} proj_size=0 {LAST}",
    tt.GRU: f"{FIRST} {REST} {LAST}",
}


@pytest.mark.parametrize("layer", DOCUMENTED)
def test_the_signature_is_that_of_torch_nn_and_more_is_by_keyword_only(layer):
    parameters = list(inspect.signature(layer.__init__).parameters.values())
    by_position = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    written = [p.name + ("" if p.default is p.empty else f"={p.default!r}") for p in by_position]
    assert " ".join(written) == DOCUMENTED[layer]
    more = parameters[len(by_position) :]
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in more)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_forward_takes_what_torch_nn_takes(name):
    theirs, ours = (inspect.signature(getattr(m, name).forward).parameters for m in (nn, tt))
    assert list(ours)[: len(theirs)] == list(theirs) == ["self", "input", "hx"]
    assert all(p.kind is p.KEYWORD_ONLY for p in list(ours.values())[3:])


@pytest.mark.parametrize(
    ("layer", "positional"),
    [
        (tt.RNN, (I, H, 2, "relu", False, True, 0.5, True)),
        (tt.LSTM, (I, H, 2, False, True, 0.5, True, 0)),
        (tt.GRU, (I, H, 2, False, True, 0.5, True)),
    ],
)
def test_what_is_given_by_position_arrives(layer, positional):
    recurrent = layer(*positional)
    assert (recurrent.num_layers, recurrent.bias, recurrent.batch_first) == (2, False, True)
    assert (recurrent.dropout, recurrent.bidirectional) == (0.5, True)
    assert recurrent(torch.zeros(B, T, I))[0].shape == (B, T, 2 * H)


def test_a_projection_to_no_fewer_units_is_refused():
    with pytest.raises(ValueError, match="LSTM: expected proj_size below hidden_size=3, got 3"):
        tt.LSTM(I, H, proj_size=H)
    with pytest.raises(ValueError, match="LSTM: expected proj_size of at least 0, got -1"):
        tt.LSTM(I, H, proj_size=-1)


def test_an_unknown_nonlinearity_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r'unknown nonlinearity "tanj"; did you mean "tanh"'):
        tt.RNN(I, H, nonlinearity="tanj")


@pytest.mark.parametrize("layer", [tt.RNN, tt.LSTM, tt.GRU])
def test_an_unknown_option_is_refused(layer):
    with pytest.raises((TypeError, ValueError), match="merg"):
        layer(I, H, merg="sum")


@backends
def test_float32_and_bfloat16_stay_what_they_are(backend):
    for dtype in (torch.float32, torch.bfloat16):
        output, (h, c) = tt.LSTM(I, H, dtype=dtype, backend=backend)(torch.zeros(T, B, I).to(dtype))
        assert output.dtype == h.dtype == c.dtype == dtype

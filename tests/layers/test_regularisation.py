"""Dropout of features and of weights, learned initial states, residual and independent layers."""

import pytest
import torch

import throughtime as tt

CELLS = ["lstm-peephole", "gru-reset-before", "rnn-tanh"]
I, H, T, B = 3, 4, 6, 5


def layer(name="lstm-peephole", **options):
    torch.manual_seed(0)
    return tt.Recurrent(name, I, H, dtype=torch.float64, **options)


def sequence(T=T):
    return torch.randn(T, B, I, dtype=torch.float64)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2, "dropout": 0.5, "locked_dropout": True},
        {"weight_drop": 0.5},
        {"learned_state": True, "num_layers": 2, "bidirectional": True},
        {"residual": True, "num_layers": 3, "bidirectional": True},
        {"independent": True, "num_layers": 2, "bidirectional": True, "residual": True},
        {"independent": True, "num_layers": 2, "bidirectional": True, "merge": "sum"},
    ],
    ids=lambda o: "+".join(o),
)
def test_backends_agree_from_the_same_seed_in_outputs_and_gradients(name, options):
    outputs = []
    x, lengths = sequence(), [6, 3, 1, 5, 6]
    for backend in ("cpp", "reference"):
        recurrent = layer(name, backend=backend, **options)
        torch.manual_seed(1)
        output, state = recurrent(x, lengths=lengths)
        last = state if isinstance(state, tuple) else (state,)
        (output.sin().sum() + sum(s.cos().sum() for s in last)).backward()
        outputs.append([output, *last, *(p.grad for p in recurrent.parameters())])
    for ours, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_locked_dropout_drops_the_same_features_at_every_step():
    recurrent = layer("rnn-linear", num_layers=2, dropout=0.5, locked_dropout=True, bias=False)
    seen = []
    recurrent.backend = "reference"
    kept = torch.nn.functional.dropout

    def noting(x, p, *rest):
        seen.append(kept(x, p, *rest))
        return seen[-1]

    torch.nn.functional.dropout = noting
    try:
        recurrent(sequence())
    finally:
        torch.nn.functional.dropout = kept
    (mask,) = seen
    assert mask.shape == (1, B, H)
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    recurrent.eval()
    x = sequence()
    assert torch.equal(recurrent(x)[0], recurrent(x)[0])


def test_weight_drop_drops_weights_of_training_alone_and_scales_the_others():
    recurrent = layer(weight_drop=0.5)
    x = sequence()
    assert not torch.equal(recurrent(x)[0], recurrent(x)[0])
    dropped = recurrent._recurrent("_l0", None)
    ratio = (dropped / recurrent.weight_hh_l0).detach()
    assert set(ratio.round(decimals=6).unique().tolist()) == {0.0, 2.0}
    recurrent.eval()
    plain = layer()
    assert torch.equal(recurrent(x)[0], plain(x)[0])
    # An option that is changed later takes effect in the next call.
    plain.weight_drop = 0.5
    assert not torch.equal(plain(x)[0], recurrent(x)[0])


def test_a_learned_state_starts_as_the_cell_says_and_learns():
    class Fading(tt.Cell):
        gates, states = ("h",), {"h": tt.State(initial=0.5)}

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(W.h(x) + R.h(s.h)))

    recurrent = tt.Recurrent(Fading(), I, H, learned_state=True, bidirectional=True)
    assert torch.equal(recurrent.initial_h_l0, torch.full((H,), 0.5))
    assert list(recurrent.state_dict())[-2:] == ["initial_h_l0", "initial_h_l0_reverse"]
    x = torch.randn(T, B, I)
    recurrent(x)[0].sum().backward()
    assert recurrent.initial_h_l0.grad.abs().min() > 0
    zeros = torch.zeros(2, B, H)
    plain = tt.Recurrent(Fading(), I, H, bidirectional=True)
    plain.load_state_dict(recurrent.state_dict(), strict=False)
    assert torch.equal(recurrent(x, zeros)[0], plain(x, zeros)[0])


def test_residual_layers_add_what_they_read():
    recurrent, plain = layer(num_layers=2, residual=True), layer(num_layers=2)
    x = sequence()
    first = tt.Recurrent("lstm-peephole", I, H, dtype=torch.float64)
    first.load_state_dict({k: v for k, v in recurrent.state_dict().items() if k.endswith("_l0")})
    torch.testing.assert_close(recurrent(x)[0], plain(x)[0] + first(x)[0])


def test_independent_directions_are_two_stacks_merged_at_the_end():
    recurrent = layer(num_layers=2, bidirectional=True, independent=True)
    assert recurrent.weight_ih_l1.shape == (4 * H, H)
    x = sequence()
    stacks = []
    for suffix in ("", "_reverse"):
        one = layer(num_layers=2)
        weights = {
            k.removesuffix("_reverse"): v
            for k, v in recurrent.state_dict().items()
            if k.endswith("_reverse") == (suffix != "")
        }
        one.load_state_dict(weights)
        stacks.append(one(x)[0] if not suffix else one(x.flip(0))[0].flip(0))
    torch.testing.assert_close(recurrent(x)[0], torch.cat(stacks, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_drop": 1.0}, "expected weight_drop as a probability from 0 to below 1, got 1.0"),
        ({"locked_dropout": True}, "locked_dropout would have no effect, as dropout is 0"),
        ({"residual": True}, "residual would have no effect, as num_layers is 1"),
        ({"independent": True, "num_layers": 2}, "independent would have no effect"),
    ],
)
def test_an_option_without_effect_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        layer(**options)


def test_the_options_go_into_folders_and_not_to_torch(tmp_path):
    options = {"num_layers": 2, "bidirectional": True, "independent": True, "learned_state": True}
    recurrent = tt.LSTM(I, H, **options)
    tt.save_pretrained(recurrent, tmp_path)
    again = tt.from_pretrained(tmp_path)
    x = torch.randn(T, B, I)
    assert torch.equal(again(x)[0], recurrent.eval()(x)[0])
    with pytest.raises(ValueError, match=r"torch\.nn have no learned_state"):
        tt.to_torch(recurrent)

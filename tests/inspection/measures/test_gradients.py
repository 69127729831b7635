"""The gradient against the lag, compared with what algebra says."""

import math

import pytest
import torch

import throughtime as tt
from throughtime.inspection.measures.gradients import (
    factor_per_step,
    gradient_norms,
    layer_decay,
    memory_horizon,
)
from throughtime.inspection.measures.losses import decay_of_model, losses_of
from throughtime.inspection.measures.unrolled import unrolled
from throughtime.inspection.recording import Name
from throughtime.layers.evaluation import evaluating
from throughtime.tasks.char_lm import CharLM, CharLMConfig

from ...further_inputs import bounded, fed

H = 6


def linear(R):
    layer = tt.Recurrent("rnn-linear", 3, len(R), dtype=torch.float64)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(R)
    return layer


def symmetric():
    R = torch.randn(H, H, dtype=torch.float64)
    return (R + R.T) / 4


def test_along_each_eigenvector_the_gradient_falls_as_its_eigenvalue_to_the_power_of_the_lag():
    R, x = symmetric(), torch.randn(9, 1, 3, dtype=torch.float64)
    eigenvalues, Q = torch.linalg.eigh(R)
    layer, r = linear(R), torch.randn(H, dtype=torch.float64)
    with unrolled(layer) as states:
        output, _ = layer(x)
    (nodes,) = states.by_layer.values()
    for k in range(9):
        (gradient,) = torch.autograd.grad(output[8, 0] @ r, nodes[8 - k][0], retain_graph=True)
        torch.testing.assert_close(gradient[0] @ Q, eigenvalues**k * (r @ Q))


def test_a_scaled_orthogonal_matrix_has_its_scale_as_the_factor():
    R = 0.7 * torch.linalg.qr(torch.randn(H, H, dtype=torch.float64)).Q
    (decay,) = layer_decay(linear(R), torch.randn(40, 1, 3, dtype=torch.float64), most=15)
    torch.testing.assert_close(decay.norms, 0.7 ** torch.arange(16).double())
    assert decay.factor == pytest.approx(0.7)
    # From lag 1 on.
    assert memory_horizon(decay.norms) == 1 + math.ceil(1 / -math.log(0.7))
    assert memory_horizon(decay.norms, 0.01) == 1 + math.ceil(math.log(0.01) / math.log(0.7))
    assert memory_horizon(decay.norms[:3]) is None


def test_the_state_of_an_lstm_is_h_and_c_together():
    """With c alone carried, and the forget gate open by f, the gradient to c falls as f^k."""
    layer = tt.LSTM(2, H, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_ih_l0.normal_()
        layer.weight_ih_l0[H : 2 * H] = 0
        layer.bias_ih_l0[H : 2 * H] = 1.0
    (decay,) = layer_decay(layer, torch.randn(30, 1, 2, dtype=torch.float64), most=10)
    f = torch.tensor(1.0, dtype=torch.float64).sigmoid()
    torch.testing.assert_close(decay.norms[2:] / decay.norms[1:-1], f.expand(9))
    assert decay.factor == pytest.approx(float(f))
    # The loss is r . h with r of length 1; that h is computed from c of the same step counts not.
    assert float(decay.norms[0]) == pytest.approx(1)


def test_a_reverse_layer_has_its_lag_in_its_own_time():
    R = 0.5 * torch.eye(H, dtype=torch.float64)
    layer = tt.Recurrent("rnn-linear", 3, H, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(R)
        layer.weight_hh_l0_reverse.copy_(0.8 * torch.eye(H))
    forward, reverse = layer_decay(layer, torch.randn(20, 1, 3, dtype=torch.float64), most=6)
    assert (forward.name.is_reverse, reverse.name.is_reverse) == (False, True)
    assert forward.factor == pytest.approx(0.5)
    assert reverse.factor == pytest.approx(0.8)


@pytest.mark.parametrize("name", tt.cells.names())
def test_every_cell_runs_unrolled_with_the_same_output(name):
    layer = bounded(fed(tt.Recurrent(name, 4, 4, backend="reference", dtype=torch.float64)))
    x = torch.randn(7, 1, 4, dtype=torch.float64)
    expected, _ = layer(x)
    with unrolled(layer) as states:
        output, _ = layer(x)
        assert torch.equal(output, expected)
        nodes = states.by_layer[Name("", "", 0)]
        assert len(nodes) == 7
        losses = [value.sum() for value in output]
        norms = gradient_norms(losses, nodes, [5, 6], 3)
    assert torch.isfinite(norms).all()
    assert norms[1] > 0
    assert "_run_call" not in vars(layer)


def test_initialisations_keep_or_lose_the_gradient_as_the_notes_say():
    x = torch.randn(100, 1, 64, dtype=torch.float64)

    def factor(cell, **options):
        (decay,) = layer_decay(tt.Recurrent(cell, 64, 64, dtype=x.dtype, **options), x, most=40)
        return decay.factor

    assert factor("lstm", forget_bias=3) > 0.97
    assert factor("rnn-tanh") < 0.65
    assert 0.5 < factor("lstm") < 0.75
    assert 0.5 < factor("gru") < 0.75


def test_frozen_weights_and_a_mixture_of_lengths_have_gradients_too():
    layer = tt.GRU(3, H).requires_grad_(False)
    with unrolled(layer) as states:
        output, _ = layer(torch.randn(5, 2, 3), lengths=[5, 3])
    (nodes,) = states.by_layer.values()
    (gradient,) = torch.autograd.grad(output[4].sum(), nodes[2][0])
    assert gradient[0].any()
    assert not gradient[1].any()


def test_what_a_task_evaluates_can_be_differentiated_only_inside():
    layer = tt.GRU(3, H)
    with unrolled(layer), evaluating(layer):
        assert layer(torch.ones(2, 1, 3))[0].requires_grad
    with evaluating(layer):
        assert not layer(torch.ones(2, 1, 3))[0].requires_grad


def test_the_loss_of_a_language_model_is_that_of_the_next_token(tmp_path):
    (tmp_path / "text.txt").write_text("abcab\n" * 60)
    task = CharLM(CharLMConfig(data=str(tmp_path / "text.txt"), hidden_size=5, num_layers=2))
    model, text = task.model().eval(), "abcabcabbcaab"
    decays, states = decay_of_model(task, model, text, most=4)
    ids = task.vocabulary.encode(text)
    with unrolled(model) as own:
        scores, _ = model(ids[None])
        loss = torch.nn.functional.cross_entropy(scores[0, :-1], ids[1:], reduction="none")
        for decay in decays:
            norms = gradient_norms(loss, own.by_layer[decay.name], [4, 7], 4)
            from_same = decay_norms(task, model, text, decay.name, [4, 7])
            torch.testing.assert_close(norms, from_same, rtol=1e-4, atol=1e-9)
    assert [d.name.layer for d in decays] == [0, 1]
    assert all(len(d.norms) == 5 for d in decays)
    assert states.widths[decays[0].name] == (5, 5)


def decay_norms(task, model, text, name, at):
    """The norms by the losses that the measure itself uses."""
    observation = task.observe(model, text)
    with unrolled(model) as states:
        losses = losses_of(observation, observation.run(), True)
        return gradient_norms(losses, states.by_layer[name], at, 4)


def test_a_gradient_that_ends_has_no_factor_and_too_few_steps_are_refused():
    assert math.isnan(factor_per_step(torch.tensor([1.0, 0.5, 0.0, 0.3])))
    assert factor_per_step(torch.tensor([9.0, 1.0, 0.5, 0.25, 0.0])) == pytest.approx(0.5)
    nodes = [(torch.ones(1, 2, requires_grad=True),)] * 3
    with pytest.raises(ValueError, match="a step with 5 steps before it, got 3 steps"):
        gradient_norms([n[0].sum() for n in nodes], nodes, [2], 5)

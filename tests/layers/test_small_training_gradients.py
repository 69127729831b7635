"""Gradients of small calls in every form, and all that autograd lets a caller do around them."""

import copy
import gc
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import register_parametrization
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

import throughtime as tt
from throughtime.kernels.cpp.build import missing

from .training_steps import B, H, I, T, equals_the_reference, layer_of, sequence, step

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def with_negative_bit(like):
    numbers = torch.linspace(-1, 2, like.numel(), dtype=like.dtype).view_as(like)
    gradient = torch.complex(numbers, 1 - numbers).conj().imag
    assert gradient.is_neg()
    return gradient


GRADIENTS = {
    "expanded": lambda like: like.new_full((), 2).expand_as(like),
    "strided": lambda like: torch.linspace(0, 1, 2 * like.numel()).to(like)[::2].view_as(like),
    "permuted": lambda like: torch.linspace(0, 1, like.numel()).to(like).view(like.mT.shape).mT,
    "negative": with_negative_bit,
    "infinite": lambda like: torch.linspace(0, 1, like.numel()).to(like).view_as(like).log(),
}


@pytest.mark.parametrize("form", GRADIENTS)
def test_gradients_of_results_in_every_form(ran, form):
    layer, x = layer_of(num_layers=2), sequence()
    exact = copy.deepcopy(layer)
    exact.backend = "reference"

    def derived(layer):
        output, (h, c) = layer(x)
        given = [GRADIENTS[form](r.detach()) for r in (output, h, c)]
        return torch.autograd.grad((output, h, c), [x, *layer.parameters()], given)

    torch.testing.assert_close(derived(layer), derived(exact), equal_nan=True)
    assert ran == ["forward"] * 2 + ["backward"] * 2


def test_a_gradient_of_another_type_of_tensor(ran):
    layer, x = layer_of("gru"), sequence()
    (expected,) = torch.autograd.grad(layer(x)[0].sum(), x)
    output = layer(x)[0]
    ones = torch.ones_like(output)
    (ours,) = torch.autograd.grad(output, x, TwoTensor(ones, 2 * ones))
    assert isinstance(ours, TwoTensor)
    torch.testing.assert_close(ours.a, expected)
    torch.testing.assert_close(ours.b, 2 * expected)
    assert ran == ["forward", "backward", "forward"]


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {"num_layers": 2, "dropout": 0.3}),
        ("gru", {"weight_drop": 0.2, "zoneout": 0.3}),
        ("gru", {"learned_state": True}),
    ],
)
@pytest.mark.parametrize("call", ["small", "lengths", "states"])
def test_a_checkpoint_of_the_first_call(cell, options, call):
    layer, x = layer_of(cell, **options), sequence()
    run = partial(layer, lengths=[T, 3, 2] if call == "lengths" else None)
    if call == "states":
        layer.save = "states"
    torch.manual_seed(2)
    output = checkpoint(lambda x: run(x)[0], x, use_reentrant=False)
    ours = torch.autograd.grad(output.sum(), [x, *layer.parameters()])
    torch.manual_seed(2)
    expected = torch.autograd.grad(run(x)[0].sum(), [x, *layer.parameters()])
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("way", ["debug", "selective"])
def test_a_checkpoint_under_a_dispatch_mode(way):
    layer, x = layer_of(), sequence()
    (expected,) = torch.autograd.grad(layer(x)[0].sum(), x)

    def policy(*_, **__):
        return CheckpointPolicy.PREFER_RECOMPUTE

    contexts = partial(create_selective_checkpoint_contexts, policy)
    options = {"debug": True} if way == "debug" else {"context_fn": contexts}
    output = checkpoint(lambda x: layer(x)[0], x, use_reentrant=False, **options)
    (ours,) = torch.autograd.grad(output.sum(), x)
    torch.testing.assert_close(ours, expected)


class Dropped(nn.Module):
    def forward(self, weight):
        return nn.functional.dropout(weight, 0.5, self.training)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: spectral_norm(layer, "weight_hh_l0"),
        lambda layer: register_parametrization(layer, "weight_hh_l0", Dropped()),
    ],
    ids=["spectral_norm", "dropout"],
)
def test_the_first_call_computes_weights_as_often_as_the_others(ran, change):
    def results(has_plans):
        layer = layer_of()
        change(layer)
        if not has_plans:
            layer._run_call = layer._run_call  # a method of its own: its calls are not small
        torch.manual_seed(1)
        return [layer(torch.ones(T, B, I, dtype=torch.float64))[0] for _ in range(2)]

    torch.testing.assert_close(results(True), results(False))
    assert ran == ["forward"] * 2


@pytest.mark.parametrize("proj_size", [0, 3])
def test_plans_follow_the_dtype_of_the_weights(ran, proj_size):
    layer = layer_of(proj_size=proj_size)
    for dtype in (torch.float64, torch.float32, torch.float64):
        equals_the_reference(layer.to(dtype), sequence().to(dtype))
    assert ran == 3 * ["forward", "backward"]


def test_passing_weights_are_read_without_new_plans_and_not_kept(ran, monkeypatch):
    layer, x = layer_of(), sequence()
    step(layer, x)
    monkeypatch.setattr(type(layer), "_call", None)  # no new plan can be made
    weights = {name: 2 * value for name, value in layer.named_parameters()}
    ours = torch.func.functional_call(layer, weights, (x,))[0]
    monkeypatch.undo()
    exact = copy.deepcopy(layer)
    exact.backend = "reference"
    expected = torch.func.functional_call(exact, weights, (x,))[0]
    torch.testing.assert_close(ours, expected)
    parameters = [*layer.parameters()]
    gradients = torch.autograd.grad(ours.sum(), parameters, retain_graph=True)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.sum(), parameters))
    weight = weakref.ref(weights["weight_hh_l0"])
    del weights, ours, expected
    gc.collect()
    assert weight() is None


@pytest.mark.parametrize("name", ["_recurrent", "_run_call", "_dropped"])
def test_a_method_that_an_object_gets_later_is_called(name):
    layer, x, calls = layer_of(num_layers=2), sequence(), []
    step(layer, x)
    method = getattr(layer, name)

    def noted(*args, **options):
        calls.append(name)
        return method(*args, **options)

    setattr(layer, name, noted)
    equals = step(layer, x)
    assert calls
    delattr(layer, name)
    torch.testing.assert_close(equals, step(layer, x))


def test_weights_that_layers_share():
    layer, x = layer_of("lstm-peephole", num_layers=2), sequence()
    layer.weight_hh_l1 = layer.weight_hh_l0
    layer.bias_hh_l0 = layer.bias_ih_l0
    equals_the_reference(layer, x)
    assert layer.weight_hh_l1.shape == (4 * H, H)


def test_x_and_states_may_not_be_written_before_the_backward_pass():
    layer = layer_of("gru")
    for place in ("x", "state"):
        x, state = sequence() * 1, torch.zeros(1, B, H, dtype=torch.float64)
        loss = layer(x, state)[0].sum()
        with torch.no_grad():
            (x if place == "x" else state).add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("batch_first", [False, True])
def test_weights_and_x_with_a_negative_bit(ran, batch_first):
    layer = layer_of("gru", batch_first=batch_first)
    z = torch.randn(*((B, T) if batch_first else (T, B)), I, dtype=torch.complex128)
    layer.weight_hh_l0.data = with_negative_bit(layer.weight_hh_l0.detach())
    equals_the_reference(layer, z.conj().imag.requires_grad_())
    assert ran == ["forward", "backward"]
    assert layer.weight_hh_l0.is_neg()


def test_the_last_states_of_one_layer_alone():
    layer, x = tt.Recurrent("lstm", I, H, 2, bidirectional=True, dtype=torch.float64), sequence()
    exact = copy.deepcopy(layer)
    exact.backend = "reference"

    def derived(layer):
        (_, c) = layer(x)[1]
        grads = torch.autograd.grad(c[1].sum(), [x, *layer.parameters()], allow_unused=True)
        return [torch.zeros(()) if g is None or not g.any() else g for g in grads]

    torch.testing.assert_close(derived(layer), derived(exact))


def wrapper_of(tensor):
    """A tensor that torch.func.grad has wrapped, whose transform has ended."""
    wrappers = []
    torch.func.grad(lambda t: (wrappers.append(t * 1), t.sum())[1])(tensor.detach())
    return wrappers[0]


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_wrappers_of_ended_transforms(mode):
    layer, x = layer_of(), sequence().detach()
    states = [torch.randn(1, B, H, dtype=torch.float64) for _ in range(2)]
    weights = dict(layer.named_parameters())
    wrapped = {name: wrapper_of(value) for name, value in weights.items()}
    with mode():
        for _ in range(3):
            expected = layer(x, states)[0]
            torch.testing.assert_close(layer(wrapper_of(x), states)[0], expected)
            torch.testing.assert_close(layer(x, [wrapper_of(s) for s in states])[0], expected)
            ours = torch.func.functional_call(layer, wrapped, (x, states))[0]
            torch.testing.assert_close(ours, expected)


class Changing(nn.Module):
    """A parametrization that later returns another type of tensor."""

    kind = staticmethod(torch.clone)

    def forward(self, weight):
        return self.kind(weight)


def test_a_parametrization_that_returns_another_type_of_tensor(ran):
    layer, x = layer_of(num_layers=2).requires_grad_(False), sequence().detach()
    change = Changing()
    register_parametrization(layer, "weight_hh_l1", change)
    expected, _ = layer(x)
    assert ran == ["forward"] * 2
    change.kind = lambda weight: TwoTensor(weight.clone(), 2 * weight)
    ours, _ = layer(x)
    assert isinstance(ours, TwoTensor)
    torch.testing.assert_close(ours.a, expected)
    layer.parametrizations.weight_hh_l1.original.mul_(2)
    change.kind = torch.clone
    torch.testing.assert_close(layer(x)[0], ours.b)

"""Layers under autograd: batched gradients, forward mode, and higher orders."""

import pytest
import torch
from torch.autograd import forward_ad, functional
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import throughtime as tt
from throughtime.kernels.cpp.build import missing

from .operator_layers import (
    RESETS,
    B,
    H,
    I,
    T,
    by_reference,
    close,
    flat,
    layer_of,
    loss,
    sequence,
    weights_of,
)

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))

CELLS = ["lstm", "gru", "Peephole", "Centred"]
OPTIONS = {
    "plain": ({}, {}),
    "ragged": ({}, {"lengths": torch.tensor([4, 1, 2]), "resets": RESETS}),
    "deep": ({"num_layers": 2, "bidirectional": True}, {"lengths": torch.tensor([2, 4, 3])}),
    "states": ({"save": "states"}, {}),
}


@pytest.fixture(params=CELLS)
def cell(request):
    return request.param


@pytest.fixture(params=OPTIONS)
def pair(request, cell):
    """A layer that chooses its backend, the same by the reference, and what they are called with.

    The kernel runs what has no tangent, and the reference the rest.
    """
    options, arguments = OPTIONS[request.param]
    layer = layer_of(cell, backend="auto", **options)
    return layer, by_reference(layer), arguments


def by_two_pulls(function, inputs, tangents):
    """The tangent by two reverse passes: the gradient of a gradient that is linear in v."""
    results, pull = vjp(function, *inputs)
    zeros = tuple(torch.zeros_like(r) for r in results)
    (outcomes,) = vjp(pull, zeros)[1](tangents)
    return outcomes


# Batched gradients of torch.autograd.


def test_batched_gradients_equal_one_after_another(pair):
    layer, reference, arguments = pair
    x, D = sequence(), layer.num_directions
    d_output, d_last = torch.randn(5, T, B, D * H).double(), torch.randn(5, B, H).double()
    leaf = x.clone().requires_grad_()
    output, last = flat(layer(leaf, **arguments))[:2]
    leaves = [leaf, *layer.parameters()]
    ours = torch.autograd.grad(
        [output, last[0]], leaves, [d_output, d_last], is_grads_batched=True, retain_graph=True
    )
    leaf = x.clone().requires_grad_()
    output, last = flat(reference(leaf, **arguments))[:2]
    leaves = [leaf, *reference.parameters()]
    for i in range(5):
        theirs = torch.autograd.grad(
            [output, last[0]], leaves, [d_output[i], d_last[i]], retain_graph=True
        )
        close([g[i] for g in ours], theirs)


def test_batched_gradients_can_be_derived_and_be_of_second_order(pair):
    layer, reference, arguments = pair
    x, vectors, outcomes = sequence(), sequence(4), []
    for each in (layer, reference):
        leaf = x.clone().requires_grad_()
        leaves = [leaf, *each.parameters()]
        output = each(leaf, **arguments)[0]
        d_output = torch.stack([output.detach(), output.detach() + 1])
        (first,) = torch.autograd.grad(
            output, leaf, d_output, is_grads_batched=True, create_graph=True
        )
        seconds = torch.autograd.grad(first.square().sum(), leaves)
        (first,) = torch.autograd.grad(
            each(leaf, **arguments)[0].square().sum(), leaf, create_graph=True
        )
        outcomes.append(
            [*seconds, *torch.autograd.grad(first, leaves, vectors, is_grads_batched=True)]
        )
    close(*outcomes)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_jacobian_and_hessian_of_autograd_as_one_batch(pair, strategy):
    layer, reference, arguments = pair
    x, options = sequence(), {"vectorize": True}
    ours = functional.jacobian(lambda x: layer(x, **arguments)[0], x, strategy=strategy, **options)
    close([ours], [functional.jacobian(lambda x: reference(x, **arguments)[0], x)])
    options["outer_jacobian_strategy"] = strategy
    ours = functional.hessian(lambda x: loss(layer, {}, x, arguments), x, **options)
    close([ours], [functional.hessian(lambda x: loss(reference, {}, x, arguments), x)])


def test_second_derivatives_go_with_hooks_on_saved_tensors():
    """Checkpoints and save_on_cpu set hooks on saved tensors, which torch.func refuses."""
    layer, x, outcomes = layer_of(), sequence(), []
    for each in (layer, by_reference(layer)):
        leaf = x.clone().requires_grad_()
        with torch.autograd.graph.save_on_cpu():
            (first,) = torch.autograd.grad(each(leaf)[0].square().sum(), leaf, create_graph=True)
            outcomes.append(torch.autograd.grad(first.square().sum(), [leaf, *each.parameters()]))
    close(*outcomes)


# Forward mode.


def test_tangents_are_those_of_two_reverse_passes(pair):
    layer, reference, arguments = pair
    inputs = (weights_of(layer), sequence())
    tangents = ({k: torch.randn_like(w) for k, w in inputs[0].items()}, sequence())

    def function(each):
        return lambda weights, x: tuple(flat(functional_call(each, weights, (x,), arguments)))

    values, ours = jvp(function(layer), inputs, tangents)
    close(values, function(layer)(*inputs))
    close(ours, by_two_pulls(function(reference), inputs, tangents))
    with torch.no_grad(), forward_ad.dual_level():
        duals = [
            torch.utils._pytree.tree_map(forward_ad.make_dual, *p)
            for p in zip(inputs, tangents, strict=True)
        ]
        unpacked = [forward_ad.unpack_dual(r) for r in function(layer)(*duals)]
    close([u.primal for u in unpacked], values)
    close([u.tangent for u in unpacked], ours)


def test_forward_and_reverse_mode_nest_in_any_order(pair):
    layer, reference, arguments = pair
    weights, x, v = weights_of(layer), sequence(), sequence()

    def products(each):
        def f(x):
            return loss(each, weights, x, arguments)

        def product(mode):
            return mode(lambda x: (grad(f)(x) * v).sum())(x)

        return [
            hessian(f)(x),
            jacrev(jacrev(f))(x),
            jacrev(jacfwd(f))(x),
            jvp(grad(f), (x,), (v,))[1],
            grad(lambda x: jvp(f, (x,), (v,))[1])(x),
            product(grad),
            product(jacfwd),
        ]

    ours, theirs = products(layer), products(reference)
    close(ours, theirs)
    H_of_f = theirs[0].reshape(x.numel(), x.numel())
    close(ours[:3], [theirs[0]] * 3)
    close(ours[3:], [(H_of_f @ v.flatten()).view_as(x)] * 4)


def test_the_hessian_of_the_weights():
    layer, x = layer_of("gru", backend="auto"), sequence()
    ours, theirs = (
        hessian(lambda w, f=f: loss(f, w, x, {}))(weights_of(layer))
        for f in (layer, by_reference(layer))
    )
    for name, rows in ours.items():
        close(rows.values(), theirs[name].values())


def test_a_gradient_that_comes_with_a_tangent_keeps_it(ran, pair):
    """Forward mode that is entered after the kernel has run the forward pass."""
    layer, reference, arguments = pair
    x, outcomes = sequence(), []
    d, t = (torch.randn(T, B, layer.output_size).double() for _ in range(2))
    for each in (layer, reference):
        leaf = x.clone().requires_grad_()
        output = each(leaf, **arguments)[0]
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(d, t)
            gradients = torch.autograd.grad(output, [leaf, *each.parameters()], dual)
            outcomes.append([p for g in gradients for p in forward_ad.unpack_dual(g)])
    close(*outcomes)
    assert "forward" in ran
    pulls = [vjp(lambda x, f=f: f(x, **arguments)[0], x)[1] for f in (layer, reference)]
    close(*(jvp(pull, (d,), (t,)) for pull in pulls))
    close(*(vmap(pull)(torch.stack([d, t])) for pull in pulls))


@pytest.mark.parametrize("kind", ["forward over reverse", "reverse over forward"])
def test_dual_tensors_and_gradients_together(pair, kind):
    layer, reference, arguments = pair
    x, v, outcomes = sequence(), sequence(), []
    for each in (layer, reference):
        leaf = x.clone().requires_grad_()
        with forward_ad.dual_level():
            output = each(forward_ad.make_dual(leaf, v), **arguments)[0]
            if kind == "forward over reverse":
                (gradient,) = torch.autograd.grad(output.square().sum(), leaf)
                outcomes.append([forward_ad.unpack_dual(gradient).tangent])
            else:
                tangent = forward_ad.unpack_dual(output).tangent
                leaves = [leaf, *each.parameters()]
                outcomes.append(torch.autograd.grad(tangent.square().sum(), leaves))
    close(*outcomes)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_forward_mode_equals_torch_nn(name, steps):
    """Short sequences run by PyTorch's operators, some of which lack forward mode in float32."""
    theirs = getattr(torch.nn, name)(I, H, 2, bidirectional=True).double()
    layer = getattr(tt, name)(I, H, 2, bidirectional=True, dtype=torch.float64)
    layer.load_state_dict(theirs.state_dict())
    x, t = torch.randn(2, steps, B, I).double()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, t)
        unpacked = [[forward_ad.unpack_dual(r) for r in flat(f(dual))] for f in (layer, theirs)]
    ours, expected = ([v for pair in pairs for v in pair] for pairs in unpacked)
    close(ours, expected)
    layer, low = layer.float(), x.float()
    values, tangents = jvp(lambda x: layer(x)[0], (low,), (t.float(),))
    close([values, tangents], [v.float() for v in unpacked[1][0]], rtol=1e-4, atol=1e-5)


def test_the_backends_say_that_they_have_no_forward_mode(ran):
    layer, x = layer_of("lstm", backend="auto"), sequence()
    with forward_ad.dual_level():
        assert layer.explain(x).backend == "cpp"
        why = layer.explain(forward_ad.make_dual(x, x))
        assert why.backend == "reference"
        assert why.reasons["cpp"] == [
            "an input has a tangent, and the kernels have no forward mode"
        ]
        assert "has a tangent" in why.reasons["torch"][0]
        layer(x)
        assert ran == ["forward"]
        for backend in ("cpp", "torch"):
            with pytest.raises(ValueError, match=f'backend="{backend}" cannot run.*has a tangent'):
                layer_of("lstm", backend=backend)(forward_ad.make_dual(x, x))
    with pytest.raises(ValueError, match=r"strict=True, and no kernel runs this: cpp.*tangent"):
        jvp(lambda x: layer_of("lstm", backend="auto", strict=True)(x)[0], (x,), (x,))


def test_the_gradient_of_a_gradient_of_a_gradient(pair):
    layer, reference, arguments = pair
    x, v, outcomes = sequence(), sequence(), []
    for each in (layer, reference):

        def f(x, each=each):
            return loss(each, {}, x, arguments)

        orders = [f]
        for _ in range(3):
            orders.append(lambda x, f=orders[-1]: (grad(f)(x) * v).sum())
        outcomes.append([grad(f)(x) for f in orders[:3]])
    close(*outcomes, rtol=1e-9, atol=1e-11)

"""The compiled kernels as operators of PyTorch: its checks, derivatives and transformations."""

import pytest
import torch
import torch._dynamo.testing
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, jacrev, vmap

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp.build import missing

from .operator_layers import (
    CELLS,
    RESETS,
    B,
    Centred,
    H,
    I,
    Peephole,
    T,
    by_reference,
    close,
    flat,
    layer_of,
    sequence,
)

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


# What PyTorch checks of an operator.


def arguments(name, dtype=torch.float32, lengths=None, resets=None, save="gates", requires=False):
    """The arguments of both operators; those of the second come from a run of the first."""
    layer = layer_of(name, dtype)
    w, cell = layer._weights("_l0"), layer.cell
    x = sequence(dtype=dtype)
    state = [torch.randn(B, H, dtype=dtype) for _ in cell.state_specs]
    own = [p.detach() for p in w.parameters.values()]
    matrices = [w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh]
    matrices = [None if m is None else m.detach() for m in matrices]
    text = cpp.identity(cell)
    first = (x, *matrices, own, state, [], lengths, resets, None, text, False, save)
    outcomes = torch.ops.throughtime.recurrence(*first)
    count = 1 + len(state)
    output, kept = outcomes[0], outcomes[count:]
    d_last = [torch.randn_like(state[0]), *([None] * (len(state) - 1))]
    second = (*first, output, kept, torch.randn_like(output), d_last, True)
    return first, second


OPCHECKS = [
    ("lstm", {}),
    ("lstm", {"lengths": torch.tensor([4, 0, 2]), "resets": RESETS, "save": "states"}),
    ("Peephole", {"dtype": torch.bfloat16, "lengths": torch.tensor([4, 1, 2])}),
    ("Centred", {"dtype": torch.float64, "resets": RESETS}),
    ("lstm-peephole", {"save": "nothing"}),
]


@pytest.mark.parametrize(("name", "options"), OPCHECKS)
def test_the_operators_pass_every_check_of_pytorch(name, options):
    if options.get("save") == "nothing":
        first, _ = arguments(name, **{**options, "save": "gates"})
        torch.library.opcheck(torch.ops.throughtime.recurrence.default, (*first[:-1], "nothing"))
        return
    first, second = arguments(name, **options)
    torch.library.opcheck(torch.ops.throughtime.recurrence.default, first)
    torch.library.opcheck(torch.ops.throughtime.recurrence_backward.default, second)


@pytest.mark.parametrize(("units", "dtype"), [(3, torch.float32), (16, torch.bfloat16)])
@pytest.mark.parametrize("save", ["gates", "states", "nothing"])
@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 0, 2])])
def test_what_is_foretold_of_the_results_is_what_comes(units, dtype, save, lengths):
    for cell in ("lstm", "gru", "lstm-fgr", Peephole(), Centred()):
        layer = tt.Recurrent(cell, I, units, dtype=dtype)
        w = layer._weights("_l0")
        state = [torch.randn(B, units, dtype=dtype) for _ in layer.cell.state_specs]
        call = (*(w.weight_ih, w.weight_hh, w.bias_ih, w.bias_hh), list(w.parameters.values()))
        call = (sequence(dtype=dtype), *call, state, [], lengths, None, None)
        call = (*call, cpp.identity(layer.cell), False, save)
        with torch.no_grad():
            real = torch.ops.throughtime.recurrence(*call)
        with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
            fake = torch.ops.throughtime.recurrence(*call)
        described = [
            [(v.shape, v.dtype, v.stride()) for v in outcomes] for outcomes in (real, fake)
        ]
        assert described[0] == described[1]


# Derivatives.


def function_and_inputs(name, **options):
    """The layer as a function of all its tensors, with weights so large that every term matters."""
    options_of_call = {k: options.pop(k, None) for k in ("lengths", "resets")}
    layer = layer_of(name, **options)
    names = [k for k, _ in layer.named_parameters()]
    D = layer.num_directions
    states = [torch.randn(D, B, H).double() for _ in layer.cell.state_specs]
    weights = [0.7 * torch.randn(p.shape).double() for p in layer.parameters()]
    inputs = tuple(v.requires_grad_() for v in (sequence(), *states, *weights))

    def function(x, *rest):
        hx, values = rest[: len(states)], dict(zip(names, rest[len(states) :], strict=True))
        hx = hx if len(hx) > 1 else hx[0]
        return tuple(flat(functional_call(layer, values, (x, hx), options_of_call)))

    return function, inputs


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"save": "states"},
        {"lengths": [4, 1, 2], "resets": RESETS, "bidirectional": True},
    ],
)
@pytest.mark.parametrize("name", CELLS)
def test_first_and_second_derivatives_match_finite_differences(ran, name, options, check):
    assert check(*function_and_inputs(name, **options), fast_mode=True)
    assert ran.count("forward") > 1
    assert ran.count("backward") > 1


def test_second_derivatives_are_those_of_the_reference_and_third_ones_too():
    layer = layer_of("Peephole")
    x, outcomes = sequence(), []
    for each in (layer, by_reference(layer)):
        leaf, orders = x.clone().requires_grad_(), []
        y = each(leaf)[0].square().sum()
        for _ in range(3):
            (y,) = torch.autograd.grad(y, leaf, create_graph=True)
            orders.append(y.detach())
            y = y.square().sum()
        outcomes.append(orders)
    close(*outcomes, rtol=1e-9, atol=1e-11)


def test_a_second_derivative_by_what_came_in_alone():
    """The gradient is linear in the incoming one; differentiating it gives a Jacobian product."""
    layer, x = layer_of(), sequence().requires_grad_()
    d, outcomes = torch.randn(T, B, H).double().requires_grad_(), []
    for each in (layer, by_reference(layer)):
        (first,) = torch.autograd.grad(each(x)[0], x, d, create_graph=True)
        outcomes += torch.autograd.grad(first.sum(), d)
    torch.testing.assert_close(*outcomes)


# torch.func.


@pytest.mark.parametrize("options", [{}, {"lengths": [4, 1, 2], "resets": RESETS}])
@pytest.mark.parametrize("name", CELLS)
def test_torch_func_grad_equals_autograd(ran, name, options):
    layer, x = layer_of(name), sequence()
    weights = {k: p.detach() for k, p in layer.named_parameters()}

    def loss(weights, x):
        output, last = functional_call(layer, weights, (x,), options)
        return output.square().sum() + sum(s.sum() for s in flat((output, last))[1:])

    ours, of_x = grad(loss, argnums=(0, 1))(weights, x)
    assert "backward" in ran
    leaf = x.clone().requires_grad_()
    loss(dict(layer.named_parameters()), leaf).backward()
    close([*ours.values(), of_x], [*(p.grad for p in layer.parameters()), leaf.grad])


def looped(function, *batched):
    """The function applied to one sample after another."""
    results = [flat(function(*values)) for values in zip(*batched, strict=True)]
    return [torch.stack(v) for v in zip(*results, strict=True)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("options", [{}, {"lengths": [4, 0, 2], "resets": RESETS}])
@pytest.mark.parametrize("name", CELLS)
def test_vmap_over_inputs_states_and_weights_equals_a_loop(ran, name, options, reverse):
    layer = layer_of(name, bidirectional=reverse)
    states = layer.cell.state_specs
    x = sequence(5)
    hx = tuple(torch.randn(5, layer.num_directions, B, H).double() for _ in states)
    weights = {k: torch.randn(5, *p.shape).double() for k, p in layer.named_parameters()}

    def apply(x, weights=None, *hx):
        if weights is None:
            weights = dict(layer.named_parameters())
        hx = (hx if len(hx) > 1 else hx[0]) if hx else None
        return functional_call(layer, weights, (x, hx), options)

    with torch.no_grad():
        expected = looped(apply, x)
        ran.clear()
        close(flat(vmap(apply)(x)), expected)
        # All samples are rows of one batch.
        assert ran == ["forward"] * layer.num_directions
        of_states = vmap(lambda *s: apply(x[0], None, *s))(*hx)
        close(flat(of_states), looped(lambda *s: apply(x[0], None, *s), *hx))
        close(
            flat(
                vmap(lambda x, *s: apply(x, None, *s), in_dims=(1, *(0 for _ in hx)))(
                    x.transpose(0, 1), *hx
                )
            ),
            looped(lambda x, *s: apply(x, None, *s), x, *hx),
        )
        each = [{k: w[i] for k, w in weights.items()} for i in range(5)]
        expected = looped(lambda w: apply(x[0], w), each)
        close(flat(vmap(lambda w: apply(x[0], w))(weights)), expected)
        expected = looped(lambda x, w: apply(x, w), x, each)
        close(flat(vmap(apply)(x, weights)), expected)


@pytest.mark.parametrize("save", ["gates", "states"])
@pytest.mark.parametrize("name", ["lstm", "Peephole", "Centred"])
def test_gradients_of_each_sample_equal_a_loop(ran, name, save):
    """Per-sample gradients, as differentially private training needs them."""
    layer, x = layer_of(name, save=save), sequence(4)
    weights = {k: p.detach() for k, p in layer.named_parameters()}

    def loss(weights, x):
        output, last = functional_call(layer, weights, (x,))
        return output.square().sum() + flat((output, last))[1].sum()

    ours = vmap(grad(loss), in_dims=(None, 0))(weights, x)
    assert "backward" in ran
    for i in range(4):
        expected = grad(loss)(weights, x[i])
        close([g[i] for g in ours.values()], expected.values())


def test_autograd_through_vmap():
    layer, x = layer_of("lstm"), sequence(4)
    outcomes = []
    for apply in (lambda x: vmap(layer)(x)[0], lambda x: torch.stack([layer(v)[0] for v in x])):
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        apply(leaf).square().sum().backward()
        outcomes.append([leaf.grad, *(p.grad.clone() for p in layer.parameters())])
    close(*outcomes)


@pytest.mark.parametrize("name", ["lstm", "Peephole"])
def test_jacrev_equals_that_of_the_reference(name):
    layer, x = layer_of(name), sequence()
    ours, theirs = (jacrev(lambda x, f=f: f(x)[0])(x) for f in (layer, by_reference(layer)))
    assert ours.shape == (T, B, H, T, B, I)
    torch.testing.assert_close(ours, theirs)


# torch.compile and torch.export.


# PyTorch traces an autograd function by making one, and warns of that.
quiet = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@quiet
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize(
    ("name", "options_of_call"),
    [
        ("lstm", {}),
        ("Peephole", {}),
        ("lstm", {"lengths": torch.tensor([4, 1, 2])}),
        ("gru", {"resets": RESETS}),
    ],
)
def test_a_layer_compiles_as_one_graph_forward_and_backward(ran, name, options_of_call):
    layer, x = layer_of(name, num_layers=2, bidirectional=True, backend="auto"), sequence()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    outcomes = []
    for function in (layer, compiled):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        ran.clear()
        values = flat(function(leaf, **options_of_call))
        sum(v.square().sum() for v in values).backward()
        assert ran == ["forward"] * 4 + ["backward"] * 4
        outcomes.append([*values, leaf.grad, *(p.grad.clone() for p in layer.parameters())])
    close(*outcomes)


@quiet
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_layer_takes_any_length_and_batch_without_compiling_again():
    layer = layer_of("lstm", backend="auto")
    count = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=count, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for steps, rows in ((4, 3), (7, 2), (9, 5)):
            x = torch.randn(steps, rows, I).double()
            close(flat(compiled(x)), flat(layer(x)))
    assert count.frame_count == 1


def test_a_layer_is_exported_with_any_length_and_batch(ran):
    layer = layer_of("lstm", backend="auto", bidirectional=True).eval()
    steps, rows = torch.export.Dim("T", min=2, max=64), torch.export.Dim("B", min=2, max=64)
    exported = torch.export.export(
        layer, (sequence(),), dynamic_shapes={"input": {0: steps, 1: rows}}
    )
    names = {str(node.target) for node in exported.graph.nodes}
    assert "throughtime.recurrence.default" in names
    for shape in ((4, 3), (9, 2), (17, 6)):
        x = torch.randn(*shape, I).double()
        ran.clear()
        ours = flat(exported.module()(x))
        assert ran == ["forward"] * 2
        close(ours, flat(layer(x)))

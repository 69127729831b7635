"""Random draws of the options: seeds, fresh draws per call, gradients and transforms."""

import copy

import pytest
import torch
import torch._dynamo.testing
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, vmap

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp import chunks, recurrence

I, H, T, B = 2, 3, 5, 3
BOTH = {"zoneout": {"h": 0.3, "c": 0.5}, "recurrent_dropout": 0.4}
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
every_backend = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("cpp", marks=needs_compiler)]
)


def layer(name="lstm-peephole", **options):
    torch.manual_seed(0)
    return tt.Recurrent(name, I, H, dtype=torch.float64, **{**BOTH, **options})


def sequence(*leading):
    return torch.randn(*leading, T, B, I, dtype=torch.float64)


def flat(results):
    output, last = results
    return [output, *(last if isinstance(last, tuple) else (last,))]


# Seeds.


@torch.no_grad()
@every_backend
def test_the_seed_repeats_and_each_call_draws_anew(backend):
    recurrent, x = layer(backend=backend), sequence()
    torch.manual_seed(5)
    first, second = recurrent(x)[0], recurrent(x)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(recurrent(x)[0], first)
    assert torch.equal(recurrent(x)[0], second)


@torch.no_grad()
def test_both_backends_draw_the_same():
    results, x = [], sequence()
    for backend in ("cpp", "reference") if not cpp.missing() else ("reference",) * 2:
        recurrent = layer(num_layers=2, bidirectional=True, backend=backend)
        torch.manual_seed(5)
        results.append(flat(recurrent(x)))
        # Both calls have advanced the generator equally.
        results[-1].append(torch.rand(1))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@torch.no_grad()
@every_backend
@pytest.mark.parametrize("options", [{"zoneout": 0.5}, {"recurrent_dropout": 0.5}])
def test_layers_directions_rows_and_states_draw_apart(backend, options):
    """Weights, inputs and states are equal everywhere, so differences come from the draws."""
    recurrent = tt.Recurrent(
        "lstm-peephole", 16, 16, 2, bidirectional=True, merge="mean", backend=backend, **options
    )
    for name, p in recurrent.named_parameters():
        p.copy_(torch.eye(16).repeat(p.shape[0] // 16, 1) if "weight" in name else p * 0)
    x = torch.ones(4, 1, 16).expand(4, 2, 16)
    _, (h, c), seen = recurrent(x, (torch.ones(4, 2, 16),) * 2, return_trace=True)
    # Both directions of the first layer read equal inputs.
    assert not torch.equal(h[0], h[1])
    assert not torch.equal(c[0], c[1])
    # Two rows of it, and both states of one row.
    assert not torch.equal(h[0, 0], h[0, 1])
    if "zoneout" in options:
        started = {k: seen[f"{k}_l0"][0] == 1 for k in "hc"}
        assert not torch.equal(started["h"], started["c"])
        # Each step has its own draw.
        steps = torch.cat([torch.ones(1, 2, 16), seen["h_l0"]])
        kept = steps[1:] == steps[:-1]
        assert not torch.equal(kept[0], kept[1])
    plain = copy.deepcopy(recurrent).eval()
    _, (h, _), _ = plain(x, (torch.ones(4, 2, 16),) * 2, return_trace=True)
    assert torch.equal(h[0], h[1])


@torch.no_grad()
def test_the_second_layer_draws_other_numbers_than_the_first():
    recurrent = tt.Recurrent("rnn-tanh", 4, 64, 2, zoneout=0.5)
    _, _, seen = recurrent(torch.randn(1, 8, 4), torch.full((2, 8, 64), 2.0), return_trace=True)
    kept = [seen[f"h_l{k}"][0] == 2 for k in range(2)]
    both = (kept[0] & kept[1]).double().mean().item()
    # The rate over 512 units; five standard deviations of independent numbers.
    assert abs(both - 0.25) < 5 * (0.25 * 0.75 / 512) ** 0.5


@pytest.mark.parametrize("options", [BOTH, {"weight_drop": 0.5}, {"num_layers": 2, "dropout": 0.5}])
def test_to_explain_draws_nothing(options):
    recurrent, x = layer(**options), sequence()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert recurrent.explain(x).backend in ("cpp", "reference")
    assert torch.equal(torch.rand(1), expected)


@torch.no_grad()
def test_nothing_is_drawn_where_nothing_needs_it():
    x = sequence()
    for recurrent in (layer().eval(), layer(zoneout=0.0, recurrent_dropout=0.0)):
        torch.manual_seed(1)
        expected = torch.rand(1)
        torch.manual_seed(1)
        recurrent(x)
        assert torch.equal(torch.rand(1), expected)


# Values stored for the backward pass.


@needs_compiler
@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_kept_give_what_gates_kept_give(monkeypatch, bidirectional):
    """The backward pass runs the steps of a chunk again, with the numbers of the first run."""
    monkeypatch.setattr(chunks, "_BYTES_OF_A_CHUNK", 0)
    monkeypatch.setattr(chunks, "_FEWEST_ROWS", 1)
    x, results = sequence(), []
    resets = torch.rand(T, B) < 0.3
    for save in ("gates", "states"):
        recurrent = layer(save=save, bidirectional=bidirectional, backend="cpp")
        leaf = x.clone().requires_grad_()
        torch.manual_seed(4)
        values = flat(recurrent(leaf, lengths=[5, 2, 4], resets=resets))
        sum(v.sin().sum() for v in values).backward()
        results.append([*values, leaf.grad, *(p.grad for p in recurrent.parameters())])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


# Derivatives.


def function_and_inputs(recurrent, **arguments):
    """The layer as a function of all tensors, which draws equal numbers in each call."""
    names = [k for k, _ in recurrent.named_parameters()]
    states = [
        torch.randn(recurrent.num_directions, B, n).double() for n in recurrent.state_sizes.values()
    ]
    weights = [0.7 * torch.randn(p.shape).double() for p in recurrent.parameters()]
    inputs = tuple(v.requires_grad_() for v in (sequence(), *states, *weights))

    def function(x, *rest):
        torch.manual_seed(3)
        hx, values = rest[: len(states)], dict(zip(names, rest[len(states) :], strict=True))
        return tuple(flat(functional_call(recurrent, values, (x, hx), arguments)))

    return function, inputs


@every_backend
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, {}),
        ({"save": "states", "bidirectional": True}, {"lengths": [5, 0, 2]}),
        ({"proj_size": 2}, {}),
        ({"clip": 2.0, "zoneout": 0.0, "recurrent_dropout": 0.0}, {}),
    ],
    ids=["both", "states", "projected", "clip"],
)
def test_first_and_second_derivatives_match_finite_differences(backend, check, options, arguments):
    recurrent = layer(backend=backend, **options)
    assert check(*function_and_inputs(recurrent, **arguments), fast_mode=True)


# torch.func and torch.compile.


@torch.no_grad()
@every_backend
def test_vmap_draws_as_it_is_told(backend):
    recurrent, x = layer(backend=backend), sequence().expand(6, T, B, I)
    with pytest.raises(
        RuntimeError, match=r"vmap: called random operation .*'same' or 'different'"
    ):
        vmap(recurrent)(x)
    torch.manual_seed(7)
    equal_draws = vmap(recurrent, randomness="same")(x)[0]
    torch.manual_seed(7)
    alone = recurrent(x[0])[0]
    torch.testing.assert_close(equal_draws, alone.expand_as(equal_draws))
    different = vmap(recurrent, randomness="different")(x)[0]
    pairs = [(a, b) for a in range(6) for b in range(a)]
    assert not any(torch.equal(different[a], different[b]) for a, b in pairs)
    # A layer in evaluation mode draws nothing, so vmap needs no argument randomness.
    torch.testing.assert_close(vmap(recurrent.eval())(x)[0][3], recurrent(x[0])[0])


@every_backend
def test_gradients_of_vmap_are_those_of_a_loop(backend):
    recurrent, x, results = layer(backend=backend), sequence(4), []

    def looped(x):
        rows = []
        for sample in x:
            torch.manual_seed(7)
            rows.append(recurrent(sample)[0])
        return torch.stack(rows)

    def mapped(x):
        torch.manual_seed(7)
        return vmap(recurrent, randomness="same")(x)[0]

    for function in (looped, mapped):
        leaf = x.clone().requires_grad_()
        recurrent.zero_grad()
        function(leaf).square().sum().backward()
        results.append([leaf.grad, *(p.grad.clone() for p in recurrent.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


# PyTorch instantiates an autograd function when tracing it, and warns of that.
quiet = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@quiet
@needs_compiler
@pytest.mark.usefixtures("fresh_compiler")
def test_a_layer_that_draws_is_one_graph_and_draws_anew_at_each_call(monkeypatch):
    """Units are kept at the stated rate, and the gradient follows the kept units."""
    ran, backward = [], recurrence.Kernel.backward
    monkeypatch.setattr(
        *(recurrence.Kernel, "backward", lambda *a, **k: (ran.append(1), backward(*a, **k))[1])
    )
    recurrent = tt.Recurrent("rnn-tanh", I, 64, zoneout=0.25)
    count = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(recurrent, backend=count, fullgraph=True)
    x, start, shares = torch.randn(1, 64, I), torch.full((1, 64, 64), 2.0), []
    seen = []
    for _ in range(4):
        leaf = start.clone().requires_grad_()
        output, _ = compiled(x, leaf)
        kept = output == 2
        seen.append(kept)
        shares.append(kept.double().mean().item())
        (gradient,) = torch.autograd.grad(output[kept].sum(), leaf)
        # A kept unit passes its whole gradient on, and the other units pass none.
        torch.testing.assert_close(gradient, kept.float())
    assert count.frame_count == 1
    assert len(ran) == 4
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert abs(sum(shares) / 4 - 0.25) < 5 * (0.25 * 0.75 / (4 * 64 * 64)) ** 0.5


@quiet
@needs_compiler
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_layer_with_every_option_equals_itself_in_evaluation():
    recurrent = layer(proj_size=2, clip=1.0, num_layers=2, bidirectional=True, backend="auto")
    compiled, x = torch.compile(recurrent, backend="aot_eager", fullgraph=True), sequence()
    with torch.no_grad():
        # In training the compiled layer runs too, and its results are finite where they must be.
        output, _ = compiled(x, lengths=torch.tensor([5, 2, 4]))
        assert output.isfinite().all()
        assert not output[2:, 1].any()
        recurrent.eval()
        for a, b in zip(flat(compiled(x)), flat(recurrent(x)), strict=True):
            torch.testing.assert_close(a, b)

"""Small calls with gradients: a layer keeps plans for them, which read the weights in each call."""

import copy
import gc
import io
import pickle
import threading
import weakref

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import throughtime as tt
from throughtime.checks import ShapeError
from throughtime.kernels.cpp import chunks
from throughtime.kernels.cpp.build import missing

from .training_steps import B, H, I, T, equals_the_reference, layer_of, sequence, step

# Without a compiler there are no kernels to test.
pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("lstm", {"num_layers": 2, "batch_first": True, "dropout": 0.3}),
        ("gru", {"bidirectional": True, "merge": "product"}),
        ("lstm-peephole", {"num_layers": 2, "bidirectional": True, "independent": True}),
        ("gru", {"num_layers": 2, "residual": True, "weight_drop": 0.4}),
        ("lstm", {"proj_size": 3, "num_layers": 2}),
        ("lem", {"learned_state": True, "bias": False}),
        ("antisymmetric", {"zoneout": 0.3, "recurrent_dropout": 0.2, "bidirectional": True}),
        ("ind-rnn", {"num_layers": 2, "locked_dropout": True, "dropout": 0.5}),
    ],
)
def test_a_small_step_is_run_by_plans_with_every_option(ran, cell, options):
    layer = layer_of(cell, **options)
    x = sequence(*((B, T) if layer.batch_first else (T, B)))
    for _ in range(2):
        equals_the_reference(layer, x)
    of_each = layer.num_layers * layer.num_directions
    assert ran == 2 * (["forward"] * of_each + ["backward"] * of_each)
    sizes = layer.state_sizes.values()
    state = [torch.randn(of_each, B, n, dtype=torch.float64, requires_grad=True) for n in sizes]
    if len(state) > 1:
        equals_the_reference(layer, x, tuple(state))
        assert len(ran) == 6 * of_each


class Mine(tt.Cell):
    gates, states = ("a", "b"), ("h",)

    def step(self, x, W, R, s, p):
        b = torch.sigmoid(W.b(x) + R.b(s.h))
        return dict(h=b * torch.tanh(W.a(x) + R.a(b * s.h)) + (1 - b) * s.h)


def test_a_cell_of_the_user_with_two_stages(ran):
    layer = tt.Recurrent(Mine(), I, H, dtype=torch.float64)
    equals_the_reference(layer, sequence())
    assert ran == ["forward", "backward"]


def test_float32_and_a_batch_of_many_rows(ran):
    layer, x = layer_of("gru").float(), torch.randn(4, 70, I, requires_grad=True)
    equals_the_reference(layer, x)
    assert ran == ["forward", "backward"]


def replaced(layer):
    layer.weight_hh_l0 = torch.nn.Parameter(layer.weight_hh_l0.detach() * 2)


def new_data(layer):
    layer.weight_hh_l0.data = layer.weight_hh_l0.data * 2


def transposed_data(layer):
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.T.contiguous().T


def written(layer):
    layer.bias_ih_l0.data.add_(1)
    layer.weight_ih_l0.detach().numpy()[:] *= 2


def frozen(layer):
    layer.weight_hh_l0.requires_grad_(False)


def another_mode(layer):
    layer.eval()


def another_option(layer):
    layer.zoneout = 0.0
    layer.clip = 0.3


def parametrized(layer):
    torch.nn.utils.parametrizations.spectral_norm(layer, "weight_hh_l0")
    layer.eval()


@pytest.mark.parametrize(
    "change",
    [
        *(replaced, new_data, transposed_data, written, frozen),
        *(another_mode, another_option, parametrized),
    ],
)
def test_a_step_uses_what_has_changed(ran, change):
    layer, x = layer_of(zoneout=0.2), sequence()
    step(layer, x)
    change(layer)
    for _ in range(2):
        equals_the_reference(layer, x)
    assert len(ran) == 6
    duplicate = pickle.loads(pickle.dumps(layer)) if change is not parametrized else layer
    torch.testing.assert_close(step(duplicate, x), step(layer, x))


def test_a_shape_that_has_changed_is_refused():
    layer, x = layer_of(), sequence()
    step(layer, x)
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.view(-1, 2 * H)
    with pytest.raises(ShapeError, match="weight_hh_l0"):
        step(layer, x)


def test_only_gradients_that_are_needed_are_computed(ran):
    layer, x = layer_of(), sequence().detach()
    layer.weight_hh_l0.requires_grad_(False)
    layer(x)[0].sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert layer.weight_ih_l0.grad is not None
    assert ran == ["forward", "backward"]


def test_a_weight_written_before_the_backward_pass_is_refused():
    layer, x = layer_of(), sequence()
    loss = layer(x)[0].sum()
    with torch.no_grad():
        layer.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_results_belong_to_the_caller_and_a_graph_may_be_used_twice():
    layer, x = layer_of("gru"), sequence()
    output, h = layer(x)
    expected = torch.autograd.grad(output.sum() + h.sum(), layer.parameters(), retain_graph=True)
    loss = output.sum() + h.sum()
    with torch.no_grad():
        output.zero_()
        h.zero_()
    layer(sequence())[0].sum().backward()
    again = torch.autograd.grad(loss, layer.parameters())
    torch.testing.assert_close(again, expected)
    output, h = layer(x)
    output[0], h[:] = 1, 2
    h.detach_()
    output.sum().backward()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpoint_runs_it_again(ran, use_reentrant):
    layer, x = layer_of(num_layers=2), sequence()
    y = checkpoint(lambda x: layer(x)[0], x, use_reentrant=use_reentrant)
    ours = torch.autograd.grad(y.sum(), [x]) if not use_reentrant else [y.sum().backward(), x.grad]
    (expected,) = torch.autograd.grad(layer(x)[0].sum(), [x])
    torch.testing.assert_close(ours[-1], expected)
    assert "backward" in ran


def test_saved_arrays_may_be_moved_away_and_back():
    layer, x = layer_of(), sequence()
    expected = step(layer, x)

    def packed(tensor):
        buffer = io.BytesIO()
        torch.save(tensor.detach(), buffer)
        return buffer

    def unpacked(buffer):
        buffer.seek(0)
        return torch.load(buffer)

    with torch.autograd.graph.saved_tensors_hooks(packed, unpacked):
        torch.testing.assert_close(step(layer, x), expected)
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t[:1]),
        pytest.raises(ShapeError, match="expected weight_ih of shape"),
    ):
        step(layer, x)


@pytest.mark.parametrize("cell", ["lstm-peephole", "gru"])
def test_gradients_of_gradients(cell):
    layer = layer_of(cell)
    x = sequence(3, 2)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))

    def penalty(layer):
        (dx,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), [*layer.parameters()], allow_unused=True)

    exact = copy.deepcopy(layer)
    exact.backend = "reference"
    torch.testing.assert_close(penalty(layer), penalty(exact))


@pytest.mark.parametrize("way", ["autocast", "modes", "counter", "func", "states"])
def test_calls_that_plans_do_not_run(ran, way):
    layer, x = layer_of(save="states" if way == "states" else "gates").float(), sequence().float()
    if way == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x)[0].dtype is torch.bfloat16
    elif way == "counter":
        with FlopCounterMode(display=False):
            layer(x)[0].sum().backward()
    elif way == "func":
        torch.func.grad(lambda x: layer(x)[0].sum())(x.detach())
    elif way == "modes":
        layer(x.detach()[:2])
        layer(x, lengths=[5, 2, 1])
    else:
        equals_the_reference(layer, x)
    assert ran == []


class Doubled(tt.Recurrent):
    def _recurrent(self, suffix, x=None):
        return 2 * super()._recurrent(suffix, x)


def test_a_layer_that_computes_in_another_way_does_so(ran):
    torch.manual_seed(0)
    layer = Doubled("lstm", I, H, dtype=torch.float64)
    equals_the_reference(layer, sequence())
    assert ran == []


def test_the_backward_pass_under_a_dispatch_mode():
    layer, x = layer_of(), sequence()
    expected = step(layer, x)[3:]
    output, (h, c) = layer(x)
    loss = sum((r * torch.linspace(-1, 2, r.numel()).view_as(r)).sum() for r in (output, h, c))
    with FlopCounterMode(display=False):
        ours = torch.autograd.grad(loss, [x, *layer.parameters()])
    torch.testing.assert_close(list(ours), expected)


def test_a_swapped_parameter_is_used():
    layer, x = layer_of(), sequence()
    step(layer, x)
    other = {k: (2 * v).detach().requires_grad_() for k, v in layer.named_parameters()}
    ours = torch.func.functional_call(layer, other, (x,))[0]
    exact = copy.deepcopy(layer)
    exact.backend = "reference"
    expected = torch.func.functional_call(exact, other, (x,))[0]
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), [*other.values()]),
        torch.autograd.grad(expected.sum(), [*other.values()]),
    )


def test_threads_do_not_disturb_each_other():
    layer = layer_of("lstm-peephole", num_layers=2)
    xs = [sequence(4 + i, 2) for i in range(4)]
    expected, results = [step(layer, x) for x in xs], [None] * 4

    def work(i):
        for _ in range(10):
            output, (h, c) = layer(xs[i])
            loss = sum(
                (r * torch.linspace(-1, 2, r.numel()).view_as(r)).sum() for r in (output, h, c)
            )
            results[i] = torch.autograd.grad(loss, [xs[i], *layer.parameters()])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(list(ours), theirs[3:])


def test_two_threads_of_the_kernel_give_the_same():
    layer, x = layer_of("gru", batch_first=True), sequence(9, 20)
    expected = step(layer, x)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ours = step(layer, x)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(ours, expected)


def test_a_call_of_more_rows_than_a_chunk_has_is_no_small_one(ran, monkeypatch):
    monkeypatch.setattr(chunks, "_BYTES_OF_A_CHUNK", 0)
    monkeypatch.setattr(chunks, "_FEWEST_ROWS", T * B)
    layer = tt.Recurrent(Mine(), I, H + 1, dtype=torch.float64)
    equals_the_reference(layer, sequence())
    assert ran == ["forward", "backward"]
    equals_the_reference(layer, sequence(T + 1, B))
    assert ran == ["forward", "backward"]


def test_a_refused_call_does_not_end_the_plans(ran):
    layer, x = layer_of(), sequence()
    with pytest.raises(ValueError, match="as the weights are"):
        layer(x.float())
    with torch.device("meta"):
        output, _ = layer(x)
        (ours,) = torch.autograd.grad(output.sum(), x)
    (expected,) = torch.autograd.grad(copy.deepcopy(layer)(x)[0].sum(), x)
    torch.testing.assert_close(ours, expected)
    assert ran == 2 * ["forward", "backward"]


def test_the_plans_do_not_keep_a_layer_alive():
    layer = layer_of()
    step(layer, sequence())
    weight = weakref.ref(layer.weight_hh_l0)
    gc.collect()
    gc.disable()
    try:
        del layer
        assert weight() is None
    finally:
        gc.enable()


def test_layers_of_one_form_share_a_plan_which_ends_with_them():
    layers = [layer_of(), layer_of(forget_bias=1.0)]
    for layer in layers:
        step(layer, sequence())
    plans = {weakref.ref(layer._training._bound.runs[0][0].plan) for layer in layers}
    assert len(plans) == 1
    del layer, layers
    gc.collect()
    assert plans.pop()() is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_calls_without_gradients_that_no_other_plan_runs(ran, mode):
    layer, x = layer_of("gru", bidirectional=True, num_layers=2), sequence().detach()
    exact = copy.deepcopy(layer)
    exact.backend = "reference"
    for _ in range(2):
        with mode():
            torch.testing.assert_close(layer(x), exact(x))
            assert not layer(x)[0].requires_grad
        equals_the_reference(layer, x.clone().requires_grad_())
    assert ran.count("forward") == 24

"""Small calls without gradients: a layer that is called again keeps a plan of its own."""

import copy
import io
import threading

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp.build import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def runs_by_a_plan(layer, x, hx=None):
    """Whether the layer, called again, uses its plan; the outputs are those of other ways."""
    with torch.no_grad():
        layer(x, hx)
        results = layer._small.run(layer, layer.network, x, hx)
        y, last = layer(x, hx)
    exact = copy.deepcopy(layer)
    exact.backend = "reference"
    expected, expected_last = exact(x, hx)
    torch.testing.assert_close(y, expected.detach())
    torch.testing.assert_close(last, expected_last)
    return results is not None


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", ["lstm-peephole", "gru", "lem"])
def test_a_small_call_is_run_by_a_plan(cell, batch_first):
    layer = tt.Recurrent(cell, 3, 7, 2, dtype=torch.float64, batch_first=batch_first)
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    assert runs_by_a_plan(layer, x)
    names = list(layer.state_sizes)
    state = tuple(torch.randn(2, 5 if batch_first else 4, 7).double() for _ in names)
    assert runs_by_a_plan(layer, x, state if len(names) > 1 else state[0])
    assert runs_by_a_plan(layer, x[:, :3], None)


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_a_layer_in_both_directions_goes_its_own_way(merge):
    layer = tt.Recurrent("lstm", 3, 7, 2, bidirectional=True, merge=merge, dtype=torch.float64)
    assert not runs_by_a_plan(layer, torch.randn(5, 2, 3, dtype=torch.float64))


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_of_an_optimizer_is_noticed(fused):
    layer = tt.Recurrent("lstm", 3, 7, 2)
    x, optimizer = torch.randn(5, 2, 3), torch.optim.AdamW(layer.parameters(), fused=fused)
    stream = layer.stream()
    stream.step(x[0])
    stream.reset()
    assert runs_by_a_plan(layer, x)
    layer(x)[0].sum().backward()
    optimizer.step()
    assert runs_by_a_plan(layer, x)
    with torch.no_grad():
        torch.testing.assert_close(stream.step(x[0]), layer(x[:1])[0][0])


def test_results_belong_to_the_caller():
    layer, x = tt.LSTM(3, 5), torch.randn(4, 2, 3)
    with torch.no_grad():
        first = layer(x)
        y, (h, c) = layer(x)
        for value in (y, h, c):
            value.fill_(7)
        again, (h, c) = layer(x)
        torch.testing.assert_close(again, first[0])
        torch.testing.assert_close((h, c), first[1])
        kept = again.clone()
        layer(torch.randn(4, 2, 3))
        assert torch.equal(again, kept)


def test_a_call_uses_weights_states_and_options_that_have_changed():
    layer = tt.Recurrent("lstm", 3, 5, 2, learned_state=True)
    x = torch.randn(4, 2, 3)
    for change in (
        lambda: layer.weight_hh_l1.mul_(2),
        lambda: layer.initial_h_l0.add_(1),
        lambda: setattr(layer, "zoneout", 0.2),
        lambda: layer.eval(),
        lambda: layer.load_state_dict({k: v * 0.5 for k, v in layer.state_dict().items()}),
    ):
        with torch.no_grad():
            layer(x)
            change()
        layer.zoneout = 0.0 if layer.training else layer.zoneout
        assert runs_by_a_plan(layer, x)


def write_data(layer):
    layer.weight_hh_l0.data.neg_()


def write_through_numpy(layer):
    layer.bias_ih_l1.detach().numpy()[:] = 1


def write_into_memory(layer):
    layer.weight_ih_l0.untyped_storage().fill_(0)


def write_by_a_fused_step(layer):
    weights = list(layer.parameters())
    options = {"weight_decay": 0, "momentum": 0, "lr": 1, "dampening": 0}
    options |= {"nesterov": False, "maximize": False, "is_first_step": True}
    torch._fused_sgd_(weights, [torch.ones_like(w) for w in weights], [], **options)


def write_data_again_and_again(layer):
    # Each new tensor may lie where the last but one was.
    for p in layer.parameters():
        for _ in range(2):
            p.data = p.data + 1


def write_into_strided_data(layer):
    weight = torch.randn(28, 7, 2)[..., 0]
    layer.weight_hh_l0 = torch.nn.Parameter(weight)
    with torch.no_grad():
        layer(torch.randn(5, 2, 3))
        layer(torch.randn(5, 2, 3))
    weight[27, 6] += 5


@pytest.mark.parametrize(
    "write",
    [
        *(write_data, write_through_numpy, write_into_memory, write_by_a_fused_step),
        *(write_data_again_and_again, write_into_strided_data),
    ],
)
def test_a_write_that_pytorch_does_not_count_is_noticed(write):
    layer, x = tt.Recurrent("lstm", 3, 7, 2), torch.randn(5, 2, 3)
    assert runs_by_a_plan(layer, x)
    with torch.no_grad():
        write(layer)
        exact = copy.deepcopy(layer)
        exact.backend = "reference"
        torch.testing.assert_close(layer(x), exact(x))
        torch.testing.assert_close(layer.stream().step(x[0]), exact(x)[0][0])
        for _ in range(4):
            layer(x)
    assert runs_by_a_plan(layer, x)


def test_a_shallow_copy_uses_its_own_options_and_weights():
    layer, x = tt.GRU(3, 5, 2), torch.randn(4, 2, 3)
    assert runs_by_a_plan(layer, x)
    other = copy.copy(layer)
    other.residual = True
    assert runs_by_a_plan(other, x)
    other._parameters = {k: torch.nn.Parameter(2 * p) for k, p in layer._parameters.items()}
    with torch.no_grad():
        expected, _ = copy.deepcopy(other)(x)
        layer(x)
        torch.testing.assert_close(other(x)[0], expected)
    assert runs_by_a_plan(layer, x)


def test_a_plan_that_was_made_in_another_mode_goes_on():
    x = torch.randn(4, 2, 3)
    for mode in (torch.inference_mode(), torch.device("meta")):
        layer = tt.LSTM(3, 5)
        stream = layer.stream()
        with mode, torch.no_grad():
            layer(x)
            layer(x)
            first = stream.step(x[0])
        assert layer._small._planned.plan is not None
        assert runs_by_a_plan(layer, x)
        state = stream.state
        stream.state = state
        second = stream.step(x[1])
        stream.reset(torch.tensor([True, False]))
        stream.step(x[2])
        with torch.no_grad():
            torch.testing.assert_close(torch.stack([first, second]), layer(x)[0][:2])


def test_weights_with_a_negative_bit_are_read_right():
    layer = tt.Recurrent("lstm-peephole", 3, 7, 2, learned_state=True)
    for name, p in list(layer._parameters.items()):
        setattr(layer, name, torch.nn.Parameter(torch._neg_view(torch.randn_like(p))))
    assert runs_by_a_plan(layer, torch.randn(5, 2, 3))


class Wrapped(torch.Tensor):
    """A tensor without memory of its own, as those of other libraries for quantised weights."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function, kinds, args=(), kwargs=None):
        if function is torch.ops.aten.detach.default:
            return cls(args[0].inner)
        args = [a.inner if isinstance(a, cls) else a for a in args]
        return function(*args, **(kwargs or {}))


def test_a_weight_without_memory_is_not_read():
    layer, x = tt.GRU(3, 5), torch.randn(4, 2, 3)
    with torch.no_grad():
        expected, _ = layer(x)
        layer.weight_hh_l0 = torch.nn.Parameter(Wrapped(layer.weight_hh_l0.detach()))
        for _ in range(3):
            torch.testing.assert_close(layer(x)[0], expected)
        stream = layer.stream()
        torch.testing.assert_close(stream.step(x[0]), expected[0])
    assert "weight_hh_l0 is a Wrapped on cpu" in str(stream.explain(x[0]))


@pytest.mark.parametrize("name", ["_recurrent", "_weight", "_run"])
def test_a_method_that_a_subclass_overrides_is_called(name):
    def doubled(self, *args):
        value = getattr(tt.Recurrent, name)(self, *args)
        return (2 * value[0], value[1]) if name == "_run" else 2 * value

    layer = type("Doubled", (tt.Recurrent,), {name: doubled})("lstm", 3, 7, 2)
    x = torch.randn(5, 2, 3)
    assert not runs_by_a_plan(layer, x)
    stream = layer.stream()
    # A layer that records gradients may use another kernel, which rounds differently.
    with torch.no_grad():
        assert torch.equal(stream.step(x[0]), layer(x[:1])[0][0])
    assert f"{name} is overridden" in str(stream.explain(x[0]))


def test_large_layers_and_large_batches_get_no_plan():
    for layer, x in (
        (tt.LSTM(3, 400), torch.randn(3, 1, 3)),
        (tt.GRU(3, 5), torch.randn(3, 17, 3)),
    ):
        with torch.no_grad():
            for _ in range(3):
                layer(x)
        assert layer._small._planned is None


def test_weights_that_change_with_each_call_are_not_packed():
    layer, x = tt.LSTM(3, 5), torch.randn(4, 2, 3)
    with torch.no_grad():
        for _ in range(4):
            y, _ = layer(x)
            assert layer._small._planned is None
            torch.testing.assert_close(y, copy.deepcopy(layer)(x)[0])
            layer.weight_hh_l0.mul_(0.9)


def test_a_layer_that_drops_values_draws_them_anew():
    layer = tt.LSTM(3, 32, num_layers=2, dropout=0.5)
    x = torch.randn(4, 2, 3)
    with torch.no_grad():
        outputs = [layer(x)[0] for _ in range(4)]
        assert not any(torch.equal(outputs[0], y) for y in outputs[1:])
        assert layer._small.run(layer, layer.network, x, None) is None
    assert runs_by_a_plan(layer.eval(), x)


def test_calls_with_gradients_lengths_or_few_steps_go_their_own_way():
    layer, x = tt.GRU(3, 5), torch.randn(6, 2, 3)
    with torch.no_grad():
        layer(x)
        layer(x)
        whole, _ = layer(x)
        y, _ = layer(x, lengths=[6, 4])
        assert not y[4:, 1].any()
        assert layer._small.run(layer, layer.network, x[:2], None) is None
        assert layer._small.run(layer, layer.network, torch.randn(6, 17, 3), None) is None
        *_, traced = layer(x, return_trace=True)
        assert traced
    y, _ = layer(x)
    assert y.requires_grad
    torch.testing.assert_close(y.detach(), whole)


def test_wrong_input_is_refused_as_in_any_call():
    layer, x = tt.GRU(3, 5), torch.randn(6, 2, 3)
    with torch.no_grad():
        layer(x)
        layer(x)
        with pytest.raises(ValueError, match=r"expected x of torch\.float32"):
            layer(x.double())
        with pytest.raises(tt.checks.ShapeError):
            layer(torch.randn(6, 2, 4))
        with pytest.raises(tt.checks.ShapeError):
            layer(x, torch.zeros(1, 3, 5))
        with pytest.raises(TypeError):
            layer(x, "zeros")
        with pytest.raises(ValueError, match=r"expected 1 initial state"):
            layer(x, (None, None))
        with pytest.raises(ValueError, match="initial state h as a tensor"):
            layer(x, (None,))


def test_a_copied_or_saved_layer_makes_a_plan_of_its_own():
    layer, x = tt.LSTM(3, 5), torch.randn(6, 2, 3)
    assert runs_by_a_plan(layer, x)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        with torch.no_grad():
            other.weight_hh_l0.mul_(3)
        assert runs_by_a_plan(other, x)
    assert runs_by_a_plan(layer, x)


def test_threads_that_share_a_layer_do_not_disturb_each_other():
    layer = tt.LSTM(8, 16, num_layers=2).eval()
    inputs = [torch.randn(20, 2, 8) for _ in range(3)]
    with torch.no_grad():
        expected = [layer(x)[0] for x in inputs]
    failures = []

    def run(i):
        with torch.no_grad():
            for _ in range(30):
                if not torch.allclose(layer(inputs[i])[0], expected[i], atol=1e-5):
                    failures.append(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures

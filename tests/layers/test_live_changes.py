"""What a plan of a stream must notice: changes of the layer, and what must see each operation."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import throughtime as tt
from throughtime.kernels.cpp.build import missing
from throughtime.layers.evaluation import with_gradients
from throughtime.models import LanguageModel

from .streams import is_planned, stepped

# Without a compiler there are no kernels to test.
pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


def change_in_place(layer):
    with torch.no_grad():
        layer.weight_hh_l0.mul_(2)


def change_data(layer):
    layer.bias_ih_l0.data = layer.bias_ih_l0.data + 1


def change_parameter(layer):
    layer.weight_ih_l0 = nn.Parameter(layer.weight_ih_l0.detach() * 3)


def change_loaded(layer):
    layer.load_state_dict({k: v * 0.5 for k, v in layer.state_dict().items()})


def change_option(layer):
    layer.zoneout = 0.3


def change_residual(layer):
    layer.residual = True


@pytest.mark.parametrize(
    "change",
    [change_in_place, change_data, change_parameter, change_loaded, change_option, change_residual],
)
def test_the_next_step_uses_what_has_changed(change):
    layer = tt.Recurrent("lstm", 4, 8, 2, dtype=torch.float64)
    x = torch.randn(6, 2, 4, dtype=torch.float64)
    stream = layer.stream()
    stepped(stream, x[:3])
    state = layer(x[:3])[1]
    change(layer)
    y = stepped(stream, x[3:])
    assert is_planned(stream, x[0])
    torch.testing.assert_close(y, layer.eval()(x[3:], state)[0])


class Leaky(tt.Cell):
    gates, states = ("h",), ("h",)

    def __init__(self, rate=0.5):
        self.rate = rate

    def step(self, x, W, R, s, p):
        return {"h": (1 - self.rate) * s.h + self.rate * torch.tanh(W.h(x) + R.h(s.h))}


def test_a_constant_of_the_cell_that_changes_is_used():
    layer, x = tt.Recurrent(Leaky(), 4, 8), torch.randn(6, 1, 4)
    stream = layer.stream()
    stepped(stream, x[:3])
    state = layer(x[:3])[1]
    layer.cell.rate = 0.25
    torch.testing.assert_close(stepped(stream, x[3:]), layer(x[3:], state)[0])
    assert is_planned(stream, x[0])


def test_weights_of_another_dtype_or_shape_are_refused_as_by_the_layer():
    layer = tt.LSTM(4, 8)
    stream, x = layer.stream(), torch.randn(2, 4)
    stream.step(x)
    layer.double()
    with pytest.raises(ValueError, match=r"expected x of torch\.float64 as the weights are"):
        stream.step(x)
    with pytest.raises(ValueError, match=r"initial state h of torch\.float64"):
        stream.step(x.double())


def test_a_hook_is_called_and_the_state_goes_on():
    layer, x, calls = tt.GRU(4, 8), torch.randn(6, 2, 4), []
    stream = layer.stream()
    y = [*stepped(stream, x[:2])]
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    assert "a hook is registered" in str(stream.explain(x[2]))
    y += [*stepped(stream, x[2:4])]
    hook.remove()
    y += [*stepped(stream, x[4:])]
    assert len(calls) == 2
    assert is_planned(stream, x[0])
    torch.testing.assert_close(torch.stack(y), layer(x)[0])


class Listening(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_what_must_see_each_operation_sees_it():
    layer, x = tt.LSTM(4, 8), torch.randn(2, 4)
    stream = layer.stream()
    stream.step(x)
    with Listening() as mode:
        assert "a dispatch mode must see each operation" in str(stream.explain(x))
        mode.count = 0
        stream.step(x)
    assert mode.count > 3
    with torch.autocast("cpu", torch.bfloat16):
        assert "autocast is on" in str(stream.explain(x))
    with with_gradients():
        assert stream.step(x).requires_grad
    many = torch.randn(3, 2, 4)
    y = torch.func.vmap(lambda v: layer.stream().step(v))(many)
    torch.testing.assert_close(y, torch.stack([layer.stream().step(v) for v in many]))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: tt.LSTM(4, 8, backend="reference"), 'backend="reference" is set'),
        (lambda: tt.LSTM(4, 8, dtype=torch.float16), "x is of float16"),
        (
            lambda: nn.utils.parametrizations.weight_norm(tt.LSTM(4, 8), "weight_hh_l0"),
            "weight_hh_l0 is computed anew",
        ),
    ],
    ids=["backend", "dtype", "parametrization"],
)
def test_a_plan_refuses_with_the_reason_and_the_module_runs(make, why):
    layer = make()
    x = torch.randn(5, 2, 4, dtype=layer.dtype)
    stream = layer.stream()
    y = stepped(stream, x)
    assert stream.explain(x[0]).backend == "module"
    assert why in str(stream.explain(x[0]))
    with torch.no_grad():
        torch.testing.assert_close(y, layer(x)[0], rtol=2e-3, atol=2e-3)


class Doubled(tt.Recurrent):
    def forward(self, *args, **kwargs):
        output, state = super().forward(*args, **kwargs)
        return 2 * output, state


class Untraced(tt.Cell):
    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        if s.h.sum() > 1e9:
            return {"h": s.h}
        return {"h": torch.tanh(W.h(x) + R.h(s.h))}


@pytest.mark.filterwarnings("ignore:.*step by step")
def test_a_layer_that_is_more_than_its_parts_is_called():
    for layer in (Doubled("gru", 4, 8), tt.Recurrent(Untraced(), 4, 8)):
        x = torch.randn(5, 2, 4)
        stream = layer.stream()
        torch.testing.assert_close(stepped(stream, x), layer(x)[0])
        assert not is_planned(stream, x[0])


@pytest.mark.parametrize("tied", [False, True])
def test_the_parts_of_a_model_that_change_are_used(tied):
    model = LanguageModel(11, hidden_size=9, tied=tied).eval()
    tokens = torch.randint(11, (1, 4))
    stream = model.stream()
    stream.read(tokens)
    with torch.no_grad():
        model.embedding.weight.mul_(2)
    state = stream.state
    torch.testing.assert_close(stream.read(tokens), model(tokens, state)[0])
    state = stream.state
    model.scores = nn.Linear(9, 5)
    y = stream.read(tokens)
    assert y.shape == (1, 4, 5)
    assert is_planned(stream, tokens[:, 0])
    torch.testing.assert_close(y, model(tokens, state)[0])


def patched(part):
    forward = part.forward
    part.forward = lambda *args: 2 * forward(*args)


CHANGES_OF_A_MODEL = {
    "the forward of a part is overridden": lambda m: patched(m.scores),
    "forward of a part is overridden": lambda m: patched(m.embedding),
    "the dropout is another module": lambda m: patched(m.dropout),
    "the dropout is another": lambda m: setattr(m, "dropout", nn.LayerNorm(9)),
    "max_norm": lambda m: setattr(m.embedding, "max_norm", 0.5),
    "the embedding is a Doubling": lambda m: setattr(m.embedding, "__class__", Doubling),
    "forward is overridden": lambda m: setattr(m, "forward", lambda *a: (torch.ones(2, 6, 11), a)),
}


class Doubling(nn.Embedding):
    def forward(self, input):
        return 2 * super().forward(input)


@pytest.mark.parametrize("is_later", [False, True])
@pytest.mark.parametrize("why", CHANGES_OF_A_MODEL)
def test_a_model_with_a_changed_part_is_called(why, is_later):
    model, tokens = LanguageModel(11, hidden_size=9).eval(), torch.randint(11, (2, 6))
    stream = model.stream()
    if is_later:
        stream.read(tokens)
        stream.reset()
    CHANGES_OF_A_MODEL[why](model)
    y = stream.read(tokens)
    assert why in str(stream.explain(tokens[:, 0]))
    assert torch.equal(y, model(tokens)[0])


def test_a_forward_that_is_replaced_later_is_called():
    layer, x = tt.GRU(4, 8), torch.randn(2, 4)
    for replace in (
        lambda patch: patch.setattr(layer, "forward", lambda x, h: (0 * x, h)),
        lambda patch: patch.setattr(tt.Recurrent, "forward", lambda self, x, h: (0 * x, h)),
    ):
        stream = layer.stream()
        stream.step(x)
        with pytest.MonkeyPatch.context() as patch:
            replace(patch)
            assert not stream.step(x).any()


@pytest.mark.parametrize("name", ["embedding", "scores", "recurrent"])
def test_a_sequence_begins_with_the_bytes_that_the_weights_have(name):
    model, tokens = LanguageModel(11, hidden_size=9).eval(), torch.randint(11, (2, 6))
    stream = model.stream()
    stream.read(tokens)
    next(getattr(model, name).parameters()).data.mul_(3)
    other = model.stream()
    stream.reset()
    for each in (stream, other):
        torch.testing.assert_close(each.read(tokens), model(tokens)[0])
        assert is_planned(each, tokens[:, 0])


def test_a_state_does_not_fit_layers_of_another_size():
    model, tokens = LanguageModel(11, hidden_size=9, num_layers=1), torch.randint(11, (2, 6))
    stream = model.stream()
    stream.read(tokens)
    model.recurrent = tt.Recurrent("lstm", 11, 12, 1, batch_first=True)
    model.scores = nn.Linear(12, 11)
    with pytest.raises(tt.checks.ShapeError, match="initial state h"):
        stream.read(tokens)


def test_a_model_with_other_recurrent_layers_is_called():
    model, tokens = LanguageModel(11, hidden_size=9).eval(), torch.randint(11, (2, 6))
    model.recurrent = nn.LSTM(11, 9, 2, batch_first=True)
    torch.testing.assert_close(model.stream().read(tokens), model(tokens)[0])


def test_a_state_goes_on_in_the_dtype_of_the_weights():
    layer, x = tt.LSTM(4, 8), torch.randn(3, 2, 4, dtype=torch.float64)
    stream = layer.stream()
    _, state = stream.advance(x[0].float(), None)
    layer.double()
    state = tuple(part.double() + 1e-10 for part in state)
    for v in x[1:]:
        expected, _ = layer(v.unsqueeze(0), state)
        y, state = stream.advance(v, state)
        torch.testing.assert_close(y, expected.squeeze(0).detach())


def test_a_state_keeps_its_graph_where_gradients_are_recorded():
    layer, x = tt.GRU(4, 8, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    stream = layer.stream()
    _, state = stream.advance(x[0], None)
    state = (2 * state).requires_grad_()
    with with_gradients():
        y, _ = stream.advance(x[1], state)
    (ours,) = torch.autograd.grad(y.sum(), state)
    (expected,) = torch.autograd.grad(layer(x[1:], state)[0].sum(), state)
    torch.testing.assert_close(ours, expected)

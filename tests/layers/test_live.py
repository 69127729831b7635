"""Streams that run by a compiled plan: the steps of every cell, and what a plan must notice."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import throughtime as tt
from throughtime import cells
from throughtime.kernels.cpp.build import missing
from throughtime.layers.evaluation import with_gradients
from throughtime.layers.stream import Stream
from throughtime.models import LanguageModel

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))
CELLS = ("lstm-peephole", "gru", "lem", "lstm-layer-norm", "gru-reset-before", "qrnn")


def drawn(layer):
    """The layer with larger weights than it begins with, so that no term is negligible."""
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn_like(p) * 0.3)
    return layer


def further(cell, T, B, H, dtype=torch.float64):
    specs = cells.get(cell).given_inputs
    return {k: torch.rand(T, B, s.size or H, dtype=dtype).cumsum(0) for k, s in specs.items()}


def stepped(stream, x, inputs=None):
    given = inputs or {}
    steps = [stream.step(v, {k: u[t] for k, u in given.items()} or None) for t, v in enumerate(x)]
    return torch.stack(steps)


def is_planned(stream, x, inputs=None):
    return stream.explain(x, inputs).backend == "plan"


def assert_whole(layer, x, inputs=None, **tolerance):
    """The stream of a layer, by a plan, equals one call of the same layer by the reference."""
    stream = layer.stream()
    y = stepped(stream, x, inputs)
    first = {k: u[0] for k, u in (inputs or {}).items()} or None
    assert is_planned(stream, x[0], first), stream.explain(x[0], first)
    exact = copy.deepcopy(layer).eval()
    exact.backend = "reference"
    with torch.no_grad():
        whole, last = exact(x, inputs=inputs)
    torch.testing.assert_close(y, whole, **tolerance)
    states = stream.state
    torch.testing.assert_close(states, last, **tolerance)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("H", "B"), [(6, 1), (16, 3), (33, 5)])
def test_a_plan_computes_what_the_reference_does(cell, H, B):
    assert_whole(
        drawn(tt.Recurrent(cell, 3, H, 3, dtype=torch.float64)), torch.randn(7, B, 3).double()
    )


@pytest.mark.slow
@pytest.mark.parametrize("cell", cells.names())
def test_a_plan_runs_every_cell(cell):
    layer = drawn(tt.Recurrent(cell, 5, 5, 2, dtype=torch.float64))
    x = torch.randn(7, 3, 5, dtype=torch.float64)
    assert_whole(layer, x, further(cell, 7, 3, 5) or None)


@pytest.mark.parametrize(
    "options",
    [
        {"bias": False},
        {"zoneout": 0.2, "dropout": 0.4},
        {"recurrent_dropout": 0.3, "weight_drop": 0.3},
        {"residual": True},
        {"learned_state": True},
        {"proj_size": 3},
        {"proj_size": 3, "residual": True},
        {"activations": {"tanh": "relu"}, "clip": 0.5},
        {"locked_dropout": True, "dropout": 0.3, "learned_state": True, "residual": True},
    ],
    ids=lambda options: " ".join(options),
)
def test_a_plan_applies_the_options_of_evaluation(options):
    layer = drawn(tt.Recurrent("lstm", 4, 9, 3, dtype=torch.float64, **options)).train()
    assert_whole(layer, torch.randn(6, 2, 4).double())
    assert layer.training


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 0.05)],
)
def test_a_plan_computes_in_the_dtype_of_the_layer(dtype, tolerance):
    layer = tt.Recurrent("lstm", 5, 20, 2, dtype=dtype)
    x = torch.randn(6, 2, 5, dtype=dtype)
    assert layer.stream().step(x[0]).dtype is dtype
    assert_whole(layer, x, rtol=tolerance, atol=tolerance)


def test_further_inputs_reach_the_plan_in_pieces_and_steps():
    layer = drawn(tt.Recurrent("lstm-phased", 3, 5, 2, dtype=torch.float64, batch_first=True))
    x, inputs = torch.randn(2, 9, 3).double(), further("lstm-phased", 9, 2, 5)
    inputs = {k: v.transpose(0, 1) for k, v in inputs.items()}
    stream = layer.stream()
    first = stream.read(x[:, :4], {k: v[:, :4] for k, v in inputs.items()})
    step = stream.step(x[:, 4], {k: v[:, 4] for k, v in inputs.items()})
    assert is_planned(stream, x[:, 5], {k: v[:, 5] for k, v in inputs.items()})
    whole, _ = layer(x, inputs=inputs)
    torch.testing.assert_close(torch.cat([first, step.unsqueeze(1)], 1), whole[:, :5])
    with pytest.raises(ValueError, match="time"):
        stream.step(x[:, 5])
    with pytest.raises(ValueError, match="unknown input"):
        stream.step(x[:, 5], {"times": inputs["time"][:, 5]})


def test_inputs_of_any_memory_layout_are_read_right():
    layer = tt.GRU(4, 6)
    x = torch.randn(2, 4)
    expected = layer.stream().step(x)
    strided = torch.randn(4, 2).copy_(x.T).T
    negative = torch._neg_view(-x)
    for other in (strided, negative, nn.Parameter(x), x.clone().requires_grad_()):
        stream = layer.stream()
        y = stream.step(other)
        assert is_planned(stream, other)
        assert torch.equal(y, expected)
        assert not y.requires_grad


# What changes while a stream runs.


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


# The state.


def test_a_state_that_the_caller_changes_is_the_one_that_goes_on():
    layer = tt.LSTM(4, 8, num_layers=2)
    x = torch.randn(2, 2, 4)
    stream = layer.stream()
    stream.step(x[0])
    for state in stream.state:
        state.zero_()
    assert torch.equal(stream.step(x[1]), layer.stream().step(x[1]))
    assert is_planned(stream, x[1])


def test_a_fork_by_a_plan_goes_its_own_way():
    layer = tt.Recurrent("lstm-peephole", 4, 8, 2)
    x = torch.randn(9, 2, 4)
    stream = layer.stream()
    stepped(stream, x[:3])
    fork = stream.fork()
    stepped(fork, torch.randn(4, 2, 4))
    torch.testing.assert_close(stepped(stream, x[3:]), layer(x)[0][3:])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_of_a_stream_goes_on(duplicate):
    layer = tt.GRU(4, 8)
    x = torch.randn(6, 2, 4)
    stream = layer.stream()
    stepped(stream, x[:3])
    other = duplicate(stream)
    expected = stepped(stream, x[3:])
    assert torch.equal(stepped(other, x[3:]), expected)
    assert is_planned(other, x[0])


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_single_rows_are_reset(backend):
    layer = drawn(tt.Recurrent("lstm", 4, 8, 2, learned_state=True, backend=backend))
    x = torch.randn(7, 3, 4)
    stream = layer.stream()
    y = stepped(stream, x[:4])
    stream.reset(torch.tensor([False, True, False]))
    y = torch.cat([y, stepped(stream, x[4:])])
    resets = torch.zeros(7, 3, dtype=torch.bool)
    resets[4, 1] = True
    torch.testing.assert_close(y, layer(x, resets=resets)[0])


def test_a_reset_of_rows_that_do_not_exist_is_refused():
    stream = tt.GRU(4, 8).stream()
    stream.reset(torch.tensor([True]))  # There is no state yet, so nothing to reset.
    stream.step(torch.randn(2, 4))
    for wrong in (torch.tensor([True]), torch.tensor([0, 1]), [True, False]):
        with pytest.raises(ValueError, match=r"mask of torch.bool with the shape \(2,\)"):
            stream.reset(wrong)


def test_a_state_saved_by_a_plan_is_read_by_the_reference(tmp_path):
    layer, x = tt.LSTM(4, 8, num_layers=2), torch.randn(6, 2, 4)
    stream = layer.stream()
    stepped(stream, x[:3])
    stream.save(tmp_path / "state")
    slow = copy.deepcopy(layer)
    slow.backend = "reference"
    other = slow.stream()
    other.load(tmp_path / "state")
    torch.testing.assert_close(stepped(other, x[3:]), stepped(stream, x[3:]))


# Wrong and unusual input.


def test_wrong_input_is_refused_and_the_stream_goes_on():
    layer, x = tt.GRU(4, 8), torch.randn(6, 2, 4)
    stream = layer.stream()
    y = [*stepped(stream, x[:3])]
    for wrong, message in (
        (x[0].double(), "expected x of torch.float32"),
        (torch.randn(2, 5), "expected x of shape"),
        (torch.randn(3, 4), "initial state h of shape"),
        (torch.randn(2, 4, device="meta"), "device|meta"),
        (torch.randn(0, 4), "state|batch"),
    ):
        with pytest.raises((ValueError, RuntimeError), match=message):
            stream.step(wrong)
    y += [*stepped(stream, x[3:])]
    torch.testing.assert_close(torch.stack(y), layer(x)[0])


def test_nan_stays_in_its_row():
    layer, x = tt.LSTM(4, 8, num_layers=2), torch.randn(5, 2, 4)
    x[1, 0, 2] = float("nan")
    y = stepped(layer.stream(), x)
    assert y[1:, 0].isnan().all()
    torch.testing.assert_close(y[:, 1], layer(x)[0][:, 1])


@pytest.mark.parametrize(("T", "B"), [(65, 1), (1, 17), (64, 16)])
def test_long_pieces_and_large_batches_go_the_way_of_the_layer(T, B):
    layer = tt.Recurrent("gru", 3, 5, 2, dtype=torch.float64)
    x = torch.randn(3 * T, B, 3, dtype=torch.float64)
    stream = layer.stream()
    y = torch.cat([stream.read(part) for part in x.split([T, 2 * T - 1, 1])])
    torch.testing.assert_close(y, layer(x)[0])


def test_the_packed_weights_are_freed_with_the_last_stream():
    layer, x = tt.GRU(4, 8), torch.randn(2, 4)
    first, second = layer.stream(), layer.stream()
    first.step(x)
    second.step(x)
    assert first._live._planned is second._live._planned
    plan = weakref.ref(first._live._planned)
    del first, second
    gc.collect()
    assert plan() is None


# Language models.


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_language_model_runs_by_a_plan(one_hot):
    options = {"dropout": 0.3, "residual": True, "one_hot": one_hot}
    model = LanguageModel(11, hidden_size=9, num_layers=2, **options).train()
    tokens = torch.randint(11, (2, 8))
    stream = model.stream()
    scores = torch.stack([stream.step(token) for token in tokens.unbind(1)], 1)
    assert is_planned(stream, tokens[:, 0])
    assert model.training
    torch.testing.assert_close(scores, model.eval()(tokens)[0])
    other = model.stream()
    pieces = [other.read(part) for part in tokens.split([1, 5, 2], 1)]
    torch.testing.assert_close(torch.cat(pieces, 1), scores)


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


def test_tokens_outside_the_vocabulary_are_refused_before_any_step():
    model = LanguageModel(11, hidden_size=9)
    tokens = torch.randint(11, (1, 5))
    stream = model.stream()
    stream.step(tokens[:, 0])
    for wrong in (11, -1):
        with pytest.raises(IndexError):
            stream.read(torch.tensor([[3, wrong]]))
    torch.testing.assert_close(stream.read(tokens[:, 1:]), model.eval()(tokens)[0][:, 1:])


# Smaller weights.


@pytest.mark.parametrize(("weights", "tolerance"), [("bfloat16", 6e-3), ("int8", 2e-2)])
@pytest.mark.parametrize("cell", ["lstm-peephole", "gru-reset-before"])
def test_smaller_weights_lose_little(cell, weights, tolerance):
    layer = tt.Recurrent(cell, 5, 37, 2)
    x = torch.randn(12, 2, 5)
    stream = layer.stream(weights=weights)
    y = stepped(stream, x)
    whole = layer(x)[0]
    error = (y - whole).norm() / whole.norm()
    assert 1e-6 < error < tolerance
    assert is_planned(stream, x[0])
    fork = stream.fork()
    assert torch.equal(fork.step(x[0]), stream.step(x[0]))


def test_int8_weights_are_those_that_rounding_gives():
    layer = tt.Recurrent("lstm-fgr", 3, 20, 2)
    x = torch.randn(6, 1, 3)
    rounded = copy.deepcopy(layer)
    blocks = len(layer.cell.recurrent_block_names)
    with torch.no_grad():
        for name, weight in rounded.named_parameters():
            if not name.startswith("weight"):
                continue
            rows = weight.abs().amax(1)
            if name.startswith("weight_hh"):
                # All blocks that add to one gate share a scale: z, i, f, o and their like.
                rows = scales_of_sums(layer.cell, rows.view(blocks, 20)).view(-1)
            scale = (rows / 127).unsqueeze(1)
            weight.copy_((weight / scale).round() * scale)
    y = stepped(layer.stream(weights="int8"), x)
    torch.testing.assert_close(y, rounded(x)[0], rtol=1e-4, atol=1e-5)


def scales_of_sums(cell, largest):
    """The largest weight of each unit in all blocks that add to one slot of the program."""
    from throughtime.kernels.graph.program import program

    names, result = cell.recurrent_block_names, largest.clone()
    for slot in program(cell).slots:
        places = [names.index(block) for _, block in slot.pairs]
        result[places] = largest[places].amax(0)
    return result


def test_smaller_weights_follow_changes_and_keep_nan():
    layer, x = tt.LSTM(4, 32), torch.randn(2, 4)
    stream = layer.stream(weights="int8")
    stream.step(x)
    with torch.no_grad():
        layer.weight_hh_l0[3, 5] = float("nan")
        layer.weight_ih_l0[0] = 0
    assert stream.step(x).isnan().any()


def test_long_pieces_and_large_batches_keep_the_smaller_weights():
    layer = tt.GRU(4, 32)
    for T, B in ((150, 1), (2, 40)):
        x = torch.randn(T, B, 4)
        whole = layer.stream(weights="int8").read(x)
        torch.testing.assert_close(whole, stepped(layer.stream(weights="int8"), x))
        assert not torch.allclose(whole, layer(x)[0], atol=1e-6)


def test_smaller_weights_are_refused_where_no_plan_runs():
    with pytest.raises(ValueError, match=r"unknown weights .*int4.*int8"):
        tt.GRU(4, 8).stream(weights="int4")
    with pytest.raises(ValueError, match=r"needs a compiled plan, and a MatrixLSTM has none"):
        Stream(tt.layers.MatrixLSTM(4, 8), False, None, "int8")
    with pytest.raises(ValueError, match=r'weights="int8" needs a layer of float32'):
        tt.GRU(4, 8, dtype=torch.float64).stream(weights="int8").step(torch.randn(1, 4).double())
    stream = tt.GRU(4, 8).stream(weights="int8")
    with pytest.raises(
        ValueError, match=r'weights="int8" cannot run this: x has the shape \(2, 5\)'
    ):
        stream.step(torch.randn(2, 5))
    with pytest.raises(ValueError, match="a token has no embedding"):
        LanguageModel(11, hidden_size=9).stream(weights="int8").step(torch.tensor([11]))


def test_a_language_model_with_int8_weights():
    model, tokens = LanguageModel(11, hidden_size=33).eval(), torch.randint(11, (2, 6))
    scores = model.stream(weights="int8").read(tokens)
    torch.testing.assert_close(scores, model(tokens)[0], rtol=0.1, atol=0.02)

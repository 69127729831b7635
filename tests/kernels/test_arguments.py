"""The operators called without a layer refuse tensors that do not fit, instead of reading them."""

import pytest
import torch

import throughtime as tt
from throughtime.checks import ShapeError
from throughtime.kernels.cpp import backend as cpp
from throughtime.kernels.cpp.build import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))

T, B, I, H = 5, 2, 3, 4
# The places of the arguments of the forward operator; its signature is in operators.py.
X, IH, HH, BIAS_IH, BIAS_HH, PARAMETERS, STATE, INPUTS, LENGTHS, RESETS, SEED, CELL = range(12)
FORWARD = torch.ops.throughtime.recurrence.default
BACKWARD = torch.ops.throughtime.recurrence_backward.default


def arguments(cell="lstm-peephole", save="nothing"):
    """The arguments of a valid call."""
    layer = tt.Recurrent(cell, I, H)
    w = layer._weights("_l0")
    matrices = [m if m is None else m.detach() for m in (w.weight_ih, w.weight_hh)]
    biases = [b.detach() for b in (w.bias_ih, w.bias_hh)]
    own = [p.detach() for p in w.parameters.values()]
    state = [torch.randn(B, H) for _ in layer.cell.state_specs]
    inputs = [torch.rand(T, B, H) for _ in layer.cell.given_inputs]
    call = [torch.randn(T, B, I), *matrices, *biases, own, state, inputs]
    call += [torch.tensor([T, 3]), torch.zeros(T, B, dtype=torch.bool), None]
    return [*call, cpp.identity(layer.cell), False, save]


def changed(call, place, value):
    """The arguments with one replaced; of a list, its last element is replaced."""
    call = list(call)
    call[place] = [*call[place][:-1], value] if isinstance(call[place], list) else value
    return call


def of(call, place):
    return call[place][-1] if isinstance(call[place], list) else call[place]


NAMES = {
    IH: "weight_ih",
    HH: "weight_hh",
    BIAS_IH: "bias_ih",
    BIAS_HH: "bias_hh",
    PARAMETERS: "p_o",
    STATE: "the state c",
    LENGTHS: "lengths",
    RESETS: "resets",
}


def test_the_arguments_of_these_tests_run():
    output, h, c = FORWARD(*arguments())
    assert output.shape == (T, B, H)
    assert h.shape == c.shape == (B, H)


@pytest.mark.parametrize("place", NAMES, ids=NAMES.values())
def test_another_type_shape_or_device_is_refused(place):
    call, name = arguments(), NAMES[place]
    value = of(call, place)
    others = [
        *(value.to(t) for t in (torch.float64, torch.bfloat16, torch.int32)),
        value.unsqueeze(0),
        value.flatten()[:1].view((1,) * value.dim()),
        value.new_zeros(*value.shape[:-1], 0),
        torch.cat([value, value[:1]]),
    ]
    for other in others:
        # The number of units follows from the rows of weight_ih.
        match = None if place == IH else f"throughtime.recurrence of lstm-peephole: .*{name} of"
        with pytest.raises(ValueError, match=match):
            FORWARD(*changed(call, place, other))
    with pytest.raises(ValueError, match=f"x and {name} are not at the same device"):
        FORWARD(*changed(call, place, value.to("meta")))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.randn(T, I), ShapeError, r"expected x of shape \(T, B, I\), got \(5, 3\)"),
        (torch.randn(T, B, I).long(), ValueError, r"expected x of one of the types .*int64"),
        (torch.randn(T, B, I).half(), ValueError, r"expected x of one of the types .*float16"),
        (torch.randn(T, B, I).double(), ValueError, r"expected weight_ih of torch\.float64"),
        (torch.randn(T, B, I + 1), ShapeError, r"expected weight_ih of shape \(16, 4\)"),
        (torch.randn(T, B + 1, I), ShapeError, r"expected the state h of shape \(3, 4\)"),
        (torch.randn(T, B, I).to("meta"), ValueError, "not at the same device"),
    ],
)
def test_another_x_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        FORWARD(*changed(arguments(), X, x))


@pytest.mark.parametrize(
    ("cell", "place", "value", "message"),
    [
        ("lstm-peephole", HH, None, "expected a weight_hh where the cell has blocks"),
        ("ind-rnn", HH, torch.randn(H, H), "expected a weight_hh where the cell has blocks"),
        ("lstm-peephole", BIAS_IH, None, "expected a bias_ih beside bias_hh"),
        ("lstm-peephole", STATE, [torch.zeros(B, H)], "expected one tensor for each state"),
        ("gru-d", INPUTS, [], "expected one tensor for each input"),
    ],
)
def test_what_is_missing_or_too_much_is_refused(cell, place, value, message):
    call = arguments(cell) if cell != "ind-rnn" else without_recurrence()
    call[place] = value
    with pytest.raises(ValueError, match=message):
        FORWARD(*call)


def without_recurrence():
    layer = tt.Recurrent("ind-rnn", I, H)
    w = layer._weights("_l0")
    own = [p.detach() for p in w.parameters.values()]
    call = [torch.randn(T, B, I), w.weight_ih.detach(), None, w.bias_ih.detach(), None, own]
    call += [[torch.zeros(B, H)], [], None, None, None]
    return [*call, cpp.identity(layer.cell), False, "nothing"]


def test_numbers_are_not_drawn_without_a_seed():
    layer = tt.Recurrent("lstm-peephole", I, H, zoneout=0.1)
    call = arguments()
    call[CELL] = cpp.identity(layer.equations)
    with pytest.raises(ValueError, match="expected a seed, as the cell draws numbers"):
        FORWARD(*call)
    call[SEED] = torch.tensor(3)
    assert FORWARD(*call)[0].shape == (T, B, H)


@pytest.mark.parametrize("lengths", [[T + 1, 1], [T, -1], [T + 1000, 2]])
def test_lengths_beyond_the_sequence_are_refused(lengths):
    """Inside torch.compile and torch.export the layer cannot read the lengths to refuse them."""
    call = changed(arguments(), LENGTHS, torch.tensor(lengths))
    with pytest.raises(ValueError, match=f"expected lengths from 0 to {T}"):
        FORWARD(*call)
    layer, x = tt.Recurrent("gru", I, H), torch.randn(T, B, I)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with torch.no_grad(), pytest.raises(ValueError, match=f"expected lengths from 0 to {T}"):
        compiled(x, lengths=torch.tensor(lengths))
    torch._dynamo.reset()


# The backward operator.


@pytest.mark.parametrize("save", ["gates", "states"])
def test_the_backward_operator_checks_what_it_is_given(save):
    call = arguments(save=save)
    output, _, _, *kept = FORWARD(*call)
    d_last = [torch.randn(B, H), None]
    rest = [output, kept, torch.randn(T, B, H), d_last, True]
    gradients = BACKWARD(*call, *rest)
    assert [g.shape for g in gradients[:3]] == [(T, B, I), (4 * H, I), (4 * H, H)]
    for place, name in ((0, "output"), (2, "d_output")):
        for other in (rest[place].double(), rest[place][:1], rest[place].to("meta")):
            with pytest.raises(ValueError, match=f"{name} (of|are)"):
                BACKWARD(*call, *[other if i == place else v for i, v in enumerate(rest)])
    with pytest.raises(ShapeError, match=r"expected d_last of shape \(2, 4\)"):
        BACKWARD(*call, *rest[:3], [torch.randn(1, H), None], True)
    for i, array in enumerate(kept):
        for other in (array[:, :1], array.double(), array.to("meta")):
            mixed = [other if j == i else a for j, a in enumerate(kept)]
            with pytest.raises(ValueError, match=r"of shape|of torch|same device"):
                BACKWARD(*call, output, mixed, *rest[2:])
    with pytest.raises(ValueError, match=r"expected weight_hh of torch\.float32"):
        BACKWARD(*changed(call, HH, call[HH].double()), *rest)


def test_on_meta_the_operators_give_shapes():
    call = arguments(save="gates")
    output, *others = FORWARD(*call)

    def on_meta(values):
        if isinstance(values, list):
            return [on_meta(v) for v in values]
        return values.to("meta") if isinstance(values, torch.Tensor) else values

    fakes = FORWARD(*on_meta(call))
    assert [v.shape for v in fakes] == [v.shape for v in (output, *others)]
    assert all(v.is_meta for v in fakes)
    rest = [output, others[2:], torch.randn(T, B, H), [None, None], True]
    gradients = BACKWARD(*on_meta(call), *on_meta(rest))
    assert [g.shape for g in gradients] == [g.shape for g in BACKWARD(*call, *rest)]
    assert all(g.is_meta for g in gradients)

"""Invalid options and inputs: their refusals and error messages."""

import pytest
import torch

import throughtime as tt
from throughtime.cells.cell import Input, State
from throughtime.checks import ShapeError

I, H, T, B = 2, 3, 4, 2
NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zoneout": {"k": 0.1}}, r'unknown state in zoneout "k".*Known: h, c\.'),
        ({"zoneout": {"cc": 0.1}}, r'unknown state in zoneout "cc"; did you mean "c"\?'),
        ({"zoneout": "h"}, "expected zoneout as a probability from 0 to below 1, got 'h'"),
        ({"zoneout": None}, "expected zoneout as a probability from 0 to below 1, got None"),
        ({"clip": 0}, r"expected clip as a number above 0, got 0\."),
        ({"clip": -1.0}, r"expected clip as a number above 0, got -1\.0\."),
        ({"clip": NAN}, r"expected clip as a number above 0, got nan\."),
        ({"clip": 1e308}, r"expected clip of at most 65,504, got 1e\+308\."),
        ({"forget_bias": -1e308}, r"expected forget_bias of at most 1,000, got -1e\+308\."),
        ({"forget_bias": "chrono", "chrono_steps": 1e308}, "expected chrono_steps of at most 1,0"),
        ({"clip": float("inf")}, r"expected clip as a number above 0, got inf\."),
        ({"clip": True}, r"expected clip as a number above 0, got True\."),
        ({"clip": "1"}, r"expected clip as a number above 0, got '1'\."),
        ({"activations": {"tahn": "relu"}}, 'unknown activation function "tahn"; did you mean "ta'),
        ({"activations": {"tanh": "rleu"}}, 'unknown activation function "rleu"; did you mean "re'),
        ({"activations": {"tanh": 3}}, "expected activations as names of functions, got 3"),
        ({"activations": {torch.tanh: "relu"}}, "expected activations as names of functions, got"),
        ({"activations": "relu"}, r"expected activations as a dict such as .*, got \'relu\'\."),
        ({"activations": {"relu": "tanh"}}, r"activations\['relu'\] would have no effect: the equ"),
        ({"activations": {"tanh": "tanh"}}, r"activations\['tanh'\] would have no effect: the equ"),
        ({"proj_size": 3}, r"expected proj_size below hidden_size=3, got 3\."),
        ({"proj_size": 7}, r"expected proj_size below hidden_size=3, got 7\."),
        ({"proj_size": -1}, r"expected proj_size of at least 0, got -1\."),
    ],
)
def test_a_value_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tt.LSTM(I, H, **options)


@pytest.mark.parametrize("rate", [1.0, 1, -0.1, 1.5, NAN, True, "0.5", None])
@pytest.mark.parametrize("option", ["zoneout", "zoneout of c", "recurrent_dropout", "weight_drop"])
def test_a_rate_that_is_no_probability_below_one_is_refused(option, rate):
    options = {option: rate} if option != "zoneout of c" else {"zoneout": {"c": rate}}
    words = rf"LSTM: expected {option} as a probability from 0 to below 1, got {rate!r}\."
    with pytest.raises(ValueError, match=words):
        tt.LSTM(I, H, **options)


@pytest.mark.parametrize("size", [1.0, "2", True, None])
def test_a_projection_to_no_whole_number_is_refused(size):
    with pytest.raises(TypeError, match="LSTM: expected proj_size as a whole number, got"):
        tt.LSTM(I, H, proj_size=size)


class Apart(tt.Cell):
    """A cell whose output is not a state."""

    gates, states, output = ("h",), ("h",), "y"

    def step(self, x, W, R, s, p):
        h = torch.tanh(W.h(x) + R.h(s.h))
        return dict(h=h, y=2 * h)


class Untraceable(tt.Cell):
    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        return dict(h=torch.sort(torch.tanh(W.h(x) + R.h(s.h)), -1).values)


class WithProjection(tt.Cell):
    gates, states, recurrent_blocks = ("h",), ("h",), ("h", "hr")

    def step(self, x, W, R, s, p):
        return dict(h=R.hr(torch.tanh(W.h(x) + R.h(s.h))))


class Wide(tt.Cell):
    """A cell with a state of another width."""

    gates, states = ("h",), {"h": State(), "k": State(size=7)}

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h)), k=s.k + 1)


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        (Apart(), {"proj_size": 1}, "proj_size does not go with this cell: its output y is not fe"),
        (Untraceable(), {"proj_size": 1}, "proj_size needs a cell that can be traced: sort has"),
        (WithProjection(), {"proj_size": 1}, "with this cell: it has a block hr of its own"),
        ("gru", {"proj_size": 1}, "with this cell: h also enters the equations unit by unit"),
        ("lstm-fgr", {"proj_size": 1}, "recurrent matrix are applied to more than h"),
        ("antisymmetric", {"proj_size": 1}, "makes its recurrent blocks of square ones"),
        ("ind-rnn", {"recurrent_dropout": 0.5}, "no effect, as the cell has no recurrent matrix"),
        ("rnn-linear", {"clip": 1.0}, "clip would have no effect: the equations call none of sigm"),
        (Wide(), {"zoneout": 0.5}, r"Recurrent\(Wide\(\)\): zoneout needs states of H units"),
        (Wide(), {"zoneout": {"k": 0.5}}, "zoneout needs states of H units"),
        (Wide(), {"recurrent_dropout": 0.5}, "recurrent_dropout needs states of H units"),
    ],
)
def test_an_option_that_does_not_go_with_the_cell_is_refused(cell, options, message):
    with pytest.raises(ValueError, match=message):
        tt.Recurrent(cell, I, H, **options)


def test_a_rate_of_nothing_is_no_option():
    for options in ({"zoneout": {"k": 0.0}}, {"zoneout": {}}):
        if "k" in options["zoneout"]:
            with pytest.raises(ValueError, match='unknown state in zoneout "k"'):
                tt.LSTM(I, H, **options)
        else:
            assert tt.LSTM(I, H, **options).equations.name == "lstm"
    assert tt.Recurrent(Wide(), I, H, zoneout={"k": 0.0}).equations.states


# Further inputs.


class Timed(tt.Cell):
    """A cell with an input of one number for each row, and one of a number for each unit."""

    gates, states = ("h",), ("h",)

    def __init__(self) -> None:
        self.inputs = {"dt": Input(size=1), "mask": Input()}

    def step(self, x, W, R, s, p, u=None):
        return dict(h=u.mask * torch.tanh(W.h(x) + R.h(s.h)) + torch.exp(-u.dt) * s.h)


DT, MASK = torch.ones(T, B), torch.ones(T, B, H)


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        (None, ValueError, r"expected the input dt of the cell as a tensor, got None\. Call"),
        ({"dt": DT}, ValueError, r"expected the input mask of the cell as a tensor, got None"),
        (
            {"dt": 1.0, "mask": MASK},
            ValueError,
            r"expected the input dt of the cell as a tensor, got 1\.0",
        ),
        (
            {"dt": DT, "msk": MASK},
            ValueError,
            r'unknown input "msk"; did you mean "mask"\? the cel',
        ),
        ({"zz": DT}, ValueError, r'unknown input "zz"; the cell has dt, mask\.'),
        ([DT, MASK], TypeError, r"expected inputs as a dict of tensors, got \["),
        (
            {"dt": DT, "mask": torch.ones(T, B, 7)},
            ShapeError,
            r"expected the input mask of shape \(4, 2, 3\).* got \(4, 2, 7\)",
        ),
        (
            {"dt": DT.mT, "mask": MASK},
            ShapeError,
            r"expected the input dt of shape \(4, 2, 1\).* got \(2, 4, 1\)",
        ),
        (
            {"dt": torch.ones(T, B, H), "mask": MASK},
            ShapeError,
            r"expected the input dt of shape \(4, 2, 1\).* got \(4, 2, 3\)",
        ),
        (
            {"dt": DT, "mask": MASK.bool()},
            ValueError,
            r"expected the input mask of torch\.float32 as the weights are, got torch\.bool",
        ),
        (
            {"dt": DT.double(), "mask": MASK},
            ValueError,
            r"expected the input dt of torch\.float32 as the weights are, got torch\.float64",
        ),
    ],
)
@pytest.mark.parametrize("call", ["forward", "explain"])
def test_an_input_that_does_not_fit_is_told_what_was_expected(call, inputs, kind, message):
    layer = tt.Recurrent(Timed(), I, H)
    with pytest.raises(kind, match=rf"Recurrent\(Timed\(\)\): {message}"):
        getattr(layer, call)(torch.zeros(T, B, I), inputs=inputs)


def test_inputs_are_refused_where_the_cell_has_none_and_with_packed_sequences():
    x = torch.zeros(T, B, I)
    with pytest.raises(ValueError, match=r'LSTM: unknown input "dt"; the cell has none\.'):
        tt.LSTM(I, H)(x, inputs={"dt": DT})
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [4, 3])
    with pytest.raises(ValueError, match="lengths, resets and inputs go with a padded tensor"):
        tt.Recurrent(Timed(), I, H)(packed, inputs={"dt": DT, "mask": MASK})


def test_an_input_of_one_number_for_each_row_may_have_its_last_dimension_or_not():
    layer, x = tt.Recurrent(Timed(), I, H, batch_first=True), torch.randn(B, T, I)
    dt, mask = torch.rand(B, T), torch.rand(B, T, H)
    expected = layer(x, inputs={"dt": dt, "mask": mask})[0]
    assert torch.equal(layer(x, inputs={"dt": dt.unsqueeze(-1), "mask": mask})[0], expected)
    alone = layer(x[0], inputs={"dt": dt[0], "mask": mask[0]})[0]
    torch.testing.assert_close(alone, expected[0])


def test_what_a_trained_option_needs_a_forced_backend_refuses_with_its_reasons():
    x = torch.zeros(T, B, I)
    for options in ({"zoneout": 0.5}, {"recurrent_dropout": 0.5}, {"clip": 1.0}):
        layer = tt.LSTM(I, H, backend="torch", **options)
        with pytest.raises(
            ValueError, match=r'backend="torch" cannot run this: .*Use backend="auto'
        ):
            layer(x)

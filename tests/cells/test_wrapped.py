"""Cells that wrap another cell: their declarations, and their effect on one step."""

import math
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

import throughtime as tt
from throughtime.cells.cell import Input
from throughtime.cells.wrapped import (
    ACTIVATIONS,
    Activated,
    Projected,
    RecurrentDropout,
    Wrapped,
    Zoneout,
)
from throughtime.kernels.graph.cell_keys import cell_key
from throughtime.kernels.graph.program import program
from throughtime.kernels.graph.trace import trace
from throughtime.kernels.printing.equations import describe

H = 3
MAKERS = {
    "zoneout": lambda cell: Zoneout(cell, dict.fromkeys(cell.state_specs, 0.3), True),
    "zoneout, learned": lambda cell: Zoneout(cell, dict.fromkeys(cell.state_specs, 0.3), False),
    "recurrent dropout": lambda cell: RecurrentDropout(cell, 0.4),
    "projected": lambda cell: Projected(cell, 2),
    "activated": lambda cell: Activated(cell, {}, 2.0),
}
every_wrapper = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


class Timed(tt.Cell):
    """A cell with a further input."""

    gates, states, parameters = ("a",), ("h",), ("p",)
    inputs: ClassVar = {"dt": Input(size=1)}

    def step(self, x, W, R, s, p, u=None):
        h = torch.tanh(W.a(x) + R.a(s.h)) * u.dt + p.p * s.h
        return dict(h=h, a=torch.sigmoid(h))


class Doubled(tt.Cell):
    """Blocks by name, each of which multiplies by a number; the cell has one state."""

    gates, states = ("a",), ("h", "c")

    def step(self, x, W, R, s, p):
        return dict(h=W.a(x) + R.a(s.h), c=s.c + R.a(s.c))


def blocks(**factors):
    return SimpleNamespace(
        **{name: lambda v, factor=factor: factor * v for name, factor in factors.items()}
    )


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def step(cell, x, s, u=None, R=None, p=None):
    values = SimpleNamespace(**s), SimpleNamespace(**(p or {}))
    more = [SimpleNamespace(**u)] if u else []
    return cell.step(x, blocks(a=1.0), R or blocks(a=2.0), *values, *more)


# Declarations.


@every_wrapper
@pytest.mark.parametrize("name", ["lstm-peephole", "nbr", "scrn", "lstm-fgr", "rnn-tanh"])
def test_a_cell_made_of_another_is_a_cell_with_its_declarations(make, name):
    inside = tt.cells.get(name)
    cell = make(inside)
    cell.check()
    assert isinstance(cell, Wrapped)
    assert cell.gates == inside.gates
    assert cell.state_specs == inside.state_specs
    assert cell.parameter_specs == inside.parameter_specs
    assert cell.output_name == inside.output_name
    assert cell.given_inputs == inside.given_inputs
    names = cell.recurrent_block_names
    assert names[: len(inside.recurrent_block_names)] == inside.recurrent_block_names
    assert names[len(inside.recurrent_block_names) :] == (
        ("hr",) if isinstance(cell, Projected) else ()
    )
    assert cell.recurrent_bias_names == inside.recurrent_bias_names
    assert repr(inside) in repr(cell)
    # Only the unwrapped cell is equivalent to a fused layer of PyTorch.
    assert cell.torch_equivalent is None


@pytest.mark.parametrize("name", tt.cells.names())
def test_every_cell_is_traced_and_derived_within_each(name):
    for option, make in MAKERS.items():
        inside = tt.cells.get(name)
        if option == "projected" and inside.output_name not in inside.state_specs:
            continue
        result = program(make(inside))
        assert result.gradients
        drawn = [f"keep_{k}" for k in inside.state_specs] if option == "zoneout" else []
        drawn += ["leave"] if option == "recurrent dropout" else []
        assert list(result.drawn) == drawn


def test_what_is_drawn_comes_after_what_is_given_from_the_innermost_outwards():
    cell = Zoneout(RecurrentDropout(Timed(), 0.4), {"h": 0.3}, True)
    assert list(cell.input_specs) == ["dt", "leave", "keep_h"]
    assert list(cell.given_inputs) == ["dt"]
    assert {k: v.drawn for k, v in cell.drawn_inputs.items()} == {
        "leave": "sequence",
        "keep_h": "step",
    }
    assert not Zoneout(Timed(), {"h": 0.3}, False).drawn_inputs


@every_wrapper
def test_the_transformation_of_the_cell_inside_is_done(make):
    cell = make(tt.cells.get("antisymmetric"))
    assert cell.has_transform
    R = {"h": torch.randn(H, H), "hr": torch.randn(H, H)}
    result = cell.transform({k: v for k, v in R.items() if k in cell.recurrent_block_names})
    expected = cell.cell.transform({"h": R["h"]})["h"]
    torch.testing.assert_close(result["h"], expected)
    if isinstance(cell, Projected):
        assert torch.equal(result["hr"], R["hr"])
    assert not make(tt.cells.get("lstm")).has_transform


def test_rates_limits_and_functions_tell_cells_apart_and_nothing_else_does():
    inside = tt.cells.get("lstm")
    cells = [
        inside,
        Zoneout(inside, {"h": 0.1}, True),
        Zoneout(inside, {"h": 0.2}, True),
        Zoneout(inside, {"c": 0.1}, True),
        Zoneout(inside, {"h": 0.1}, False),
        RecurrentDropout(inside, 0.1),
        RecurrentDropout(inside, 0.2),
        Projected(inside, 2),
        Activated(inside, {}, 1.0),
        Activated(inside, {}, 2.0),
        Activated(inside, {"tanh": "relu"}, None),
        Activated(inside, {"tanh": torch.relu}, None),
        RecurrentDropout(Activated(inside, {}, 1.0), 0.1),
    ]
    assert len({cell_key(cell) for cell in cells}) == len(cells)
    again = Zoneout(tt.cells.get("lstm"), {"h": 0.1, "c": 0.0}, True)
    assert cell_key(again) == cell_key(cells[1])
    assert program(again) is program(cells[1])


PRINTED = {
    "zoneout": ["h_t = where(keep_h_t < 0.3, h_{t-1}", "c_t = where(keep_c_t < 0.3, c_{t-1}"],
    "zoneout, learned": [
        *("h2_t = o_t * tanh(c2_t)", "h_t = 0.3 * h_{t-1} + 0.7 * h2_t"),
        "c_t = 0.3 * c_{t-1} + 0.7 * c2_t",
    ],
    "recurrent dropout": ["u_t = 1.66666666667 * h_{t-1} * (leave", "R_z u_t"],
    "projected": ["h_t = R_hr "],
    "activated": ["u1_t = where(a_z_t < -2, -2, a_z_t)", "z_t = tanh(where(u1_t > 2, 2, u1_t))"],
}


@pytest.mark.parametrize("name", MAKERS)
def test_their_equations_are_printed(name):
    text = describe(MAKERS[name](tt.cells.get("lstm-peephole"))).text()
    assert "dW_z = Σ_t" in text
    missing = [part for part in PRINTED[name] if part not in text]
    assert not missing, text


# The effect on one step.


def test_zoneout_takes_for_each_unit_the_old_value_or_the_new():
    cell = Zoneout(Doubled(), {"h": 0.5, "c": 0.25}, True)
    s = {"h": row(1, 2, 3), "c": row(10, 20, 30)}
    u = {"keep_h": row(0.0, 0.5, 0.4), "keep_c": row(0.24, 0.25, 0.9)}
    result = step(cell, row(100, 100, 100), s, u)
    # The cell computes h = 100 + 2 h and c = 3 c. A drawn number equal to the rate is not below it.
    assert result["h"].tolist() == [[1, 104, 3]]
    assert result["c"].tolist() == [[10, 60, 90]]
    mean = step(Zoneout(Doubled(), {"h": 0.5, "c": 0.25}, False), row(100, 100, 100), s)
    assert mean["h"].tolist() == [[51.5, 53, 54.5]]
    assert mean["c"].tolist() == [[25, 50, 75]]


def test_recurrent_dropout_masks_what_blocks_are_applied_to_and_nothing_else():
    cell = RecurrentDropout(Doubled(), 0.5)
    s = {"h": row(1, 2, 3), "c": row(10, 20, 30)}
    result = step(cell, row(100, 100, 100), s, {"leave": row(0.49, 0.5, 0.99)})
    assert result["h"].tolist() == [[100, 108, 112]]
    assert result["c"].tolist() == [[10, 100, 150]]


def test_the_projection_is_of_the_output_alone():
    cell = Projected(Doubled(), 2)
    result = step(
        *(cell, row(100, 100, 100), {"h": row(1, 2, 3), "c": row(10, 20, 30)}),
        R=blocks(a=2.0, hr=-1.0),
    )
    assert result["h"].tolist() == [[-102, -104, -106]]
    assert result["c"].tolist() == [[30, 60, 90]]


class Written(tt.Cell):
    """A user's cell that calls a function in the form ``how``."""

    gates, states = ("a",), ("h",)

    def __init__(self, how):
        self.how = how

    def step(self, x, W, R, s, p):
        return dict(h=self.how(W.a(x) + R.a(s.h)))


@pytest.mark.parametrize(
    "how",
    [
        torch.tanh,
        torch.nn.functional.tanh,
        lambda a: a.tanh(),
        lambda a: torch.tanh(input=a),
    ],
    ids=["torch", "functional", "method", "keyword"],
)
def test_a_function_is_replaced_however_it_is_called(how):
    cell = Activated(Written(how), {"tanh": "relu"}, None)
    result = step(cell, row(-3, 2, 5), {"h": row(0, 0, 1)})
    assert result["h"].tolist() == [[0, 2, 7]]
    plain = trace(Activated(Written(torch.tanh), {"tanh": "relu"}, None))
    assert trace(cell).graph.nodes == plain.graph.nodes


def test_the_limit_holds_for_each_function_of_the_list_and_no_other():
    cell = Activated(Written(lambda a: torch.tanh(a) + torch.exp(a)), {}, 1.0)
    result = step(cell, row(-3, 0.5, 5), {"h": row(0, 0, 0)})
    expected = [math.tanh(b) + math.exp(a) for a, b in ((-3, -1), (0.5, 0.5), (5, 1))]
    assert result["h"][0].tolist() == pytest.approx(expected, rel=1e-14)


def test_the_limit_comes_before_the_other_function():
    cell = Activated(Written(torch.tanh), {"tanh": "identity"}, 1.0)
    assert step(cell, row(-3, 0.5, 5), {"h": row(0, 0, 0)})["h"].tolist() == [[-1, 0.5, 1]]


def test_methods_that_are_no_activation_functions_stay_as_they_are():
    how = Written(lambda a: torch.tanh(a - a.mean(-1, keepdim=True)) + a.sum(-1, keepdim=True))
    cell = Activated(how, {}, 1.0)
    result = step(cell, row(0, 3, 6), {"h": row(0, 0, 0)})
    expected = [math.tanh(-1) + 9, 9, math.tanh(1) + 9]
    assert result["h"][0].tolist() == pytest.approx(expected, rel=1e-14)
    # Symbols are not tensors, but have the methods of tensors.
    assert trace(cell).graph.nodes


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_function_of_the_list_has_a_kernel(name):
    assert program(Activated(Written(torch.tanh), {"tanh": name}, None)).states


def test_an_input_that_is_called_as_what_is_drawn_is_the_callers():
    class Same(Timed):
        inputs: ClassVar = {"leave": Input(), "keep_h": Input()}

        def step(self, x, W, R, s, p, u=None):
            return dict(h=W.a(x) + R.a(s.h) + 100 * u.leave + 1000 * u.keep_h)

    cell = Zoneout(RecurrentDropout(Same(), 0.5), {"h": 0.5}, True)
    assert list(cell.given_inputs) == ["leave", "keep_h"]
    assert len(cell.drawn_inputs) == 2
    leave, keep = cell.drawn_inputs
    u = {"leave": row(1, 1, 1), "keep_h": row(2, 2, 2), leave: row(0, 0.9, 0.9)}
    result = step(cell, row(0, 0, 0), {"h": row(1, 1, 1)}, {**u, keep: row(0.9, 0.9, 0)})
    assert result["h"].tolist() == [[2100, 2104, 1]]

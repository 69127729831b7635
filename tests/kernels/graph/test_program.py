"""The programs of cells: slots, stages, and the values saved for the backward step."""

import pytest
import torch

import throughtime as tt
from throughtime.kernels.graph.functions import Untraceable
from throughtime.kernels.graph.graph import Node, reachable
from throughtime.kernels.graph.program import program


def slots(cell_program):
    """Each slot as its gate and its recurrent products: the operand's state or operation."""
    return [
        (s.gate, *((block, v.name or v.op) for v, block in s.pairs)) for s in cell_program.slots
    ]


def of(name):
    return program(tt.cells.get(name))


def cell(step, gates=("a", "b"), states=("h",), **declared):
    body = {"gates": gates, "states": states, **declared}
    return type(
        "Made", (tt.Cell,), {**body, "step": lambda self, x, W, R, s, p: step(x, W, R, s, p)}
    )()


def stage_of_slots(cell_program, backward=False):
    stages = cell_program.stage_of(backward)
    return [stages[slot.leaf] for slot in cell_program.slots]


def last_stage(cell_program, backward):
    return max(cell_program.stage_of(backward).values())


def kinds(cell_program):
    return sorted(node.op for node in cell_program.saved)


# The cells of the registry.


def test_each_gate_of_the_lstm_is_one_sum_and_only_the_gates_are_kept():
    cell_program = of("lstm")
    assert slots(cell_program) == [(g, (g, "h")) for g in "ifgo"]
    assert [slot.leaf.op for slot in cell_program.slots] == ["slot"] * 4
    assert kinds(cell_program) == ["sigmoid", "sigmoid", "sigmoid", "tanh"]
    # tanh of the new cell state is computed again
    assert cell_program.output_state == "h"
    assert cell_program.fed_back == ("h",)
    assert cell_program.operands == ()
    assert not cell_program.inputs
    assert last_stage(cell_program, False) == last_stage(cell_program, True) == 0


def test_the_gru_keeps_the_recurrent_product_that_is_multiplied_apart():
    cell_program = of("gru")
    slots_of_cell = slots(cell_program)
    assert slots_of_cell[-1] == (None, ("n", "h"))
    assert set(slots_of_cell[:-1]) == {("r", ("r", "h")), ("z", ("z", "h")), ("n",)}
    assert kinds(cell_program) == ["sigmoid", "sigmoid", "slot", "tanh"]
    assert cell_program.saved[0] is cell_program.slots[-1].leaf
    assert last_stage(cell_program, False) == last_stage(cell_program, True) == 0


def test_a_product_of_a_value_that_the_step_makes_waits_for_it():
    cell_program = of("gru-reset-before")
    assert slots(cell_program) == [("r", ("r", "h")), ("z", ("z", "h")), ("n", ("n", "mul"))]
    (operand,) = cell_program.operands
    assert stage_of_slots(cell_program) == [0, 0, 1]
    assert cell_program.stage_of(False)[operand] == 0
    # Backward the product comes first for n, whose gradient the others then wait for.
    stages = cell_program.stage_of(True)
    d = [cell_program.gradients[slot.leaf] for slot in cell_program.slots]
    assert [stages[g] for g in d] == [1, 0, 0]
    assert stages[cell_program.seeds["operand:0"]] == 1
    assert kinds(cell_program) == ["sigmoid", "sigmoid", "tanh"]
    assert cell_program.fed_back == ("h",)


def test_gates_that_are_states_are_not_kept_twice():
    cell_program = of("lstm-fgr")
    assert slots(cell_program) == [
        ("z", ("z", "h")),
        ("i", ("i", "h"), ("i_i", "i"), ("f_i", "f"), ("o_i", "o")),
        ("f", ("f", "h"), ("i_f", "i"), ("f_f", "f"), ("o_f", "o")),
        ("o", ("o", "h"), ("i_o", "i"), ("f_o", "f"), ("o_o", "o")),
    ]
    assert cell_program.fed_back == ("h", "i", "f", "o")
    assert kinds(cell_program) == ["tanh"]


@pytest.mark.parametrize("name", tt.cells.names())
def test_of_every_cell_all_blocks_are_in_a_slot_and_all_leaves_have_a_gradient(name):
    cell_program = of(name)
    name_of_output = cell_program.cell.output_name
    assert [s.gate for s in cell_program.slots if s.gate] == sorted(
        (s.gate for s in cell_program.slots if s.gate),
        key=lambda g: [s.gate for s in cell_program.slots].index(g),
    )
    assert {s.gate for s in cell_program.slots if s.gate} == set(cell_program.cell.gates)
    blocks = [block for s in cell_program.slots for _, block in s.pairs]
    # A cell with substeps applies each block once in each of them.
    times = getattr(cell_program.cell, "unfolds", 1)
    assert sorted(blocks) == sorted(cell_program.cell.recurrent_block_names * times)
    assert {s.leaf for s in cell_program.slots} <= set(cell_program.gradients)
    assert all(cell_program.gradients[s.leaf] != 0.0 for s in cell_program.slots)
    for name in cell_program.cell.parameter_specs:
        assert cell_program.gradients[cell_program.graph.leaf("parameter", name, "unit")] != 0.0
    assert cell_program.output_state == (
        name_of_output if name_of_output in cell_program.states else None
    )


@pytest.mark.parametrize("name", tt.cells.names())
def test_the_backward_step_needs_no_more_than_is_at_hand(name):
    """Every path from a gradient ends at a leaf, at a saved value, or at a next state."""
    cell_program = of(name)
    at_hand = [
        *cell_program.saved,
        *(v for v in cell_program.states.values() if isinstance(v, Node)),
    ]
    forward = cell_program.stage_of(False)
    for node in reachable(cell_program.gradients.values(), stop=at_hand):
        assert node.op not in ("slot", "product")
        # The gradient of a mean is a sum of its own; those of the forward step are kept.
        assert node.op not in ("row_sum", "row_max") or node not in forward


# Cells that the registry has not.


def test_a_mean_over_the_units_is_a_stage_of_its_own():
    def step(x, W, R, s, p):
        a = W.a(x) + R.a(s.h)
        return dict(h=torch.tanh(a - a.mean(-1, keepdim=True)))

    cell_program = program(cell(step, gates=("a",)))
    (total,) = [node for node in cell_program.stage_of(False) if node.op == "row_sum"]
    assert total.kind == "column"
    assert cell_program.stage_of(False)[total] == 1
    assert cell_program.stage_of(False)[cell_program.states["h"]] == 1
    assert stage_of_slots(cell_program) == [0]
    # Its gradient is a sum over the units as well.
    assert cell_program.stage_of(True)[cell_program.gradients[cell_program.slots[0].leaf]] == 1


def test_sums_of_sums_take_a_stage_each():
    def step(x, W, R, s, p):
        a = W.a(x) + R.a(s.h)
        return dict(h=torch.tanh(a) * a.var(-1, keepdim=True) + torch.softmax(a, -1))

    cell_program = program(cell(step, gates=("a",)))
    stages = cell_program.stage_of(False)
    # The mean; the squares around it. The largest; the sum of the powers.
    assert sorted(stages[node] for node in stages if node.op == "row_sum") == [1, 2, 2]
    assert [stages[node] for node in stages if node.op == "row_max"] == [1]
    assert stages[cell_program.states["h"]] == 2


def test_a_cell_without_a_recurrent_product_has_the_slots_of_its_input():
    def step(x, W, R, s, p):
        return dict(h=torch.tanh(W.a(x) + p.u * s.h) * torch.sigmoid(W.b(x)))

    cell_program = program(cell(step, recurrent_blocks=(), parameters=("u",)))
    assert slots(cell_program) == [("a",), ("b",)]
    assert cell_program.fed_back == ()
    assert cell_program.operands == ()
    d_state = cell_program.gradients[cell_program.graph.leaf("state", "h")]
    assert cell_program.graph.leaf("parameter", "u", "unit") in reachable([d_state])


def test_two_operands_are_told_apart():
    def step(x, W, R, s, p):
        a = torch.sigmoid(W.a(x) + R.a(s.h))
        inner = R.u(a * s.h)
        return dict(h=torch.tanh(W.b(x) + R.b(torch.tanh(inner)) + R.u(s.h)))

    cell_program = program(cell(step, recurrent_blocks=("a", "b", "u")))
    # W.b, R.b and R.u are only ever added up: one sum of products of two operands
    assert slots(cell_program) == [
        ("a", ("a", "h")),
        ("b", ("b", "tanh"), ("u", "h")),
        (None, ("u", "mul")),
    ]
    assert [v.op for v in cell_program.operands] == ["mul", "tanh"] or [
        v.op for v in cell_program.operands
    ] == [
        "tanh",
        "mul",
    ]
    assert stage_of_slots(cell_program) == [0, 2, 1]
    stages = cell_program.stage_of(True)
    d = [stages[cell_program.gradients[slot.leaf]] for slot in cell_program.slots]
    assert d == [2, 0, 1]


def test_a_gate_that_is_declared_but_not_used_has_no_slot():
    cell_program = program(cell(lambda x, W, R, s, p: dict(h=torch.tanh(W.b(x) + R.b(s.h)))))
    assert slots(cell_program) == [("b", ("b", "h"))]


def test_a_product_that_only_a_gate_to_be_looked_at_needs_is_not_taken():
    cell_program = program(
        cell(lambda x, W, R, s, p: dict(h=torch.tanh(W.b(x)), seen=torch.tanh(W.a(x) + R.a(s.h))))
    )
    assert slots(cell_program) == [("b",)]
    assert cell_program.fed_back == ()


def test_one_block_on_two_values_is_two_products():
    def step(x, W, R, s, p):
        return dict(h=torch.tanh(W.a(x) + R.a(s.h) + R.a(s.c)), c=torch.sigmoid(R.a(s.h)) * s.c)

    cell_program = program(cell(step, gates=("a",), states=("h", "c")))
    # R.a(h) is used twice: it is no part of the sum
    assert slots(cell_program) == [("a", ("a", "c")), (None, ("a", "h"))]
    assert cell_program.fed_back == ("h", "c")


def test_a_product_that_is_used_twice_enters_as_a_value_of_its_own():
    def step(x, W, R, s, p):
        u = W.a(x)
        return dict(h=torch.tanh(u + R.a(s.h)) * u)

    cell_program = program(cell(step, gates=("a",)))
    assert slots(cell_program) == [("a",), (None, ("a", "h"))]


def test_a_sum_holds_one_block_of_the_input():
    """A slot with two blocks of W would need two matrices."""

    def step(x, W, R, s, p):
        return dict(h=torch.tanh(W.a(x) + W.b(x) + R.a(s.h) + R.b(s.h)))

    cell_program = program(cell(step))
    slots_of_cell = slots(cell_program)
    assert sorted(gate for gate, *_ in slots_of_cell if gate) == ["a", "b"]
    assert sorted(pair for _, *pairs in slots_of_cell for pair in pairs) == [("a", "h"), ("b", "h")]
    assert len(slots_of_cell) == 2


def test_products_that_are_subtracted_are_not_in_a_sum():
    cell_program = program(cell(lambda x, W, R, s, p: dict(h=torch.tanh(W.a(x) - R.a(s.h)))))
    assert slots(cell_program) == [("a",), (None, ("a", "h"))]


@pytest.mark.parametrize("read", [lambda x: 0.5 * x, torch.sigmoid])
def test_a_step_may_read_the_input_unit_by_unit(read):
    def step(x, W, R, s, p):
        a = torch.sigmoid(W.a(x))
        return dict(h=a * s.h + (1 - a) * read(x))

    cell_program = program(cell(step, gates=("a",), recurrent_blocks=()))
    assert cell_program.inputs == ("x",)
    assert cell_program.gradients[cell_program.graph.leaf("input", "x")] != 0.0
    assert not of("lstm").inputs


def test_the_output_need_not_be_a_state():
    def step(x, W, R, s, p):
        c = s.c + torch.tanh(W.a(x))
        return dict(c=c, y=torch.tanh(c))

    cell_program = program(cell(step, gates=("a",), states=("c",), recurrent_blocks=(), output="y"))
    assert cell_program.output_state is None
    assert cell_program.output.op == "tanh"


def test_a_value_that_is_cheap_to_compute_again_is_not_kept():
    def step(x, W, R, s, p):
        a = torch.tanh(W.a(x) + R.a(s.h))
        # relu and a few products cost less than to write and read them
        return dict(h=torch.relu(a * s.h + 0.5 * a) * a)

    cell_program = program(cell(step, gates=("a",)))
    assert kinds(cell_program) == ["tanh"]


def test_what_a_mask_compares_is_kept_rather_than_the_mask():
    def step(x, W, R, s, p):
        a = W.a(x) + R.a(s.h)
        return dict(h=torch.where(a > 0, a, 0.1 * a) * 0.5)

    cell_program = program(cell(step, gates=("a",)))
    assert kinds(cell_program) == ["slot"]


def test_a_sum_over_the_units_is_kept_or_what_it_is_made_of():
    def step(x, W, R, s, p):
        a = torch.tanh(W.a(x) + R.a(s.h))
        return dict(h=a * torch.rsqrt((a * a).mean(-1, keepdim=True) + 1e-5))

    cell_program = program(cell(step, gates=("a",)))
    at_hand = [*cell_program.saved, *cell_program.states.values()]
    rest = reachable(cell_program.gradients.values(), stop=at_hand)
    backward_sums = [n for n in rest if n.op == "row_sum"]
    forward = set(reachable(cell_program.states.values()))
    assert not [n for n in backward_sums if n in forward]


# One program for cells that are the same.


class Scaled(tt.Cell):
    gates, states = ("h",), ("h",)

    def __init__(self, scale=1.5):
        self.scale = scale

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(self.scale * (W.h(x) + R.h(s.h))))


def test_cells_with_the_same_constants_share_a_program_and_others_do_not():
    assert program(Scaled()) is program(Scaled(1.5))
    assert program(Scaled(2.5)) is not program(Scaled())
    assert of("lstm") is of("lstm")


def test_a_subclass_with_another_step_has_another_program():
    class Other(Scaled):
        def step(self, x, W, R, s, p):
            return dict(h=2 * super().step(x, W, R, s, p)["h"])

    assert program(Other()) is not program(Scaled())


def test_two_classes_of_one_name_are_two():
    first = cell(lambda x, W, R, s, p: dict(h=torch.tanh(W.a(x))))
    second = cell(lambda x, W, R, s, p: dict(h=torch.sigmoid(W.a(x))))
    assert program(first) is not program(second)


def test_why_no_program_can_be_made_is_said_each_time():
    cell_program = cell(lambda x, W, R, s, p: dict(h=torch.nn.functional.celu(W.a(x))))
    for _ in range(2):
        with pytest.raises(Untraceable, match="celu has no kernel"):
            program(cell_program)

"""The derived backward step against autograd, in float64: rule by rule, and cell by cell."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import throughtime as tt
from throughtime.kernels.graph.differentiate import RULES, gradients
from throughtime.kernels.graph.graph import LEAVES, OPERATIONS, Graph, Node, evaluate
from throughtime.kernels.graph.program import program
from throughtime.kernels.graph.trace import trace

from ...further_inputs import RANGES, drawn

B, H, I = 3, 5, 4

MASKS = ("less", "less_equal", "equal", "both", "either", "negate")


def row(*numbers):
    return torch.tensor([numbers], dtype=torch.float64)


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def rule(op, *values):
    """The gradients of an operation by its rule, and by autograd."""
    graph = Graph()
    leaves = [graph.leaf("state", str(i)) for i in range(len(values))]
    seed = graph.leaf("gradient", "d")
    derivatives = gradients(graph, [(graph.node(op, *leaves), seed)], leaves)
    d = randn(*torch.broadcast_shapes(*(v.shape for v in values)))
    tensors = {("state", str(i)): v for i, v in enumerate(values)}
    inputs = [v.clone().requires_grad_(v.is_floating_point()) for v in values]
    y = OPERATIONS[op](*inputs)
    if op == "row_sum":
        d = d[..., :1]
    ours = evaluate([derivatives[leaf] for leaf in leaves], tensors | {("gradient", "d"): d})
    wrt = [v for v in inputs if v.requires_grad]
    theirs = iter(torch.autograd.grad(y, wrt, d, allow_unused=True, materialize_grads=True))
    expected = [next(theirs) if v.requires_grad else torch.zeros(()) for v in inputs]
    return [
        (torch.as_tensor(a, dtype=torch.float64).expand(v.shape), b.double().expand(v.shape))
        for a, b, v in zip(ours, expected, values, strict=True)
    ]


POSITIVE = {"log", "log1p", "sqrt", "rsqrt"}
TWO = {"add", "sub", "mul", "div", "remainder", "fmod", "maximum", "minimum"}
SMOOTH = set(RULES) - set(MASKS) - TWO - {"pow", "where", "stop"}


@pytest.mark.parametrize("op", sorted(SMOOTH))
def test_the_rule_of_a_function_is_the_derivative_of_autograd(op):
    a = 2 * randn(4, 50)
    for ours, theirs in rule(op, a.abs() + 0.1 if op in POSITIVE else a):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("op", sorted(TWO))
def test_the_rule_of_two_arguments_is_the_derivative_of_autograd(op):
    for ours, theirs in rule(op, 2 * randn(4, 50), 2 * randn(4, 50)):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op", ["where"])
def test_a_choice_passes_the_gradient_to_what_was_chosen(op):
    for ours, theirs in rule(op, randn(4, 50) > 0, randn(4, 50), randn(4, 50)):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("exponent", [3.0, -2.0, 1.7, 0.3])
def test_the_rule_of_a_power_is_the_derivative_of_autograd(exponent):
    graph = Graph()
    a, d = graph.leaf("state", "a"), graph.leaf("gradient", "d")
    derivatives = gradients(graph, [(graph.node("pow", a, exponent), d)], [a])
    value = (randn(4, 50).abs() + 0.1).requires_grad_()
    (ours,) = evaluate([derivatives[a]], {("state", "a"): value, ("gradient", "d"): torch.ones(())})
    (theirs,) = torch.autograd.grad(value.pow(exponent).sum(), value)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


KINKS = row(-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0)


@pytest.mark.parametrize("op", ["relu", "abs", "sign", "floor", "ceil", "round", "trunc"])
def test_at_a_kink_the_rule_takes_the_side_of_pytorch(op):
    ((ours, theirs),) = rule(op, KINKS)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_equal_values_share_the_gradient_as_in_pytorch(op):
    a, b = row(1.0, 2.0, 3.0, -0.0, 0.0), row(1.0, 3.0, 2.0, 0.0, 0.0)
    pairs = rule(op, a, b)
    for ours, theirs in pairs:
        assert torch.equal(ours, theirs)
    # half each
    assert torch.equal(pairs[0][0][:, 0], pairs[1][0][:, 0])
    assert pairs[0][0][0, 0] != 0


@pytest.mark.parametrize("op", ["remainder", "fmod"])
def test_at_a_jump_of_a_remainder_the_rule_takes_the_side_of_pytorch(op):
    a, b = row(2.0, -2.0, 0.0, 3.0, -3.0, 1.0), row(2.0, 2.0, 1.0, -1.5, -1.5, 4.0)
    for ours, theirs in rule(op, a, b):
        assert torch.equal(ours, theirs)


def test_every_operation_has_a_rule_but_those_that_need_none():
    """A maximum over a row is only used inside a stop, to prevent overflow."""
    assert set(OPERATIONS) - set(RULES) == {"row_max"}
    assert set(RULES) <= set(OPERATIONS)
    assert not set(RULES) & set(LEAVES)


@pytest.mark.parametrize("op", MASKS)
def test_no_gradient_flows_through_a_mask(op):
    graph = Graph()
    a, d = graph.leaf("state", "a"), graph.leaf("gradient", "d")
    mask = graph.node("less", a, 0.0)
    if op in ("both", "either"):
        mask = graph.node(op, mask, graph.node("less", 1.0, a))
    elif op == "negate":
        mask = graph.node(op, mask)
    else:
        mask = graph.node(op, a, 0.0)
    chosen = graph.node("where", mask, 2.0, graph.node("mul", a, 3.0))
    derivatives = gradients(graph, [(chosen, d)], [a])
    value = KINKS.clone().requires_grad_()
    (ours,) = evaluate(
        [derivatives[a]], {("state", "a"): value, ("gradient", "d"): torch.ones(1, 8)}
    )
    (was_chosen,) = evaluate([mask], {("state", "a"): value})
    assert torch.equal(ours, torch.where(was_chosen, 0.0, 3.0).double())


# Functions of the tracer: composed of several rules.


def step_gradients(function, a, b, q, d):
    """The gradients of h = function(h, c, q) by the graph, and by autograd."""

    class Made(tt.Cell):
        gates, states, parameters = ("a",), ("h", "c"), ("q",)

        def step(self, x, W, R, s, p):
            return dict(h=function(s.h, s.c, p.q), c=s.c)

    step = trace(Made())
    graph = step.graph
    leaves = [
        graph.leaf("state", "h"),
        graph.leaf("state", "c"),
        graph.leaf("parameter", "q", "unit"),
    ]
    derivatives = gradients(graph, [(step.states["h"], graph.leaf("gradient", "d"))], leaves)
    tensors = {("state", "h"): a, ("state", "c"): b, ("parameter", "q"): q, ("gradient", "d"): d}
    tensors["units", "H"] = torch.tensor(float(a.shape[-1]), dtype=torch.float64)
    ours = evaluate([derivatives[leaf] for leaf in leaves], tensors)
    inputs = [v.clone().requires_grad_() for v in (a, b, q)]
    theirs = torch.autograd.grad(
        function(*inputs), inputs, d, allow_unused=True, materialize_grads=True
    )
    ours = [torch.as_tensor(v, dtype=torch.float64).expand(a.shape) for v in ours]
    return [*ours[:2], ours[2].sum(0)], list(theirs)


def check_close(ours, theirs, rtol=1e-11):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.expand(a.shape), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, q: b * a.sum(-1, keepdim=True),
        lambda a, b, q: b * torch.tanh(a).mean(-1, keepdim=True) + q,
        lambda a, b, q: a * torch.tanh((b * q).sum(-1, keepdim=True)),
        lambda a, b, q: a * q.sum(-1, keepdim=True) + q * b,
        lambda a, b, q: b * a.var(-1, keepdim=True),
        lambda a, b, q: (
            q
            * (a - a.mean(-1, keepdim=True))
            * torch.rsqrt(a.var(-1, unbiased=False, keepdim=True) + 1e-5)
        ),
        lambda a, b, q: b * torch.softmax(a, -1) + q,
        lambda a, b, q: torch.softmax(30 * a, -1) * torch.softmax(b * q, -1),
        lambda a, b, q: a * torch.log(torch.exp(b).sum(-1, keepdim=True)),
        lambda a, b, q: (
            torch.where(a.sum(-1, keepdim=True) > 0, a, b) * (a * b).sum(-1, keepdim=True)
        ),
    ],
)
def test_reductions_over_the_units_pass_their_gradient_to_every_unit(function):
    check_close(*step_gradients(function, randn(B, H), randn(B, H), randn(H), randn(B, H)))


FUNCTIONS = {
    **{f.__name__: f for f in (F.silu, F.gelu, F.softsign, F.elu, F.softplus, F.logsigmoid)},
    **{f.__name__: f for f in (torch.square, torch.tanh, torch.sigmoid, torch.relu, torch.abs)},
    **{f.__name__: f for f in (torch.expm1, F.leaky_relu, F.hardtanh)},
    "gelu by tanh": lambda a: F.gelu(a, approximate="tanh"),
    "elu, 0.7": lambda a: F.elu(a, 0.7),
    "softplus, 2": lambda a: F.softplus(a, beta=2.0),
    "clamp": lambda a: torch.clamp(a, -1.0, 1.0),
    "clamp from below": lambda a: a.clamp(min=0.5),
    "clip from above": lambda a: torch.clip(a, max=-0.5),
    "clamp between limits in the wrong order": lambda a: torch.clamp(a, 1.0, -1.0),
    "clamp_min": lambda a: torch.clamp_min(a, 0.5),
    "maximum": lambda a: torch.maximum(a, torch.zeros_like(a)),
    "minimum": lambda a: torch.minimum(a * a, a),
    "powers": lambda a: a**3 + a**2,
    "remainder": lambda a: torch.remainder(a, 0.5),
    "fmod": lambda a: torch.fmod(a, 0.5),
    "hardtanh, -0.5, 2": lambda a: F.hardtanh(a, -0.5, 2.0),
    "relu6": lambda a: F.relu6(3 * a),
    "hardsigmoid": lambda a: F.hardsigmoid(3 * a),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_of_a_function_is_that_of_pytorch_also_at_its_kinks(name):
    function = FUNCTIONS[name]
    a = torch.cat([KINKS, KINKS / 3, 9 * torch.rand(1, 8).double()])
    d = randn(3, 8)
    # PyTorch divides by 6 in float32 even here, and takes softplus for linear above 20.
    rtol = 1e-7 if name in ("hardsigmoid", "softplus", "softplus, 2") else 1e-11
    check_close(*step_gradients(lambda a, b, q: function(a) + q, a, randn(3, 8), randn(8), d), rtol)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, q: a.detach() * b + torch.tanh(a) * q,
        lambda a, b, q: torch.lerp(a, b, torch.sigmoid(q)),
        lambda a, b, q: torch.addcmul(a, b, q, value=0.5),
        lambda a, b, q: torch.clamp(a, -torch.exp(b), torch.exp(b)) * q,
        lambda a, b, q: torch.where(a > b, a * q, b / (1 + a * a)),
        lambda a, b, q: torch.maximum(a, q) * torch.minimum(b, q) * torch.maximum(a, a),
        lambda a, b, q: a * a * a + b / a - (a - b) / (a * a + q * q),
        lambda a, b, q: torch.remainder(a, 1 + b * b) * q,
        lambda a, b, q: b,
        lambda a, b, q: q + 0 * a,
    ],
)
def test_the_chain_rule_adds_up_what_every_path_brings(function):
    check_close(*step_gradients(function, randn(B, H), randn(B, H), randn(H), randn(B, H)))


def test_a_leaf_on_which_nothing_depends_has_no_gradient():
    graph = Graph()
    a, b, d = graph.leaf("state", "a"), graph.leaf("state", "b"), graph.leaf("gradient", "d")
    assert gradients(graph, [(graph.node("tanh", a), d)], [a, b])[b] == 0.0
    assert gradients(graph, [(graph.node("stop", a), d)], [a])[a] == 0.0
    assert gradients(graph, [(3.0, d), (graph.node("tanh", a), 0.0)], [a])[a] == 0.0


def test_a_value_that_is_given_several_gradients_adds_them_up():
    graph = Graph()
    a, d, e = graph.leaf("state", "a"), graph.leaf("gradient", "d"), graph.leaf("gradient", "e")
    derivatives = gradients(graph, [(a, d), (a, e)], [a])[a]
    assert derivatives is graph.node("add", d, e)


# Whole cells.


def test_the_backward_step_of_a_cell_is_that_of_autograd(differentiated_cell):
    cell = differentiated_cell
    cell_program = program(cell)
    graph, blocks = cell_program.graph, cell.recurrent_block_names
    U = {name: randn(B, H).requires_grad_() for name in cell.gates}
    R = {name: (0.5 * randn(H, H)).requires_grad_() for name in blocks}
    s = {name: randn(B, H).requires_grad_() for name in cell.state_specs}
    p = {
        name: (drawn(name, H) if name in RANGES else randn(H)).requires_grad_()
        for name in cell.parameter_specs
    }
    x = randn(B, H).requires_grad_()
    u = {name: drawn(name, B, H).requires_grad_() for name in cell.given_inputs}
    d = {name: randn(B, H) for name in (*s, "output")}

    # What autograd says: the input's products are leaves.
    returned = cell.step(
        x,
        SimpleNamespace(**{k: lambda _, u=u: u for k, u in U.items()}),
        SimpleNamespace(**{k: lambda v, w=w: F.linear(v, w) for k, w in R.items()}),
        SimpleNamespace(**s),
        SimpleNamespace(**p),
        *([SimpleNamespace(**u)] if u else []),
    )
    values = [*(returned[name] for name in s), returned[cell.output_name]]
    wrt = [*U.values(), *R.values(), *s.values(), *p.values(), x, *u.values()]
    expected = torch.autograd.grad(
        values, wrt, list(d.values()), allow_unused=True, materialize_grads=True
    )
    names = [*(f"W.{k}" for k in U), *(f"R.{k}" for k in R), *s, *p, "x", *u]
    expected = dict(zip(names, expected, strict=True))

    # What the program says. A slot of the forward step may need a value of the same step.
    leaves = {("state", k): v.detach() for k, v in s.items()}
    leaves |= {("parameter", k): v.detach() for k, v in p.items()}
    leaves |= {("input", k): v.detach() for k, v in u.items()}
    leaves |= {("input", "x"): x.detach(), ("units", "H"): torch.tensor(float(H)).double()}
    stages = cell_program.stage_of(False)
    for slot in sorted(cell_program.slots, key=lambda slot: stages[slot.leaf]):
        total = U[slot.gate].detach() if slot.gate else torch.zeros(B, H, dtype=torch.float64)
        for value, block in slot.pairs:
            (operand,) = evaluate([value], leaves)
            total = total + operand @ R[block].detach().T
        leaves["slot", slot.leaf.name] = total
    derivatives = evaluate([*cell_program.states.values(), cell_program.output], leaves)
    for ours, theirs in zip(derivatives, values, strict=True):
        torch.testing.assert_close(torch.as_tensor(ours).expand(B, H), theirs.detach())

    # The gradient of an operand comes from slots that are done before: as often as there are.
    seeds = {f"state:{k}": d[k] for k in s} | {"output": d["output"]}
    seeds |= {f"operand:{i}": torch.zeros(B, H).double() for i in range(len(cell_program.operands))}
    d_slots = {}
    for _ in range(len(cell_program.operands) + 1):
        tensors = leaves | {("gradient", k): v for k, v in seeds.items()}
        for slot in cell_program.slots:
            (g,) = evaluate([cell_program.gradients[slot.leaf]], tensors)
            d_slots[slot] = torch.as_tensor(g, dtype=torch.float64).expand(B, H)
        for i, value in enumerate(cell_program.operands):
            seeds[f"operand:{i}"] = sum(
                d_slots[slot] @ R[b].detach()
                for slot in cell_program.slots
                for v, b in slot.pairs
                if v is value
            )

    def of(op, name, kind="row"):
        (g,) = evaluate([cell_program.gradients[graph.leaf(op, name, kind)]], tensors)
        return torch.as_tensor(g, dtype=torch.float64).expand(B, H)

    ours = {f"W.{k}": torch.zeros(B, H).double() for k in U}
    ours |= {f"R.{k}": torch.zeros(H, H).double() for k in R}
    ours |= {k: of("state", k) for k in s}
    ours |= {k: of("parameter", k, "unit").sum(0) for k in p}
    ours |= {k: of("input", k) for k in ("x", *u)}
    for slot, g in d_slots.items():
        if slot.gate is not None:
            ours[f"W.{slot.gate}"] = ours[f"W.{slot.gate}"] + g
        for value, block in slot.pairs:
            (operand,) = evaluate([value], leaves)
            ours[f"R.{block}"] = ours[f"R.{block}"] + g.T @ operand
            if value.op == "state":
                ours[value.name] = ours[value.name] + g @ R[block].detach()
    assert ours.keys() == expected.keys()
    for name, theirs in expected.items():
        torch.testing.assert_close(
            ours[name], theirs, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_a_derivative_that_does_not_exist_is_as_infinite_as_in_pytorch():
    ((ours, theirs),) = rule("sqrt", row(0.0, 1.0))
    assert torch.equal(ours, theirs)
    assert math.isinf(ours[0, 0])


def test_the_backward_graph_is_simplified():
    """The gradient of a sum is d itself: no node multiplies with one or adds zero."""
    graph = Graph()
    a, b, d = graph.leaf("state", "a"), graph.leaf("state", "b"), graph.leaf("gradient", "d")
    derivatives = gradients(graph, [(graph.node("add", a, b), d)], [a, b])
    assert derivatives[a] is d
    assert derivatives[b] is d
    assert isinstance(derivatives[a], Node)

"""The graph of a step: each value is one node, simplified, with the shape of its arguments."""

import math

import pytest

from throughtime.kernels.graph.graph import Graph, Node, is_mask, reachable


@pytest.fixture
def leaves():
    graph = Graph()
    return graph, graph.leaf("state", "a"), graph.leaf("state", "b")


def test_equal_values_are_one_node(leaves):
    graph, a, b = leaves
    assert graph.node("tanh", a) is graph.node("tanh", a)
    assert graph.node("mul", a, 2.0) is graph.node("mul", a, 2.0)
    assert graph.leaf("state", "a") is a
    assert graph.node("tanh", a) is not graph.node("tanh", b)
    assert graph.node("mul", a, 2.0) is not graph.node("mul", a, 3.0)
    assert graph.leaf("parameter", "a", "unit") is not a


@pytest.mark.parametrize("op", ["add", "mul", "maximum", "minimum", "equal"])
def test_the_order_of_two_arguments_does_not_matter_where_the_result_is_the_same(leaves, op):
    graph, a, b = leaves
    assert graph.node(op, a, b) is graph.node(op, b, a)
    assert graph.node(op, a, 3.0) is graph.node(op, 3.0, a)


@pytest.mark.parametrize("op", ["sub", "div", "less", "remainder", "fmod"])
def test_the_order_of_two_arguments_stays_where_it_matters(leaves, op):
    graph, a, b = leaves
    assert graph.node(op, a, b) is not graph.node(op, b, a)


def test_what_needs_no_operation_becomes_none(leaves):
    graph, a, b = leaves
    node = graph.node
    for simplified in (
        *(node("add", a, 0.0), node("add", 0.0, a), node("sub", a, 0.0), node("mul", a, 1.0)),
        *(node("mul", 1.0, a), node("div", a, 1.0), node("neg", node("neg", a))),
        node("pow", a, 1.0),
    ):
        assert simplified is a
    minus_b = node("neg", b)
    for simpler, expected in (
        (node("sub", 0.0, b), minus_b),
        (node("mul", b, -1.0), minus_b),
        (node("mul", -1.0, b), minus_b),
        (node("add", a, minus_b), node("sub", a, b)),
        (node("add", minus_b, a), node("sub", a, b)),
        (node("sub", a, minus_b), node("add", a, b)),
        (node("pow", a, 2.0), node("mul", a, a)),
        (node("pow", a, 0.5), node("sqrt", a)),
        (node("pow", a, -1.0), node("reciprocal", a)),
    ):
        assert simpler is expected


def test_a_product_with_zero_stays_a_product():
    """A product with zero is NaN if the other factor is infinite."""
    graph = Graph()
    product = graph.node("mul", graph.leaf("state", "a"), 0.0)
    assert isinstance(product, Node)
    assert product.op == "mul"


def test_operations_on_numbers_are_numbers():
    graph = Graph()
    assert graph.node("add", 1.0, 2.0) == 3.0
    assert graph.node("exp", 1.0) == pytest.approx(math.e, rel=1e-15)
    assert graph.node("div", 1.0, 0.0) == math.inf
    assert graph._nodes == {}


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        *[("row", other, "row") for other in ("row", "unit", "column", "number")],
        *[("unit", "unit", "unit"), ("unit", "column", "row"), ("unit", "number", "unit")],
        *[("column", "column", "column"), ("column", "number", "column")],
        ("number", "number", "number"),
    ],
)
def test_a_value_is_as_large_as_what_it_is_computed_from(first, second, kind):
    graph = Graph()
    a, b = graph.leaf("state", "a", first), graph.leaf("state", "b", second)
    for this, other in ((a, b), (b, a)):
        node = graph.node("div", this, other)
        assert node.kind == kind
        assert graph.node("row_sum", node).kind == "column"


def test_nodes_come_after_what_they_are_computed_from(leaves):
    graph, a, b = leaves
    root = graph.node("add", graph.node("tanh", graph.node("mul", a, b)), graph.node("exp", a))
    graph.node("log", b)
    listed = reachable([root, root, 1.0])
    assert listed[-1] is root
    assert len(listed) == len(set(listed)) == 6
    for i, node in enumerate(listed):
        assert all(argument in listed[:i] for argument in node.args)
    product = graph.node("mul", a, b)
    assert set(listed) - set(reachable([root], stop=[product])) == {product, b}


def test_a_copy_has_the_values_replaced_and_simplifies_again(leaves):
    graph, a, b = leaves
    root = graph.node("add", graph.node("mul", a, b), graph.node("tanh", b))
    other = Graph()
    c = other.leaf("state", "c")
    (copied, number) = other.copy([root, 7.0], {a: 1.0, b: c})
    assert number == 7.0
    assert copied is other.node("add", c, other.node("tanh", c))


def test_a_mask_is_told_from_a_number(leaves):
    graph, a, b = leaves
    for mask in (graph.node("less", a, b), graph.node("negate", graph.node("equal", a, b))):
        assert is_mask(mask)
    chosen = graph.node("where", graph.node("less", a, b), a, b)
    assert not any(is_mask(value) for value in (a, 1.0, chosen))

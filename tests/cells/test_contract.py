"""The contract of a cell and the registry: valid declarations, and the errors for invalid ones."""

import pickle
from pathlib import Path

import pytest
import torch

import throughtime as tt
from throughtime.cells import cell as contract


class Leaky(tt.Cell):
    """A user's cell of ten lines."""

    gates, states = ("h",), ("h",)

    def __init__(self, rate=0.1):
        self.rate = rate

    def step(self, x, W, R, s, p):
        return dict(h=(1 - self.rate) * s.h + self.rate * torch.tanh(W.h(x) + R.h(s.h)))


class Independent(tt.Cell):
    """A cell without recurrent products: each unit reads only its own state (IndRNN)."""

    gates, states, recurrent_blocks = ("h",), ("h",), ()
    parameters = {"u": tt.Parameter(initial=0.5)}  # noqa: RUF012

    def step(self, x, W, R, s, p):
        return dict(h=torch.relu(W.h(x) + p.u * s.h))


def cell_of(step=None, **declared):
    """A cell with one tanh, apart from the attributes that the test declares."""

    def tanh(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h)))

    declared = {"gates": ("h",), "states": ("h",), "step": step or tanh, **declared}
    return type("Mine", (tt.Cell,), declared)()


@pytest.fixture
def registry(monkeypatch):
    """The registry, which is restored after the test."""
    monkeypatch.setattr(contract, "_registry", dict(contract._registry))


# The registry.


def test_names_are_those_of_the_registered_cells():
    names = tt.cells.names()
    assert len(names) == len(set(names)) >= 18
    assert all(tt.cells.get(name).name == name for name in names)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("lstn", "lstm"), ("LSTM", "lstm"), ("lstm-peephol", "lstm-peephole"), ("gru2", "gru")],
)
def test_an_unknown_name_gives_the_nearest(wrong, right):
    with pytest.raises(ValueError, match=f'unknown cell "{wrong}"; did you mean "{right}"'):
        tt.cells.get(wrong)
    with pytest.raises(ValueError, match=f'did you mean "{right}"'):
        tt.Recurrent(wrong, 2, 3)


def test_a_name_that_is_near_to_none_gives_them_all():
    with pytest.raises(
        ValueError, match=r'unknown cell "\?"\. The nearest of \d+: ([a-z0-9-]+, ){4}[a-z0-9-]+\.$'
    ):
        tt.cells.get("?")


def test_a_registered_cell_is_found_by_its_name(registry):
    mine = type("Mine", (Leaky,), {"name": "leaky"})
    assert tt.cells.register(mine) is mine
    assert "leaky" in tt.cells.names()
    assert tt.cells.get("leaky", rate=0.5).rate == 0.5
    assert tt.Recurrent("leaky", 2, 3).cell.rate == 0.1


@pytest.mark.parametrize("name", ["", "My Cell", "lstm_np", "Lstm"])
def test_a_name_that_is_no_name_is_not_registered(registry, name):
    with pytest.raises(ValueError, match="expected a name such as"):
        tt.cells.register(type("Mine", (Leaky,), {"name": name}))


def test_a_name_belongs_to_one_cell(registry):
    with pytest.raises(ValueError, match='the name "gru" belongs to another cell'):
        tt.cells.register(type("Mine", (Leaky,), {"name": "gru"}))


@pytest.mark.parametrize("name", tt.cells.names())
def test_a_cell_says_what_it_is_and_where_it_comes_from(name):
    cell = tt.cells.get(name)
    assert cell.__doc__
    assert cell.source
    assert 1950 < cell.year < 2100
    arguments = ", ".join(f"{k}={v!r}" for k, v in cell.constants.items())
    assert repr(cell) == f"{type(cell).__name__}({arguments})"
    cell.check()


def test_every_family_of_cells_is_stated_in_a_file_of_its_own():
    """Each file of cells needs tests/cells/test_<file>.py with its equations in NumPy."""
    modules = {type(tt.cells.get(name)).__module__ for name in tt.cells.names()}
    families = {module.removeprefix("throughtime.cells.") for module in modules}
    assert len(families) > 15
    for family in families:
        text = (Path(__file__).parent / f"test_{family}.py").read_text()
        assert f'all_stated("{family}", STATED, BY_HAND)' in text


# A user's cell.


def test_a_cell_of_ten_lines_works_without_registration():
    layer = tt.Recurrent(Leaky(rate=0.25), 2, 3, bidirectional=True, dtype=torch.float64)
    x = torch.randn(4, 5, 2, dtype=torch.float64)
    output, h = layer(x, lengths=[4, 1, 3, 2, 4])
    first = torch.tanh(x[0] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0)
    torch.testing.assert_close(output[0, :, :3], 0.25 * first)
    assert output.shape == (4, 5, 6)
    assert h.shape == (2, 5, 3)
    output.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_constants_are_the_constructor_arguments_and_show_in_the_layer():
    assert Leaky(rate=0.25).constants == {"rate": 0.25}
    assert tt.cells.get("lstm").constants == {}
    assert "Leaky(rate=0.25), 2, 3" in repr(tt.Recurrent(Leaky(rate=0.25), 2, 3))


def test_a_cell_with_constants_can_be_pickled():
    assert pickle.loads(pickle.dumps(tt.cells.get("lstm-fgr"))).constants == {}


def test_a_constructor_argument_that_is_not_kept_is_named():
    class Forgetful(Leaky):
        def __init__(self, rate=0.1, slope=1.0):
            super().__init__(rate)

    with pytest.raises(ValueError, match=r"Forgetful: .*slope"):
        tt.Recurrent(Forgetful(), 2, 3)


def test_a_cell_without_a_recurrent_product_has_no_recurrent_weights():
    layer = tt.Recurrent(Independent(), 2, 3)
    assert [name for name, _ in layer.named_parameters()] == [
        "weight_ih_l0",
        "bias_ih_l0",
        "u_l0",
    ]
    x = torch.randn(4, 1, 2)
    output, _ = layer(x)
    h = torch.zeros(1, 3)
    for t in range(4):
        h = torch.relu(x[t] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + 0.5 * h)
        torch.testing.assert_close(output[t], h)


def test_states_and_parameters_start_from_the_values_that_are_declared():
    def step(self, x, W, R, s, p):
        return dict(h=s.h + p.p_leak * s.wide[:, :3], wide=s.wide)

    declared = {
        "gates": ("h",),
        "states": {"h": tt.State(initial=1.0), "wide": tt.State(size=5, initial=2.0)},
        "parameters": {"p_leak": tt.Parameter(initial=7.0)},
    }
    layer = tt.Recurrent(cell_of(step, **declared), 2, 3)
    assert layer.p_leak_l0.tolist() == [7.0] * 3
    _, (h, wide) = layer(torch.zeros(2, 1, 2))
    assert h.tolist() == [[[29.0] * 3]]
    assert wide.tolist() == [[[2.0] * 5]]


def test_a_parameter_may_be_drawn_between_two_numbers():
    def step(self, x, W, R, s, p):
        return dict(h=s.h + p.phase)

    parameters = {"phase": tt.Parameter(initial=(2, 3.0))}
    layer = tt.Recurrent(cell_of(step, parameters=parameters), 2, 1000)
    for _ in range(2):
        phase = layer.phase_l0.detach().clone()
        assert 2 <= phase.min() < 2.02
        assert 2.98 < phase.max() <= 3
        assert abs(phase.mean() - 2.5) < 0.05
        layer.reset_parameters()
        assert not torch.equal(layer.phase_l0, phase)


def test_a_function_may_fill_a_weight():
    def count(weight):
        weight.copy_(torch.arange(weight.numel()).view_as(weight))

    declared = {
        "parameters": {"p": tt.Parameter(initial=count)},
        "initial_weights": {"W.h": count, "R.h": torch.nn.init.eye_, "b_W.h": count, "b_R.h": 7},
    }
    layer = tt.Recurrent(cell_of(**declared), 2, 3, 2, dtype=torch.bfloat16)
    for suffix in ("_l0", "_l1"):
        assert getattr(layer, f"p{suffix}").tolist() == [0, 1, 2]
        assert torch.equal(getattr(layer, f"weight_hh{suffix}").float(), torch.eye(3))
        assert getattr(layer, f"bias_ih{suffix}").tolist() == [0, 1, 2]
        assert getattr(layer, f"bias_hh{suffix}").tolist() == [7] * 3
    assert layer.weight_ih_l0.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert all(p.requires_grad and p.is_leaf for p in layer.parameters())


def test_a_function_that_fills_nothing_leaves_no_number_behind():
    layer = tt.Recurrent(cell_of(initial_weights={"R.h": torch.zeros_like}), 2, 3)
    assert layer.weight_hh_l0.isnan().all()


def test_a_bias_that_is_declared_as_a_sum_starts_on_the_side_of_the_input():
    layer = tt.Recurrent(cell_of(initial_weights={"b.h": (2.0, 3.0)}), 2, 50)
    assert 2 <= layer.bias_ih_l0.min() < layer.bias_ih_l0.max() <= 3
    assert not layer.bias_hh_l0.any()
    drawn = tt.Recurrent(cell_of(initial_weights={"b.h": None}), 2, 50)
    assert drawn.bias_hh_l0.all()
    assert drawn.bias_ih_l0.abs().max() <= 50**-0.5


def test_the_output_may_be_a_value_that_is_no_state():
    def step(self, x, W, R, s, p):
        h = torch.tanh(W.h(x) + R.h(s.h))
        return dict(h=h, y=2 * h)

    output, h = tt.Recurrent(cell_of(step, output="y"), 2, 3)(torch.randn(4, 1, 2))
    torch.testing.assert_close(output[-1:], 2 * h)


def test_any_name_of_a_gate_will_do():
    """Names of gates that the package uses as attributes or variables are allowed."""
    for gate in ("weight", "bias", "rows", "ready", "names", "blocks", "biases", "h"):

        def step(self, x, W, R, s, p, gate=gate):
            return dict(h=torch.tanh(getattr(W, gate)(x) + getattr(R, gate)(s.h)))

        layer = tt.Recurrent(cell_of(step, gates=(gate,)), 2, 3)
        output, _ = layer(torch.randn(4, 1, 2))
        assert output.shape == (4, 1, 3)


# Refusals.


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"states": ()}, r"Mine: expected states, .*got none. .*states = \(\"h\",\)"),
        ({"gates": ()}, "Mine: expected gates, .*got none"),
        ({"gates": "ifgo"}, r"Mine: expected gates as a tuple of names, got 'ifgo'"),
        ({"states": "h"}, r"Mine: expected states as a tuple of names, got 'h'"),
        ({"parameters": "p_i"}, r"Mine: expected parameters as a tuple of names, got 'p_i'"),
        ({"recurrent_blocks": "ho"}, r"Mine: expected recurrent_blocks as a tuple of names"),
        ({"gates": ("h", "h")}, "Mine: a name stands twice in gates"),
        ({"states": ("h", "h")}, "Mine: a name stands twice in states"),
        ({"recurrent_blocks": ("h", "h")}, "Mine: a name stands twice in recurrent_blocks"),
        ({"gates": ("1h",)}, "Mine: expected gates as a tuple of names"),
        ({"states": {"h": 3}}, r"Mine: .*State"),
        ({"parameters": {"p": 3.0}}, r"Mine: .*Parameter"),
        *(
            (
                {"parameters": {"p": tt.Parameter(initial=start)}},
                r"Mine: expected the parameter p to start from a number, from two, \(low, high\),",
            )
            for start in ((1.0, 0.0), (1.0, 1.0), (1.0,), (0, 1, 2), [0, 1], ("0", 1), "1", True)
        ),
        *(
            ({"initial_weights": {"b.h": start}}, r"Mine: expected b\.h to start from a number, fr")
            for start in ((1.0, 0.0), [0, 1], "identity", True)
        ),
        ({"initial_weights": {"b.g": 1}}, r'weight in initial_weights of Mine "b.g"; did you mean'),
        ({"initial_weights": {"bias.h": 1}}, r'unknown weight in initial_weights of Mine "bias.h"'),
        ({"initial_weights": {"h": 1}}, r"Known: W\.h, R\.h, b\.h, b_W\.h, b_R\.h\."),
        (
            {"initial_weights": {"R.h": 1}, "recurrent_blocks": ()},
            r'unknown weight in initial_weights of Mine "R.h"',
        ),
        (
            {"initial_weights": {"b_R.h": 1}, "recurrent_blocks": ("k",)},
            r'unknown weight in initial_weights of Mine "b_R.h"',
        ),
        ({"initial_weights": {"p": 1}, "parameters": ("p",)}, 'initial_weights of Mine "p"'),
        ({"initial_weights": ("b.h",)}, "Mine: expected initial_weights as a dict from names of"),
        (
            {"initial_weights": {"b.h": 1, "b_W.h": 1}},
            r"Mine: initial_weights has b\.h, a sum of biases, and a part of it",
        ),
        ({"chrono": {"R.h": 1}}, r'unknown weight in chrono of Mine "R\.h".*Known: b\.h, b_W\.h'),
        ({"chrono": {"b.h": 2}}, r"Mine: expected chrono\['b\.h'\] as -1, 0 or 1, got 2"),
        ({"chrono": "b.h"}, "Mine: expected chrono as a dict from names of weights"),
        (
            {"chrono": {"p": 1}, "parameters": {"p": tt.Parameter(size=5)}},
            'unknown weight in chrono of Mine "p"',
        ),
        ({"parameters": ("weight_ih",)}, "Mine: the parameter name weight_ih is the layer's own"),
    ],
)
def test_a_declaration_that_lacks_something_is_refused_when_the_layer_is_made(declared, message):
    with pytest.raises(ValueError, match=message):
        tt.Recurrent(cell_of(**declared), 2, 3)


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        (
            lambda self, x, W, R, s, p: dict(c=s.h),
            ValueError,
            r"Mine\.step: expected a dict with h, got c",
        ),
        (
            lambda self, x, W, R, s, p: s.h,
            ValueError,
            r"Mine\.step: expected a dict with h, got Tensor",
        ),
        (
            lambda self, x, W, R, s, p: None,
            ValueError,
            r"Mine\.step: expected a dict with h, got NoneType",
        ),
        (
            lambda self, x, W, R, s, p: dict(h=s.h[:, :2]),
            ValueError,
            r"Mine\.step: expected h of shape \(4, 3\) .*got \(4, 2\)",
        ),
        (
            lambda self, x, W, R, s, p: dict(h=W.q(x)),
            AttributeError,
            r"Mine\.step: .*'q'.* the blocks h of W, h of R, the states h, the parameters",
        ),
        (
            lambda self, x, W, R, s, p: dict(h=R.q(s.h)),
            AttributeError,
            r"Mine\.step: .*'q'.* the blocks h of W, h of R",
        ),
        (
            lambda self, x, W, R, s, p: dict(h=s.c),
            AttributeError,
            r"Mine\.step: .*'c'.* the states h",
        ),
        (
            lambda self, x, W, R, s, p: dict(h=p.p_i * s.h),
            AttributeError,
            r"Mine\.step: .*'p_i'.* the parameters \(none\)",
        ),
    ],
)
def test_a_step_that_does_what_it_did_not_declare_is_told_so(step, error, message):
    with pytest.raises(error, match=message):
        tt.Recurrent(cell_of(step), 2, 3)(torch.zeros(5, 4, 2))


def test_an_output_that_the_step_does_not_return_is_missed():
    with pytest.raises(ValueError, match=r"Mine\.step: expected a dict with h, y, got h"):
        tt.Recurrent(cell_of(output="y"), 2, 3)(torch.zeros(5, 4, 2))


def test_an_output_that_is_not_as_wide_as_the_layer_is_refused():
    def step(self, x, W, R, s, p):
        return dict(h=s.h, y=s.h[:, :2])

    layer = tt.Recurrent(cell_of(step, output="y"), 2, 3)
    with pytest.raises(ValueError, match=r"Mine\.step: expected y of shape \(4, 3\)"):
        layer(torch.zeros(5, 4, 2))


def test_a_cell_without_a_step_is_told_to_write_one():
    cell = type("Mine", (tt.Cell,), {"gates": ("h",), "states": ("h",)})()
    with pytest.raises(NotImplementedError, match=r"Mine: write step\(self, x, W, R, s, p\)"):
        tt.Recurrent(cell, 2, 3)(torch.zeros(5, 4, 2))


def test_a_class_in_place_of_a_cell_is_told_apart():
    with pytest.raises(TypeError, match=r"expected a cell or the name of one.*Write Leaky\(\)"):
        tt.Recurrent(Leaky, 2, 3)
    with pytest.raises(TypeError, match="expected a cell or the name of one, got None"):
        tt.Recurrent(None, 2, 3)


def test_messages_call_a_cell_without_a_name_by_its_class():
    with pytest.raises(tt.checks.ShapeError, match=r'Recurrent\("?Leaky'):
        tt.Recurrent(Leaky(), 2, 3)(torch.zeros(5, 4, 9))


class Antisymmetric(tt.Cell):
    gates, states = ("h",), ("h",)

    def transform(self, R):
        return {"h": R["h"] - R["h"].T}

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h)))


@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_a_step_uses_the_blocks_that_transform_makes_and_their_gradient_flows_back(backend):
    layer = tt.Recurrent(Antisymmetric(), 2, 3, backend=backend, dtype=torch.float64)
    plain = tt.Recurrent("rnn-tanh", 2, 3, backend=backend, dtype=torch.float64)
    R = layer.weight_hh_l0
    plain.load_state_dict(layer.state_dict() | {"weight_hh_l0": (R - R.T).detach()})
    x = torch.randn(5, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], plain(x)[0])
    layer(x)[0].sum().backward()
    plain(x)[0].sum().backward()
    through = plain.weight_hh_l0.grad
    torch.testing.assert_close(R.grad, through - through.T)


def test_a_transform_that_loses_a_block_is_told_so():
    class Losing(Antisymmetric):
        def transform(self, R):
            return {}

    layer = tt.Recurrent(Losing(), 2, 3)
    with pytest.raises(ValueError, match=r"Losing\.transform: expected the blocks h, each of"):
        layer(torch.randn(5, 2, 2))

"""The initial weights of cells equal those of the authors, and the cells can learn from them."""

import re
from math import sqrt
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import throughtime as tt
from throughtime.cells import piecewise_linear

I, H = 2, 256
both_backends = pytest.mark.parametrize("backend", ["reference", "cpp"])


def parts(layer, suffix="_l0"):
    """All blocks and biases of a layer by the names of ``Cell.initial_weights``; b.f is a sum."""
    cell = layer.cell
    named = {}
    for key, letter, blocks in (
        ("weight_ih", "W", cell.gates),
        ("weight_hh", "R", cell.recurrent_block_names),
        ("bias_ih", "b_W", cell.gates),
        ("bias_hh", "b_R", cell.recurrent_bias_names),
    ):
        if blocks:
            rows = getattr(layer, f"{key}{suffix}").detach().chunk(len(blocks))
            named |= {f"{letter}.{b}": row for b, row in zip(blocks, rows, strict=True)}
    for gate in cell.gates:
        named[f"b.{gate}"] = named[f"b_W.{gate}"] + named.get(f"b_R.{gate}", 0.0)
    own = {k: getattr(layer, f"{k}{suffix}").detach() for k in cell.parameter_specs}
    return named | own


# The docstrings of the cells state the sources of these numbers.
CONSTANT = [
    *(("br", name, 1.0) for name in ("w_a", "w_c")),
    *(("br", f"b.{gate}", 0.0) for gate in "ach"),
    *(("nbr", f"b.{gate}", 0.0) for gate in "ach"),
    ("lstm-mass-conserving", "b.o", -3.0),
    *(("lstm-layer-norm", f"b_R.{gate}", 0.0) for gate in "ifgo"),
    *(("gru-layer-norm", f"b_R.{gate}", 0.0) for gate in "rzn"),
    ("cfn", "b.theta", 1.0),
    ("cfn", "b.eta", -1.0),
    ("janet", "b.f", 1.0),
    ("minimal-rnn", "b_R.z", 1.0),
    ("fast-rnn", "b.n", 1.0),
    ("fast-rnn", "alpha", -3.0),
    ("fast-rnn", "beta", 3.0),
    ("fast-grnn", "b.n", 1.0),
    ("fast-grnn", "b_z", 0.0),
    ("ugrnn", "b.g", 1.0),
    ("intersection-rnn", "b.k", 1.0),
    ("intersection-rnn", "b.g", 1.0),
    *(("slstm", f"R.{gate}", 0.0) for gate in "zifo"),
    *(("rhn", name, -2.0) for name in ("b.t", "b_t2", "b_t3")),
    ("lstm-phased", "open", 0.05),
    ("rnn-jordan", "b_y", 0.0),
    ("ltc", "log_tau", 0.0),
    *((name, f"b_{k}", 0.0) for name in ("cfc", "cfc-no-gate") for k in "gnab"),
    *(("cfc-pure", k, v) for k, v in (("A", 1.0), ("w_tau", 0.0), ("b_f", 0.0))),
]


@pytest.mark.parametrize(("name", "weight", "value"), CONSTANT)
def test_a_weight_starts_at_the_number_of_the_authors(name, weight, value):
    layer = tt.Recurrent(name, I, 5, 2, bidirectional=True)
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        part = parts(layer, suffix)[weight]
        assert torch.equal(part, torch.full_like(part, value))


@pytest.mark.parametrize(
    ("name", "weight", "low", "high"),
    [
        ("ind-rnn", "u", 0.0, 1.0),
        ("unicornn", "w", 0.0, 1.0),
        ("unicornn", "c", -0.1, 0.1),
        # U(-sqrt 3, sqrt 3) times the root of 1/2
        ("sru", "v_f", -sqrt(1.5), sqrt(1.5)),
        ("sru", "v_r", -sqrt(1.5), sqrt(1.5)),
        ("lstm-phased", "log_period", 0.0, 3.0),
        ("lstm-phased", "shift", 0.0, 1.0),
        ("ltc", "A", -1.0, 1.0),
    ],
)
def test_a_weight_is_drawn_between_the_numbers_of_the_authors(name, weight, low, high):
    torch.manual_seed(0)
    part = parts(tt.Recurrent(name, 1, 1000))[weight]
    span = high - low
    assert low <= part.min() < low + 0.05 * span
    assert high - 0.05 * span < part.max() <= high
    assert abs(part.mean() - (low + high) / 2) < 0.05 * span


def test_scrn_begins_with_states_of_a_tenth():
    layer = tt.Recurrent("scrn", I, 3, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    _, (_, h, s) = layer(torch.zeros(1, 1, I, dtype=torch.float64))
    assert s.flatten().tolist() == pytest.approx([0.095] * 3)
    assert h.flatten().tolist() == [0.5] * 3
    ones = torch.full((1, 1, 3), 0.1, dtype=torch.float64)
    x = torch.randn(4, 1, I, dtype=torch.float64)
    layer.reset_parameters()
    assert torch.equal(layer(x)[0], layer(x, (0 * ones, ones, ones))[0])


# Cells that could not learn from torch.nn's initial weights.


def test_independent_units_remember_an_impulse():
    """The mean of u^2 is 1/3; with u from -1/sqrt(H) to 1/sqrt(H), half of the units would be 0."""
    torch.manual_seed(0)
    layer = tt.Recurrent("ind-rnn", 1, 128, bias=False)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0)
    x = torch.zeros(3, 1, 1)
    x[0] = 1.0
    output, _ = layer(x)
    assert output[0].mean() == 1.0
    assert 0.28 < output[2].mean() < 0.39


@both_backends
def test_a_bistable_unit_falls_into_its_stable_state(backend):
    """h = tanh((1 + tanh(h)) h) has the solution 0.9197231126."""
    layer = tt.Recurrent("br", 1, 4, backend=backend, dtype=torch.float64)
    h = torch.full((1, 1, 4), 0.5, dtype=torch.float64)
    output, _ = layer(torch.zeros(200, 1, 1, dtype=torch.float64), h)
    assert output[-1].flatten().tolist() == pytest.approx([0.9197231126] * 4, abs=1e-10)


def test_the_units_of_plrnn_decay_as_a_normalised_positive_definite_matrix(monkeypatch):
    """M = [[1, 2], [0, 2]]: I + M^T M / 2 = [[3/2, 1], [1, 5]], whose eigenvalues are
    (13 / 2 ± sqrt(49 / 4 + 4)) / 2."""
    M = torch.tensor([[1.0, 2.0], [0.0, 2.0]], dtype=torch.float64)
    monkeypatch.setattr(piecewise_linear.torch, "randn", lambda *size, **of: M.to(of["dtype"]))
    layer = tt.Recurrent("plrnn", I, 2, dtype=torch.float64)
    largest = (6.5 + sqrt(16.25)) / 2
    assert layer.a_l0.tolist() == pytest.approx([1.5 / largest, 5 / largest], abs=1e-14)


def test_no_unit_of_plrnn_starts_without_decay_or_with_a_negative_one():
    a = tt.Recurrent("plrnn", I, H).a_l0
    assert 0 < a.min() < a.max() < 1
    assert abs(a.mean() - 0.4) < 0.1
    half = tt.Recurrent("plrnn", I, H, dtype=torch.bfloat16).a_l0
    assert 0 < half.min() < half.max() < 1


@both_backends
def test_layer_norm_gives_the_product_with_a_zero_state_no_bias(backend):
    torch.manual_seed(1)
    layer = tt.Recurrent("lstm-layer-norm", 2, 4, backend=backend, dtype=torch.float64)
    output, _ = layer(torch.randn(1, 1, 2, dtype=torch.float64))
    wanted = [-0.2710, 0.4476, -0.0024, 0.4762]
    assert output.flatten().tolist() == pytest.approx(wanted, abs=5e-5)


def test_slstm_forgets_by_a_power_law():
    bias = parts(tt.Recurrent("slstm", I, 5, dtype=torch.float64))["b.f"]
    wanted = [5 - 12 * (k / 4) ** 0.3 for k in range(5)]
    assert bias.tolist() == pytest.approx(wanted, abs=1e-14)
    assert parts(tt.Recurrent("slstm", I, 1))["b.f"].tolist() == [5.0]


def test_the_redistribution_of_mass_starts_from_the_identity():
    layer = tt.Recurrent("lstm-mass-conserving", I, 4)
    assert torch.equal(parts(layer)["R.r"], torch.eye(4))
    used = layer.cell.transform({"r": torch.eye(4)})["r"]
    e = torch.tensor(1.0).exp()
    torch.testing.assert_close(used.diagonal(), (e / (e + 3)).expand(4))


@both_backends
@pytest.mark.parametrize(
    ("stored", "share"),
    [
        ((1e-5, 0), (1, 0)),
        ((1e-12, 3e-12), (0.25, 0.75)),
        ((3.0, 1.0), (0.75, 0.25)),
        ((0, 0), (0, 0)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_share_is_exact_however_little_is_stored(backend, stored, share, dtype):
    layer = tt.Recurrent("lstm-mass-conserving", I, 2, backend=backend, dtype=dtype)
    c = torch.tensor([[stored]], dtype=dtype, requires_grad=True)
    mass = torch.ones(1, 1, dtype=dtype)
    x = torch.randn(1, 1, I, dtype=dtype)
    output, _, seen = layer(x, c, inputs={"mass": mass}, return_trace=True)
    assert seen["share_l0"].flatten().tolist() == pytest.approx(share, rel=1e-6)
    (gradient,) = torch.autograd.grad(output.sum(), c)
    assert gradient.isfinite().all()


@both_backends
@pytest.mark.parametrize("stored", [1e-30, 1e-38, 1e-42, 1e-45])
def test_a_store_that_has_all_but_run_dry_has_a_gradient(backend, stored):
    layer = tt.Recurrent("lstm-mass-conserving", I, 2, backend=backend)
    c = torch.tensor([[[stored, 0.0]]], requires_grad=True)
    x, mass = torch.randn(3, 1, I), torch.zeros(3, 1)
    output, last = layer(x, c, inputs={"mass": mass})
    derivatives = torch.autograd.grad((output.sum() + last.sum()) * 1e3, [c, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in derivatives)


# The time gate of the phased LSTM.


def gate_of(open_, time, leak=0.001):
    """k and dk/dopen of a unit with period 1 and shift 0."""
    cell = tt.cells.get("lstm-phased", leak=leak)
    awake = torch.tensor(open_, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros((), dtype=torch.float64)
    own = dict(log_period=zero, shift=zero, open=awake, p_i=zero, p_f=zero, p_o=zero)
    blocks = SimpleNamespace(**dict.fromkeys("ifgo", lambda value: 0 * value))
    u = SimpleNamespace(time=torch.tensor(time, dtype=torch.float64))
    states = SimpleNamespace(h=zero, c=zero)
    k = cell.step(zero, blocks, blocks, states, SimpleNamespace(**own), u)["k"]
    (gradient,) = torch.autograd.grad(k, awake)
    return k.item(), gradient.item()


@pytest.mark.parametrize(
    ("open_", "time", "k", "slope"),
    [
        (-0.05, 0.01, 0.4, 8.0),
        (0.05, 0.01, 0.4, -8.0),
        # While the gate closes, k = 2 - 2 * 0.04 / 0.05, with the slope 2 * 0.04 / 0.05^2.
        (-0.05, 0.04, 0.4, -32.0),
        (0.05, 0.04, 0.4, 32.0),
        (-0.05, 0.3, 0.0003, 0.0),
        (0.0, 0.3, 0.0003, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (1e-300, 0.3, 0.0003, 0.0),
    ],
)
def test_a_gate_of_a_negative_width_opens_as_one_of_its_size(open_, time, k, slope):
    assert gate_of(open_, time) == pytest.approx((k, slope), rel=1e-12)


@both_backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_layer_opens_and_learns_likewise(backend, dtype):
    widths = torch.tensor([-0.05, 0.05, 0.0, 1e-30], dtype=dtype)
    layer = tt.Recurrent("lstm-phased", I, 4, backend=backend, dtype=dtype)
    with torch.no_grad():
        layer.log_period_l0.zero_()
        layer.shift_l0.zero_()
        layer.open_l0.copy_(widths)
    x = torch.randn(1, 1, I, dtype=dtype)
    time = torch.full((1, 1), 0.01, dtype=dtype)
    output, _, seen = layer(x, inputs={"time": time}, return_trace=True)
    assert seen["k_l0"].flatten().tolist() == pytest.approx([0.4, 0.4, 1e-5, 1e-5], rel=1e-4)
    # h = k h_new, because the state before is 0.
    gradients = torch.autograd.grad(output.sum(), list(layer.parameters()))
    by_name = dict(zip(dict(layer.named_parameters()), gradients, strict=True))
    slopes = by_name["open_l0"] / seen["h_new_l0"].flatten()
    assert slopes.tolist() == pytest.approx([8, -8, 0, 0], rel=1e-4)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_no_clock_of_a_phased_lstm_stops_while_it_learns():
    """After 20 steps of Adam some widths are negative; all of them must still get gradients."""
    torch.manual_seed(0)
    layer = tt.Recurrent("lstm-phased", I, 16)
    x, time = torch.randn(100, 8, I), torch.arange(100.0).div(7).unsqueeze(1).expand(100, 8)
    wanted = x[..., :1].cumsum(0).tanh()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        output, _ = layer(x, inputs={"time": time})
        (output - wanted).square().mean().backward()
        optimizer.step()
    assert (layer.open_l0 < 0).any()
    assert layer.open_l0.grad.all()


# All cells.


def test_the_page_lists_every_cell_that_starts_otherwise():
    page = (Path(__file__).parents[2] / "docs" / "cells.md").read_text()
    table = page.partition("| cell | what starts otherwise |")[2].partition("\n\n")[0]
    firsts = [line.split("|")[1] for line in table.splitlines()[2:]]
    listed = {name for first in firsts for name in re.findall(r"`([a-z0-9-]+)`", first)}
    cells = {name: tt.cells.get(name) for name in tt.cells.names()}
    assert listed == {
        name
        for name, cell in cells.items()
        if cell.initial_weights
        or any(spec.initial is not None for spec in cell.parameter_specs.values())
        or any(spec.initial != 0 for spec in cell.state_specs.values())
    }


@pytest.mark.parametrize("name", tt.cells.names())
def test_a_declared_start_holds_in_every_dtype_and_on_meta(name):
    torch.manual_seed(0)
    wide = tt.Recurrent(name, I, 4, dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16):
        layer = tt.Recurrent(name, I, 4, dtype=dtype)
        assert all(p.isfinite().all() for p in layer.parameters())
        for weight, start in layer.cell.initial_weights.items():
            if isinstance(start, float):
                assert torch.equal(parts(layer)[weight].double(), parts(wide)[weight])
    meta = tt.Recurrent(name, I, 4, device="meta")
    assert {k: p.shape for k, p in meta.named_parameters()} == {
        k: p.shape for k, p in wide.named_parameters()
    }


@pytest.mark.parametrize("name", tt.cells.names())
def test_a_layer_without_biases_leaves_out_the_starts_of_biases(name):
    layer = tt.Recurrent(name, I, 4, bias=False)
    assert not any(key.startswith("bias") for key, _ in layer.named_parameters())


@pytest.mark.parametrize("name", ["rnn-tanh", "rnn-relu", "lstm", "gru", "lstm-peephole"])
def test_a_cell_that_starts_as_torch_nn_does_declares_nothing(name):
    cell = tt.cells.get(name)
    assert not cell.initial_weights
    assert all(spec.initial is None for spec in cell.parameter_specs.values())

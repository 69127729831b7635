"""The options of the initial weights: ``forget_bias="chrono"`` and ``recurrent_init``.

The cells that refuse them are read from docs/layers.md.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import throughtime as tt

I, H, T_MAX = 2, 3, 100
PAGE = Path(__file__).parents[2] / "docs" / "layers.md"
WITH_CHRONO = [n for n in tt.cells.names() if any(tt.cells.get(n).chrono.values())]
CHRONO = {"forget_bias": "chrono", "chrono_steps": T_MAX}
OPTIONS = {
    'forget_bias="chrono"': CHRONO,
    'recurrent_init="identity"': {"recurrent_init": "identity"},
    'recurrent_init="orthogonal"': {"recurrent_init": "orthogonal"},
}


def refusal(name, options, **more):
    """The layer's error message; None if it accepts the options."""
    try:
        tt.Recurrent(name, I, H, **options, **more)
    except ValueError as error:
        return str(error)
    return None


def refused_on_the_page():
    """The refusals in the table of docs/layers.md, by option and cell."""
    section = PAGE.read_text().partition("## Where the weights start")[2].partition("\n## ")[0]
    table = section.partition("| refused | the cells | because |")[2].partition("\n\n")[0]
    pairs = set()
    for line in table.splitlines()[2:]:
        options, cells, _ = (column.strip() for column in line.split("|")[1:-1])
        for option in re.findall(r"`([^`]+)`", options):
            pairs |= {(option, cell) for cell in re.findall(r"`([a-z0-9-]+)`", cells)}
    return pairs


def test_the_page_lists_what_is_refused_and_nothing_else():
    names = tt.cells.names()
    real = {(o, n) for o in OPTIONS for n in names if refusal(n, OPTIONS[o]) is not None}
    assert len(real) > 40
    assert refused_on_the_page() == real


@pytest.mark.parametrize(
    ("name", "option", "words"),
    [
        ("rnn-tanh", 'forget_bias="chrono"', "and the cell declares none (Cell.chrono)"),
        ("ind-rnn", 'recurrent_init="identity"', "has no recurrent block to be identity"),
        ("ind-rnn", 'recurrent_init="orthogonal"', "has no recurrent block to be orthogonal"),
        ("plrnn", 'recurrent_init="identity"', "would start block z at zero, as the cell uses"),
    ],
)
def test_a_refusal_says_why(name, option, words):
    assert words in refusal(name, OPTIONS[option])
    assert refusal(name, OPTIONS[option]).startswith(f'Recurrent("{name}"): ')


# Chrono initialisation.


def biases(name, hidden_size=H, suffix="_l0", **options):
    """The sum of both biases of each gate, and the per-unit parameters."""
    layer = tt.Recurrent(name, I, hidden_size, dtype=torch.float64, **CHRONO, **options)
    gates, biased = layer.cell.gates, layer.cell.recurrent_bias_names
    sums = dict(zip(gates, getattr(layer, f"bias_ih{suffix}").chunk(len(gates)), strict=True))
    for gate, bias in zip(
        biased, getattr(layer, f"bias_hh{suffix}").chunk(len(biased)), strict=True
    ):
        sums[gate] = sums[gate] + bias
    return sums | {k: getattr(layer, f"{k}{suffix}") for k in layer.cell.parameter_specs}


def test_the_units_of_an_lstm_remember_from_two_steps_to_the_longest_dependency():
    torch.manual_seed(0)
    drawn = biases("lstm", 500)
    steps = drawn["f"].exp()
    assert 1 <= steps.min() < 3
    assert T_MAX - 3 < steps.max() <= T_MAX - 1
    assert abs(steps.mean() - T_MAX / 2) < 4
    assert torch.equal(drawn["i"], -drawn["f"])
    bound = 2 / math.sqrt(500)
    assert drawn["g"].abs().max() <= bound
    assert drawn["o"].abs().max() <= bound


def test_every_layer_and_direction_draws_its_own_and_the_seed_decides():
    def all_of_them():
        torch.manual_seed(3)
        layer = tt.Recurrent("gru", I, H, 2, bidirectional=True, **CHRONO)
        assert not layer.bias_hh_l1_reverse[H : 2 * H].any()
        return [getattr(layer, f"bias_ih_l{k}")[H : 2 * H] for k in ("0", "0_reverse", "1")]

    first, second = all_of_them(), all_of_them()
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


KEPT = {
    # The state whose time scale is set, if it is not the first; and the inputs of the step.
    **dict.fromkeys(["sru", "qrnn", "t-lstm", "ran"], "c"),
    **{n: "c" for n in WITH_CHRONO if n.startswith("lstm")},
    **{"slstm": "c", "intersection-rnn": "h", "lem": "z"},
}
INPUTS = {"mass": 0.0, "time": 0.5, "decay": 1.0}


@pytest.mark.parametrize("name", WITH_CHRONO)
def test_a_unit_keeps_of_its_state_the_share_of_its_time(name):
    """With all other weights 0, h_t = u / (1 + u) h_{t-1}, to first order around 0."""
    torch.manual_seed(1)
    layer = tt.Recurrent(name, 1, 1, dtype=torch.float64, **CHRONO)
    cell = layer.cell
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        for key, weight in layer.named_parameters():
            own = key.removesuffix("_l0") in cell.chrono
            if not (own or key.startswith("bias")):
                weight.zero_()
        if name == "lstm-phased":
            layer.open_l0.fill_(1.0)
        # Of the biases, only those that are set reach these values; the others are below 1.
        for key in ("bias_ih_l0", "bias_hh_l0"):
            if hasattr(layer, key):
                letter = "b_W." if key == "bias_ih_l0" else "b_R."
                names = cell.gates if letter == "b_W." else cell.recurrent_bias_names
                for k, gate in enumerate(names):
                    if not {f"b.{gate}", letter + gate} & set(cell.chrono):
                        getattr(layer, key)[k] = 0.0
    states = {k: 0 * one for k in cell.state_specs}
    if name == "slstm":
        states["n"] = one
    kept = KEPT.get(name, next(iter(states)))
    states[kept].requires_grad_()
    inputs = {k: INPUTS[k] * one for k in cell.given_inputs}
    hx = tuple(states.values())
    _, last = layer(0 * one, hx if len(hx) > 1 else hx[0], inputs=inputs or None)
    new = last[list(states).index(kept)] if len(hx) > 1 else last
    (share,) = torch.autograd.grad(new.sum(), states[kept])

    key, sign = next((k, sign) for k, sign in cell.chrono.items() if sign)
    letter, _, gate = key.rpartition(".")
    if not letter:
        bias = getattr(layer, f"{key}_l0")
    elif letter == "b_R":
        bias = layer.bias_hh_l0[cell.recurrent_bias_names.index(gate)]
    else:
        bias = layer.bias_ih_l0[cell.gates.index(gate)]
    u = math.exp(sign * bias.item())
    assert 1 <= u <= T_MAX - 1
    expected = u / (1 + u)
    if name == "rhn":
        expected **= cell.depth
    if name in ("br", "nbr"):
        # The part that is not kept is fed back whole, a = 1: c + (1 - c) a.
        expected = 1.0
    assert share.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["br", "nbr"])
def test_a_bistable_unit_keeps_the_share_of_its_time(name):
    layer = tt.Recurrent(name, I, H, dtype=torch.float64, **CHRONO)
    x, h = torch.zeros(1, 1, I, dtype=torch.float64), torch.zeros(1, 1, H, dtype=torch.float64)
    c = layer(x, h, return_trace=True)[2]["c_l0"].flatten()
    torch.testing.assert_close(c, layer.bias_ih_l0[H : 2 * H].sigmoid())
    assert ((c >= 0.5) & (c <= 1 - 1 / T_MAX)).all()


@pytest.mark.parametrize(
    ("name", "writes"),
    [("lstm", "i"), ("lstm-peephole", "i"), ("lstm-layer-norm", "i"), ("ran", "i"), ("cfn", "eta")],
)
def test_a_gate_that_writes_opens_once_in_that_time(name, writes):
    layer = tt.Recurrent(name, I, H, dtype=torch.float64, **CHRONO)
    with torch.no_grad():
        for key, weight in layer.named_parameters():
            if key.startswith("weight") or (name == "lstm-layer-norm" and key.startswith("bias")):
                weight.zero_()
    x = torch.zeros(1, 1, I, dtype=torch.float64)
    gates = {k: v.flatten() for k, v in layer(x, return_trace=True)[2].items()}
    keeps = gates["theta_l0" if name == "cfn" else "f_l0"]
    torch.testing.assert_close(gates[f"{writes}_l0"], 1 - keeps)


def test_without_biases_it_goes_where_per_unit_parameters_do_it():
    for name in ("fast-rnn", "mgu-1", "mgu-3", "lstm-layer-norm", "gru-layer-norm", "fast-grnn"):
        assert refusal(name, CHRONO, bias=False) is None
    for name in ("lstm", "gru", "minimal-rnn", "rhn", "atr"):
        assert 'forget_bias="chrono" needs bias=True' in refusal(name, CHRONO, bias=False)


@pytest.mark.parametrize("steps", [None, 2, 1, 0, -5, True, "10", float("nan"), float("inf")])
def test_chrono_needs_a_number_of_steps(steps):
    words = f"needs chrono_steps, .*as a number of steps above 2; got {re.escape(repr(steps))}"
    with pytest.raises(ValueError, match=words):
        tt.LSTM(I, H, forget_bias="chrono", chrono_steps=steps)


@pytest.mark.parametrize("steps", [2.5, 3, np.int64(784), np.float32(10)])
def test_steps_may_be_any_number(steps):
    assert tt.LSTM(I, H, forget_bias="chrono", chrono_steps=steps).bias_ih_l0.isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chrono_steps": 10}, 'chrono_steps goes with forget_bias="chrono"'),
        ({"chrono_steps": 10, "forget_bias": 1.0}, 'chrono_steps goes with forget_bias="chrono"'),
        ({"forget_bias": "chronos"}, 'unknown forget_bias "chronos"; did you mean "chrono"'),
        ({"forget_bias": True}, 'expected forget_bias as a number or "chrono", got True'),
        ({"forget_bias": math.nan}, 'expected forget_bias as a number or "chrono", got nan'),
        ({"forget_bias": [1.0]}, r'expected forget_bias as a number or "chrono", got \[1.0\]'),
        (
            {"recurrent_init": "identiy"},
            'unknown recurrent_init "identiy"; did you mean "identity"',
        ),
        ({"activations": {"sigmoid": "hardsigmoid"}, **CHRONO}, "needs the sigmoids of the gates"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        tt.LSTM(I, H, **options)


def test_a_cell_of_ones_own_takes_chrono_where_it_declares_its_gate():
    class Kept(tt.Cell):
        gates, states, chrono = ("z", "n"), ("h",), {"b.z": -1}

        def step(self, x, W, R, s, p):
            z = torch.sigmoid(W.z(x) + R.z(s.h))
            return dict(h=(1 - z) * s.h + z * torch.tanh(W.n(x)))

    layer = tt.Recurrent(Kept(), I, H, **CHRONO)
    assert (layer.bias_ih_l0[:H] <= 0).all()
    assert not layer.bias_hh_l0[:H].any()
    assert layer.bias_hh_l0[H:].all()


def test_chrono_goes_into_a_folder_and_comes_back(tmp_path):
    layer = tt.LSTM(I, H, **CHRONO, recurrent_init="identity")
    tt.save_pretrained(layer, tmp_path)
    again = tt.from_pretrained(tmp_path)
    assert (again.forget_bias, again.chrono_steps) == ("chrono", T_MAX)
    assert again.recurrent_init == "identity"
    assert all(map(torch.equal, layer.parameters(), again.parameters()))


def test_the_layer_shows_how_it_started():
    assert repr(tt.GRU(I, H, **CHRONO)).endswith("forget_bias='chrono', chrono_steps=100)")


# The recurrent matrix.


@pytest.mark.parametrize(
    "name",
    [n for n in tt.cells.names() if refusal(n, OPTIONS['recurrent_init="identity"']) is None],
)
def test_identity_makes_every_recurrent_block_the_identity(name):
    layer = tt.Recurrent(name, I, H, 2, bidirectional=True, recurrent_init="identity")
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        for block in getattr(layer, f"weight_hh{suffix}").split(H):
            assert torch.equal(block, torch.eye(H))


def test_a_rectifier_with_the_identity_keeps_what_it_has():
    """The IRNN: without input h is constant, and its gradient is 1 over any number of steps."""
    layer = tt.RNN(I, H, nonlinearity="relu", bias=False, recurrent_init="identity")
    h = torch.rand(1, 1, H, requires_grad=True)
    output, _ = layer(torch.zeros(300, 1, I), h)
    assert torch.equal(output[-1], h[0])
    (gradient,) = torch.autograd.grad(output[-1].sum(), h)
    assert torch.equal(gradient, torch.ones_like(gradient))


def test_an_option_comes_after_what_the_cell_declares():
    torch.manual_seed(0)
    layer = tt.Recurrent("slstm", I, H, recurrent_init="uniform", forget_bias=2.0)
    assert layer.weight_hh_l0.all()
    assert layer.weight_hh_l0.abs().max() <= 1 / math.sqrt(H)
    assert layer.bias_ih_l0[2 * H : 3 * H].tolist() == [2.0] * H
    assert not tt.Recurrent("slstm", I, H).weight_hh_l0.any()
    mass = tt.Recurrent("lstm-mass-conserving", I, H, recurrent_init="orthogonal").weight_hh_l0
    assert not torch.equal(mass[2 * H :], torch.eye(H))


@pytest.mark.parametrize("cell", [tt.LSTM, tt.GRU, tt.RNN])
def test_uniform_is_what_torch_nn_draws(cell):
    drawn = []
    for options in ({}, {"recurrent_init": "uniform"}):
        torch.manual_seed(4)
        drawn.append(cell(I, H, 2, **options).state_dict())
    torch.manual_seed(4)
    theirs = getattr(torch.nn, cell.__name__)(I, H, 2).state_dict()
    for ours in drawn:
        assert all(torch.equal(ours[k], v) for k, v in theirs.items())

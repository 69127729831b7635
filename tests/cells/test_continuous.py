"""The cell of continuous.py against its equations in NumPy."""

from math import pi, sqrt

import numpy as np
import pytest
import torch

import throughtime as tt

from .statements import all_stated, computes, each_stated, gives, one_unit, relu


def ctrnn(k, x, s, dt=20.0, tau=100.0):
    return {"h": s["h"] + dt / tau * (relu(k.a("h", x, s["h"])) - s["h"])}


# Name and constants; gates in the order of the weights, blocks of the recurrent matrix, states,
# per-unit parameters; the step.
STATED = [
    ("ctrnn", {}, "h", "h", "h", "", ctrnn),
    ("ctrnn", {"dt": 1.0, "tau": 4.0}, "h", "h", "h", "", ctrnn),
]


@each_stated(STATED)
def test_a_cell_computes_its_equations(stated, bias, backend):
    computes(*stated, bias=bias, backend=backend)


# The input is 1 and there are no biases.
BY_HAND = [
    # alpha is 1/4: 3/4 * 2 + 1/4 * max(0, 5 - 1 * 2)
    ("ctrnn", {"dt": 1.0, "tau": 4.0}, {"h": 5}, {"h": -1}, {"h": 2}, {"h": 2.25}),
    # … and of a negative argument only the decay remains.
    ("ctrnn", {"dt": 1.0, "tau": 4.0}, {"h": 1}, {"h": -1}, {"h": 2}, {"h": 1.5}),
]


@pytest.mark.parametrize(("name", "constants", "W", "R", "before", "after"), BY_HAND)
def test_one_unit_gives_the_numbers_worked_out_by_hand(name, constants, W, R, before, after):
    gives(one_unit(name, {"W": W, "R": R}, before, constants=constants), after)


def test_every_cell_of_the_file_is_stated():
    all_stated("continuous", STATED, BY_HAND)


@pytest.mark.parametrize("backend", ["reference", "cpp"])
def test_the_noise_is_normally_distributed(backend):
    """Without weights and with alpha = 1, max(0, sqrt(2) noise xi) is the output."""
    torch.manual_seed(0)
    cell = tt.cells.get("ctrnn", dt=1.0, tau=1.0, noise=0.5)
    layer = tt.Recurrent(cell, 1, 50, backend=backend, dtype=torch.float64)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    output = layer(torch.zeros(40, 20, 1, dtype=torch.float64))[0].detach().numpy()
    deviation = sqrt(2) * 0.5
    assert np.mean(output == 0) == pytest.approx(0.5, abs=0.01)
    # The mean and the mean square of the positive half of a normal distribution.
    assert output.mean() == pytest.approx(deviation / sqrt(2 * pi), rel=0.02)
    assert np.mean(output**2) == pytest.approx(deviation**2 / 2, rel=0.03)
    # Neighbouring steps, rows and units are independent.
    for axis in range(3):
        one, other = np.delete(output, 0, axis).ravel(), np.delete(output, -1, axis).ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.02


def test_noise_is_drawn_alike_by_the_kernel_and_the_reference():
    cell = tt.cells.get("ctrnn", noise=0.1)
    layers = [
        tt.Recurrent(cell, 2, 5, backend=b, dtype=torch.float64) for b in ("reference", "cpp")
    ]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(7, 3, 2, dtype=torch.float64)
    outputs = []
    for layer in layers:
        torch.manual_seed(5)
        outputs.append(layer(x)[0])
    torch.testing.assert_close(*outputs)
    torch.manual_seed(6)
    assert not torch.equal(layers[0](x)[0], outputs[0])


def test_weights_of_a_noisy_layer_fit_one_without_noise():
    noisy = tt.Recurrent(tt.cells.get("ctrnn", noise=0.05), 2, 5)
    quiet = tt.Recurrent(tt.cells.get("ctrnn"), 2, 5)
    quiet.load_state_dict(noisy.state_dict())
    x = torch.randn(7, 3, 2)
    assert torch.equal(quiet(x)[0], quiet(x)[0])
    assert quiet.cell.input_specs == {}


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"dt": 0.0}, "dt above 0 and at most tau, got dt=0.0, tau=100.0"),
        ({"dt": -1.0}, "dt above 0"),
        ({"dt": 2.0, "tau": 1.0}, "at most tau, got dt=2.0, tau=1.0"),
        ({"dt": float("nan")}, "dt above 0"),
        ({"noise": -0.1}, "noise of at least 0, got -0.1"),
        ({"noise": float("nan")}, "noise of at least 0"),
    ],
)
def test_impossible_constants_are_refused(constants, message):
    with pytest.raises(ValueError, match=message):
        tt.cells.get("ctrnn", **constants)

"""Jacobians, Lyapunov exponents, spectra and fixed points, where the answer is known."""

import math

import pytest
import torch

import throughtime as tt
from throughtime.inspection.measures.dynamics import (
    jacobians,
    linear_states,
    lyapunov_exponent,
    product_singular_values,
    spectra,
)
from throughtime.inspection.measures.fixed_points import fixed_points
from throughtime.inspection.measures.trajectory import trajectory
from throughtime.inspection.measures.unrolled import unrolled

from ...further_inputs import bounded, fed

H = 5


def path_of(layer, x, direction=0, **options):
    """The trajectory of the first layer of a module."""
    with unrolled(layer) as states:
        layer(x, **options)
    name = list(states.calls)[direction]
    return trajectory(states.calls[name], states.widths[name])


def linear(R, **options):
    layer = tt.Recurrent("rnn-linear", 3, len(R), dtype=torch.float64, **options)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(R) if name.startswith("weight_hh") else parameter.zero_()
    return layer


def orthogonal(size=H):
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q


def test_the_jacobian_of_a_linear_network_is_its_matrix():
    R = torch.randn(H, H, dtype=torch.float64)
    path = path_of(linear(R), torch.randn(4, 1, 3, dtype=torch.float64))
    for J in jacobians(path, torch.arange(4)):
        torch.testing.assert_close(J, R)


def test_the_jacobian_of_tanh_is_that_of_the_equation():
    layer = tt.RNN(3, H, dtype=torch.float64)
    path = path_of(layer, torch.randn(6, 1, 3, dtype=torch.float64))
    J = jacobians(path, torch.tensor([4]))[0]
    expected = (1 - path.states[5] ** 2).unsqueeze(-1) * layer.weight_hh_l0
    torch.testing.assert_close(J, expected)


@pytest.mark.parametrize("name", tt.cells.names())
def test_the_step_of_every_cell_leads_from_each_state_to_the_next(name):
    layer = bounded(fed(tt.Recurrent(name, 4, 4, backend="reference", dtype=torch.float64)))
    path = path_of(layer, torch.randn(5, 1, 4, dtype=torch.float64))
    at = torch.arange(5)
    torch.testing.assert_close(path.step(path.states[:-1], at), path.states[1:])
    J, small = jacobians(path, at[1:2])[0], 1e-6
    v = torch.randn(path.size, dtype=torch.float64)
    ahead, behind = (path.step(path.states[1:2] + s * v, at[1:2])[0] for s in (small, -small))
    torch.testing.assert_close(J @ v, (ahead - behind) / (2 * small), rtol=1e-4, atol=1e-7)


def test_a_projected_state_and_a_reverse_layer_have_their_own_steps():
    layer = tt.LSTM(3, 7, proj_size=2, bidirectional=True)
    x = torch.randn(6, 2, 3)
    output, (h, c) = layer(x, lengths=[4, 6])
    path = path_of(layer, x, direction=1, lengths=[4, 6])
    assert path.states.shape == (5, 9)
    assert path.states.dtype == torch.float64
    torch.testing.assert_close(path.states[-1, :2].float(), h[1, 0])
    torch.testing.assert_close(path.states[-1, 2:].float(), c[1, 0])
    torch.testing.assert_close(path.states[1, :2].float(), output[3, 0, 2:])
    torch.testing.assert_close(path.step(path.states[:-1], torch.arange(4)), path.states[1:])


def test_products_over_k_steps_have_the_powers_of_the_singular_values():
    scales = torch.tensor([1.2, 0.9, 0.5, 0.3, 0.1], dtype=torch.float64)
    Q = orthogonal()
    path = path_of(linear(Q @ scales.diag() @ Q.T), torch.zeros(6, 1, 3, dtype=torch.float64))
    values = product_singular_values(jacobians(path, torch.arange(6)))
    torch.testing.assert_close(values, scales ** torch.arange(1, 7).unsqueeze(-1))


def test_the_lyapunov_exponent_of_a_scaled_rotation_is_the_logarithm_of_the_scale():
    x = torch.randn(40, 1, 3, dtype=torch.float64)
    for scale in (0.6, 1.0, 1.7):
        exponent = lyapunov_exponent(path_of(linear(scale * orthogonal()), x))
        assert exponent == pytest.approx(math.log(scale), abs=1e-9)


def test_the_lyapunov_exponent_is_that_of_the_largest_eigenvalue_or_minus_infinity():
    R = torch.diag(torch.tensor([0.9, -0.5, 0.2, 0.1, 0.0], dtype=torch.float64))
    x = torch.zeros(400, 1, 3, dtype=torch.float64)
    assert lyapunov_exponent(path_of(linear(R), x)) == pytest.approx(math.log(0.9), abs=1e-6)
    assert lyapunov_exponent(path_of(linear(0 * R), x)) == -math.inf
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        lyapunov_exponent(path_of(linear(R), x[:1]))


def test_the_linear_case_is_its_eigenvalues_to_the_power_of_time():
    R = torch.randn(H, H, dtype=torch.float64) / 2
    layer, h_0 = linear(R), torch.randn(1, 1, H, dtype=torch.float64)
    output, _ = layer(torch.zeros(8, 1, 3, dtype=torch.float64), h_0)
    torch.testing.assert_close(linear_states(R, h_0.flatten(), 8)[1:], output[:, 0])


def test_the_spectrum_is_that_of_each_block():
    layer = tt.GRU(3, H)
    values = spectra(path_of(layer, torch.randn(3, 1, 3)))
    assert list(values) == ["r", "z", "n"]
    expected = torch.linalg.eigvals(layer.weight_hh_l0[H : 2 * H].detach().double())
    torch.testing.assert_close(values["z"].abs(), expected.abs().sort(descending=True).values)
    assert spectra(path_of(tt.Recurrent("ind-rnn", 3, H), torch.randn(3, 1, 3))) == {}


def test_a_linear_network_has_one_fixed_point_which_algebra_gives():
    R = 0.8 * orthogonal()
    layer = linear(R)
    with torch.no_grad():
        layer.weight_ih_l0.normal_()
    x = torch.randn(12, 1, 3, dtype=torch.float64)
    points = fixed_points(path_of(layer, x))
    drive = layer.weight_ih_l0 @ x[:, 0].mean(0)
    expected = torch.linalg.solve(torch.eye(H, dtype=torch.float64) - R, drive)
    assert points.are_fixed.tolist() == points.are_stable.tolist() == [True]
    torch.testing.assert_close(points.points[0], expected.detach())
    torch.testing.assert_close(
        points.eigenvalues.abs(), torch.full((1, H), 0.8, dtype=torch.float64)
    )


def test_a_switch_of_one_unit_has_two_stable_points_and_an_unstable_one_between():
    """h = tanh(2 h) holds at 0 and at 0.9575."""
    layer = tt.RNN(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(2.0)
        layer.weight_ih_l0.fill_(1.0)
    # The input drives the state from one side through zero to the other.
    path = path_of(layer, torch.linspace(-3, 3, 31, dtype=torch.float64).view(-1, 1, 1))
    points = fixed_points(path, x=torch.zeros(1, dtype=torch.float64), num_starts=32)
    order = points.points[:, 0].argsort()
    assert points.are_fixed.all()
    assert points.points[order, 0].tolist() == pytest.approx([-0.957504, 0, 0.957504], abs=1e-5)
    assert points.are_stable[order].tolist() == [True, False, True]
    assert points.eigenvalues[order, 0].real.tolist() == pytest.approx(
        [2 * (1 - 0.957504**2), 2, 2 * (1 - 0.957504**2)], abs=1e-5
    )


def test_a_counter_that_never_stands_still_has_a_slow_point_and_no_fixed_one():
    layer = linear(torch.eye(1, dtype=torch.float64))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(0.1)
    points = fixed_points(path_of(layer, torch.ones(5, 1, 3, dtype=torch.float64)))
    assert not points.are_fixed.any()
    assert points.speeds.tolist() == pytest.approx([0.3**2 / 2] * len(points.speeds))

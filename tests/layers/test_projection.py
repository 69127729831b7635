"""proj_size, which projects output and state to fewer units, against the equations (1402.1128).

``tests/layers/test_torch_parity.py`` compares the LSTM with that of ``torch.nn``.
"""

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp

from .by_hand import Steps, seeds, through_time, zoned

I, H, P, T, B = 3, 5, 2, 6, 5
LENGTHS = [6, 3, 1, 0, 5]
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
every_backend = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("cpp", marks=needs_compiler)]
)
every_cell = pytest.mark.parametrize("name", ["rnn-tanh", "lstm-peephole"])


def layer(name="lstm-peephole", proj_size=P, **options):
    torch.manual_seed(0)
    recurrent = tt.Recurrent(name, I, H, dtype=torch.float64, proj_size=proj_size, **options)
    with torch.no_grad():
        for p in recurrent.parameters():
            p.copy_(0.7 * torch.randn_like(p))
    return recurrent


def sequence():
    return torch.randn(T, B, I, dtype=torch.float64)


def states(recurrent, rows=1):
    return {k: torch.randn(rows, B, n).double() for k, n in recurrent.state_sizes.items()}


@pytest.mark.everywhere
@torch.no_grad()
@every_backend
@every_cell
@pytest.mark.parametrize("arguments", [{}, {"lengths": LENGTHS, "resets": True}])
def test_the_projection_comes_out_and_is_fed_back(backend, name, arguments):
    if arguments:
        arguments = {"lengths": LENGTHS, "resets": torch.rand(T, B) < 0.4}
    recurrent = layer(name, bidirectional=True, backend=backend)
    x, initial = sequence(), states(recurrent, 2)
    output, last = recurrent(x, tuple(initial.values()), **arguments)
    last, outputs = last if isinstance(last, tuple) else (last,), []
    for d, suffix in enumerate(("_l0", "_l0_reverse")):
        of_direction = {k: v[d] for k, v in initial.items()}
        h, ends, _ = through_time(
            Steps(recurrent, suffix), x, of_direction, reverse=d == 1, **arguments
        )
        outputs.append(h)
        for got, end in zip(last, ends.values(), strict=True):
            torch.testing.assert_close(got[d], end)
    torch.testing.assert_close(output, torch.cat(outputs, -1))


@torch.no_grad()
@every_backend
def test_zoneout_keeps_units_of_the_projection(backend):
    rates = {"h": 0.3, "c": 0.6}
    recurrent = layer(zoneout=rates, backend=backend)
    x, initial = sequence(), states(recurrent)

    def after(t, old, new, rows):
        padded = [
            {k: torch.nn.functional.pad(v, (0, H - v.shape[-1])) for k, v in s.items()}
            for s in (old, new)
        ]
        kept = zoned(9, rates, B, H)(t, *padded, rows)
        return {k: v[:, : new[k].shape[-1]] for k, v in kept.items()}

    with seeds(9):
        output, (h, c) = recurrent(x, tuple(initial.values()))
    expected, last, _ = through_time(
        Steps(recurrent), x, {k: v[0] for k, v in initial.items()}, after=after
    )
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(h[0], last["h"])
    torch.testing.assert_close(c[0], last["c"])


@every_cell
def test_weights_and_shapes_are_those_of_the_projection(name):
    recurrent = layer(name, num_layers=2, bidirectional=True)
    G = len(recurrent.cell.gates)
    shapes = {k: tuple(p.shape) for k, p in recurrent.named_parameters()}
    for suffix, width in (("_l0", I), ("_l0_reverse", I), ("_l1", 2 * P), ("_l1_reverse", 2 * P)):
        assert shapes[f"weight_ih{suffix}"] == (G * H, width)
        assert shapes[f"weight_hh{suffix}"] == (G * H, P)
        assert shapes[f"bias_hh{suffix}"] == (G * H,)
        assert shapes[f"weight_hr{suffix}"] == (P, H)
    output, last = recurrent(sequence())
    assert output.shape == (T, B, 2 * P)
    h, *others = last if isinstance(last, tuple) else (last,)
    assert h.shape == (4, B, P)
    assert all(s.shape == (4, B, H) for s in others)


@every_backend
@every_cell
def test_what_comes_out_goes_in_again(backend, name):
    recurrent, x = layer(name, num_layers=2, backend=backend), sequence()
    whole, last = recurrent(x)
    first, state = recurrent(x[:4])
    second, again = recurrent(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(again, last)
    stream = recurrent.stream()
    torch.testing.assert_close(torch.stack([stream.step(step) for step in x]), whole)


@every_backend
def test_a_cell_without_a_recurrent_matrix_is_projected_too(backend):
    """The SRU feeds no h back, so its R is the projection only."""
    recurrent, plain = layer("sru", backend=backend), layer("sru", 0, backend=backend)
    plain.load_state_dict({k: p for k, p in recurrent.state_dict().items() if "hr" not in k})
    x = sequence()
    output, (h, c) = recurrent(x)
    whole, (_, c_whole) = plain(x)
    torch.testing.assert_close(output, whole @ recurrent.weight_hr_l0.T)
    torch.testing.assert_close(h[0], output[-1])
    torch.testing.assert_close(c, c_whole)


def test_other_options_see_the_projected_units():
    recurrent = layer(num_layers=2, residual=True, learned_state=True, recurrent_init="orthogonal")
    assert recurrent.initial_h_l0.shape == (P,)
    assert recurrent.initial_c_l0.shape == (H,)
    with torch.no_grad():
        recurrent.reset_parameters()
    R = recurrent.weight_hh_l0[:H]
    torch.testing.assert_close(R.T @ R, torch.eye(P).double())
    assert recurrent.weight_hr_l0.abs().max() <= H**-0.5
    x = sequence()
    output, _ = recurrent(x)
    # The second layer adds its input.
    second = layer(num_layers=2, learned_state=True)
    second.load_state_dict(recurrent.state_dict())
    first = layer(learned_state=True)
    first.load_state_dict({k: v for k, v in recurrent.state_dict().items() if k.endswith("_l0")})
    torch.testing.assert_close(output, second(x)[0] + first(x)[0])


def test_an_initial_state_of_the_whole_size_is_refused():
    recurrent, x = layer(), sequence()
    with pytest.raises(ValueError, match=r"the initial state h of shape \(1, 5, 2\)"):
        recurrent(x, (torch.zeros(1, B, H).double(), torch.zeros(1, B, H).double()))

"""return_trace: the recorded gates and states of all steps equal the equations."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime as tt
from throughtime.kernels.cpp import backend as cpp

from .by_hand import Steps, seeds, through_time, zoned

I, H, T, B = 3, 4, 6, 5
LENGTHS = [6, 3, 1, 2, 5]
SUFFIXES = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
NAMES = ["h", "c", "z", "i", "f", "o"]
needs_compiler = pytest.mark.skipif(bool(cpp.missing()), reason="no compiler")
every_backend = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("cpp", marks=needs_compiler)]
)


def layer(name="lstm-peephole", dtype=torch.float64, **options):
    torch.manual_seed(0)
    recurrent = tt.Recurrent(name, I, H, dtype=dtype, **options)
    with torch.no_grad():
        for p in recurrent.parameters():
            p.copy_(0.7 * torch.randn_like(p))
    return recurrent


def sequence():
    return torch.randn(T, B, I, dtype=torch.float64)


def expected(recurrent, x, used=None, rates=None, **arguments):
    """The recording of all layers and directions, from the equations."""
    recording = {}
    for number in range(recurrent.num_layers):
        outputs = []
        for d in range(recurrent.num_directions):
            suffix = recurrent._suffixes(number)[d]
            start = {k: torch.zeros(B, n).double() for k, n in recurrent.state_sizes.items()}
            more = {}
            if rates:
                seed = used[number * recurrent.num_directions + d]
                more["after"] = zoned(seed, rates, B, H)
            steps = Steps(recurrent, suffix)
            h, _, seen = through_time(steps, x, start, reverse=d == 1, **arguments, **more)
            outputs.append(h)
            recording |= {f"{k}{suffix}": v for k, v in seen.items()}
        x = torch.cat(outputs, -1)
    return x, recording


def assert_all_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, msg=lambda m, name=name: f"{name}: {m}")


@every_backend
@pytest.mark.parametrize(
    "arguments", [{}, {"lengths": LENGTHS}, {"lengths": LENGTHS, "resets": True}]
)
def test_names_and_values_are_those_of_the_equations(backend, arguments):
    """Two layers in two directions; zero past a row's end."""
    if "resets" in arguments:
        arguments = {**arguments, "resets": torch.rand(T, B) < 0.4}
    recurrent, x = layer(num_layers=2, bidirectional=True, backend=backend), sequence()
    output, last, seen = recurrent(x, return_trace=True, **arguments)
    expected_output, theirs = expected(recurrent, x, **arguments)
    assert list(theirs) != []
    assert set(seen) == {f"{k}{suffix}" for k in NAMES for suffix in SUFFIXES}
    assert_all_close(seen, theirs)
    torch.testing.assert_close(output, expected_output)
    torch.testing.assert_close(torch.cat([seen["h_l1"], seen["h_l1_reverse"]], -1), output)
    if arguments:
        past = torch.arange(T).unsqueeze(1) >= torch.tensor(LENGTHS)
        assert not any(v[past].any() for v in seen.values())
    # The last states are in the recording.
    for b in range(B):
        n = LENGTHS[b] if arguments else T
        assert torch.equal(last[1][0, b], seen["c_l0"][n - 1, b])
        assert torch.equal(last[1][3, b], seen["c_l1_reverse"][0, b])


@every_backend
@pytest.mark.parametrize("options", [{}, {"proj_size": 2, "recurrent_dropout": 0.3}])
def test_zoneout_has_the_draw_of_the_output(backend, options):
    """The recording has the values of the call itself, with the states that zoneout kept."""
    rates = {"h": 0.3, "c": 0.6}
    recurrent = layer(zoneout=rates, num_layers=2, backend=backend, **options)
    x = sequence()
    with seeds(1, 2):
        output, (h, c), seen = recurrent(x, lengths=LENGTHS, return_trace=True)
    assert torch.equal(output, seen["h_l1"])
    if not options:
        assert_all_close(seen, expected(recurrent, x, (1, 2), rates, lengths=LENGTHS)[1])
    for b, n in enumerate(LENGTHS):
        for number in range(2):
            assert torch.equal(h[number, b], seen[f"h_l{number}"][n - 1, b])
            assert torch.equal(c[number, b], seen[f"c_l{number}"][n - 1, b])
    # Recording does not change the result.
    with seeds(1, 2):
        assert torch.equal(recurrent(x, lengths=LENGTHS)[0], output)


@every_backend
def test_it_has_the_form_of_the_input(backend):
    recurrent, x = layer(num_layers=2, bidirectional=True, backend=backend), sequence()
    _, _, seen = recurrent(x, return_trace=True)
    turned = layer(num_layers=2, bidirectional=True, batch_first=True, backend=backend)
    _, _, batch_first = turned(x.transpose(0, 1), return_trace=True)
    assert_all_close({k: v.transpose(0, 1) for k, v in batch_first.items()}, seen)
    assert batch_first["f_l1"].shape == (B, T, H)
    for module in (recurrent, turned):
        _, _, alone = module(x[:, 2], return_trace=True)
        assert alone["f_l1"].shape == (T, H)
        assert_all_close(alone, {k: v[:, 2] for k, v in seen.items()})


@every_backend
@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_packed_sequence_gives_packed_traces(backend, is_sorted, batch_first):
    recurrent = layer(bidirectional=True, batch_first=batch_first, backend=backend)
    x, lengths = sequence(), sorted(LENGTHS, reverse=True) if is_sorted else LENGTHS
    packed = pack_padded_sequence(x, lengths, enforce_sorted=is_sorted)
    output, _, seen = recurrent(packed, return_trace=True)
    recurrent.batch_first = False
    _, _, padded = recurrent(x, lengths=lengths, return_trace=True)
    assert seen.keys() == padded.keys()
    for name, value in seen.items():
        assert torch.equal(value.batch_sizes, output.batch_sizes)
        torch.testing.assert_close(pad_packed_sequence(value)[0], padded[name])


@every_backend
def test_a_trace_has_no_gradient_and_the_output_keeps_its_own(backend):
    recurrent, x = layer(backend=backend), sequence().requires_grad_()
    output, _, seen = recurrent(x, return_trace=True)
    assert not any(v.requires_grad for v in seen.values())
    output.sum().backward()
    ours, x.grad = x.grad, None
    recurrent(x)[0].sum().backward()
    assert torch.equal(ours, x.grad)


def test_weights_that_are_dropped_are_those_of_the_output():
    recurrent, x = layer(weight_drop=0.5, num_layers=2, dropout=0.5), sequence()
    output, (_, c), seen = recurrent(x, return_trace=True)
    assert torch.equal(seen["h_l1"], output)
    assert torch.equal(seen["c_l0"][-1], c[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_of_the_type_of_the_layer(dtype):
    recurrent = layer(dtype=dtype)
    _, _, seen = recurrent(torch.randn(T, B, I, dtype=dtype), return_trace=True)
    assert {v.dtype for v in seen.values()} == {dtype}


class Looked(tt.Cell):
    """A cell that also returns a mask, a number and a value for each row."""

    gates, states = ("h",), ("h",)

    def step(self, x, W, R, s, p):
        a = W.h(x) + R.h(s.h)
        return dict(h=torch.tanh(a), is_positive=a > 0, two=2.0, mean=a.mean(-1, keepdim=True))


@every_backend
def test_whatever_a_step_returns_is_spread_over_the_units(backend):
    torch.manual_seed(0)
    recurrent = tt.Recurrent(Looked(), I, H, dtype=torch.float64, backend=backend)
    output, _, seen = recurrent(sequence(), lengths=[6, 6, 6, 6, 2], return_trace=True)
    assert {v.shape for v in seen.values()} == {(T, B, H)}
    assert torch.equal(seen["is_positive_l0"], (output > 0).double())
    valid = torch.ones(T, B, H).double()
    valid[2:, 4] = 0
    assert torch.equal(seen["two_l0"], 2 * valid)
    mean = torch.atanh(output).mean(-1, keepdim=True).expand(T, B, H)
    torch.testing.assert_close(seen["mean_l0"], mean * valid)


def test_a_state_of_a_width_of_its_own_is_traced():
    class Counting(tt.Cell):
        gates = ("h",)
        states = {"h": tt.State(), "n": tt.State(size=2)}  # noqa: RUF012

        def step(self, x, W, R, s, p):
            return dict(h=torch.tanh(W.h(x) + R.h(s.h)), n=s.n + 1)

    _, _, seen = tt.Recurrent(Counting(), 3, 5)(torch.randn(4, 2, 3), return_trace=True)
    assert seen["n_l0"][:, 0].tolist() == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]]

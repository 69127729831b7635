"""Plans of one row, whose kernels multiply the inputs of later steps with W in between."""

import pytest
import torch

import throughtime as tt
from throughtime.kernels.cpp.build import missing
from throughtime.kernels.cpp.plan import PackedLayer
from throughtime.kernels.cpp.runner import runner_of

# Without a compiler there are no kernels to test.
pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


@pytest.fixture
def steps():
    """The number of steps whose products are computed ahead: 0 without vectors of 64 bytes."""
    return runner_of("float").steps_ahead


def results(layer, x, monkeypatch, *, ahead):
    """The outputs and states of a stream that reads a sequence in two pieces."""
    with monkeypatch.context() as patch:
        if not ahead:
            patch.setattr(PackedLayer, "steps_ahead", lambda *_: 0)
        stream = layer.stream()
        assert stream.explain(x[0]).backend == "plan"
        first, second = len(x) // 3, len(x) - len(x) // 3
        outputs = torch.cat([stream.read(part) for part in x.split([first, second])])
    return outputs, stream.state


@pytest.mark.parametrize(
    ("cell", "inputs", "units"),
    [
        ("lstm", 40, 33),
        # Three slots of one vector: the last tile of outputs is half empty.
        ("gru", 16, 16),
        # More products with W than with R, and fewer.
        ("rnn-tanh", 150, 16),
        ("lstm", 17, 80),
        # Products of several stages, of which one follows the other.
        ("lem", 64, 48),
        ("slstm", 20, 20),
        ("min-gru", 32, 32),
    ],
)
def test_products_ahead_are_those_of_the_plain_order(cell, inputs, units, steps, monkeypatch):
    dtype = torch.float64 if cell == "lstm" else torch.float32
    torch.manual_seed(0)
    layer = tt.Recurrent(cell, inputs, units, 2, dtype=dtype)
    exact = tt.Recurrent(cell, inputs, units, 2, backend="reference", dtype=torch.float64)
    exact.load_state_dict(layer.state_dict())
    # Blocks of 8 steps: none, a part of one, whole ones, and more than a chunk.
    for T in (3, 13, 28, 230):
        x = torch.randn(T, 1, inputs, dtype=dtype)
        y, state = results(layer, x, monkeypatch, ahead=True)
        plain, plain_state = results(layer, x, monkeypatch, ahead=False)
        # With shorter vectors, a product has another order of sums for one row than for several,
        # and how many rows it has depends on where in its memory the stream is.
        rounding = {"rtol": 0, "atol": 0 if steps else 1e-6}
        torch.testing.assert_close(y, plain, **rounding)
        torch.testing.assert_close(state, plain_state, **rounding)
        expected = exact(x[:40].double())[0].detach()
        torch.testing.assert_close(y[:40].double(), expected, atol=1e-5, rtol=0)


def test_which_layers_compute_ahead(steps, monkeypatch):
    numbers = set()
    decide = PackedLayer.steps_ahead

    def decided(self, rows):
        numbers.add(number := decide(self, rows))
        return number

    monkeypatch.setattr(PackedLayer, "steps_ahead", decided)

    def decisions(layer, x):
        numbers.clear()
        layer.stream().read(x)
        return set(numbers)

    x = torch.randn(20, 1, 32)
    assert decisions(tt.LSTM(32, 8), x) == {steps}
    assert decisions(tt.LSTM(32, 8), x.expand(20, 2, 32)) == {0}
    # The second layer has as many inputs as the first one has units, which are few.
    assert decisions(tt.LSTM(32, 8, 2), x) == {steps, 0}

"""The reference in place of a kernel: the warning that the user gets, and torch.compile."""

import warnings

import pytest
import torch

import throughtime as tt

I, H = 3, 4


def untraceable(name):
    class WithSpectrum(tt.Cell):
        gates, states = ("h", "g"), ("h",)

        def step(self, x, W, R, s, p):
            spectrum = torch.fft.rfft(torch.tanh(W.h(x) + R.h(s.h))).real
            g = torch.sigmoid(W.g(x) + R.g(s.h))
            return dict(h=g * torch.tanh(spectrum.mean(-1, keepdim=True) + R.h(s.h)) + W.h(x))

    WithSpectrum.__name__ = name
    return WithSpectrum()


def test_a_warning_gives_the_reason_and_the_factor_once_for_each_cell():
    x = torch.randn(5, 2, I)
    layer = tt.Recurrent(untraceable("First"), I, H)
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        layer(x)
        layer(x)
        tt.Recurrent(untraceable("First"), I, H, 2)(x)
    (warning,) = recorded
    assert str(warning.message) == (
        "First runs step by step in Python, which is 3 to 25 times slower: fft_rfft has no kernel."
    )
    assert warning.filename == __file__
    with pytest.warns(UserWarning, match="Second runs step by step"):
        tt.Recurrent(untraceable("Second"), I, H)(x)


def test_there_is_no_warning_for_the_reference_by_choice_or_for_few_steps():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tt.Recurrent(untraceable("Third"), I, H, backend="reference")(torch.randn(5, 2, I))
        tt.Recurrent("lstm", I, H)(torch.randn(1, 2, I))
        tt.Recurrent("lstm-peephole", I, H)(torch.randn(5, 0, I))


@pytest.mark.filterwarnings("ignore:Fifth runs step by step")
def test_calls_of_a_compiled_fallback_are_compiled_once():
    torch._dynamo.reset()
    layer = tt.Recurrent(untraceable("Fifth"), I, H, dtype=torch.float64)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(layer, backend=backend)
    counts = []
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        for _ in range(12):
            x = torch.randn(5, 2, I, dtype=torch.float64, requires_grad=True)
            got, expected = compiled(x)[0], layer(x)[0]
            torch.testing.assert_close(got, expected)
            gradients = (torch.autograd.grad(y.sum(), x)[0] for y in (got, expected))
            torch.testing.assert_close(*gradients)
            counts.append(len(graphs))
    assert counts[-1] == counts[2]

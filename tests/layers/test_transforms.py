"""Transforms of layers that consist of, or are surrounded by, PyTorch's operations."""

import pytest
import torch
from torch.autograd import functional
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap

from throughtime.layers import GRUD, MatrixLSTM, time_gaps

T, B, I, H = 5, 3, 3, 4
LENGTHS = torch.tensor([[5, 3, 1], [2, 4, 5], [1, 5, 2]])


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def stacked(results):
    """The results of a loop over samples in the form that vmap returns."""
    return torch.utils._pytree.tree_map(lambda *leaves: torch.stack(leaves), *results)


def by_two_pulls(function, inputs, tangents):
    """The tangent by reverse mode only: the gradient of the gradient, which is linear in v."""
    results, pull = vjp(function, *inputs)
    (tangents_out,) = vjp(pull, tuple(torch.zeros_like(r) for r in results))[1](tangents)
    return tangents_out


class Matrix:
    """mLSTM: a sequence, its initial state, lengths and resets."""

    def __init__(self, chunk_length):
        self.ours = MatrixLSTM(I, H, 2, chunk_length=chunk_length, dtype=torch.float64)
        self.meaning = MatrixLSTM(I, H, 2, chunk_length=None, dtype=torch.float64)
        self.differentiable = 4

    def samples(self):
        shapes = ((T, B, I), (B, 2, 2, 2), (B, 2, 2), (B, 2))
        return [*(torch.randn(3, *s).double() for s in shapes), torch.rand(3, T, B) < 0.3]

    def function(self, layer):
        def call(weights, x, C, n, m, resets, lengths):
            arguments = {"lengths": lengths, "resets": resets}
            output, last = functional_call(layer, weights, (x, (C, n, m)), arguments)
            return output, *last

        return call


class Decaying:
    """GRU-D: a sequence with gaps, its initial state, mask and lengths."""

    def __init__(self):
        self.ours = GRUD(I, H, dtype=torch.float64)
        self.meaning = GRUD(I, H, dtype=torch.float64, backend="reference")
        self.differentiable = 5

    def samples(self):
        x, h, last = (torch.randn(3, *s).double() for s in ((T, B, I), (1, B, H), (1, B, I)))
        gaps, elapsed = torch.rand(3, T, B, I).double(), torch.rand(3, 1, B, I).double()
        return [x, gaps, h, last, elapsed, torch.rand(3, T, B, I) < 0.6]

    def function(self, layer):
        def call(weights, x, gaps, h, last, elapsed, mask, lengths):
            args = (x, mask, gaps, (h, last, elapsed))
            output, state = functional_call(layer, weights, args, {"lengths": lengths})
            return output, *state

        return call


CASES = {
    "mlstm in chunks": lambda: Matrix(2),
    "mlstm in one chunk": lambda: Matrix(64),
    "mlstm step by step": lambda: Matrix(None),
    "gru-d": Decaying,
}


@pytest.fixture(params=CASES)
def case(request):
    case = CASES[request.param]()
    case.meaning.load_state_dict(case.ours.state_dict())
    case.weights = {k: p.detach() for k, p in case.ours.named_parameters()}
    return case


def test_vmap_over_everything_equals_a_loop(case):
    samples = case.samples()
    weights = {k: torch.stack([w, 2 * w, -w]) for k, w in case.weights.items()}
    ours = vmap(case.function(case.ours))(weights, *samples, LENGTHS)
    each = [{k: w[i] for k, w in weights.items()} for i in range(3)]
    calls = zip(each, *samples, LENGTHS, strict=True)
    close(ours, stacked([case.function(case.meaning)(*call) for call in calls]))
    of_lengths = vmap(case.function(case.ours), (None,) * (len(samples) + 1) + (-1,))
    first = [case.weights, *(s[0] for s in samples)]
    calls = [case.function(case.meaning)(*first, n) for n in LENGTHS]
    close(of_lengths(*first, LENGTHS.T), stacked(calls))


def test_gradients_of_each_sample_equal_a_loop(case):
    samples = case.samples()

    def loss(layer):
        return lambda *args: sum(v.square().sum() for v in case.function(layer)(*args))

    places = tuple(range(case.differentiable + 1))
    in_dims = (None, *(0 for _ in samples), 0)
    ours = vmap(grad(loss(case.ours), places), in_dims)(case.weights, *samples, LENGTHS)
    calls = [(case.weights, *call) for call in zip(*samples, LENGTHS, strict=True)]
    close(ours, stacked([grad(loss(case.meaning), places)(*call) for call in calls]))


def test_tangents_and_hessians(case):
    samples, n = case.samples(), case.differentiable
    inputs = (case.weights, *(s[0] for s in samples[:n]))
    tangents = (
        {k: torch.randn_like(w) for k, w in case.weights.items()},
        *(s[1] for s in samples[:n]),
    )
    rest = (*(s[0] for s in samples[n:]), LENGTHS[0])

    def function(layer):
        return lambda *args: case.function(layer)(*args, *rest)

    ours = jvp(function(case.ours), inputs, tangents)
    close(ours[0], function(case.meaning)(*inputs))
    close(ours[1], by_two_pulls(function(case.meaning), inputs, tangents))

    def loss(layer):
        return lambda x: function(layer)(case.weights, x, *inputs[2:])[0].square().sum()

    close(hessian(loss(case.ours))(inputs[1]), jacrev(jacrev(loss(case.meaning)))(inputs[1]))


def test_batched_gradients_equal_one_after_another(case):
    samples = case.samples()
    rest, d_output = [s[0] for s in samples[1:]], torch.randn(4, T, B, H).double()
    x = samples[0][0].requires_grad_()
    results = []
    for layer in (case.ours, case.meaning):
        output = case.function(layer)({}, x, *rest, LENGTHS[0])[0]
        results.append((output, [x, *(p for p in layer.parameters())]))
    ours = torch.autograd.grad(*results[0], d_output, is_grads_batched=True)
    calls = [torch.autograd.grad(*results[1], d, retain_graph=True) for d in d_output]
    close(ours, stacked(calls))


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorized_jacobians(case, strategy):
    samples = case.samples()
    rest = [s[0] for s in samples[1:]]

    def outputs(layer):
        return lambda x: case.function(layer)({}, x, *rest, LENGTHS[1])[0]

    x = samples[0][0]
    ours = functional.jacobian(outputs(case.ours), x, vectorize=True, strategy=strategy)
    close(ours, functional.jacobian(outputs(case.meaning), x))


def test_time_gaps_of_samples_and_their_tangents():
    times = torch.rand(3, T, B).double().cumsum(1)
    mask = torch.rand(3, T, B, I) < 0.5
    calls = [time_gaps(*call) for call in zip(times, mask, strict=True)]
    close(vmap(time_gaps)(times, mask), torch.stack(calls))
    _, tangent = jvp(lambda t: time_gaps(t, mask[0]), (times[0],), (times[1],))
    # Gaps are sums of differences of times.
    close(tangent, time_gaps(times[1], mask[0]))

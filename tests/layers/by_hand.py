"""Two cells and the options of layers, computed from their equations, independent of the package.

Only the weights of a layer, and the random numbers, which ``tests/kernels/graph/test_random.py``
tests, come from the package. The loops run row by row and step by step, in float64.
"""

from contextlib import ExitStack, contextmanager
from unittest import mock

import torch

from throughtime.kernels.graph.random import uniform
from throughtime.layers import recurrent, small_training


@contextmanager
def seeds(*integers):
    """Sets the seeds that the calls in the context use, one for each layer and direction."""
    numbers = [torch.tensor(n) for n in integers]
    draw = mock.Mock(side_effect=numbers)
    modules = (recurrent, small_training)
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "new_seed", draw))
        yield
    assert draw.call_count == len(numbers), "not all seeds were used"


def drawn(seed, stream, t, B, H):
    return uniform(torch.tensor(seed), stream, t, B, H, torch.float64)


class Steps:
    """One step of a cell of a layer in one direction, on tensors (B, H).

    Args:
        layer: the layer, which provides the weights.
        suffix: the suffix of the weights.
        sigmoid, tanh: the functions to use instead of these.
        mask: (B, H), a factor of the arguments of the products of R.
    """

    def __init__(self, layer, suffix="_l0", sigmoid=torch.sigmoid, tanh=torch.tanh, mask=None):
        self.weights = {
            name.removesuffix(suffix): p.detach()
            for name, p in layer.named_parameters()
            if name.endswith(suffix)
        }
        self.sigmoid, self.tanh, self.mask = sigmoid, tanh, mask
        self.cell = layer.cell.name

    def sums(self, x, h):
        w = self.weights
        of_input = x @ w["weight_ih"].T + w["bias_ih"]
        return of_input + (self.masked * h) @ w["weight_hh"].T + w["bias_hh"]

    def step(self, x, state, rows):
        """One step of these rows from x and the states before."""
        self.masked = 1.0 if self.mask is None else self.mask[rows]
        step_values = getattr(self, "_" + self.cell.replace("-", "_"))(x, **state)
        if "weight_hr" in self.weights:
            step_values["h"] = step_values["h"] @ self.weights["weight_hr"].T
        return step_values

    def _rnn_tanh(self, x, h):
        return dict(h=self.tanh(self.sums(x, h)))

    def _rnn_linear(self, x, h):
        return dict(h=self.sums(x, h))

    def _lstm_peephole(self, x, h, c):
        w = self.weights
        z, i, f, o = self.sums(x, h).chunk(4, -1)
        z = self.tanh(z)
        i = self.sigmoid(i + w["p_i"] * c)
        f = self.sigmoid(f + w["p_f"] * c)
        new = z * i + c * f
        o = self.sigmoid(o + w["p_o"] * new)
        return dict(h=self.tanh(new) * o, c=new, z=z, i=i, f=f, o=o)


def through_time(
    steps,
    x,
    initial,
    *,
    lengths=None,
    resets=None,
    reverse=False,
    after=lambda t, old, new, rows: new,
):
    """Runs steps; returns outputs, last states, and all values by name, zero past a row's end.

    Args:
        steps: see :class:`Steps`.
        x: (T, B, I).
        initial: the initial states by name, each (B, H).
        after: maps the number of the step, the states before and after it and the index of the row
            to the states that replace the latter, as zoneout does.
    """
    T, B = x.shape[:2]
    rows, made_of_rows = [], []
    for b in range(B):
        n, row = T if lengths is None else int(lengths[b]), slice(b, b + 1)
        state, made_at = {k: v[row] for k, v in initial.items()}, {}
        for t in reversed(range(n)) if reverse else range(n):
            # In reverse the previous step is t + 1.
            at = t + 1 if reverse else t
            if resets is not None and at < n and bool(resets[at, b]):
                state = {k: v[row] for k, v in initial.items()}
            step_values = steps.step(x[t, row], state, row)
            states = after(t, state, {k: step_values[k] for k in state}, row)
            made_at[t], state = {**step_values, **states}, states
        rows.append(state)
        made_of_rows.append(made_at)
    names = {
        k: v.shape[-1] for made_at in made_of_rows for m in made_at.values() for k, v in m.items()
    }
    recording = {k: torch.zeros(T, B, width, dtype=x.dtype) for k, width in names.items()}
    for b, made_at in enumerate(made_of_rows):
        for t, step_values in made_at.items():
            for k, v in step_values.items():
                recording[k][t, b] = v[0]
    last = {k: torch.cat([row[k] for row in rows]) for k in initial}
    return recording["h"], last, recording


def zoned(seed, rates, B, H, first_stream=0):
    """The argument ``after`` of :func:`through_time` for zoneout in training."""

    def after(t, old, new, rows):
        kept = dict(new)
        for stream, (k, rate) in enumerate(rates.items(), first_stream):
            keep = drawn(seed, stream, t, B, H)[rows] < rate
            kept[k] = torch.where(keep, old[k], new[k])
        return kept

    return after

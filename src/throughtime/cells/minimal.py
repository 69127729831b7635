r"""Cells with at most one gate.

Letters: f, r, u the gate; n the candidate; z the embedded input; h the state; * is elementwise.

In the minimal gated unit and its variants a large f *replaces* the state:
h_t = (1 - f_t) * h_{t-1} + f_t * n_t. The authors call f the forget gate nevertheless. The option
``forget_bias`` sets the bias of this gate, so a large value makes the cell forget.
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell

_ZHOU = "Zhou et al., Minimal gated unit for recurrent neural networks"
_HECK = "Heck and Salem, Simplified minimal gated unit variations"
_MINION = "Minion gated unit, doi 10.1016/j.neucom.2026.132847"


class MGU(Cell):
    r"""The minimal gated unit: a GRU with a single gate for reset and update.

        f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_f)
        n_t = tanh(W_n x_t + R_n (f_t * h_{t-1}) + b_n)
        h_t = (1 - f_t) * h_{t-1} + f_t * n_t

    Source: Zhou, Wu, Zhang and Zhou, "Minimal gated unit for recurrent neural networks",
    International Journal of Automation and Computing 13 (2016), arXiv 1603.09420.
    """

    name = "mgu"
    gates = ("f", "n")
    states = ("h",)
    chrono = {"b.f": -1}
    source, year = _ZHOU, 2016

    def step(self, x, W, R, s, p):
        f = sigmoid(W.f(x) + R.f(s.h))
        n = tanh(W.n(x) + R.n(f * s.h))
        h = (1 - f) * s.h + f * n
        return dict(h=h, f=f, n=n)


class MGU1(Cell):
    r"""The minimal gated unit whose gate does not read the input.

        f_t = sigmoid(R_f h_{t-1} + b_f)
        n_t = tanh(W_n x_t + R_n (f_t * h_{t-1}) + b_n)
        h_t = (1 - f_t) * h_{t-1} + f_t * n_t

    b_f is a per-unit parameter, which exists with ``bias=False``, too.

    Source: Heck and Salem, "Simplified minimal gated unit variations for recurrent neural
    networks", arXiv 1701.03452 (2017), variant MGU1.
    """

    name = "mgu-1"
    gates = ("n",)
    states = ("h",)
    parameters = ("b_f",)
    recurrent_blocks = ("n", "f")
    chrono = {"b_f": -1}
    source, year = _HECK, 2017

    def step(self, x, W, R, s, p):
        f = sigmoid(R.f(s.h) + p.b_f)
        n = tanh(W.n(x) + R.n(f * s.h))
        h = (1 - f) * s.h + f * n
        return dict(h=h, f=f, n=n)


class MGU2(Cell):
    r"""The minimal gated unit whose gate reads the state only, without a bias.

        f_t = sigmoid(R_f h_{t-1})
        n_t = tanh(W_n x_t + R_n (f_t * h_{t-1}) + b_n)
        h_t = (1 - f_t) * h_{t-1} + f_t * n_t

    Source: Heck and Salem, arXiv 1701.03452 (2017), variant MGU2.
    """

    name = "mgu-2"
    gates = ("n",)
    states = ("h",)
    recurrent_blocks = ("n", "f")
    source, year = _HECK, 2017

    def step(self, x, W, R, s, p):
        f = sigmoid(R.f(s.h))
        n = tanh(W.n(x) + R.n(f * s.h))
        h = (1 - f) * s.h + f * n
        return dict(h=h, f=f, n=n)


class MGU3(Cell):
    r"""The minimal gated unit whose gate is a learned constant for each unit.

        f   = sigmoid(b_f)
        n_t = tanh(W_n x_t + R_n (f * h_{t-1}) + b_n)
        h_t = (1 - f) * h_{t-1} + f * n_t

    b_f is a per-unit parameter, which exists with ``bias=False``, too.

    Source: Heck and Salem, arXiv 1701.03452 (2017), variant MGU3.
    """

    name = "mgu-3"
    gates = ("n",)
    states = ("h",)
    parameters = ("b_f",)
    chrono = {"b_f": -1}
    source, year = _HECK, 2017

    def step(self, x, W, R, s, p):
        f = sigmoid(p.b_f)
        n = tanh(W.n(x) + R.n(f * s.h))
        h = (1 - f) * s.h + f * n
        return dict(h=h, n=n)


class MinimalRNN(Cell):
    r"""MinimalRNN: the state is a running mean of embedded inputs, weighted by one gate.

        z_t = tanh(W_z x_t + b_Wz)
        u_t = sigmoid(R_u h_{t-1} + R_z z_t + b_Rz)
        h_t = u_t * h_{t-1} + (1 - u_t) * z_t

    The recurrent bias of block z is the bias of the gate, b_u in the paper. It starts at 1.

    Source: Chen, "MinimalRNN: toward more interpretable and trainable recurrent neural
    networks", arXiv 1711.06788 (2017). The paper leaves the embedding of the input open; the single
    tanh layer here is the one of its experiments.
    """

    name = "minimal-rnn"
    gates = ("z",)
    states = ("h",)
    recurrent_blocks = ("z", "u")
    initial_weights = {"b_R.z": 1.0}
    chrono = {"b_R.z": 1}
    source, year = "Chen, MinimalRNN, arXiv 1711.06788", 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x))
        u = sigmoid(R.u(s.h) + R.z(z))
        h = u * s.h + (1 - u) * z
        return dict(h=h, u=u, z=z)


class MiRU1(Cell):
    r"""The minion gated unit: a GRU whose update gate is a constant.

        r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
        n_t = tanh(W_n x_t + R_n (r_t * h_{t-1}) + b_n)
        h_t = lambda h_{t-1} + (1 - lambda) n_t

    Args:
        keep: lambda, the fraction of the old state that is kept.

    Source: "Minion gated unit", Neurocomputing (2026), doi 10.1016/j.neucom.2026.132847, unit
    MiRU1, as stated in torchrecurrent's documentation; the paper itself was not available.
    """

    name = "miru-1"
    gates = ("r", "n")
    states = ("h",)
    source, year = _MINION, 2026

    def __init__(self, keep=0.5):
        self.keep = keep

    def step(self, x, W, R, s, p):
        r = sigmoid(W.r(x) + R.r(s.h))
        n = tanh(W.n(x) + R.n(r * s.h))
        h = self.keep * s.h + (1 - self.keep) * n
        return dict(h=h, r=r, n=n)


class MiRU2(Cell):
    r"""The minion gated unit without gates: both gates of the GRU are constants.

        n_t = tanh(W_n x_t + R_n (theta h_{t-1}) + b_n)
        h_t = lambda h_{t-1} + (1 - lambda) n_t

    Args:
        keep: lambda, the fraction of the old state that is kept.
        show: theta, the factor of the old state in the candidate.

    Source: "Minion gated unit", Neurocomputing (2026), doi 10.1016/j.neucom.2026.132847, unit
    MiRU2, as stated in torchrecurrent's documentation; the paper itself was not available.
    """

    name = "miru-2"
    gates = ("n",)
    states = ("h",)
    source, year = _MINION, 2026

    def __init__(self, keep=0.5, show=0.5):
        self.keep = keep
        self.show = show

    def step(self, x, W, R, s, p):
        n = tanh(W.n(x) + R.n(self.show * s.h))
        h = self.keep * s.h + (1 - self.keep) * n
        return dict(h=h, n=n)

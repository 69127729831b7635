r"""FastRNN and FastGRNN: a weighted residual connection, and one with a gate.

The matrices have full rank. The paper's low-rank, sparse and quantised ones are not implemented.

Source: Kusupati et al., "FastGRNN: a fast, accurate, stable and tiny kilobyte sized gated
recurrent neural network", NeurIPS 2018, arXiv 1901.02358, sections 3.1 and 3.2.
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell, Parameter

_SOURCE = "Kusupati et al., arXiv 1901.02358"


class FastRNN(Cell):
    r"""The simple recurrent network with a weighted residual connection.

        n_t = tanh(W_n x_t + R_n h_{t-1} + b_n)
        h_t = sigmoid(alpha) * n_t + sigmoid(beta) * h_{t-1}

    Source: see the file; section 3.1. Differs: alpha and beta are per-unit parameters; in the paper
    they are two numbers between 0 and 1, the results of sigmoids in the authors' code. alpha starts
    at -3, beta at 3 and b_n at 1, as in that code.
    """

    name = "fast-rnn"
    gates = ("n",)
    states = ("h",)
    parameters = {"alpha": Parameter(initial=-3.0), "beta": Parameter(initial=3.0)}
    initial_weights = {"b.n": 1.0}
    chrono = {"beta": 1, "alpha": -1}
    source, year = _SOURCE, 2018

    def step(self, x, W, R, s, p):
        n = tanh(W.n(x) + R.n(s.h))
        h = sigmoid(p.alpha) * n + sigmoid(p.beta) * s.h
        return dict(h=h, n=n)


class FastGRNN(Cell):
    r"""FastRNN with a gate that shares its matrices with the candidate.

        a_t = W_n x_t + R_n h_{t-1} + b_n
        z_t = sigmoid(a_t + b_z)
        n_t = tanh(a_t)
        h_t = (sigmoid(zeta) * (1 - z_t) + sigmoid(nu)) * n_t + z_t * h_{t-1}

    The gate's bias, b_z in the paper, is the sum b_n + b_z here. b_z is a per-unit parameter, which
    exists with ``bias=False``, too.

    Source: see the file; section 3.2. Differs: zeta and nu are per-unit parameters; in the paper
    they are two numbers between 0 and 1, the results of sigmoids in the authors' code. zeta starts
    at 1 and nu at -4, as in that code. Both biases of the paper start at 1 there, so b_n starts at
    1 and b_z at 0.
    """

    name = "fast-grnn"
    gates = ("n",)
    states = ("h",)
    parameters = {
        "b_z": Parameter(initial=0.0),
        "zeta": Parameter(initial=1.0),
        "nu": Parameter(initial=-4.0),
    }
    initial_weights = {"b.n": 1.0}
    chrono = {"b_z": 1, "b.n": 0}
    source, year = _SOURCE, 2018

    def step(self, x, W, R, s, p):
        a = W.n(x) + R.n(s.h)
        z = sigmoid(a + p.b_z)
        n = tanh(a)
        h = (sigmoid(p.zeta) * (1 - z) + sigmoid(p.nu)) * n + z * s.h
        return dict(h=h, z=z, n=n)

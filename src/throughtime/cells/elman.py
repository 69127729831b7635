r"""The simple recurrent network: one state, which is fed back through one matrix.

    h_t = g(W x_t + R h_{t-1} + b)

with g the hyperbolic tangent, the ReLU, the logistic sigmoid, or the identity. With the identity
and no input, h_t = R^t h_0, so the eigenvalues of R show how gradients vanish or explode.

Source: Elman, "Finding structure in time", Cognitive Science 14 (1990), 179-211.
"""

import torch

from throughtime.cells.cell import Cell

_SOURCE = "Elman, Finding structure in time"


class TanhRNN(Cell):
    """h_t = tanh(W x_t + R h_{t-1} + b)"""

    name = "rnn-tanh"
    gates = ("h",)
    states = ("h",)
    torch_equivalent = "RNN_TANH"
    source, year = _SOURCE, 1990

    def step(self, x, W, R, s, p):
        return dict(h=torch.tanh(W.h(x) + R.h(s.h)))


class ReluRNN(Cell):
    """h_t = max(0, W x_t + R h_{t-1} + b)"""

    name = "rnn-relu"
    gates = ("h",)
    states = ("h",)
    torch_equivalent = "RNN_RELU"
    source, year = "Le, Jaitly and Hinton, arXiv 1504.00941", 2015

    def step(self, x, W, R, s, p):
        return dict(h=torch.relu(W.h(x) + R.h(s.h)))


class SigmoidRNN(Cell):
    """h_t = sigmoid(W x_t + R h_{t-1} + b)"""

    name = "rnn-sigmoid"
    gates = ("h",)
    states = ("h",)
    source, year = _SOURCE, 1990

    def step(self, x, W, R, s, p):
        return dict(h=torch.sigmoid(W.h(x) + R.h(s.h)))


class LinearRNN(Cell):
    """h_t = W x_t + R h_{t-1} + b"""

    name = "rnn-linear"
    gates = ("h",)
    states = ("h",)
    source, year = "Goodfellow, Bengio and Courville, Deep Learning, section 10.7", 2016

    def step(self, x, W, R, s, p):
        return dict(h=W.h(x) + R.h(s.h))

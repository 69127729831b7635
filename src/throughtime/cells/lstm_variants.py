r"""The eight variants of the peephole LSTM, each of which removes or adds one part.

Each variant is ``lstm-peephole`` (lstm.py) except for the part in its name. The equations are
repeated in full, so that the variants can be compared line by line.

Source: Greff et al., "LSTM: a search space odyssey", IEEE TNNLS 28 (2017), section III.
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell

_SOURCE = "Greff et al., LSTM: a search space odyssey"


class NoInputGate(Cell):
    r"""NIG: i_t = 1, so c_t = z_t + c_{t-1} * f_t."""

    name = "lstm-nig"
    gates = ("z", "f", "o")
    states = ("h", "c")
    parameters = ("p_f", "p_o")
    chrono = {"b.f": 1}
    source, year = _SOURCE, 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        f = sigmoid(W.f(x) + R.f(s.h) + p.p_f * s.c)
        c = z + s.c * f
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c)
        h = tanh(c) * o
        return dict(h=h, c=c, z=z, f=f, o=o)


class NoForgetGate(Cell):
    r"""NFG: f_t = 1, so c_t = z_t * i_t + c_{t-1}."""

    name = "lstm-nfg"
    gates = ("z", "i", "o")
    states = ("h", "c")
    parameters = ("p_i", "p_o")
    source, year = _SOURCE, 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c)
        c = z * i + s.c
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c)
        h = tanh(c) * o
        return dict(h=h, c=c, z=z, i=i, o=o)


class NoOutputGate(Cell):
    r"""NOG: o_t = 1, so h_t = tanh(c_t)."""

    name = "lstm-nog"
    gates = ("z", "i", "f")
    states = ("h", "c")
    parameters = ("p_i", "p_f")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = _SOURCE, 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c)
        f = sigmoid(W.f(x) + R.f(s.h) + p.p_f * s.c)
        c = z * i + s.c * f
        h = tanh(c)
        return dict(h=h, c=c, z=z, i=i, f=f)


class NoInputActivation(Cell):
    r"""NIAF: no tanh on the block input, z_t = W_z x_t + R_z h_{t-1} + b_z."""

    name = "lstm-niaf"
    gates = ("z", "i", "f", "o")
    states = ("h", "c")
    parameters = ("p_i", "p_f", "p_o")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = _SOURCE, 2017

    def step(self, x, W, R, s, p):
        z = W.z(x) + R.z(s.h)
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c)
        f = sigmoid(W.f(x) + R.f(s.h) + p.p_f * s.c)
        c = z * i + s.c * f
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c)
        h = tanh(c) * o
        return dict(h=h, c=c, z=z, i=i, f=f, o=o)


class NoOutputActivation(Cell):
    r"""NOAF: no tanh on the cell state, h_t = c_t * o_t."""

    name = "lstm-noaf"
    gates = ("z", "i", "f", "o")
    states = ("h", "c")
    parameters = ("p_i", "p_f", "p_o")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = _SOURCE, 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c)
        f = sigmoid(W.f(x) + R.f(s.h) + p.p_f * s.c)
        c = z * i + s.c * f
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c)
        h = c * o
        return dict(h=h, c=c, z=z, i=i, f=f, o=o)


class CoupledGates(Cell):
    r"""CIFG: the input and forget gates are coupled, f_t = 1 - i_t."""

    name = "lstm-cifg"
    gates = ("z", "i", "o")
    states = ("h", "c")
    parameters = ("p_i", "p_o")
    chrono = {"b.i": -1}
    source, year = _SOURCE, 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c)
        c = z * i + s.c * (1 - i)
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c)
        h = tanh(c) * o
        return dict(h=h, c=c, z=z, i=i, o=o)


class NoPeepholes(Cell):
    r"""NP: no peepholes; ``lstm`` with its blocks in the order z, i, f, o."""

    name = "lstm-np"
    gates = ("z", "i", "f", "o")
    states = ("h", "c")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = _SOURCE, 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        i = sigmoid(W.i(x) + R.i(s.h))
        f = sigmoid(W.f(x) + R.f(s.h))
        c = z * i + s.c * f
        o = sigmoid(W.o(x) + R.o(s.h))
        h = tanh(c) * o
        return dict(h=h, c=c, z=z, i=i, f=f, o=o)


class FullGateRecurrence(Cell):
    r"""FGR: the gates also read the gates of the previous step, through nine more matrices.

        i_t = sigmoid(W_i x_t + R_i h_{t-1} + p_i * c_{t-1}
                      + R_ii i_{t-1} + R_fi f_{t-1} + R_oi o_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + R_f h_{t-1} + p_f * c_{t-1}
                      + R_if i_{t-1} + R_ff f_{t-1} + R_of o_{t-1} + b_f)
        o_t = sigmoid(W_o x_t + R_o h_{t-1} + p_o * c_t
                      + R_io i_{t-1} + R_fo f_{t-1} + R_oo o_{t-1} + b_o)

    The other equations are those of ``lstm-peephole``. The gates are states, zero before the first
    step.

    Shapes: weight_hh (13 H, H): the blocks z, i, f, o, then the nine between gates in the order of
    ``recurrent_blocks`` (``i_f`` maps i to f), which have no bias.
    """

    name = "lstm-fgr"
    gates = ("z", "i", "f", "o")
    states = ("h", "c", "i", "f", "o")
    parameters = ("p_i", "p_f", "p_o")
    recurrent_blocks = (
        *gates,
        *("i_i", "i_f", "i_o"),
        *("f_i", "f_f", "f_o"),
        *("o_i", "o_f", "o_o"),
    )
    chrono = {"b.f": 1, "b.i": -1}
    source, year = _SOURCE, 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c + R.i_i(s.i) + R.f_i(s.f) + R.o_i(s.o))
        f = sigmoid(W.f(x) + R.f(s.h) + p.p_f * s.c + R.i_f(s.i) + R.f_f(s.f) + R.o_f(s.o))
        c = z * i + s.c * f
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c + R.i_o(s.i) + R.f_o(s.f) + R.o_o(s.o))
        h = tanh(c) * o
        return dict(h=h, c=c, i=i, f=f, o=o, z=z)

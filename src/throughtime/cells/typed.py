r"""Strongly typed cells, in which no matrix mixes units of the state with each other.

Gates and candidates depend on this input and the previous one, but on no state; each unit of the
state is a running mean or sum of its candidates. There is no recurrent matrix.

The products V x_{t-1} of the paper are computed at step t - 1 and kept as states, vz, vf and vo, so
the cell needs no state as wide as the input. They have biases like all products, but not in the
first step, where the stored products are zero.

Source: Balduzzi and Ghifary, "Strongly-typed recurrent neural networks", ICML 2016, arXiv
1602.02218.
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell

_SOURCE = "Balduzzi and Ghifary, arXiv 1602.02218"


class TRNN(Cell):
    r"""The strongly typed RNN: a running mean of linear inputs.

        z_t = W_z x_t + b_z
        f_t = sigmoid(W_f x_t + b_f)
        h_t = f_t * h_{t-1} + (1 - f_t) * z_t

    Source: see the file; the T-RNN. Differs: z has a bias.
    """

    name = "t-rnn"
    gates = ("z", "f")
    states = ("h",)
    recurrent_blocks = ()
    chrono = {"b.f": 1}
    source, year = _SOURCE, 2016

    def step(self, x, W, R, s, p):
        z = W.z(x)
        f = sigmoid(W.f(x))
        h = f * s.h + (1 - f) * z
        return dict(h=h, z=z, f=f)


class TGRU(Cell):
    r"""The strongly typed GRU: separate gates for forgetting and for writing.

        z_t = vz_{t-1} + W_z x_t + b_z
        f_t = sigmoid(vf_{t-1} + W_f x_t + b_f)
        o_t = tanh(vo_{t-1} + W_o x_t + b_o)
        h_t = f_t * h_{t-1} + z_t * o_t

    with vz_t = W_vz x_t + b_vz, which is V_z x_t in the paper, and likewise vf and vo.

    Source: see the file; the T-GRU. Differs: vz, vf and vo have biases.
    """

    name = "t-gru"
    gates = ("z", "f", "o", "vz", "vf", "vo")
    states = ("h", "vz", "vf", "vo")
    recurrent_blocks = ()
    chrono = {"b.f": 1, "b.vf": 0}
    source, year = _SOURCE, 2016

    def step(self, x, W, R, s, p):
        z = s.vz + W.z(x)
        f = sigmoid(s.vf + W.f(x))
        o = tanh(s.vo + W.o(x))
        h = f * s.h + z * o
        return dict(h=h, vz=W.vz(x), vf=W.vf(x), vo=W.vo(x), z=z, f=f, o=o)


class TLSTM(Cell):
    r"""The strongly typed LSTM: a running mean with an output gate.

        z_t = vz_{t-1} + W_z x_t + b_z
        f_t = sigmoid(vf_{t-1} + W_f x_t + b_f)
        o_t = tanh(vo_{t-1} + W_o x_t + b_o)
        c_t = f_t * c_{t-1} + (1 - f_t) * z_t
        h_t = c_t * o_t

    with vz_t = W_vz x_t + b_vz, which is V_z x_t in the paper, and likewise vf and vo.

    Source: see the file; the T-LSTM. Differs: vz, vf and vo have biases.
    """

    name = "t-lstm"
    gates = ("z", "f", "o", "vz", "vf", "vo")
    states = ("h", "c", "vz", "vf", "vo")
    recurrent_blocks = ()
    chrono = {"b.f": 1, "b.vf": 0}
    source, year = _SOURCE, 2016

    def step(self, x, W, R, s, p):
        z = s.vz + W.z(x)
        f = sigmoid(s.vf + W.f(x))
        o = tanh(s.vo + W.o(x))
        c = f * s.c + (1 - f) * z
        h = c * o
        return dict(h=h, c=c, vz=W.vz(x), vf=W.vf(x), vo=W.vo(x), z=z, f=f, o=o)

r"""Cells without a recurrent matrix: each unit reads the input and its own previous state only.

All matrix products can be computed before the first step. If the gates do not depend on the state
either, the recurrence is linear in the state.
"""

from torch import relu, sigmoid, tanh

from throughtime.cells.cell import Cell, Parameter


class IndRNN(Cell):
    r"""The independently recurrent network: ReLU units, each with one feedback weight.

        h_t = max(0, W_h x_t + u * h_{t-1} + b_h)

    u is a per-unit parameter. It starts between 0 and 1, as in the authors' code, because the ReLU
    of a unit with a negative u discards its state.

    Source: Li et al., "Independently recurrent neural network (IndRNN): building a longer and
    deeper RNN", CVPR 2018, arXiv 1803.04831, with the ReLU.
    """

    name = "ind-rnn"
    gates = ("h",)
    states = ("h",)
    parameters = {"u": Parameter(initial=(0.0, 1.0))}
    recurrent_blocks = ()
    source, year = "Li et al., arXiv 1803.04831", 2018

    def step(self, x, W, R, s, p):
        return dict(h=relu(W.h(x) + p.u * s.h))


class SRU(Cell):
    r"""The simple recurrent unit: a running mean of linear inputs, and a highway connection.

        f_t = sigmoid(W_f x_t + v_f * c_{t-1} + b_f)
        r_t = sigmoid(W_r x_t + v_r * c_{t-1} + b_r)
        c_t = f_t * c_{t-1} + (1 - f_t) * (W_c x_t + b_c)
        h_t = r_t * c_t + (1 - r_t) * (W_x x_t + b_x)

    v_f and v_r are per-unit parameters. They start with the variance 1/2, as in the authors' code,
    here uniformly distributed from -sqrt(3/2) to sqrt(3/2).

    Source: Lei et al., "Simple recurrent units for highly parallelizable recurrence", EMNLP
    2018, arXiv 1709.02755, equations 1 to 4, without the paper's scaling of the highway. Differs:
    the highway is W_x x_t + b_x instead of x_t, so that the widths of input and state may differ,
    as in the authors' code. The paper's cell has the identity as W_x, and b_x = b_c = 0.
    """

    name = "sru"
    gates = ("c", "f", "r", "x")
    states = ("h", "c")
    parameters = dict.fromkeys(("v_f", "v_r"), Parameter(initial=(-(1.5**0.5), 1.5**0.5)))
    recurrent_blocks = ()
    chrono = {"b.f": 1}
    source, year = "Lei et al., arXiv 1709.02755", 2017

    def step(self, x, W, R, s, p):
        f = sigmoid(W.f(x) + p.v_f * s.c)
        r = sigmoid(W.r(x) + p.v_r * s.c)
        c = f * s.c + (1 - f) * W.c(x)
        h = r * c + (1 - r) * W.x(x)
        return dict(h=h, c=c, f=f, r=r)


class QRNN(Cell):
    r"""The quasi-recurrent network with fo-pooling, whose gates read this input and the last one.

        z_t = tanh(vz_{t-1} + W_z x_t + b_z)
        f_t = sigmoid(vf_{t-1} + W_f x_t + b_f)
        o_t = sigmoid(vo_{t-1} + W_o x_t + b_o)
        c_t = f_t * c_{t-1} + (1 - f_t) * z_t
        h_t = o_t * c_t

    with vz_t = W_vz x_t + b_vz, and likewise vf and vo. Step t computes these products of its input
    for step t + 1, and keeps them as states.

    Source: Bradbury et al., "Quasi-recurrent neural networks", ICLR 2017, arXiv 1611.01576,
    equations 2 (a filter of width 2) and 4 (fo-pooling). In the authors' code f and 1 - f are
    exchanged. Differs: the paper writes no biases. Here there are some; those of vz, vf and vo have
    no influence on the first step, where these states are zero.
    """

    name = "qrnn"
    gates = ("z", "f", "o", "vz", "vf", "vo")
    states = ("h", "c", "vz", "vf", "vo")
    recurrent_blocks = ()
    chrono = {"b.f": 1, "b.vf": 0}
    source, year = "Bradbury et al., arXiv 1611.01576", 2016

    def step(self, x, W, R, s, p):
        z = tanh(s.vz + W.z(x))
        f = sigmoid(s.vf + W.f(x))
        o = sigmoid(s.vo + W.o(x))
        c = f * s.c + (1 - f) * z
        h = o * c
        return dict(h=h, c=c, vz=W.vz(x), vf=W.vf(x), vo=W.vo(x), z=z, f=f, o=o)


class MinGRU(Cell):
    r"""The GRU reduced for a parallel scan: gate and candidate depend on the input only.

        z_t = sigmoid(W_z x_t + b_z)
        n_t = W_n x_t + b_n
        h_t = (1 - z_t) * h_{t-1} + z_t * n_t

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201 (2024), section 3.1, not the
    form in log space.
    """

    name = "min-gru"
    gates = ("z", "n")
    states = ("h",)
    recurrent_blocks = ()
    chrono = {"b.z": -1}
    source, year = "Feng et al., arXiv 2410.01201", 2024

    def step(self, x, W, R, s, p):
        z = sigmoid(W.z(x))
        n = W.n(x)
        h = (1 - z) * s.h + z * n
        return dict(h=h, z=z, n=n)


class MinLSTM(Cell):
    r"""The LSTM reduced for a parallel scan: gates of the input only, scaled to sum to one.

        f_t = sigmoid(W_f x_t + b_f)
        i_t = sigmoid(W_i x_t + b_i)
        n_t = W_n x_t + b_n
        h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * n_t

    Source: Feng et al., "Were RNNs all we needed?", arXiv 2410.01201 (2024), section 3.2, not the
    form in log space.
    """

    name = "min-lstm"
    gates = ("f", "i", "n")
    states = ("h",)
    recurrent_blocks = ()
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Feng et al., arXiv 2410.01201", 2024

    def step(self, x, W, R, s, p):
        f = sigmoid(W.f(x))
        i = sigmoid(W.i(x))
        n = W.n(x)
        h = (f * s.h + i * n) / (f + i)
        return dict(h=h, f=f, i=i, n=n)

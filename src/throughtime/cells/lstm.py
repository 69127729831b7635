r"""Long short-term memory: an additive cell state c, which gates write, forget and output.

Letters: i, f, o the input, forget and output gate; g (in the notation with peepholes: z) the
candidate, or block input; c the cell state; h the output (y in Greff et al.); * is elementwise.
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell


class LSTM(Cell):
    r"""The LSTM of ``torch.nn.LSTM``, without peepholes.

        i_t = sigmoid(W_i x_t + R_i h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_f)
        g_t = tanh(W_g x_t + R_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + R_o h_{t-1} + b_o)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    Source: Gers, Schmidhuber and Cummins, "Learning to forget", Neural Computation 12 (2000).
    """

    name = "lstm"
    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    torch_equivalent = "LSTM"
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Gers, Schmidhuber and Cummins, Learning to forget", 2000

    def step(self, x, W, R, s, p):
        i = sigmoid(W.i(x) + R.i(s.h))
        f = sigmoid(W.f(x) + R.f(s.h))
        g = tanh(W.g(x) + R.g(s.h))
        o = sigmoid(W.o(x) + R.o(s.h))
        c = f * s.c + i * g
        h = o * tanh(c)
        return dict(h=h, c=c, i=i, f=f, g=g, o=o)


class CoupledLSTM(Cell):
    r"""The LSTM with coupled gates, f = 1 - i, without peepholes.

        i_t = sigmoid(W_i x_t + R_i h_{t-1} + b_i)
        g_t = tanh(W_g x_t + R_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + R_o h_{t-1} + b_o)
        c_t = (1 - i_t) * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    ``lstm-cifg`` is the same with peepholes.

    Source: Olah, "Understanding LSTM networks" (2015), third variant.
    """

    name = "lstm-coupled"
    gates = ("i", "g", "o")
    states = ("h", "c")
    chrono = {"b.i": -1}
    source, year = "Olah, Understanding LSTM networks", 2015

    def step(self, x, W, R, s, p):
        i = sigmoid(W.i(x) + R.i(s.h))
        g = tanh(W.g(x) + R.g(s.h))
        o = sigmoid(W.o(x) + R.o(s.h))
        c = (1 - i) * s.c + i * g
        h = o * tanh(c)
        return dict(h=h, c=c, i=i, g=g, o=o)


class OriginalLSTM(Cell):
    r"""The first LSTM, without a forget gate.

        i_t = sigmoid(W_i x_t + R_i h_{t-1} + b_i)
        g_t = tanh(W_g x_t + R_g h_{t-1} + b_g)
        o_t = sigmoid(W_o x_t + R_o h_{t-1} + b_o)
        c_t = c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9 (1997),
    section 4. Differs: both squashing functions are tanh, as in all later LSTMs. The paper leaves
    them open; its experiments use 4 sigmoid(x) - 2 for the candidate and
    2 sigmoid(x) - 1 = tanh(x / 2) for the output.
    """

    name = "lstm-1997"
    gates = ("i", "g", "o")
    states = ("h", "c")
    source, year = "Hochreiter and Schmidhuber, Long short-term memory", 1997

    def step(self, x, W, R, s, p):
        i = sigmoid(W.i(x) + R.i(s.h))
        g = tanh(W.g(x) + R.g(s.h))
        o = sigmoid(W.o(x) + R.o(s.h))
        c = s.c + i * g
        h = o * tanh(c)
        return dict(h=h, c=c, i=i, g=g, o=o)


class PeepholeLSTM(Cell):
    r"""The "vanilla" LSTM: three gates, which also read the cell state through peepholes.

        z_t = tanh(W_z x_t + R_z h_{t-1} + b_z)
        i_t = sigmoid(W_i x_t + R_i h_{t-1} + p_i * c_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + R_f h_{t-1} + p_f * c_{t-1} + b_f)
        c_t = z_t * i_t + c_{t-1} * f_t
        o_t = sigmoid(W_o x_t + R_o h_{t-1} + p_o * c_t + b_o)
        h_t = tanh(c_t) * o_t

    The output gate reads the new cell state, the other two gates the old one.

    Source: Greff et al., "LSTM: a search space odyssey", IEEE TNNLS 28 (2017), section II,
    where h is written y; peepholes by Gers and Schmidhuber (2000).
    """

    name = "lstm-peephole"
    gates = ("z", "i", "f", "o")
    states = ("h", "c")
    parameters = ("p_i", "p_f", "p_o")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Greff et al., LSTM: a search space odyssey", 2017

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c)
        f = sigmoid(W.f(x) + R.f(s.h) + p.p_f * s.c)
        c = z * i + s.c * f
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c)
        h = tanh(c) * o
        return dict(h=h, c=c, z=z, i=i, f=f, o=o)

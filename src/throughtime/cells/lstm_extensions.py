r"""Extensions of the LSTM: a product, a shortcut, matrices from the cell state, a normaliser.

Letters: i, f, o the input, forget and output gate; g (sLSTM: z, MC-LSTM: n) the candidate; c the
cell state; h the output; * is elementwise.
"""

import torch
from torch import sigmoid, tanh
from torch.nn.functional import logsigmoid

from throughtime.cells.cell import Cell, State


def _power_law(bias):
    """Fills the bias with 5 - 12 (k / (H - 1))^0.3 for the units k = 0, …, H - 1."""
    position = torch.linspace(0, 1, len(bias), dtype=bias.dtype, device=bias.device)
    bias.copy_(5 - 12 * position**0.3)


class MultiplicativeLSTM(Cell):
    r"""mLSTM: the gates read the product of input and state, so the input selects the transition.

        m_t = (W_m x_t + b_Wm) * (R_m h_{t-1} + b_Rm)
        i_t = sigmoid(W_i x_t + R_i m_t + b_i)
        f_t = sigmoid(W_f x_t + R_f m_t + b_f)
        g_t = tanh(W_g x_t + R_g m_t + b_g)
        o_t = sigmoid(W_o x_t + R_o m_t + b_o)
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    Source: Krause et al., "Multiplicative LSTM for sequence modelling", arXiv 1609.07959, section
    3, with the output gate outside the tanh as in the authors' code. Differs: the factors of m have
    biases (``bias=False`` removes them, together with all others).
    """

    name = "lstm-multiplicative"
    gates = ("m", "i", "f", "g", "o")
    states = ("h", "c")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Krause et al., Multiplicative LSTM, arXiv 1609.07959", 2016

    def step(self, x, W, R, s, p):
        m = W.m(x) * R.m(s.h)
        i = sigmoid(W.i(x) + R.i(m))
        f = sigmoid(W.f(x) + R.f(m))
        g = tanh(W.g(x) + R.g(m))
        o = sigmoid(W.o(x) + R.o(m))
        c = f * s.c + i * g
        h = o * tanh(c)
        return dict(h=h, c=c, m=m, i=i, f=f, g=g, o=o)


class ResidualLSTM(Cell):
    r"""The LSTM whose output adds the layer's input to the projected cell state.

        i_t = sigmoid(W_i x_t + R_i h_{t-1} + p_i * c_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + R_f h_{t-1} + p_f * c_{t-1} + b_f)
        g_t = tanh(W_g x_t + R_g h_{t-1} + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        o_t = sigmoid(W_o x_t + R_o h_{t-1} + p_o * c_t + b_o)
        h_t = o_t * (R_s tanh(c_t) + W_s x_t + b_s)

    Block s is the shortcut from the input in weight_ih, and the projection of the cell state in
    weight_hh.

    Source: Kim, El-Khamy and Lee, "Residual LSTM", Interspeech 2017, arXiv 1701.03360, section 3.
    Differs: the shortcut is always a matrix (if I = H, the paper also uses x_t itself), and the sum
    of shortcut and projection has a bias.
    """

    name = "lstm-residual"
    gates = ("i", "f", "g", "o", "s")
    states = ("h", "c")
    parameters = ("p_i", "p_f", "p_o")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Kim, El-Khamy and Lee, Residual LSTM, arXiv 1701.03360", 2017

    def step(self, x, W, R, s, p):
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c)
        f = sigmoid(W.f(x) + R.f(s.h) + p.p_f * s.c)
        g = tanh(W.g(x) + R.g(s.h))
        c = f * s.c + i * g
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c)
        h = o * (R.s(tanh(c)) + W.s(x))
        return dict(h=h, c=c, i=i, f=f, g=g, o=o)


class WorkingMemoryLSTM(Cell):
    r"""WMC-LSTM: peepholes with full matrices, bounded by tanh so that a large c closes no gate.

        i_t = sigmoid(W_i x_t + R_i h_{t-1} + tanh(R_c_i c_{t-1}) + b_i)
        f_t = sigmoid(W_f x_t + R_f h_{t-1} + tanh(R_c_f c_{t-1}) + b_f)
        g_t = tanh(W_g x_t + R_g h_{t-1} + b_g)
        c_t = f_t * c_{t-1} + i_t * g_t
        o_t = sigmoid(W_o x_t + R_o h_{t-1} + tanh(R_c_o c_t) + b_o)
        h_t = o_t * tanh(c_t)

    Shapes: weight_hh (7 H, H): the blocks i, f, g, o, then c_i, c_f, c_o (``c_i`` maps c to i),
    which have no bias.

    Source: Landi et al., "Working memory connections for LSTM", Neural Networks 144 (2021), arXiv
    2109.00020, section 3.
    """

    name = "lstm-working-memory"
    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    recurrent_blocks = ("i", "f", "g", "o", "c_i", "c_f", "c_o")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Landi et al., Working memory connections, arXiv 2109.00020", 2021

    def step(self, x, W, R, s, p):
        i = sigmoid(W.i(x) + R.i(s.h) + tanh(R.c_i(s.c)))
        f = sigmoid(W.f(x) + R.f(s.h) + tanh(R.c_f(s.c)))
        g = tanh(W.g(x) + R.g(s.h))
        c = f * s.c + i * g
        o = sigmoid(W.o(x) + R.o(s.h) + tanh(R.c_o(c)))
        h = o * tanh(c)
        return dict(h=h, c=c, i=i, f=f, g=g, o=o)


class MemoryControllerLSTM(Cell):
    r"""MC-LSTM: the state v that is fed back and the output h have gates of their own.

        f_t = sigmoid(W_f x_t + R_f v_{t-1} + b_f)
        i_t = sigmoid(W_i x_t + R_i v_{t-1} + b_i)
        o_t = sigmoid(W_o x_t + R_o v_{t-1} + b_o)
        m_t = sigmoid(W_m x_t + R_m v_{t-1} + b_m)
        n_t = tanh(W_n x_t + R_n v_{t-1} + b_n)
        c_t = f_t * c_{t-1} + i_t * n_t
        h_t = o_t * tanh(c_t)
        v_t = m_t * tanh(c_t)

    The output h is not a state. The states are v, the control vector, and c.

    Source: "Sequence modeling using a memory controller extension for LSTM", NIPS 2017 time series
    workshop.
    """

    name = "lstm-memory-controller"
    gates = ("f", "i", "o", "m", "n")
    states = ("v", "c")
    output = "h"
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Sequence modeling using a memory controller, NIPS workshop", 2017

    def step(self, x, W, R, s, p):
        f = sigmoid(W.f(x) + R.f(s.v))
        i = sigmoid(W.i(x) + R.i(s.v))
        o = sigmoid(W.o(x) + R.o(s.v))
        m = sigmoid(W.m(x) + R.m(s.v))
        n = tanh(W.n(x) + R.n(s.v))
        c = f * s.c + i * n
        h = o * tanh(c)
        v = m * tanh(c)
        return dict(v=v, c=c, h=h, f=f, i=i, o=o, m=m, n=n)


class ScalarLSTM(Cell):
    r"""sLSTM: an exponential input gate with a normaliser n, and a stabiliser m of the exponents.

        z_t  = tanh(W_z x_t + R_z h_{t-1} + b_z)
        i~_t = W_i x_t + R_i h_{t-1} + b_i
        f~_t = W_f x_t + R_f h_{t-1} + b_f
        o_t  = sigmoid(W_o x_t + R_o h_{t-1} + b_o)
        m_t  = max(log sigmoid(f~_t) + m_{t-1}, i~_t)
        i_t  = exp(i~_t - m_t)
        f_t  = exp(log sigmoid(f~_t) + m_{t-1} - m_t)
        c_t  = f_t * c_{t-1} + i_t * z_t
        n_t  = f_t * n_{t-1} + i_t
        h_t  = o_t * c_t / n_t

    Before the first step m is -10,000, so that m_1 = i~_1 for any f~_1; the states are still zero,
    so there is nothing to stabilise. If the caller gives initial states, n must be positive.

    R starts at 0, and b_f falls from 5 to -7 over the units, as in the authors' code for the first
    block.

    Source: Beck et al., "xLSTM: extended long short-term memory", NeurIPS 2024, arXiv 2405.04517,
    equations 8 to 17, where the i and f above have primes. Of the paper's two forget gates, sigmoid
    and exp, this is the sigmoid, as in the authors' code. Differs: there is one head, so R is a
    full matrix.
    """

    name = "slstm"
    gates = ("z", "i", "f", "o")
    states = {"h": State(), "c": State(), "n": State(), "m": State(initial=-1e4)}
    initial_weights = {**{f"R.{gate}": 0.0 for gate in gates}, "b.f": _power_law}
    chrono = {"b.f": 1}
    source, year = "Beck et al., xLSTM, arXiv 2405.04517", 2024

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x) + R.z(s.h))
        log_i = W.i(x) + R.i(s.h)
        log_f = logsigmoid(W.f(x) + R.f(s.h)) + s.m
        o = sigmoid(W.o(x) + R.o(s.h))
        m = torch.maximum(log_f, log_i)
        i, f = torch.exp(log_i - m), torch.exp(log_f - m)
        c = f * s.c + i * z
        n = f * s.n + i
        h = o * c / n
        return dict(h=h, c=c, n=n, m=m, z=z, i=i, f=f, o=o)

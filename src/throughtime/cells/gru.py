r"""The gated recurrent unit, with an update gate and a reset gate.

Letters: r the reset gate, z the update gate, n the candidate; * is elementwise.

In both cells of this file a large z *keeps* the state: h_t = (1 - z_t) * n_t + z_t * h_{t-1}, as in
``torch.nn.GRU``. Half of the literature writes h_t = (1 - z_t) * h_{t-1} + z_t * n_t instead. To
convert weights of that form, negate the rows of block z in weight_ih, weight_hh, bias_ih and
bias_hh, because sigmoid(-a) = 1 - sigmoid(a).
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell


class GRU(Cell):
    r"""The GRU of ``torch.nn.GRU``, whose reset gate multiplies the recurrent product.

        r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
        z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)
        n_t = tanh(W_n x_t + b_Wn + r_t * (R_n h_{t-1} + b_Rn))
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.
    The form in which r_t multiplies the product R_n h_{t-1} is that of the first version of the
    preprint, arXiv 1406.1078v1, and of Cho et al., "On the properties of neural machine
    translation", arXiv 1409.1259. In cuDNN r_t multiplies the recurrent bias, too.
    """

    name = "gru"
    gates = ("r", "z", "n")
    states = ("h",)
    torch_equivalent = "GRU"
    chrono = {"b.z": 1}
    source, year = "Cho et al., arXiv 1406.1078", 2014

    def step(self, x, W, R, s, p):
        r = sigmoid(W.r(x) + R.r(s.h))
        z = sigmoid(W.z(x) + R.z(s.h))
        n = tanh(W.n(x) + r * R.n(s.h))
        h = (1 - z) * n + z * s.h
        return dict(h=h, r=r, z=z, n=n)


class ResetBeforeGRU(Cell):
    r"""The GRU whose reset gate multiplies the state before the recurrent product.

        r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
        z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)
        n_t = tanh(W_n x_t + R_n (r_t * h_{t-1}) + b_n)
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    Source: Cho et al., arXiv 1406.1078, equations 5 to 8, where a large z keeps the state, too.
    """

    name = "gru-reset-before"
    gates = ("r", "z", "n")
    states = ("h",)
    chrono = {"b.z": 1}
    source, year = "Cho et al., arXiv 1406.1078", 2014

    def step(self, x, W, R, s, p):
        r = sigmoid(W.r(x) + R.r(s.h))
        z = sigmoid(W.z(x) + R.z(s.h))
        n = tanh(W.n(x) + R.n(r * s.h))
        h = (1 - z) * n + z * s.h
        return dict(h=h, r=r, z=z, n=n)

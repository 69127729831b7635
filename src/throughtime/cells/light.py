r"""Simplifications of the LSTM and the GRU with one or two gates.

Letters: i, f, z, k the gates; n, g the candidate; c the cell state; h the state; * is elementwise.
"""

from torch import relu, sigmoid, tanh

from throughtime.cells.cell import Cell


class JANET(Cell):
    r"""The LSTM with only a forget gate, whose complement, shifted by beta, is the input gate.

        s_t = W_f x_t + R_f h_{t-1} + b_f
        g_t = tanh(W_g x_t + R_g h_{t-1} + b_g)
        h_t = sigmoid(s_t) * h_{t-1} + (1 - sigmoid(s_t - beta)) * g_t

    In the paper the cell state c equals the output h; here both are the state h.

    Args:
        beta: the shift by which more is written than forgotten; with 0 the gates sum to 1.

    b_f starts at 1, as in the authors' code without T_max. ``forget_bias="chrono"`` starts it as
    that code does with T_max.

    Source: van der Westhuizen and Lasenby, "The unreasonable effectiveness of the forget gate",
    arXiv 1804.04849 (2018), the form with beta, which is 1 in the paper.
    """

    name = "janet"
    gates = ("f", "g")
    states = ("h",)
    initial_weights = {"b.f": 1.0}
    chrono = {"b.f": 1}
    source, year = "van der Westhuizen and Lasenby, arXiv 1804.04849", 2018

    def __init__(self, beta=1.0):
        self.beta = beta

    def step(self, x, W, R, s, p):
        a = W.f(x) + R.f(s.h)
        f = sigmoid(a)
        g = tanh(W.g(x) + R.g(s.h))
        h = f * s.h + (1 - sigmoid(a - self.beta)) * g
        return dict(h=h, f=f, g=g)


class LightRU(Cell):
    r"""The light recurrent unit: one gate, and a candidate that depends on the input only.

        n_t = tanh(W_n x_t + b_n)
        f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_f)
        h_t = (1 - f_t) * h_{t-1} + f_t * n_t

    A large f forgets the state. ``forget_bias`` is the bias of this gate.

    Source: Ye et al., "Light recurrent unit", Electronics 13 (2024) 3204, section 3.2, as stated in
    RecurrentLayers.jl and in the paper's list of symbols. Differs: the candidate has a bias. The
    stacked cells of section 3.3 are not implemented.
    """

    name = "light-ru"
    gates = ("n", "f")
    states = ("h",)
    recurrent_blocks = ("f",)
    chrono = {"b.f": -1}
    source, year = "Ye et al., Light recurrent unit", 2024

    def step(self, x, W, R, s, p):
        n = tanh(W.n(x))
        f = sigmoid(W.f(x) + R.f(s.h))
        h = (1 - f) * s.h + f * n
        return dict(h=h, f=f, n=n)


class LiGRU(Cell):
    r"""The light GRU: no reset gate, and a ReLU for the candidate.

        z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)
        n_t = max(0, W_n x_t + R_n h_{t-1} + b_n)
        h_t = z_t * h_{t-1} + (1 - z_t) * n_t

    Source: Ravanelli et al., "Light gated recurrent units for speech recognition", IEEE TETCI 2
    (2018), arXiv 1803.10225. Differs: W x_t has a bias instead of a batch normalisation. The ReLU
    is unbounded, so without the normalisation h may grow.
    """

    name = "li-gru"
    gates = ("z", "n")
    states = ("h",)
    chrono = {"b.z": 1}
    source, year = "Ravanelli et al., arXiv 1803.10225", 2018

    def step(self, x, W, R, s, p):
        z = sigmoid(W.z(x) + R.z(s.h))
        n = relu(W.n(x) + R.n(s.h))
        h = z * s.h + (1 - z) * n
        return dict(h=h, z=z, n=n)


class ATR(Cell):
    r"""The addition-subtraction twin-gated unit, whose gates share two matrix products.

        p_t = W_p x_t + b_Wp
        q_t = R_p h_{t-1} + b_Rp
        i_t = sigmoid(p_t + q_t)
        f_t = sigmoid(p_t - q_t)
        h_t = i_t * p_t + f_t * h_{t-1}

    Source: Zhang et al., "Simplifying neural machine translation with addition-subtraction
    twin-gated recurrent networks", EMNLP 2018, arXiv 1810.12546.
    """

    name = "atr"
    gates = ("p",)
    states = ("h",)
    chrono = {"b_R.p": -1, "b_W.p": 0}
    source, year = "Zhang et al., arXiv 1810.12546", 2018

    def step(self, x, W, R, s, p):
        # The paper's p is called v here, where p holds the per-unit parameters.
        v, q = W.p(x), R.p(s.h)
        i = sigmoid(v + q)
        f = sigmoid(v - q)
        h = i * v + f * s.h
        return dict(h=h, i=i, f=f)


class RAN(Cell):
    r"""The recurrent additive network: the cell state is a weighted sum of linear inputs.

        g_t = W_g x_t + b_g
        i_t = sigmoid(W_i x_t + R_i h_{t-1} + b_i)
        f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_f)
        c_t = i_t * g_t + f_t * c_{t-1}
        h_t = tanh(c_t)

    Source: Lee, Levy and Zettlemoyer, "Recurrent additive networks", arXiv 1705.07393 (2017),
    with tanh for the output function g. Differs: W_g x_t has a bias.
    """

    name = "ran"
    gates = ("g", "i", "f")
    states = ("h", "c")
    recurrent_blocks = ("i", "f")
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Lee, Levy and Zettlemoyer, arXiv 1705.07393", 2017

    def step(self, x, W, R, s, p):
        g = W.g(x)
        i = sigmoid(W.i(x) + R.i(s.h))
        f = sigmoid(W.f(x) + R.f(s.h))
        c = i * g + f * s.c
        h = tanh(c)
        return dict(h=h, c=c, g=g, i=i, f=f)


class STAR(Cell):
    r"""The stackable recurrent cell, whose gradients stay in range through many layers.

        z_t = tanh(W_z x_t + b_z)
        k_t = sigmoid(W_k x_t + R_k h_{t-1} + b_k)
        h_t = tanh((1 - k_t) * h_{t-1} + k_t * z_t)

    ``forget_bias="chrono"`` is the initialisation of the authors.

    Source: Turkoglu et al., "Gating revisited: deep multi-layer RNNs that can be trained", IEEE
    TPAMI 44 (2022), arXiv 1911.11033. The authors' code computes
    tanh((1 - k_t) * h_{t-1} + sigmoid(a_k + 1) * z_t), with a_k the argument of k's sigmoid; the
    shift by 1, JANET's beta, is not in the paper.
    """

    name = "star"
    gates = ("z", "k")
    states = ("h",)
    recurrent_blocks = ("k",)
    chrono = {"b.k": -1}
    source, year = "Turkoglu et al., arXiv 1911.11033", 2019

    def step(self, x, W, R, s, p):
        z = tanh(W.z(x))
        k = sigmoid(W.k(x) + R.k(s.h))
        h = tanh((1 - k) * s.h + k * z)
        return dict(h=h, z=z, k=k)


class SGRN(Cell):
    r"""The simple gated recurrent network, whose gate and candidate share the input product.

        f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_Wf + b_Rf)
        h_t = tanh((1 - f_t) * (W_f x_t + b_Wf) + f_t * h_{t-1})

    Source: "A simple gated recurrent network", IET Generation, Transmission and Distribution
    (2020), doi 10.1049/gtd2.12056, as stated in RecurrentLayers.jl; the paper itself was not
    available. Differs: the candidate has the bias b_Wf; with b_Wf = 0 the cells are equal.
    """

    name = "sgrn"
    gates = ("f",)
    states = ("h",)
    chrono = {"b_R.f": 1, "b_W.f": 0}
    source, year = "Simple gated recurrent network, doi 10.1049/gtd2.12056", 2020

    def step(self, x, W, R, s, p):
        g = W.f(x)
        f = sigmoid(g + R.f(s.h))
        h = tanh((1 - f) * g + f * s.h)
        return dict(h=h, f=f, g=g)


class CFN(Cell):
    r"""The chaos-free network: without input, every state decays to zero.

        theta_t = sigmoid(W_theta x_t + R_theta h_{t-1} + b_theta)
        eta_t   = sigmoid(W_eta x_t + R_eta h_{t-1} + b_eta)
        h_t     = theta_t * tanh(h_{t-1}) + eta_t * tanh(W_g x_t + b_g)

    b_theta starts at 1 and b_eta at -1, as in the paper's experiments.

    Source: Laurent and von Brecht, "A recurrent neural network without chaos", ICLR 2017, arXiv
    1612.06212, the definition in its introduction. Differs: W_g x_t has a bias.
    """

    name = "cfn"
    gates = ("theta", "eta", "g")
    states = ("h",)
    recurrent_blocks = ("theta", "eta")
    initial_weights = {"b.theta": 1.0, "b.eta": -1.0}
    chrono = {"b.theta": 1, "b.eta": -1}
    source, year = "Laurent and von Brecht, arXiv 1612.06212", 2016

    def step(self, x, W, R, s, p):
        theta = sigmoid(W.theta(x) + R.theta(s.h))
        eta = sigmoid(W.eta(x) + R.eta(s.h))
        g = tanh(W.g(x))
        h = theta * tanh(s.h) + eta * g
        return dict(h=h, theta=theta, eta=eta, g=g)

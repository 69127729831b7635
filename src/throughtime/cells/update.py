r"""Further cells with an update gate, designed by hand or discovered by search.

Letters: z, g the update gate; r the reset gate; n, c the candidate; h the state; * is elementwise.
If a paper adds x_t itself to a value of the width of the state, the cell here adds W x_t, so that
the widths need not be equal. With the identity as W the two are equal.
"""

from torch import clamp, relu, sigmoid, tanh
from torch.nn.functional import softplus

from throughtime.cells.cell import Cell

_COLLINS = "Collins, Sohl-Dickstein and Sussillo, arXiv 1611.09913"
_GAO = "Gao and Glowacka, Deep gate recurrent neural network"
_JOZEFOWICZ = "Jozefowicz, Zaremba and Sutskever, ICML 2015"


def _hard_sigmoid(a):
    return clamp(0.2 * a + 0.5, 0.0, 1.0)


class UGRNN(Cell):
    r"""The update gate RNN: a simple recurrent network with a gate that keeps its state.

        c_t = tanh(W_c x_t + R_c h_{t-1} + b_c)
        g_t = sigmoid(W_g x_t + R_g h_{t-1} + b_g)
        h_t = g_t * h_{t-1} + (1 - g_t) * c_t

    b_g starts at 1, as in the code that the authors contributed to TensorFlow.

    Source: Collins, Sohl-Dickstein and Sussillo, "Capacity and trainability in recurrent neural
    networks", ICLR 2017, arXiv 1611.09913, with tanh as the function s.
    """

    name = "ugrnn"
    gates = ("c", "g")
    states = ("h",)
    initial_weights = {"b.g": 1.0}
    chrono = {"b.g": 1}
    source, year = _COLLINS, 2016

    def step(self, x, W, R, s, p):
        c = tanh(W.c(x) + R.c(s.h))
        g = sigmoid(W.g(x) + R.g(s.h))
        h = g * s.h + (1 - g) * c
        return dict(h=h, c=c, g=g)


class IntersectionRNN(Cell):
    r"""The +RNN: one update gate for the state, and one between the input and the output.

        u_t = max(0, W_u x_t + R_u h_{t-1} + b_u)
        c_t = tanh(W_c x_t + R_c h_{t-1} + b_c)
        k_t = sigmoid(W_k x_t + R_k h_{t-1} + b_k)
        g_t = sigmoid(W_g x_t + R_g h_{t-1} + b_g)
        y_t = k_t * (W_y x_t + b_y) + (1 - k_t) * u_t
        h_t = g_t * h_{t-1} + (1 - g_t) * c_t

    The output is y, which no later step reads. The paper writes y^in, h^in, g^y and g^h for
    u, c, k and g. b_k and b_g start at 1, as in the code that the authors contributed to
    TensorFlow.

    Source: Collins, Sohl-Dickstein and Sussillo, arXiv 1611.09913. Differs: every layer has the
    matrix W_y. In the paper the first layer maps x_t to the width of the state, and the layers
    above it use x_t itself, which corresponds to the identity as W_y without bias.
    """

    name = "intersection-rnn"
    gates = ("u", "c", "k", "g", "y")
    states = ("y", "h")
    recurrent_blocks = ("u", "c", "k", "g")
    initial_weights = {"b.k": 1.0, "b.g": 1.0}
    chrono = {"b.g": 1}
    source, year = _COLLINS, 2016

    def step(self, x, W, R, s, p):
        u = relu(W.u(x) + R.u(s.h))
        c = tanh(W.c(x) + R.c(s.h))
        k = sigmoid(W.k(x) + R.k(s.h))
        g = sigmoid(W.g(x) + R.g(s.h))
        y = k * W.y(x) + (1 - k) * u
        h = g * s.h + (1 - g) * c
        return dict(y=y, h=h, u=u, c=c, k=k, g=g)


class SGU(Cell):
    r"""The simple gated unit: the product of input and state gates the state.

        m_t = tanh(R_m ((W_m x_t + b_m) * h_{t-1}))
        o_t = softplus(m_t * h_{t-1})
        z_t = hard_sigmoid(W_z x_t + R_z h_{t-1} + b_z)
        h_t = (1 - z_t) * h_{t-1} + z_t * o_t

    with hard_sigmoid(a) = min(1, max(0, a / 5 + 1 / 2)), the one of Theano, because the paper does
    not give its slope. The paper writes z_g for m and z_out for o.

    Source: Gao and Glowacka, "Deep gate recurrent neural network", ACML 2016, arXiv 1604.02910,
    the equations of SGU. Differs: R_m (...) has a bias, the recurrent bias of block m.
    """

    name = "sgu"
    gates = ("m", "z")
    states = ("h",)
    source, year = _GAO, 2016

    def step(self, x, W, R, s, p):
        m = tanh(R.m(W.m(x) * s.h))
        o = softplus(m * s.h)
        z = _hard_sigmoid(W.z(x) + R.z(s.h))
        h = (1 - z) * s.h + z * o
        return dict(h=h, m=m, o=o, z=z)


class DSGU(Cell):
    r"""The deep simple gated unit: one more matrix than the simple one, and a bounded candidate.

        m_t = tanh(R_m ((W_m x_t + b_m) * h_{t-1}))
        o_t = sigmoid(R_o (m_t * h_{t-1}))
        z_t = hard_sigmoid(W_z x_t + R_z h_{t-1} + b_z)
        h_t = (1 - z_t) * h_{t-1} + z_t * o_t

    with the hard sigmoid of ``sgu``.

    Source: Gao and Glowacka, "Deep gate recurrent neural network", ACML 2016, arXiv 1604.02910,
    the equations of DSGU. Differs: R_m (...) has a bias, the recurrent bias of block m.
    """

    name = "dsgu"
    gates = ("m", "z")
    states = ("h",)
    recurrent_blocks = ("m", "z", "o")
    source, year = _GAO, 2016

    def step(self, x, W, R, s, p):
        m = tanh(R.m(W.m(x) * s.h))
        o = sigmoid(R.o(m * s.h))
        z = _hard_sigmoid(W.z(x) + R.z(s.h))
        h = (1 - z) * s.h + z * o
        return dict(h=h, m=m, o=o, z=z)


class MUT1(Cell):
    r"""The first of three cells that a search over ten thousand candidates discovered.

        z_t = sigmoid(W_z x_t + b_z)
        r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
        n_t = tanh(R_n (r_t * h_{t-1}) + tanh(W_n x_t + b_Wn) + b_Rn)
        h_t = n_t * z_t + h_{t-1} * (1 - z_t)

    Source: Jozefowicz, Zaremba and Sutskever, "An empirical exploration of recurrent network
    architectures", ICML 2015, MUT1. Differs: n_t has W_n x_t instead of x_t (see the file).
    """

    name = "mut-1"
    gates = ("z", "r", "n")
    states = ("h",)
    recurrent_blocks = ("r", "n")
    chrono = {"b.z": -1}
    source, year = _JOZEFOWICZ, 2015

    def step(self, x, W, R, s, p):
        z = sigmoid(W.z(x))
        r = sigmoid(W.r(x) + R.r(s.h))
        n = tanh(R.n(r * s.h) + tanh(W.n(x)))
        h = n * z + s.h * (1 - z)
        return dict(h=h, z=z, r=r, n=n)


class MUT2(Cell):
    r"""The second of the three: a GRU that resets before the product, and whose z replaces h.

        z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)
        r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
        n_t = tanh(R_n (r_t * h_{t-1}) + W_n x_t + b_n)
        h_t = n_t * z_t + h_{t-1} * (1 - z_t)

    Source: Jozefowicz, Zaremba and Sutskever, ICML 2015, MUT2. Differs: r_t has W_r x_t instead of
    x_t (see the file).
    """

    name = "mut-2"
    gates = ("z", "r", "n")
    states = ("h",)
    chrono = {"b.z": -1}
    source, year = _JOZEFOWICZ, 2015

    def step(self, x, W, R, s, p):
        z = sigmoid(W.z(x) + R.z(s.h))
        r = sigmoid(W.r(x) + R.r(s.h))
        n = tanh(R.n(r * s.h) + W.n(x))
        h = n * z + s.h * (1 - z)
        return dict(h=h, z=z, r=r, n=n)


class MUT3(Cell):
    r"""The third of the three: the update gate reads the tanh of the state.

        z_t = sigmoid(W_z x_t + R_z tanh(h_{t-1}) + b_z)
        r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)
        n_t = tanh(R_n (r_t * h_{t-1}) + W_n x_t + b_n)
        h_t = n_t * z_t + h_{t-1} * (1 - z_t)

    Source: Jozefowicz, Zaremba and Sutskever, ICML 2015, MUT3.
    """

    name = "mut-3"
    gates = ("z", "r", "n")
    states = ("h",)
    chrono = {"b.z": -1}
    source, year = _JOZEFOWICZ, 2015

    def step(self, x, W, R, s, p):
        z = sigmoid(W.z(x) + R.z(tanh(s.h)))
        r = sigmoid(W.r(x) + R.r(s.h))
        n = tanh(R.n(r * s.h) + W.n(x))
        h = n * z + s.h * (1 - z)
        return dict(h=h, z=z, r=r, n=n)

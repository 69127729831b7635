r"""Recurrences that read a state of several steps ago, or have a second, slower state.

Letters: * is elementwise.
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell, State


class DelayedGRU(Cell):
    r"""tau-GRU, which also reads an older state, weighted by a gate.

        u_t = tanh(W_u x_t + R_u h_{t-1} + b_u)
        z_t = tanh(W_z x_t + R_z h_{t-1-delay} + b_z)
        g_t = sigmoid(W_g x_t + R_g h_{t-1} + b_g)
        a_t = sigmoid(W_a x_t + R_a h_{t-1} + b_a)
        h_t = (1 - g_t) * h_{t-1} + g_t * (u_t + a_t * z_t)

    The older values of h are states d1, d2, … of the cell, each of which takes the value of the one
    before it at every step: before step t, d1 is h_{t-2}. All are zero before the first step, as in
    the paper.

    Args:
        delay: by how many steps the state that z reads is older than h_{t-1}, at least 1; to be
            chosen for each task. Memory and copying grow with it.

    Source: Erichson, Lim and Mahoney, "Gated recurrent neural networks with weighted time-delay
    feedback", arXiv 2212.00228, with alpha = beta = 1. In the authors' code z and a both read the
    older state and the input of the same step as that state; in the paper and here they read x_t.
    Differs: there are biases.
    """

    name = "tau-gru"
    gates = ("u", "z", "g", "a")
    chrono = {"b.g": -1}
    source, year = "Erichson, Lim and Mahoney, tau-GRU, arXiv 2212.00228", 2022

    def __init__(self, delay: int = 3):
        if delay < 1:
            raise ValueError(f"DelayedGRU: expected a delay of at least 1 step, got {delay}.")
        self.delay = delay

    @property
    def states(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("h", *(f"d{k}" for k in range(1, self.delay + 1)))

    def step(self, x, W, R, s, p):
        past = [getattr(s, name) for name in self.states]
        u = tanh(W.u(x) + R.u(s.h))
        z = tanh(W.z(x) + R.z(past[-1]))
        g = sigmoid(W.g(x) + R.g(s.h))
        a = sigmoid(W.a(x) + R.a(s.h))
        h = (1 - g) * s.h + g * (u + a * z)
        return dict(zip(self.states, [h, *past], strict=False), u=u, z=z, g=g, a=a)


class StructurallyConstrained(Cell):
    r"""SCRN: a simple recurrent network with a second state, a slowly changing context.

        s_t = (1 - alpha) * (W_s x_t + b_s) + alpha * s_{t-1}
        h_t = sigmoid(R_p s_t + W_h x_t + R_h h_{t-1} + b_h)
        y_t = R_u h_t + R_v s_t

    The output is y, which no later step reads. Before the first step h and s are 0.1, as in the
    authors' code.

    Shapes: weight_hh (4 H, H): the blocks h, p, u, v; only block h has a bias.

    Args:
        alpha: the fraction of the context that is kept at each step.

    Source: Mikolov et al., "Learning longer memory in recurrent neural networks", arXiv 1412.7753,
    equations 3 to 5. In the authors' code h_t reads the context of the step before, s_{t-1}.
    Differs: the context has as many units as the hidden layer; y is the argument of the paper's
    softmax f, which is left to the model; there are biases.
    """

    name = "scrn"
    gates = ("s", "h")
    states = {"y": State(), "h": State(initial=0.1), "s": State(initial=0.1)}
    recurrent_blocks = ("h", "p", "u", "v")
    source, year = "Mikolov et al., Learning longer memory, arXiv 1412.7753", 2015

    def __init__(self, alpha: float = 0.95):
        self.alpha = alpha

    def step(self, x, W, R, s, p):
        c = (1 - self.alpha) * W.s(x) + self.alpha * s.s
        h = sigmoid(R.p(c) + W.h(x) + R.h(s.h))
        return dict(y=R.u(h) + R.v(c), h=h, s=c)

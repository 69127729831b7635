r"""Recurrences of several layers within a step, designed by hand or discovered by search.

Letters: * is elementwise.
"""

from torch import relu, sigmoid, tanh

from throughtime.cells.cell import Cell, Parameter


class RecurrentHighway(Cell):
    r"""RHN: each step is a highway network of several layers, with the carry gate 1 - t.

        y   = y_{t-1}
        h_l = tanh([W_h x_t if l = 1] + R_h,l y + b_h,l)
        t_l = sigmoid([W_t x_t if l = 1] + R_t,l y + b_t,l)
        y   = h_l * t_l + y * (1 - t_l)            for l = 1, …, depth
        y_t = y

    Shapes: weight_hh (2 depth H, H): the blocks h, t, h2, t2, …; the biases of the layers above the
    first are the parameters b_h2, b_t2, …, which exist with ``bias=False``, too.

    The biases of the gates t start at -2, so that most of the state is carried over. The paper
    starts them below 0, and the authors' code at -2 or -4. ``forget_bias="chrono"`` sets the time
    scale of each layer within the step, so a step of ``depth`` layers forgets that much faster.

    Args:
        depth: the number of layers within a step, at least 1.

    Source: Zilly et al., "Recurrent highway networks", ICML 2017, arXiv 1607.03474, equations 6 to
    9, with c = 1 - t; the paper writes s for y.
    """

    name = "rhn"
    gates = ("h", "t")
    states = ("y",)
    initial_weights = {"b.t": -2.0}
    source, year = "Zilly et al., Recurrent highway networks, arXiv 1607.03474", 2017

    def __init__(self, depth: int = 3):
        if depth < 1:
            raise ValueError(f"RecurrentHighway: expected a depth of at least 1, got {depth}.")
        self.depth = depth

    @property
    def recurrent_blocks(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("h", "t", *(f"{g}{l}" for l in range(2, self.depth + 1) for g in "ht"))

    @property
    def parameters(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        starts = {"h": None, "t": -2.0}
        return {
            f"b_{g}{l}": Parameter(initial=starts[g])
            for l in range(2, self.depth + 1)
            for g in "ht"
        }

    @property
    def chrono(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return {"b.t": -1, **{f"b_t{l}": -1 for l in range(2, self.depth + 1)}}

    def step(self, x, W, R, s, p):
        h, t = tanh(W.h(x) + R.h(s.y)), sigmoid(W.t(x) + R.t(s.y))
        y = h * t + s.y * (1 - t)
        for l in range(2, self.depth + 1):
            h = tanh(getattr(R, f"h{l}")(y) + getattr(p, f"b_h{l}"))
            t = sigmoid(getattr(R, f"t{l}")(y) + getattr(p, f"b_t{l}"))
            y = h * t + y * (1 - t)
        return dict(y=y)


class NeuralArchitectureSearchCell(Cell):
    r"""NAS: a cell discovered by reinforcement learning, which combines eight blocks in a tree.

        a_k = W_k x_t + R_k h_{t-1} + b_k             for k = 0, 1, 2, 4, 5, 6, 7
        a_3 = (W_3 x_t + b_W3) * (R_3 h_{t-1} + b_R3)
        u_0 = tanh(sigmoid(a_0) * relu(a_1))
        u_1 = tanh(sigmoid(a_2) + relu(a_3))
        u_2 = tanh(tanh(a_4) * sigmoid(a_5))
        u_3 = sigmoid(tanh(a_6) + sigmoid(a_7))
        c_t = tanh(u_0 + c_{t-1}) * u_1
        h_t = tanh(c_t * tanh(u_2 + u_3))

    Block 3 is the only one that multiplies its products of input and state.

    Source: Zoph and Le, "Neural architecture search with reinforcement learning", ICLR 2017, arXiv
    1611.01578. The appendix shows the cell as a diagram; the equations are those of ``NASCell`` in
    TensorFlow Addons. Differs: each block has two biases; there it has one, of the state's product.
    """

    name = "nas"
    gates = ("a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7")
    states = ("h", "c")
    source, year = "Zoph and Le, Neural architecture search, arXiv 1611.01578", 2017

    def step(self, x, W, R, s, p):
        u0 = tanh(sigmoid(W.a0(x) + R.a0(s.h)) * relu(W.a1(x) + R.a1(s.h)))
        u1 = tanh(sigmoid(W.a2(x) + R.a2(s.h)) + relu(W.a3(x) * R.a3(s.h)))
        u2 = tanh(tanh(W.a4(x) + R.a4(s.h)) * sigmoid(W.a5(x) + R.a5(s.h)))
        u3 = sigmoid(tanh(W.a6(x) + R.a6(s.h)) + sigmoid(W.a7(x) + R.a7(s.h)))
        c = tanh(u0 + s.c) * u1
        h = tanh(c * tanh(u2 + u3))
        return dict(h=h, c=c)

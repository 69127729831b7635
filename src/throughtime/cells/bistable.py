r"""Bistable cells, whose units have two stable states if their self-feedback exceeds 1.

Letters: a the feedback of a unit to itself, from 0 to 2; c the fraction of the state that is kept;
h the state; * is elementwise.

Source: Vecoven, Ernst and Drion, "A bio-inspired bistable recurrent cell allows for long-lasting
memory", PLoS ONE 16 (2021), arXiv 2006.05252.
"""

from torch import sigmoid, tanh

from throughtime.cells.cell import Cell, Parameter

_SOURCE = "Vecoven, Ernst and Drion, arXiv 2006.05252"


class BR(Cell):
    r"""The bistable recurrent cell: each unit reads the input and its own state only.

        a_t = 1 + tanh(W_a x_t + w_a * h_{t-1} + b_a)
        c_t = sigmoid(W_c x_t + w_c * h_{t-1} + b_c)
        h_t = c_t * h_{t-1} + (1 - c_t) * tanh(W_h x_t + a_t * h_{t-1} + b_h)

    w_a and w_c are per-unit parameters. They start at 1 as in the authors' code, so that each unit
    has two stable states. There is no recurrent matrix.

    Source: see the file; the BRC. Differs: the paper writes no biases; here they exist and start
    at 0.
    """

    name = "br"
    gates = ("a", "c", "h")
    states = ("h",)
    parameters = dict.fromkeys(("w_a", "w_c"), Parameter(initial=1.0))
    recurrent_blocks = ()
    initial_weights = {f"b.{gate}": 0.0 for gate in gates}
    chrono = {"b.c": 1}
    source, year = _SOURCE, 2020

    def step(self, x, W, R, s, p):
        a = 1 + tanh(W.a(x) + p.w_a * s.h)
        c = sigmoid(W.c(x) + p.w_c * s.h)
        h = c * s.h + (1 - c) * tanh(W.h(x) + a * s.h)
        return dict(h=h, a=a, c=c)


class NBR(Cell):
    r"""The neuromodulated bistable cell: a and c of a unit depend on the states of all units.

        a_t = 1 + tanh(W_a x_t + R_a h_{t-1} + b_a)
        c_t = sigmoid(W_c x_t + R_c h_{t-1} + b_c)
        h_t = c_t * h_{t-1} + (1 - c_t) * tanh(W_h x_t + a_t * h_{t-1} + b_h)

    Source: see the file; the nBRC. Differs: the paper writes no biases; here they exist and start
    at 0.
    """

    name = "nbr"
    gates = ("a", "c", "h")
    states = ("h",)
    recurrent_blocks = ("a", "c")
    initial_weights = {f"b.{gate}": 0.0 for gate in gates}
    chrono = {"b.c": 1}
    source, year = _SOURCE, 2020

    def step(self, x, W, R, s, p):
        a = 1 + tanh(W.a(x) + R.a(s.h))
        c = sigmoid(W.c(x) + R.c(s.h))
        h = c * s.h + (1 - c) * tanh(W.h(x) + a * s.h)
        return dict(h=h, a=a, c=c)

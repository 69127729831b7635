r"""The LSTM whose units have periodic time gates, and change only while these are open.

Letters: time the time of the step, in any unit; i, f, o the input, forget and output gate; g the
candidate; k the time gate, from 0 to 1; c the cell state; h the output; * is elementwise.
"""

from typing import Any

import torch
from torch import sigmoid, tanh

from throughtime.cells.cell import Cell, Input, Parameter


class PhasedLSTM(Cell):
    r"""Phased LSTM, for sequences of many steps or of irregularly timed steps.

        phi_t = remainder(time_t / exp(log_period) - shift, 1)
        k_t   = 2 phi_t / |open|        if phi_t < |open| / 2
                2 - 2 phi_t / |open|    if |open| / 2 <= phi_t < |open|
                leak phi_t              otherwise
        i_t   = sigmoid(W_i x_t + R_i h_{t-1} + p_i * c_{t-1} + b_i)
        f_t   = sigmoid(W_f x_t + R_f h_{t-1} + p_f * c_{t-1} + b_f)
        g_t   = tanh(W_g x_t + R_g h_{t-1} + b_g)
        c'_t  = f_t * c_{t-1} + i_t * g_t
        o_t   = sigmoid(W_o x_t + R_o h_{t-1} + p_o * c'_t + b_o)
        h'_t  = o_t * tanh(c'_t)
        c_t   = k_t * c'_t + (1 - k_t) * c_{t-1}
        h_t   = k_t * h'_t + (1 - k_t) * h_{t-1}

    c' and h', ``c_new`` and ``h_new`` in the code, are the next states of an LSTM without time
    gate.

    The logarithm of the period is learned; the period starts between 1 and e^3 units of time (in
    the authors' task between e and e^3). ``|open|`` is the fraction of the period in which the gate
    is open.

    Args:
        leak: the slope of the gate while it is closed, so that there is a gradient. The paper sets
            it to 0 in tests; for that, create a layer with ``leak=0`` and the same weights.

    Source: Neil, Pfeiffer and Liu, "Phased LSTM: accelerating recurrent network training for long
    or event-based sequences", NeurIPS 2016, arXiv 1610.09513, equations 6 to 11. As in the authors'
    code, the width is |open|, because a gate with a negative width would never open nor get a
    gradient. That code adds the shift to the time; the paper and this cell subtract it. Differs:
    ``shift`` is a fraction of the period; in the paper it is a time.
    """

    name = "lstm-phased"
    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    inputs = {"time": Input(size=1)}
    parameters = {
        "log_period": Parameter(initial=(0.0, 3.0)),
        "shift": Parameter(initial=(0.0, 1.0)),
        "open": Parameter(initial=0.05),
        "p_i": Parameter(),
        "p_f": Parameter(),
        "p_o": Parameter(),
    }
    chrono = {"b.f": 1, "b.i": -1}
    source, year = "Neil, Pfeiffer and Liu, Phased LSTM, arXiv 1610.09513", 2016

    def __init__(self, leak: float = 0.001) -> None:
        self.leak = leak

    def step(self, x, W, R, s, p, u: Any = None):
        phi = torch.remainder(u.time / torch.exp(p.log_period) - p.shift, 1.0)
        width = torch.abs(p.open)
        is_open = phi < width
        # While the gate is closed the width may be 0. It is replaced by 1, because the gradient of
        # the quotient would be NaN even if torch.where discarded its value.
        rise = 2 * phi / torch.where(is_open, width, 1.0)
        opening = torch.where(phi < 0.5 * width, rise, 2 - rise)
        k = torch.where(is_open, opening, self.leak * phi)
        i = sigmoid(W.i(x) + R.i(s.h) + p.p_i * s.c)
        f = sigmoid(W.f(x) + R.f(s.h) + p.p_f * s.c)
        g = tanh(W.g(x) + R.g(s.h))
        c_new = f * s.c + i * g
        o = sigmoid(W.o(x) + R.o(s.h) + p.p_o * c_new)
        h_new = o * tanh(c_new)
        c = k * c_new + (1 - k) * s.c
        h = k * h_new + (1 - k) * s.h
        return dict(h=h, c=c, phi=phi, k=k, i=i, f=f, g=g, o=o, c_new=c_new, h_new=h_new)
